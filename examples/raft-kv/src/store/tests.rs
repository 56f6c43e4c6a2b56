//! What the store answers.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn set(key: &str, value: &str) -> Write {
    conditional(key, value, Condition::Always, SetAnswer::Outcome)
}

fn conditional(key: &str, value: &str, condition: Condition, answer: SetAnswer) -> Write {
    Write::Set { key: bytes(key), value: bytes(value), condition, answer }
}

fn get(store: &Store, key: &str) -> Option<String> {
    match store.read(Read::Get(bytes(key))) {
        Reply::Value(value) => Some(String::from_utf8_lossy(&value).into_owned()),
        other => {
            assert_eq!(other, Reply::Nil);
            None
        }
    }
}

fn image(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.snapshot()(&mut bytes).unwrap();
    bytes
}

fn restored(mut bytes: &[u8]) -> io::Result<Store> {
    let mut store = Store::default();
    store.restore(LogIndex::ZERO.next(), &mut bytes)?;
    Ok(store)
}

fn value(text: &str) -> Reply {
    Reply::Value(bytes(text))
}

#[test]
fn set_honours_its_condition_in_every_combination() {
    use Condition::{Absent, Always, Present};
    use SetAnswer::{Count, Old, Outcome};
    let cases = [
        (None, Always, Outcome, Reply::Ok, true),
        (None, Always, Old, Reply::Nil, true),
        (None, Absent, Outcome, Reply::Ok, true),
        (None, Absent, Old, Reply::Nil, true),
        (None, Absent, Count, Reply::Integer(1), true),
        (None, Present, Outcome, Reply::Nil, false),
        (None, Present, Old, Reply::Nil, false),
        (Some("old"), Always, Outcome, Reply::Ok, true),
        (Some("old"), Always, Old, value("old"), true),
        (Some("old"), Absent, Outcome, Reply::Nil, false),
        (Some("old"), Absent, Old, value("old"), false),
        (Some("old"), Absent, Count, Reply::Integer(0), false),
        (Some("old"), Present, Outcome, Reply::Ok, true),
        (Some("old"), Present, Old, value("old"), true),
    ];
    for (old, condition, answer, reply, changed) in cases {
        let mut store = Store::default();
        if let Some(old) = old {
            store.write(set("k", old));
        }
        let case = format!("{old:?} {condition:?} {answer:?}");
        assert_eq!(store.write(conditional("k", "new", condition, answer)), reply, "{case}");
        let expected = if changed { Some("new") } else { old };
        assert_eq!(get(&store, "k").as_deref(), expected, "{case}");
    }
}

#[test]
fn increments_accept_only_what_redis_prints() {
    let mut store = Store::default();
    let mut add = |old: Option<&str>, by| {
        store.write(Write::Clear);
        if let Some(old) = old {
            store.write(set("n", old));
        }
        let reply = store.write(Write::Add { key: bytes("n"), by });
        (reply, get(&store, "n"))
    };
    assert_eq!(add(None, 5), (Reply::Integer(5), Some("5".into())));
    assert_eq!(add(Some("-7"), 2), (Reply::Integer(-5), Some("-5".into())));
    for no_number in ["", " 1", "1 ", "+1", "01", "-0", "1.5", "x", "9223372036854775808"] {
        let expected = (Reply::Failed(Failure::NotAnInteger), Some(no_number.into()));
        assert_eq!(add(Some(no_number), 1), expected);
    }
    let (max, min) = (i64::MAX.to_string(), i64::MIN.to_string());
    assert_eq!(add(Some(&max), 1), (Reply::Failed(Failure::Overflow), Some(max.clone())));
    assert_eq!(add(Some(&min), -1), (Reply::Failed(Failure::Overflow), Some(min.clone())));
    assert_eq!(add(Some(&min), i64::MAX), (Reply::Integer(-1), Some("-1".into())));
}

