//! The wire encoding: what is written is read back, the bytes are those of `docs/wire.md`, and no
//! bytes do harm. Rows named R and C are those of the project's lists of known bugs and corner
//! cases.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::*;
use raft_core::{
    Append, AppendReply, AppendResult, BatchId, Body, Control, ControlResult, DecodeError, Entries,
    LogIndex, Membership, Message, Payload, Refusal, Snapshot, SnapshotChunk, SnapshotReply, Term,
    WIRE_VERSION,
};

fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn decode(bytes: impl AsRef<[u8]>) -> Result<Message, DecodeError> {
    Message::decode(Bytes::copy_from_slice(bytes.as_ref()))
}

/// Bytes from their hexadecimal digits; spaces are for the reader.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hexadecimal digit") as u8;
    let byte = |pair: &[u8]| pair.iter().fold(0, |sum, byte| sum * 16 + digit(*byte));
    digits.chunks(2).map(byte).collect()
}

/// One message of each kind, from node 1 to node 2 in term 7, with the bytes of its encoding.
fn golden() -> Vec<(Body, &'static str)> {
    let heartbeat =
        Append { prev: at(0, 0), entries: Entries::empty(), commit: index(0), sequence: 300 };
    let batch = BatchId { incarnation: 3, sequence: 4 };
    vec![
        (pre_vote(at(5, 6)), "22 04 08 05 10 06"),
        (pre_vote_reply(true), "2a 02 08 01"),
        (pre_vote_reply(false), "2a 00"),
        (vote(at(5, 6)), "32 04 08 05 10 06"),
        (vote(at(0, 0)), "32 00"),
        (Body::Vote { last: at(5, 6), transfer: true }, "32 06 08 05 10 06 18 01"),
        (vote_reply(true), "3a 02 08 01"),
        (
            append_numbered(9, at(5, 6), &[(7, ""), (7, "hi")], 5),
            "42 18 0a 04 08 05 10 06 10 05 18 09 22 04 08 07 10 01 22 06 08 07 1a 02 68 69",
        ),
        (Body::Append(heartbeat), "42 05 0a 00 18 ac 02"),
        (accepted_numbered(9, 7, 6), "4a 08 08 09 12 04 08 07 10 06"),
        (rejected(5, at(3, 2)), "4a 0c 08 01 1a 08 08 05 12 04 08 03 10 02"),
        (propose(batch, &["hi", ""]), "52 0a 08 03 10 04 1a 02 68 69 1a 00"),
        (Body::ProposeReply { batch, result: Ok(index(8)) }, "5a 06 08 03 10 04 18 08"),
        (
            Body::ProposeReply { batch, result: Err(Refusal::Overloaded) },
            "5a 08 08 03 10 04 22 02 08 02",
        ),
        (
            Body::ProposeReply { batch, result: Err(Refusal::TooLarge { size: 300, limit: 9 }) },
            "5a 0d 08 03 10 04 22 07 08 0a 10 ac 02 18 09",
        ),
        (Body::ReadIndex { sequence: 5 }, "62 02 08 05"),
        (Body::ReadIndexReply { sequence: 5, index: index(7) }, "6a 04 08 05 10 07"),
    ]
}

