//! What an object does when it executes one operation at a time.

use core::fmt::Debug;
use core::hash::Hash;

/// The sequential behaviour of an object, and how to split its operations into independent keys.
///
/// The simple case is a unit struct with [`key`](Model::key), [`init`](Model::init) and
/// [`step`](Model::step). A model that wants to cut the search short also implements
/// [`observe`](Model::observe): the checker builds one model for each key from what the clients
/// saw of that key.
pub trait Model: Default {
    /// The part of the object that an operation touches. Operations with different keys must not
    /// influence each other at all. An object that cannot be split uses `()`.
    type Key: Ord + Debug;
    /// An operation with its arguments.
    type Op: Clone + Eq + Hash + Debug;
    /// What an operation answers.
    type Ret: Clone + Eq + Debug;
    /// The state of the object under one key. It is cloned and hashed at every step of the
    /// search, so keep it small.
    type State: Clone + Eq + Hash;

    /// The key that `op` touches.
    fn key(op: &Self::Op) -> Self::Key;

    /// Builds the model for one key from everything that clients did and saw under that key, in
    /// no particular order. Observations without a result may or may not have happened.
    fn observe(_observations: &[Observation<'_, Self::Op, Self::Ret>]) -> Self {
        Self::default()
    }

    /// The state before the first operation.
    fn init(&self) -> Self::State;

    /// The state after `op` was executed in `state`, or `None` if that is impossible.
    ///
    /// With `ret` the operation must have answered exactly that. Without it any answer is fine.
    /// `None` may also be returned when the observations that built the model show that no
    /// explanation continues from here. It must depend on nothing but the arguments and the
    /// model.
    fn step(
        &self,
        state: &Self::State,
        op: &Self::Op,
        ret: Option<&Self::Ret>,
    ) -> Option<Self::State>;

    /// What may stand for `op`, whose outcome is unknown, in the search.
    ///
    /// `None` means that it is needless: each explanation that contains it stays an explanation
    /// when all needless operations are taken out. A read is needless, and so is a write whose
    /// effect nobody can have noticed. Another operation may stand for it if nothing that clients
    /// saw tells the two apart, not even when many operations are replaced at once. Equal
    /// operations are tried only once, so it pays to replace many different ones by the same.
    ///
    /// The default, which keeps everything as it is, is always right, but hundreds of unknown
    /// operations can then be slow to check, and reports are longer.
    fn reduce(&self, op: &Self::Op) -> Option<Self::Op> {
        Some(op.clone())
    }
}

/// One operation, and its result if the client got one.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a, Op, Ret> {
    /// The operation.
    pub op: &'a Op,
    /// What the client was told; `None` if the outcome is unknown.
    pub ret: Option<&'a Ret>,
}
