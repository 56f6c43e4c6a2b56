//! The wire encoding of any message at all, and of bytes that are none. Rows named R are those of
//! the project's list of known bugs.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::*;
use proptest::prelude::*;
use raft_core::{
    Append, AppendReply, AppendResult, BatchId, Body, Control, ControlResult, DecodeError, Entries,
    LogIndex, LogPosition, Membership, Message, NodeId, Payload, Refusal, Snapshot, SnapshotChunk,
    SnapshotReply, Term, WIRE_VERSION,
};

fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn decode(bytes: impl AsRef<[u8]>) -> Result<Message, DecodeError> {
    Message::decode(Bytes::copy_from_slice(bytes.as_ref()))
}

fn any_index() -> impl Strategy<Value = LogIndex> {
    prop_oneof![0..20_u64, 0..=LogIndex::MAX.get()].prop_map(index)
}

fn any_term() -> impl Strategy<Value = Term> {
    prop_oneof![0..20_u64, 0..=Term::MAX.get()].prop_map(term)
}

fn any_position() -> impl Strategy<Value = LogPosition> {
    let inside = (1..=LogIndex::MAX.get() - 10, 1..=Term::MAX.get());
    prop_oneof![1 => Just(at(0, 0)), 4 => inside.prop_map(|(index, term)| at(index, term))]
}

fn any_command() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

/// A sound configuration: each member is a voter or not, outgoing or not, and else a learner.
fn any_membership() -> impl Strategy<Value = Membership> {
    let member = (any::<u64>(), "[a-z.:0-9]{0,12}", any::<u32>(), any::<bool>());
    (prop::collection::vec(member, 1..5), any::<u64>()).prop_map(|(members, last)| {
        let with = |all: Membership, (id, address, priority, votes): (u64, String, u32, bool)| {
            let id = NodeId::new(id);
            if votes { all.voter(id, address) } else { all.learner(id, address) }
                .prefer(id, priority)
        };
        members.into_iter().fold(Membership::new(), with).voter(NodeId::new(last), "")
    })
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let numbers = any::<(u64, u32)>();
    (any_position(), any_membership(), numbers).prop_map(
        |(position, membership, (size, checksum))| {
            let membership = Arc::new(membership);
            Snapshot { position, membership, size, checksum }
        },
    )
}

fn any_refusal() -> impl Strategy<Value = Refusal> {
    let size = || any::<u32>().prop_map(|size| size as usize);
    prop_oneof![
        Just(Refusal::NoLeader),
        Just(Refusal::Overloaded),
        Just(Refusal::Transferring),
        Just(Refusal::ChangeInProgress),
        Just(Refusal::MembershipChanged),
        Just(Refusal::NoVoters),
        Just(Refusal::NoSuchVoter),
        Just(Refusal::TransferFailed),
        any::<u64>().prop_map(|id| Refusal::NotCaughtUp { id: NodeId::new(id) }),
        (size(), size()).prop_map(|(size, limit)| Refusal::TooLarge { size, limit }),
    ]
}

/// What is said about snapshots and members.
fn any_body_of_the_cluster() -> impl Strategy<Value = Body> {
    let batch = || {
        any::<(u64, u64)>().prop_map(|(incarnation, sequence)| BatchId { incarnation, sequence })
    };
    let chunk = (any_snapshot(), any::<(u64, u64)>(), any_command());
    let reply = (any_position(), any::<(u64, u32, u64, u64, bool)>());
    let change =
        (any_membership(), proptest::option::of(any_membership())).prop_map(|(target, only_if)| {
            Control::ChangeMembership { target: target.into(), only_if: only_if.map(Into::into) }
        });
    let transfer =
        any::<Option<u64>>().prop_map(|to| Control::TransferLeadership { to: to.map(NodeId::new) });
    let result = prop_oneof![
        any_position().prop_map(ControlResult::Committed),
        any_refusal().prop_map(ControlResult::Refused),
        Just(ControlResult::Unknown),
    ];
    prop_oneof![
        chunk.prop_map(|(snapshot, (offset, sequence), data)| {
            Body::SnapshotChunk(Box::new(SnapshotChunk { snapshot, offset, data, sequence }))
        }),
        reply.prop_map(|(position, (sequence, checksum, received, written, gap))| {
            let reply = SnapshotReply { sequence, position, checksum, received, written, gap };
            Body::SnapshotReply(reply)
        }),
        Just(Body::TimeoutNow),
        (batch(), prop_oneof![change, transfer])
            .prop_map(|(batch, control)| Body::Control { batch, control }),
        (batch(), result).prop_map(|(batch, result)| Body::ControlReply { batch, result }),
        (batch(), any_refusal())
            .prop_map(|(batch, refusal)| Body::ProposeReply { batch, result: Err(refusal) }),
    ]
}