/// The messages of [`golden`] that are about snapshots and members.
fn golden_of_the_cluster() -> Vec<(Body, &'static str)> {
    let batch = BatchId { incarnation: 3, sequence: 4 };
    let reply = |result| Body::ControlReply { batch, result };
    let change = |target: Membership, only_if: Option<Membership>| {
        let (target, only_if) = (Arc::new(target), only_if.map(Arc::new));
        Body::Control { batch, control: Control::ChangeMembership { target, only_if } }
    };
    let transfer = |to| Body::Control { batch, control: Control::TransferLeadership { to } };
    let with_details = Membership::new().voter(id(1), "a:1").learner(id(2), "").prefer(id(1), 6);
    let snapshot = Snapshot {
        position: at(5, 6),
        membership: Arc::new(voters(&[1])),
        size: 300,
        checksum: 0xffff_ffff,
    };
    let question = SnapshotChunk {
        snapshot: Snapshot { size: 0, checksum: 0, ..snapshot.clone() },
        offset: 0,
        data: Bytes::new(),
        sequence: 9,
    };
    let data = Bytes::from_static(b"hi");
    let chunk = SnapshotChunk { snapshot, offset: 200, data, sequence: 10 };
    let lost = AppendReply {
        sequence: 9,
        result: AppendResult::Accepted { last: index(7), durable: index(6) },
        needs_snapshot: Some(index(0)),
    };
    vec![
        (
            append_numbered(9, at(5, 6), &[(7, "{1 2 | 1 3 + 3}")], 5),
            "42 26 0a 04 08 05 10 06 10 05 18 09 22 1a 08 07 22 16 0a 06 08 01 20 01 28 01 \
             0a 04 08 02 20 01 0a 06 08 03 28 01 30 01",
        ),
        (Body::AppendReply(lost), "4a 0a 08 09 12 04 08 07 10 06 20 00"),
        (
            Body::SnapshotChunk(Box::new(chunk)),
            "72 22 0a 17 0a 04 08 05 10 06 12 06 0a 04 08 01 20 01 18 ac 02 20 ff ff ff ff 0f \
             10 c8 01 1a 02 68 69 20 0a",
        ),
        (
            Body::SnapshotChunk(Box::new(question)),
            "72 12 0a 0e 0a 04 08 05 10 06 12 06 0a 04 08 01 20 01 20 09",
        ),
        (
            Body::SnapshotReply(SnapshotReply {
                sequence: 9,
                position: at(5, 6),
                checksum: 7,
                received: 200,
                written: 100,
                gap: true,
            }),
            "7a 11 08 09 12 04 08 05 10 06 18 07 20 c8 01 28 64 30 01",
        ),
        (Body::TimeoutNow, "82 01 00"),
        (
            change(with_details.clone(), Some(voters(&[1]))),
            "8a 01 23 08 03 10 04 1a 1d 0a 13 0a 0b 08 01 12 03 61 3a 31 18 06 20 01 0a 04 08 02 \
             30 01 12 06 0a 04 08 01 20 01",
        ),
        (change(voters(&[1]), None), "8a 01 0e 08 03 10 04 1a 08 0a 06 0a 04 08 01 20 01"),
        (transfer(Some(id(2))), "8a 01 08 08 03 10 04 22 02 08 02"),
        (transfer(None), "8a 01 06 08 03 10 04 22 00"),
        (reply(ControlResult::Committed(at(5, 6))), "92 01 0a 08 03 10 04 1a 04 08 05 10 06"),
        (
            reply(ControlResult::Refused(Refusal::NotCaughtUp { id: id(2) })),
            "92 01 0a 08 03 10 04 22 04 08 09 10 02",
        ),
        (reply(ControlResult::Unknown), "92 01 06 08 03 10 04 28 01"),
    ]
}

const HEAD: &str = "01 08 01 10 02 18 07";

/// A change of these bytes breaks clusters that are being upgraded.
#[test]
fn each_kind_of_message_has_the_documented_bytes() {
    for (body, digits) in golden().into_iter().chain(golden_of_the_cluster()) {
        let message = message(1, 2, 7, body);
        let bytes = hex(&format!("{HEAD} {digits}"));
        assert_eq!(encode(&message), bytes, "{message:?}");
        assert_eq!(decode(&bytes), Ok(message));
    }
}

#[test]
fn the_documented_bytes_are_in_the_document() {
    let document = include_str!("../../docs/wire.md");
    for (body, digits) in golden().into_iter().chain(golden_of_the_cluster()) {
        assert!(document.contains(digits), "docs/wire.md lacks {digits}, {body:?}");
    }
    assert!(document.contains(HEAD));
}

#[test]
fn the_largest_numbers_have_a_place() {
    let largest = message(
        u64::MAX,
        u64::MAX - 1,
        Term::MAX.get(),
        Body::ReadIndexReply { sequence: u64::MAX, index: LogIndex::MAX },
    );
    assert_eq!(decode(encode(&largest)), Ok(largest));
}

/// C91: another version is told apart from garbage.
#[test]
fn another_version_is_refused_by_name() {
    let mut bytes = encode(&message(1, 2, 7, vote_reply(true)));
    assert_eq!(bytes[0], WIRE_VERSION);
    for found in [0, 2, 255] {
        bytes[0] = found;
        assert_eq!(decode(&bytes), Err(DecodeError::Version { found }));
    }
    assert_eq!(decode([]), Err(DecodeError::Garbled));
}

/// C91: a newer peer may say more; what this version does not know is skipped.
#[test]
fn a_field_that_this_version_does_not_know_is_skipped() {
    let known = message(1, 2, 7, pre_vote(at(5, 6)));
    // Field 99 as a number, as bytes and as eight bytes, in the message and within the position.
    for unknown in ["98 06 05", "9a 06 02 68 69", "99 06 01 02 03 04 05 06 07 08"] {
        let outside = hex(&format!("{HEAD} 22 04 08 05 10 06 {unknown}"));
        assert_eq!(decode(outside), Ok(known.clone()));
        let length = 4 + hex(unknown).len();
        let inside = hex(&format!("{HEAD} 22 {length:02x} 08 05 10 06 {unknown}"));
        assert_eq!(decode(inside), Ok(known.clone()));
    }
}

