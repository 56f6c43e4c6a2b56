//! What clients ask of nodes, and its end.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use raft_node::RequestError;
use raft_node::core::{Event, Membership, NodeId, Outcome, Proposal, Refusal, RequestId};

use crate::cluster::CallId;
use crate::sim::checker::Claim;
use crate::sim::describe;
use crate::sim::node::{SimNode, Waiting};
use crate::sim::world::{World, id_of};

impl World {
    pub(super) fn done(&mut self, node: usize, waiting: Waiting, outcome: Outcome) {
        let name = id_of(node);
        let (call, result) = match (waiting, outcome) {
            (Waiting::Proposal(call), Outcome::Committed { index, .. }) => {
                let SimNode { handed_out, lost, committed, .. } = &mut self.nodes[node];
                if index > *handed_out && !*lost {
                    committed.insert(index, call);
                    return;
                }
                // The state machine's answer has gone by, as in a real node; or its state is lost,
                // and nobody knows when there will be another.
                (call, Err(RequestError::Unknown))
            }
            (Waiting::Read(call, query, began), Outcome::Readable { index }) => {
                self.checker.check_read(&self.nodes, node, &began, index);
                if self.nodes[node].applied < index {
                    self.checker.fail(format!("{name:?} may read at {index}, not yet applied"));
                }
                (call, Ok(self.nodes[node].query(query)))
            }
            (Waiting::Change(call, target), Outcome::Committed { index, .. }) => {
                self.checker.claim(Claim::Changed { index, target });
                (call, Ok(Bytes::new()))
            }
            (Waiting::Change(call, target), Outcome::Refused { reason, leader }) => {
                self.checker.claim(Claim::NotChanged { target });
                (call, Err(RequestError::Refused { reason, leader }))
            }
            (Waiting::Transfer(call), Outcome::Transferred { leader, term }) => {
                self.checker.claim(Claim::Transferred { leader, term });
                (call, Ok(Bytes::new()))
            }
            (
                Waiting::Proposal(call)
                | Waiting::Read(call, ..)
                | Waiting::Change(call, _)
                | Waiting::Transfer(call),
                outcome,
            ) => {
                let error = match outcome {
                    Outcome::Refused { reason, leader } => RequestError::Refused { reason, leader },
                    Outcome::Lost => RequestError::Lost,
                    Outcome::Unknown => RequestError::Unknown,
                    Outcome::Committed { .. }
                    | Outcome::Readable { .. }
                    | Outcome::Transferred { .. } => {
                        self.checker.fail(format!("I16: call {} ends as {outcome:?}", call.0));
                        RequestError::Unknown
                    }
                };
                (call, Err(error))
            }
        };
        self.resolve(call, result);
    }

    pub(super) fn resolve(&mut self, call: CallId, result: Result<Bytes, RequestError>) {
        self.trace
            .line(self.now, None, || format!("call {} {}", call.0, describe::answer(&result)));
        self.trace.absorb(&(call, result.as_ref().ok()));
        if let Some(answered) = self.calls.insert(call, Some(result)).flatten() {
            self.checker.fail(format!("I16: call {} had its answer: {answered:?}", call.0));
        }
    }

    /// A snapshot was taken, or could not be.
    pub(super) fn snapshot_over(&mut self, node: usize, taken: bool) {
        let refused = RequestError::Refused { reason: Refusal::Overloaded, leader: None };
        for call in self.nodes[node].snapshots.policy.end() {
            self.resolve(call, if taken { Ok(Bytes::new()) } else { Err(refused) });
        }
        self.freeze_if_due(node);
    }

    pub(crate) fn answer(&self, call: CallId) -> Option<Result<Bytes, RequestError>> {
        self.calls.get(&call).cloned().flatten()
    }

    /// A new call, and whether the node runs, so that it is to be made.
    fn open_call(&mut self, node: usize, what: impl FnOnce() -> String) -> (CallId, bool) {
        let call = CallId(self.calls.len() as u64);
        self.calls.insert(call, None);
        let runs = self.nodes[node].raft.is_some();
        if runs {
            self.trace.line(self.now, Some(node), || format!("call {}: {}", call.0, what()));
        } else {
            self.resolve(call, Err(RequestError::Stopped));
        }
        (call, runs)
    }

    pub(crate) fn propose(&mut self, node: usize, command: Bytes) -> CallId {
        let call = CallId(self.calls.len() as u64);
        self.propose_all(node, vec![command]);
        call
    }

    /// Proposes all commands in one event.
    pub(crate) fn propose_all(&mut self, node: usize, commands: Vec<Bytes>) -> Vec<CallId> {
        let (mut calls, mut proposals) = (Vec::new(), Vec::new());
        for command in commands {
            let (call, runs) = self.open_call(node, || describe::command(&command));
            calls.push(call);
            if runs {
                let request = self.nodes[node].wait(Waiting::Proposal(call));
                proposals.push(Proposal { request, command });
            }
        }
        if !proposals.is_empty() {
            self.step(node, Event::Propose(proposals));
        }
        calls
    }

    pub(crate) fn read(&mut self, node: usize, query: Bytes) -> CallId {
        let began = self.checker.read_begins(node, self.options.leases.is_some());
        let described = describe::query(&query);
        self.ask(node, described, |call| Waiting::Read(call, query, began), Event::Read)
    }

    pub(crate) fn change_membership(
        &mut self,
        node: usize,
        target: Membership,
        only_if: Option<Membership>,
    ) -> CallId {
        let described = format!("make the members {target:?} if they are {only_if:?}");
        let waiting = target.clone();
        let (target, only_if) = (Arc::new(target), only_if.map(Arc::new));
        let event = |request| Event::ChangeMembership { request, target, only_if };
        self.ask(node, described, |call| Waiting::Change(call, waiting), event)
    }

    pub(crate) fn transfer(&mut self, node: usize, to: Option<NodeId>) -> CallId {
        let event = |request| Event::TransferLeadership { request, to };
        self.ask(node, format!("let {to:?} lead"), Waiting::Transfer, event)
    }

    fn ask(
        &mut self,
        node: usize,
        described: String,
        waiting: impl FnOnce(CallId) -> Waiting,
        event: impl FnOnce(RequestId) -> Event,
    ) -> CallId {
        let (call, runs) = self.open_call(node, || described);
        if runs {
            let request = self.nodes[node].wait(waiting(call));
            self.step(node, event(request));
        }
        call
    }

    pub(crate) fn snapshot(&mut self, node: usize) -> CallId {
        let (call, runs) = self.open_call(node, || "take a snapshot".into());
        if runs && self.nodes[node].lost {
            self.resolve(call, Err(RequestError::Unknown));
        } else if runs {
            let policy = &mut self.nodes[node].snapshots.policy;
            policy.wanted = true;
            policy.asked.push(call);
            self.freeze_if_due(node);
        }
        call
    }

    pub(crate) fn forget_leader(&mut self, node: usize) {
        self.step(node, Event::ForgetLeader);
    }
}
