//! The patterns of `KEYS` and `SCAN MATCH`, with the rules of Redis for bytes.
//!
//! `*` stands for any bytes, `?` for one byte, `[a-z]` for one of a class, `[^a-z]` for one outside
//! of it, and `\` takes the next byte literally. A class that is not closed ends with the pattern.
//!
//! The crates for file names treat `/`, `{}` or text encoding in ways that Redis does not.

/// A pattern, ready to be matched.
#[derive(Clone, Debug)]
pub struct Glob(Vec<Token>);

#[derive(Clone, Debug)]
enum Token {
    /// `*`
    Run,
    /// `?`
    Any,
    Byte(u8),
    Class {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Token {
    fn accepts(&self, byte: u8) -> bool {
        match self {
            Self::Run => false,
            Self::Any => true,
            Self::Byte(wanted) => *wanted == byte,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *negated
            }
        }
    }
}

impl Glob {
    /// Reads a pattern. Every sequence of bytes is one.
    #[must_use]
    pub fn new(mut pattern: &[u8]) -> Self {
        let mut tokens = Vec::new();
        loop {
            pattern = match pattern {
                [] => return Self(tokens),
                [b'*', rest @ ..] => {
                    if !matches!(tokens.last(), Some(Token::Run)) {
                        tokens.push(Token::Run);
                    }
                    rest
                }
                [b'?', rest @ ..] => {
                    tokens.push(Token::Any);
                    rest
                }
                [b'[', rest @ ..] => {
                    let (class, rest) = class(rest);
                    tokens.push(class);
                    rest
                }
                [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                    tokens.push(Token::Byte(*byte));
                    rest
                }
            };
        }
    }

    /// Whether the whole of `text` fits the pattern. The time is at most proportional to the
    /// product of the two lengths.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        // The last `*`, and where the bytes that it stands for end. When what follows does not
        // fit, that `*` takes one byte more; earlier ones need never be tried again.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let step = match (self.0.get(token), text.get(at)) {
                (None, None) => return true,
                (Some(Token::Run), _) => {
                    retry = Some((token, at));
                    token += 1;
                    continue;
                }
                (Some(wanted), Some(byte)) => wanted.accepts(*byte),
                (None, Some(_)) | (Some(_), None) => false,
            };
            if step {
                (token, at) = (token + 1, at + 1);
            } else {
                match retry {
                    Some((run, end)) if end < text.len() => {
                        retry = Some((run, end + 1));
                        (token, at) = (run + 1, end + 1);
                    }
                    _ => return false,
                }
            }
        }
    }
}

/// Reads a class up to and including its `]`, and returns what comes after it.
fn class(pattern: &[u8]) -> (Token, &[u8]) {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut ranges = Vec::new();
    loop {
        rest = match rest {
            [] => return (Token::Class { negated, ranges }, rest),
            [b']', rest @ ..] => return (Token::Class { negated, ranges }, rest),
            [b'\\', byte, rest @ ..] => {
                ranges.push((*byte, *byte));
                rest
            }
            [from, b'-', to, rest @ ..] => {
                ranges.push((*from.min(to), *from.max(to)));
                rest
            }
            [byte, rest @ ..] => {
                ranges.push((*byte, *byte));
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        Glob::new(pattern.as_bytes()).matches(text.as_bytes())
    }

    #[test]
    fn patterns_of_the_redis_manual_match_what_it_says() {
        for (pattern, yes, no) in [
            ("h?llo", &["hello", "hallo", "hxllo"][..], &["hllo", "heello"][..]),
            ("h*llo", &["hllo", "heeeello"], &["hell", "xhello"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo"]),
            ("h[^e]llo", &["hallo", "hbllo"], &["hello", "hllo"]),
            ("h[a-b]llo", &["hallo", "hbllo"], &["hcllo"]),
        ] {
            assert!(yes.iter().all(|text| fits(pattern, text)), "{pattern} should match {yes:?}");
            assert!(!no.iter().any(|text| fits(pattern, text)), "{pattern} should miss {no:?}");
        }
    }

    #[test]
    fn edges_follow_redis() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("?", "", false),
            ("a*", "a", true),
            ("**a**", "bab", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"a\", r"a\", true),
            ("[a", "a", true),
            ("[", "a", false),
            ("[^", "a", true),
            ("[]", "]", false),
            (r"[\]]", "]", true),
            (r"[\-x]", "-", true),
            ("[z-a]", "m", true),
            ("[a-", "-", true),
            ("{a,b}", "a", false),
            ("a/*", "a/b/c", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "pattern {pattern:?}, text {text:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_match_like_any_other() {
        assert!(Glob::new(b"\xff?[\x80-\x90]*").matches(b"\xff\n\x85\0\0"));
        assert!(!Glob::new(b"\xff?[\x80-\x90]").matches(b"\xff\n\x91"));
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_exponential_time() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!fits(&pattern, &"a".repeat(2000)));
    }

    /// The definition of a match, without any care for time.
    fn reference(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| reference(rest, &text[n..])),
            ([b'?', rest @ ..], [_, text @ ..]) => reference(rest, text),
            ([a, rest @ ..], [b, text @ ..]) if a == b => reference(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(
                fits(&pattern, &text),
                reference(pattern.as_bytes(), text.as_bytes())
            );
        }
    }
}