#[test]
fn fields_may_come_in_any_order() {
    let bytes = hex("01 22 04 10 06 08 05 18 07 10 02 08 01");
    assert_eq!(decode(bytes), Ok(message(1, 2, 7, pre_vote(at(5, 6)))));
}

/// C91: and what it needs to know but does not is refused as such.
#[test]
fn a_kind_that_this_version_does_not_know_is_unknown() {
    let unknown = [
        HEAD.to_owned(),
        format!("{HEAD} fa 01 00"),
        // An entry with a payload of kind 5, then one without any.
        format!("{HEAD} 42 08 0a 00 22 04 08 07 2a 00"),
        format!("{HEAD} 42 06 0a 00 22 02 08 07"),
        // An answer to an Append that neither accepts nor rejects.
        format!("{HEAD} 4a 02 08 09"),
        // An answer to a Propose without an index and without a reason, and with reasons of number
        // 0 and 11.
        format!("{HEAD} 5a 04 08 03 10 04"),
        format!("{HEAD} 5a 06 08 03 10 04 22 00"),
        format!("{HEAD} 5a 08 08 03 10 04 22 02 08 0b"),
        // A request about the cluster of no kind, and an answer of no kind.
        format!("{HEAD} 8a 01 04 08 03 10 04"),
        format!("{HEAD} 92 01 04 08 03 10 04"),
    ];
    for digits in unknown {
        assert_eq!(decode(hex(&digits)), Err(DecodeError::Unknown), "{digits}");
    }
}

#[test]
fn bytes_that_are_no_protobuf_are_garbled() {
    for digits in [
        "01 08",
        "01 ff ff ff ff ff ff ff ff ff ff ff",
        "01 0a 01 00",
        "01 22 05 08",
        "01 07",
        "01 00 00",
        "01 0b 0c",
    ] {
        assert_eq!(decode(hex(digits)), Err(DecodeError::Garbled), "{digits}");
    }
}

/// What leaves the decoder can't be ill-formed.
#[test]
fn contradictions_are_refused() {
    let too_large_term = "ff ff ff ff ff ff ff ff ff 01";
    let too_large_index = "80 80 80 80 80 80 80 80 40";
    let contradictions = [
        format!("01 08 01 10 02 18 {too_large_term} 62 02 08 05"),
        // A position with only one of index and term.
        format!("{HEAD} 22 02 08 05"),
        format!("{HEAD} 22 02 10 06"),
        // Indexes above the largest: of a position, an acknowledgement, a commit, a read.
        format!("{HEAD} 22 0c 08 {too_large_index} 10 06"),
        format!("{HEAD} 4a 0c 12 0a 08 {too_large_index}"),
        format!("{HEAD} 42 0c 0a 00 10 {too_large_index}"),
        format!("{HEAD} 6a 0a 10 {too_large_index}"),
        format!("{HEAD} 5a 0a 18 {too_large_index}"),
        // An entry with nobody in its configuration; a configuration without a voter; with a member
        // of no kind, that is there twice, or that is a voter and a learner.
        format!("{HEAD} 42 08 0a 00 22 04 08 07 22 00"),
        format!("{HEAD} 42 0e 0a 00 22 0a 08 07 22 06 0a 04 08 01 30 01"),
        format!("{HEAD} 42 12 0a 00 22 0e 08 07 22 0a 0a 04 08 01 20 01 0a 02 08 02"),
        format!("{HEAD} 42 14 0a 00 22 10 08 07 22 0c 0a 04 08 01 20 01 0a 04 08 01 20 01"),
        format!("{HEAD} 42 10 0a 00 22 0c 08 07 22 08 0a 06 08 01 20 01 30 01"),
        // A snapshot of a position with only an index.
        format!("{HEAD} 72 0e 0a 0c 0a 02 08 05 12 06 0a 04 08 01 20 01"),
        // Entries of term 0, of falling terms, and behind the largest index.
        format!("{HEAD} 42 06 0a 00 22 02 10 01"),
        format!("{HEAD} 42 0e 0a 00 22 04 08 07 10 01 22 04 08 06 10 01"),
        format!("{HEAD} 42 14 0a 0c 08 ff ff ff ff ff ff ff ff 3f 10 06 22 04 08 07 10 01"),
    ];
    for digits in contradictions {
        assert_eq!(decode(hex(&digits)), Err(DecodeError::Contradiction), "{digits}");
    }
}

