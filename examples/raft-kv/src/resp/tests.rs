//! What the codec takes, refuses and writes.

use proptest::prelude::*;

use super::*;
use crate::limits::{MAX_ARGUMENTS, MAX_VALUE};

/// Feeds the bytes in pieces of `step` and collects what comes out.
fn decode_in_steps(input: &[u8], step: usize) -> Result<Vec<Request>, ProtocolError> {
    let mut decoder = RequestDecoder::default();
    let (mut buffer, mut requests) = (BytesMut::new(), Vec::new());
    for piece in input.chunks(step) {
        buffer.extend_from_slice(piece);
        while let Some(request) = decoder.decode(&mut buffer)? {
            requests.push(request);
        }
    }
    Ok(requests)
}

fn decode(input: impl AsRef<[u8]>) -> Result<Vec<Request>, ProtocolError> {
    let input = input.as_ref();
    decode_in_steps(input, input.len().max(1))
}

fn request(words: &[&str]) -> Request {
    words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

#[test]
fn requests_come_out_the_same_however_they_are_cut() {
    let input =
        b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\nPING  x\r\n\n*0\r\n*-1\r\n*1\r\n$0\r\n\r\nping\n";
    let expected =
        [request(&["GET", "a\r\n"]), request(&["PING", "x"]), request(&[""]), request(&["ping"])];
    for step in 1..=input.len() {
        assert_eq!(decode_in_steps(input, step).unwrap(), expected, "pieces of {step}");
    }
}

#[test]
fn replies_come_out_the_same_however_they_are_cut() {
    let input =
        b"+OK\r\n-ERR no\r\n:-7\r\n$-1\r\n$2\r\n\r\n\r\n*0\r\n*3\r\n$1\r\na\r\n$-1\r\n:1\r\n";
    let bulk = |data: &'static [u8]| Resp2Frame::BulkString(Bytes::from_static(data));
    let expected = [
        Resp2Frame::SimpleString("OK".into()),
        Resp2Frame::Error("ERR no".into()),
        Resp2Frame::Integer(-7),
        Resp2Frame::Null,
        bulk(b"\r\n"),
        Resp2Frame::Array(vec![]),
        Resp2Frame::Array(vec![bulk(b"a"), Resp2Frame::Null, Resp2Frame::Integer(1)]),
    ];
    for step in 1..=input.len() {
        let mut decoder = ReplyDecoder::new(MAX_REQUEST);
        let (mut buffer, mut replies) = (BytesMut::new(), Vec::new());
        assert!(decoder.decode(&mut buffer).unwrap().is_none());
        for piece in input.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Some(reply) = decoder.decode(&mut buffer).unwrap() {
                replies.push(reply);
            }
        }
        assert_eq!(replies, expected, "pieces of {step}");
    }
}

#[test]
fn malformed_requests_are_errors() {
    for input in [
        "*x\r\n",
        "*\r\n",
        "*1\n",
        "*+1\r\n",
        "*01\r\n",
        "*1\r\nGET\r\n",
        "*1\r\n*1\r\n$1\r\na\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n+OK\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$-2\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$3\r\nGETxx",
        "*99999999999999999999999999999999999",
        "get \"a b\"\r\n",
        "POST / HTTP/1.1\r\n",
        "Host: x\r\n",
    ] {
        assert!(decode(input).is_err(), "{input:?} should be refused");
    }
}

#[test]
fn what_is_too_large_is_refused_from_its_header_alone() {
    for input in [
        format!("*{}\r\n", MAX_ARGUMENTS + 1),
        format!("*{}\r\n", i64::MAX),
        format!("*1\r\n${}\r\n", MAX_REQUEST),
        format!("*1\r\n${}\r\n", i64::MAX),
    ] {
        assert!(decode(&input).is_err(), "{input:?} should be refused");
    }
    assert!(decode(vec![b'x'; MAX_LINE]).is_err(), "an inline request without an end");
}

#[test]
fn a_request_may_not_outgrow_its_limit_in_many_small_steps() {
    let part = format!("${MAX_VALUE}\r\n{}\r\n", "x".repeat(MAX_VALUE));
    let fits = MAX_REQUEST / part.len();
    let request = |parts| format!("*{parts}\r\n{}", part.repeat(parts));
    assert_eq!(decode(request(fits)).unwrap().len(), 1);
    assert!(matches!(decode(request(fits + 1)), Err(ProtocolError::TooLarge(MAX_REQUEST))));
}