#[test]
fn append_stops_at_the_largest_value() {
    let mut store = Store::default();
    let append = |length| Write::Append { key: bytes("k"), value: vec![b'x'; length].into() };
    assert_eq!(store.write(append(3)), Reply::Integer(3));
    assert_eq!(store.write(append(0)), Reply::Integer(3));
    assert_eq!(store.write(append(MAX_VALUE - 2)), Reply::Failed(Failure::TooLong));
    assert_eq!(store.write(append(MAX_VALUE - 3)), count(MAX_VALUE));
    assert_eq!(store.read(Read::Length(bytes("k"))), count(MAX_VALUE));
}

#[test]
fn many_keys_are_written_read_counted_and_removed() {
    let mut store = Store::default();
    let keys = |names: &[&str]| names.iter().map(|name| bytes(name)).collect::<Vec<_>>();
    let pairs = [("a", "1"), ("b", "2"), ("a", "3")].map(|(k, v)| (bytes(k), bytes(v)));
    assert_eq!(store.write(Write::SetMany(pairs.into())), Reply::Ok);
    assert_eq!(
        store.read(Read::GetMany(keys(&["a", "x", "b", "a"]))),
        Reply::Values(vec![Some(bytes("3")), None, Some(bytes("2")), Some(bytes("3"))])
    );
    assert_eq!(store.read(Read::Exists(keys(&["a", "x", "a"]))), Reply::Integer(2));
    assert_eq!(store.read(Read::Size), Reply::Integer(2));
    assert_eq!(store.write(Write::Delete(keys(&["a", "x", "a"]))), Reply::Integer(1));
    assert_eq!(store.write(Write::Clear), Reply::Ok);
    assert_eq!(store.read(Read::Size), Reply::Integer(0));
}

#[test]
fn an_answer_that_is_too_large_is_an_error() {
    let mut store = Store::default();
    let big = Bytes::from(vec![0; MAX_VALUE]);
    store.write(Write::SetMany(vec![(bytes("k"), big)]));
    let fits = MAX_ANSWER / MAX_VALUE;
    let ask = |times| store.read(Read::GetMany(vec![bytes("k"); times]));
    assert!(matches!(ask(fits), Reply::Values(values) if values.len() == fits));
    assert_eq!(ask(fits + 1), Reply::Failed(Failure::AnswerTooLarge));
}

#[test]
fn a_question_that_is_too_large_as_a_whole_gets_the_first_answers() {
    let mut store = Store::default();
    store.write(Write::SetMany(vec![(bytes("k"), vec![0; MAX_VALUE].into())]));
    let fits = MAX_ANSWER / MAX_VALUE;
    let reads = vec![Read::Get(bytes("k")); fits + 5];
    let replies = decode::<Reply>(&store.query(encode(&reads))).unwrap();
    assert_eq!(replies.len(), fits);
}

#[test]
fn a_command_takes_effect_in_order_and_answers_each_write() {
    let mut store = Store::default();
    let command = encode(&[set("k", "1"), Write::Add { key: bytes("k"), by: 2 }, Write::Clear]);
    let replies = decode::<Reply>(&store.apply(LogIndex::ZERO.next(), command)).unwrap();
    assert_eq!(replies, [Reply::Ok, Reply::Integer(3), Reply::Ok]);
    let query = encode(&[Read::Size, Read::Get(bytes("k"))]);
    let replies = decode::<Reply>(&store.query(query)).unwrap();
    assert_eq!(replies, [Reply::Integer(0), Reply::Nil]);
}