/// Payloads are not copied on their way from the socket.
#[test]
fn commands_share_the_memory_of_the_bytes_they_came_in() {
    let large = "l".repeat(1000);
    for body in [append(at(0, 0), &[(1, &large)], 0), propose(batch(1, 1), &[&large])] {
        let bytes = Bytes::from(encode(&message(1, 2, 7, body)));
        let memory = bytes.as_ptr_range();
        let commands: Vec<Bytes> = match Message::decode(bytes.clone()).unwrap().body {
            Body::Propose { commands, .. } => commands,
            Body::Append(append) => append
                .entries
                .iter()
                .filter_map(|entry| match &entry.payload {
                    Payload::Command(command) => Some(command.clone()),
                    Payload::Noop | Payload::Membership(_) => None,
                })
                .collect(),
            other => unreachable!("{other:?}"),
        };
        assert_eq!(commands.len(), 1);
        let command = commands[0].as_ptr_range();
        assert!(memory.start <= command.start && command.end <= memory.end);
    }
}

/// R127: the smallest encodings of the most things. What comes out is in proportion to what came
/// in.
#[test]
fn a_decoded_message_takes_no_more_than_64_times_its_bytes() {
    for count in [0, 1, 1000, 1025] {
        let body = Body::Propose { batch: batch(0, 0), commands: vec![Bytes::new(); count] };
        let bytes = encode(&message(1, 2, 7, body));
        let Ok(Body::Propose { commands, .. }) = decode(&bytes).map(|message| message.body) else {
            unreachable!("a proposal")
        };
        assert!(commands.capacity() * size_of::<Bytes>() <= 64 * bytes.len());

        let noops = vec![(1, ""); count];
        let bytes = encode(&message(1, 2, 7, append(at(0, 0), &noops, 0)));
        let Ok(Body::Append(append)) = decode(&bytes).map(|message| message.body) else {
            unreachable!("an append")
        };
        assert!(size_of_val::<[_]>(&append.entries) <= 64 * bytes.len());
    }
}

/// Log stores and snapshot files hold these encodings.
#[test]
fn configurations_and_descriptions_of_snapshots_have_the_documented_bytes() {
    let members = voters(&[1]);
    assert_eq!(members.encode(), hex("0a 04 08 01 20 01"));
    assert_eq!(Membership::decode(members.encode()), Ok(members.clone()));
    assert_eq!(Membership::decode(Bytes::new()), Ok(Membership::new()));
    assert_eq!(Membership::decode(hex("0a 05").into()), Err(DecodeError::Garbled));
    let membership = Arc::new(members);
    let snapshot = Snapshot { position: at(5, 6), membership, size: 300, checksum: 7 };
    let bytes = hex("0a 04 08 05 10 06 12 06 0a 04 08 01 20 01 18 ac 02 20 07");
    assert_eq!(snapshot.encode(), bytes);
    assert_eq!(Snapshot::decode(bytes.into()), Ok(snapshot));
    assert_eq!(Snapshot::decode(hex("0a 01").into()), Err(DecodeError::Garbled));
}

/// A buffer that is too short is left as it is.
#[test]
fn a_fixed_buffer_that_is_too_short_gets_nothing() {
    let message = message(1, 2, 7, pre_vote(at(5, 6)));
    let whole = encode(&message);
    for length in 0..whole.len() + 3 {
        let mut memory = vec![0_u8; length];
        let mut rest = memory.as_mut_slice();
        message.encode(&mut rest);
        let written = length - rest.len();
        let expected = if length < whole.len() { 0 } else { whole.len() };
        assert_eq!(written, expected, "a buffer of {length} bytes");
        assert_eq!(memory[..written], whole[..written]);
    }
}

#[test]
fn encoding_appends_to_what_is_in_the_buffer() {
    let message = message(1, 2, 7, vote_reply(true));
    let mut bytes = b"before".to_vec();
    message.encode(&mut bytes);
    assert_eq!(bytes[..6], *b"before");
    assert_eq!(bytes[6..], encode(&message));
}

/// A connection that breaks in the middle of a message can't turn it into harm.
#[test]
fn a_message_that_is_cut_short_is_an_error_or_another_message() {
    for (body, _) in golden().into_iter().chain(golden_of_the_cluster()) {
        let whole = encode(&message(1, 2, 7, body));
        for length in 0..whole.len() {
            if let Ok(message) = decode(&whole[..length]) {
                assert_eq!(decode(encode(&message)), Ok(message));
            }
        }
    }
}