fn any_append() -> impl Strategy<Value = Append> {
    let payload = prop_oneof![
        Just(Payload::Noop),
        any_command().prop_map(Payload::Command),
        any_membership().prop_map(|members| Payload::Membership(Arc::new(members))),
    ];
    let items = prop::collection::vec((1..Term::MAX.get(), payload), 0..6);
    (any_position(), items, any_index(), any::<u64>()).prop_map(
        |(prev, mut items, commit, sequence)| {
            items.sort_by_key(|(term, _)| *term);
            let entries =
                (prev.index.get() + 1..).zip(items).map(|(at_index, (of_term, payload))| {
                    raft_core::Entry { term: term(of_term), index: index(at_index), payload }
                });
            let entries = Entries::new(entries.collect()).expect("a sound run");
            Append { prev, entries, commit, sequence }
        },
    )
}

fn any_body() -> impl Strategy<Value = Body> {
    let batch = || {
        any::<(u64, u64)>().prop_map(|(incarnation, sequence)| BatchId { incarnation, sequence })
    };
    let accepted = (any_index(), any_index())
        .prop_map(|(last, durable)| AppendResult::Accepted { last, durable });
    let rejected = (any_index(), any_position())
        .prop_map(|(prev, hint)| AppendResult::Rejected { prev, hint });
    let wanted = proptest::option::of(any_index());
    let reply = (any::<u64>(), prop_oneof![accepted, rejected], wanted).prop_map(
        |(sequence, result, needs_snapshot)| AppendReply { sequence, result, needs_snapshot },
    );
    prop_oneof![
        any_position().prop_map(|last| Body::PreVote { last }),
        any::<bool>().prop_map(|granted| Body::PreVoteReply { granted }),
        (any_position(), any::<bool>()).prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        any::<bool>().prop_map(|granted| Body::VoteReply { granted }),
        any_append().prop_map(Body::Append),
        reply.prop_map(Body::AppendReply),
        (batch(), prop::collection::vec(any_command(), 0..5))
            .prop_map(|(batch, commands)| Body::Propose { batch, commands }),
        (batch(), any_index())
            .prop_map(|(batch, first)| Body::ProposeReply { batch, result: Ok(first) }),
        any::<u64>().prop_map(|sequence| Body::ReadIndex { sequence }),
        (any::<u64>(), any_index())
            .prop_map(|(sequence, index)| Body::ReadIndexReply { sequence, index }),
        any_body_of_the_cluster(),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    (any::<(u64, u64)>(), any_term(), any_body()).prop_map(|((from, to), term, body)| Message {
        from: id(from),
        to: id(to),
        term,
        body,
    })
}

proptest! {
    #[test]
    fn every_message_is_read_back_as_it_was_written(message in any_message()) {
        prop_assert_eq!(decode(encode(&message)), Ok(message));
    }

    #[test]
    fn every_snapshot_is_read_back_as_it_was_written(snapshot in any_snapshot()) {
        let membership = Membership::decode(snapshot.membership.encode());
        prop_assert_eq!(membership.map(Arc::new), Ok(snapshot.membership.clone()));
        prop_assert_eq!(Snapshot::decode(snapshot.encode()), Ok(snapshot));
    }

    /// R103: any bytes at all.
    #[test]
    fn arbitrary_bytes_are_an_error_or_a_message(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let versioned: Vec<u8> = [WIRE_VERSION].into_iter().chain(bytes.iter().copied()).collect();
        for bytes in [bytes, versioned] {
            if let Ok(message) = decode(bytes) {
                prop_assert_eq!(decode(encode(&message)), Ok(message));
            }
        }
    }

    /// R103: bytes that are almost a message.
    #[test]
    fn damaged_messages_are_an_error_or_a_message(
        message in any_message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&message);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(keep.index(bytes.len() + 1).max(1));
        if let Ok(message) = decode(bytes) {
            prop_assert_eq!(decode(encode(&message)), Ok(message));
        }
    }
}