/// A short command can ask for one long value very often, and every replica makes the answer.
#[test]
fn writes_whose_old_values_are_too_large_together_leave_their_keys_alone() {
    let mut store = Store::default();
    let large = Bytes::from(vec![b'x'; MAX_VALUE]);
    let keys: Vec<String> = (0..MAX_ANSWER / MAX_VALUE + 2).map(|n| format!("k{n}")).collect();
    let pairs = keys.iter().map(|key| (bytes(key), large.clone())).collect();
    store.write(Write::SetMany(pairs));
    let replace = |key: &String| conditional(key, "new", Condition::Always, SetAnswer::Old);
    let mut command: Vec<Write> = keys.iter().map(replace).collect();
    command.push(set("after", "v"));
    let replies = decode::<Reply>(&store.apply(LogIndex::ZERO.next(), encode(&command))).unwrap();
    let fits = MAX_ANSWER / MAX_VALUE;
    for (place, (key, reply)) in keys.iter().zip(&replies).enumerate() {
        if place < fits {
            assert_eq!(
                (reply, get(&store, key)),
                (&Reply::Value(large.clone()), Some("new".into()))
            );
        } else {
            assert_eq!(reply, &Reply::Failed(Failure::AnswerTooLarge));
            assert_eq!(store.read(Read::Length(bytes(key))), count(MAX_VALUE));
        }
    }
    assert_eq!((replies.len(), replies.last()), (command.len(), Some(&Reply::Ok)));
    assert_eq!(get(&store, "after").as_deref(), Some("v"));
}

#[test]
fn keys_and_scan_find_what_matches() {
    let mut store = Store::default();
    for key in ["user:1", "user:2", "order:1"] {
        store.write(set(key, "x"));
    }
    let expected = BTreeSet::from([bytes("user:1"), bytes("user:2")]);
    match store.read(Read::Keys(bytes("user:*"))) {
        Reply::Keys(keys) => assert_eq!(BTreeSet::from_iter(keys), expected),
        other => panic!("{other:?}"),
    }
    let scan = Read::Scan { cursor: 0, pattern: Some(bytes("user:*")), count: 100 };
    match store.read(scan) {
        Reply::Scanned { cursor: 0, keys } => assert_eq!(BTreeSet::from_iter(keys), expected),
        other => panic!("{other:?}"),
    }
}

/// Two keys with the same checksum, and so with the same place for a cursor.
const COLLISION: [&str; 2] = ["plumless", "buckeroo"];