/// Feeds a frame of as many elements, which are all the same, and returns how much of it was kept
/// when it was refused.
fn kept_until_refused(
    elements: usize,
    element: &str,
    mut decode: impl FnMut(&mut BytesMut) -> Result<bool, ProtocolError>,
) -> usize {
    let mut buffer = BytesMut::from(&*format!("*{elements}\r\n"));
    for _ in 0..elements {
        buffer.extend_from_slice(element.as_bytes());
        match decode(&mut buffer) {
            Ok(complete) => assert!(!complete, "a frame beyond the limit was taken"),
            Err(_) => return buffer.len(),
        }
    }
    panic!("a frame beyond the limit was not refused");
}

#[test]
fn lines_do_not_get_around_the_limit_of_a_frame() {
    let line = format!("+{}\r\n", "x".repeat(MAX_LINE - 1));
    let mut requests = RequestDecoder::default();
    let kept = kept_until_refused(MAX_ARGUMENTS, &line, |buffer| {
        requests.decode(buffer).map(|request| request.is_some())
    });
    assert!(kept < 2 * line.len(), "a request has no lines, and {kept} bytes were kept");
    let mut replies = ReplyDecoder::new(MAX_REQUEST);
    let kept = kept_until_refused(MAX_ARGUMENTS, &line, |buffer| {
        replies.decode(buffer).map(|reply| reply.is_some())
    });
    assert!(kept <= MAX_REQUEST + line.len(), "{kept} bytes were kept");
}

#[test]
fn deeply_nested_arrays_are_refused_and_use_no_stack() {
    assert!(decode("*1\r\n".repeat(1_000_000)).is_err());
    let mut nested = BytesMut::from(&*"*1\r\n".repeat(1_000_000));
    assert!(ReplyDecoder::new(MAX_REQUEST).decode(&mut nested).is_err());
}

fn encoded(response: Response, version: Version) -> Vec<u8> {
    let mut out = BytesMut::from("before");
    response.encode(version, &mut out).unwrap();
    out.strip_prefix(b"before").unwrap().to_vec()
}

#[test]
fn replies_have_the_form_of_their_version() {
    let map = || Response::Map(vec![("proto", Response::Integer(3))]);
    for (response, resp2, resp3) in [
        (Response::OK, "+OK\r\n", "+OK\r\n"),
        (Response::error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
        (Response::Null, "$-1\r\n", "_\r\n"),
        (Response::text("x"), "$1\r\nx\r\n", "$1\r\nx\r\n"),
        (Response::Text("x".into()), "$1\r\nx\r\n", "=5\r\ntxt:x\r\n"),
        (Response::Array(vec![Response::Null]), "*1\r\n$-1\r\n", "*1\r\n_\r\n"),
        (map(), "*2\r\n$5\r\nproto\r\n:3\r\n", "%1\r\n$5\r\nproto\r\n:3\r\n"),
    ] {
        assert_eq!(encoded(response.clone(), Version::Resp2), resp2.as_bytes(), "{response:?}");
        assert_eq!(encoded(response.clone(), Version::Resp3), resp3.as_bytes(), "{response:?}");
    }
}

#[test]
fn integers_at_every_power_of_ten_are_exact() {
    let powers = (0..19).map(|exponent| 10_i64.pow(exponent));
    let near = powers.flat_map(|power| [power - 1, power, power + 1]);
    for number in near.chain([i64::MAX, i64::MIN]).flat_map(|n| [n, n.wrapping_neg()]) {
        let expected = format!(":{number}\r\n").into_bytes();
        for version in [Version::Resp2, Version::Resp3] {
            assert_eq!(encoded(Response::Integer(number), version), expected);
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_as_a_request_decodes_to_it(
        words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..9),
        step in 1..50_usize,
    ) {
        let request: Request = words.into_iter().map(Bytes::from).collect();
        let mut bytes = BytesMut::new();
        encode_request(request.clone(), &mut bytes).unwrap();
        prop_assert_eq!(decode_in_steps(&bytes, step).unwrap(), [request]);
    }

    #[test]
    fn junk_never_panics(
        junk in prop::collection::vec(prop_oneof![
            prop::sample::select(&b"*$:+-\r\n0123456789 x\""[..]),
            any::<u8>(),
        ], 0..300),
        step in 1..50_usize,
    ) {
        let _ = decode_in_steps(&junk, step);
        let mut buffer = BytesMut::from(&junk[..]);
        let mut decoder = ReplyDecoder::new(1000);
        while let Ok(Some(_)) = decoder.decode(&mut buffer) {}
    }
}
