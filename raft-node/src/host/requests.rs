//! What clients ask for, and its end.

use bytes::Bytes;
use raft_core::{Event, Instant, NodeId, Outcome, Proposal, RequestId};

use super::{Host, NodeStatus};
use crate::applier::ApplyJob;
use crate::request::{Reply, Request, failure};
use crate::{NodeError, RequestError};

/// Who waits for a request that the core has.
pub(super) enum Waiting {
    Proposal(Reply),
    Read {
        query: Bytes,
        reply: Reply,
    },
    Change(Reply<()>),
    Transfer(Reply<NodeId>),
    /// For something that the node itself has asked for.
    Nobody,
}

impl Host {
    pub(super) fn take_requests(&mut self, requests: Vec<Request>, now: Instant) {
        let mut proposals = Vec::new();
        for request in requests {
            match request {
                Request::Propose { command, mut reply } => {
                    reply.set_uncertain();
                    let request = self.wait(Waiting::Proposal(reply));
                    proposals.push(Proposal { request, command });
                }
                Request::Read { query, reply } => {
                    let request = self.wait(Waiting::Read { query, reply });
                    self.events.push(Event::Read(request));
                }
                other => self.take_control(other, now),
            }
        }
        if !proposals.is_empty() {
            self.events.push(Event::Propose(proposals));
        }
    }

    fn take_control(&mut self, request: Request, now: Instant) {
        match request {
            // These two are dealt with in bulk.
            Request::Propose { .. } | Request::Read { .. } => {}
            Request::ChangeMembership { target, only_if, mut reply } => {
                reply.set_uncertain();
                let request = self.wait(Waiting::Change(reply));
                self.events.push(Event::ChangeMembership { request, target, only_if });
            }
            Request::TransferLeadership { to, mut reply } => {
                reply.set_uncertain();
                let request = self.wait(Waiting::Transfer(reply));
                self.events.push(Event::TransferLeadership { request, to });
            }
            Request::Snapshot(reply) => self.ask_for_snapshot(Some(reply)),
            Request::Status(reply) => {
                self.step(now);
                reply.answer(Ok(NodeStatus {
                    raft: self.raft.status(),
                    now,
                    dropped_messages: self.mailbox.dropped_messages(),
                    snapshot_failure: self.snapshots.failure(),
                }));
            }
        }
    }

    pub(super) fn finish(&mut self, request: RequestId, outcome: Outcome) -> Result<(), NodeError> {
        let Some(waiting) = self.waiting.remove(&request) else { return Ok(()) };
        match (waiting, outcome) {
            (Waiting::Nobody, _) => {}
            (Waiting::Proposal(reply), Outcome::Committed { index, .. }) => {
                if index > self.handed_out && !self.snapshots.is_lost() {
                    self.committed.insert(index, reply);
                } else {
                    // News of the commit overtook the leader's answer, and the state machine's
                    // answer has gone by: the command was applied, its result is not known. Or
                    // it will be applied by way of a snapshot.
                    reply.answer(Err(RequestError::Unknown));
                }
            }
            (Waiting::Read { query, reply }, Outcome::Readable { .. }) => {
                self.to_applier(ApplyJob::Query { query, reply })?;
            }
            (Waiting::Change(reply), Outcome::Committed { .. }) => reply.answer(Ok(())),
            (Waiting::Transfer(reply), Outcome::Transferred { leader, .. }) => {
                reply.answer(Ok(leader));
            }
            (Waiting::Proposal(reply) | Waiting::Read { reply, .. }, outcome) => {
                reply.answer(Err(failure(outcome)));
            }
            (Waiting::Change(reply), outcome) => reply.answer(Err(failure(outcome))),
            (Waiting::Transfer(reply), outcome) => reply.answer(Err(failure(outcome))),
        }
        Ok(())
    }
}