#[test]
fn a_scan_never_stops_between_two_keys_of_one_position() {
    let [one, other] = COLLISION.map(|key| crc32fast::hash(key.as_bytes()));
    assert_eq!(one, other, "the test needs keys that collide");
    let mut store = Store::default();
    for key in COLLISION {
        store.write(set(key, "x"));
    }
    match store.read(Read::Scan { cursor: 0, pattern: None, count: 1 }) {
        Reply::Scanned { cursor: 0, keys } => assert_eq!(keys.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_is_the_state_of_its_moment_whatever_is_written_meanwhile() {
    let mut store = Store::default();
    store.write(set("kept", "old"));
    store.write(set("removed", "old"));
    let frozen = store.snapshot();
    store.write(set("kept", "new"));
    store.write(Write::Delete(vec![bytes("removed")]));
    let mut bytes_of_it = Vec::new();
    frozen(&mut bytes_of_it).unwrap();
    let before = restored(&bytes_of_it).unwrap();
    assert_eq!(get(&before, "kept").as_deref(), Some("old"));
    assert_eq!(get(&before, "removed").as_deref(), Some("old"));
    assert_eq!(get(&store, "kept").as_deref(), Some("new"));
    assert_eq!(get(&store, "removed"), None);
}

/// A length that the bytes claim is not believed: what is read decides how much memory is taken.
#[test]
fn a_snapshot_that_claims_too_much_is_an_error() {
    let mut store = Store::default();
    store.write(set("k", "v"));
    let good = image(&store);
    for (place, what) in [(8, "keys"), (16, "a key"), (20, "a value")] {
        let mut bytes = good.clone();
        bytes[place..place + 4].fill(0xff);
        assert!(restored(&bytes).is_err(), "too much of {what}");
    }
    let mut newer = good.clone();
    newer[7] += 1;
    let text = restored(&newer).unwrap_err().to_string();
    assert_eq!(text, "the snapshot has format 2, this program reads 1");
    assert!(restored(&[&good[..], b"x"].concat()).is_err());
}

proptest! {
    #[test]
    fn a_restored_snapshot_is_the_same_state_and_the_same_bytes(
        pairs in prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 0..12),
            prop::collection::vec(any::<u8>(), 0..80),
            0..60,
        ),
    ) {
        let mut store = Store::default();
        let pairs: Vec<(Bytes, Bytes)> =
            pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        store.write(Write::SetMany(pairs.clone()));
        let bytes = image(&store);
        let mut other = restored(&bytes).unwrap();
        prop_assert_eq!(&other.entries, &store.entries);
        prop_assert_eq!(image(&other), bytes.clone());
        // What was there before counts for nothing.
        other.write(set("more", "x"));
        other.restore(LogIndex::ZERO.next(), &mut &bytes[..]).unwrap();
        prop_assert_eq!(&other.entries, &store.entries);
    }

    /// What was there before a restore that failed is still there.
    #[test]
    fn a_damaged_snapshot_is_an_error_or_another_state_and_never_a_panic(
        keys in prop::collection::btree_set("[a-z]{1,6}", 1..20),
        cut in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut store = Store::default();
        for key in &keys {
            store.write(set(key, "value"));
        }
        let bytes = image(&store);
        let short = &bytes[..cut.index(bytes.len())];
        prop_assert!(restored(short).is_err());
        prop_assert!(store.restore(LogIndex::ZERO.next(), &mut &short[..]).is_err());
        prop_assert_eq!(image(&store), bytes.clone());
        let mut damaged = bytes;
        let place = place.index(damaged.len());
        damaged[place] = byte;
        let _ = restored(&damaged);
    }

    #[test]
    fn a_scan_returns_each_lasting_key_exactly_once(
        lasting in prop::collection::btree_set("[a-z]{1,6}", 0..60),
        passing in prop::collection::vec("[A-Z]{1,3}", 0..60),
        count in 1..8_u64,
    ) {
        let mut store = Store::default();
        for key in &lasting {
            store.write(set(key, "x"));
        }
        let mut passing = passing.iter();
        let (mut cursor, mut found) = (0, Vec::new());
        loop {
            let scan = Read::Scan { cursor, pattern: Some(bytes("[a-z]*")), count };
            let Reply::Scanned { cursor: next, keys } = store.read(scan) else {
                panic!("a scan answers with a scan");
            };
            found.extend(keys);
            for key in passing.by_ref().take(3) {
                match get(&store, key) {
                    Some(_) => store.write(Write::Delete(vec![bytes(key)])),
                    None => store.write(set(key, "x")),
                };
            }
            if next == 0 {
                break;
            }
            prop_assert!(next > cursor, "the cursor moves on");
            cursor = next;
        }
        let distinct: BTreeSet<Bytes> = found.iter().cloned().collect();
        prop_assert_eq!(found.len(), distinct.len(), "no key twice");
        prop_assert_eq!(distinct, lasting.iter().map(|key| bytes(key)).collect::<BTreeSet<_>>());
    }

    #[test]
    fn bytes_that_are_no_command_change_nothing_and_never_panic(
        junk in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut store = Store::default();
        store.write(set("k", "v"));
        let command = Bytes::from(junk);
        if decode::<Write>(&command).is_none() {
            let answer = store.apply(LogIndex::ZERO.next(), command.clone());
            let expected = vec![Reply::Failed(Failure::Undecodable)];
            prop_assert_eq!(decode::<Reply>(&answer), Some(expected));
            prop_assert_eq!(get(&store, "k"), Some("v".into()));
        }
        prop_assert!(decode::<Reply>(&store.query(command)).is_some());
    }

    #[test]
    fn a_command_that_was_cut_or_extended_is_refused(
        key in "[a-z]{1,9}",
        value in "[a-z]{0,9}",
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = encode(&[set(&key, &value)]);
        prop_assert!(decode::<Write>(&whole[..cut.index(whole.len())]).is_none());
        prop_assert!(decode::<Write>(&[&whole[..], b"x"].concat()).is_none());
    }
}
