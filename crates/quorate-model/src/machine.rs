//! A state machine that a replicated log drives: alone, deterministic, the same on every node.
//!
//! Source: notes "Consensus" (replicated state machines); Schneider, "Implementing Fault-Tolerant Services Using the
//! State Machine Approach".

use core::fmt::Debug;

use bytes::Bytes;

use crate::codec::{DecodeError, Wire};

/// What a log drives. Two machines that applied the same commands in the same order are equal and gave equal answers.
pub trait Machine: Clone + Debug {
    /// A change, as it stands in the log.
    type Command: Clone + Debug;
    /// A question that changes nothing.
    type Query: Clone + Debug;
    /// What a command or a query is answered with. The answers to commands are kept, and have bytes.
    type Answer: Clone + Debug + Wire;
    /// The whole state, to start another machine from.
    type Snapshot: Clone + Debug;

    /// Applies the command at `index` of the log.
    fn apply(&mut self, index: u64, command: &Self::Command) -> Self::Answer;

    /// Answers a question from the present state.
    fn read(&self, query: &Self::Query) -> Self::Answer;

    /// Whether `command` could change the answer to `query`. May say yes too often, never no wrongly.
    fn touches(command: &Self::Command, query: &Self::Query) -> bool;

    /// A number that never falls and grows with what can be seen from outside, to tell that something changed.
    fn mark(&self) -> u64 {
        0
    }

    /// The whole state.
    fn snapshot(&self) -> Self::Snapshot;

    /// Replaces the whole state.
    fn restore(&mut self, snapshot: Self::Snapshot);

    /// A page of `snapshot` for a machine on another node, and where the page after it begins. Pages begin at places that
    /// grow; the first is at none, which is empty. A page is of about `bytes_max` bytes: at least one piece of the state.
    fn page(snapshot: &Self::Snapshot, at: &[u8], bytes_max: usize) -> (Bytes, Option<Bytes>);

    /// A machine to copy into: fresh, with storage beside this one's if this one has its own. Nothing of it survives a
    /// restart before it is pasted and a checkpoint of it is durable, and from then on nothing of this one does.
    fn blank(&self) -> Self;

    /// Puts the next page into a blank machine.
    ///
    /// # Errors
    /// When the page is none of such a machine. The machine is of no use then.
    fn paste(&mut self, page: Bytes) -> Result<(), DecodeError>;

    /// All pages were pasted, it is said.
    ///
    /// # Errors
    /// When they are not all that there must be. The machine is of no use then.
    fn pasted(&mut self) -> Result<(), DecodeError> {
        Ok(())
    }

    /// Whether the machine's own storage has so much to do that no further page should be pasted yet.
    fn is_busy(&self) -> bool {
        false
    }

    /// What the machine's own storage holds for a restart: the index of the last command in it, and the bytes
    /// that were stored beside it by [`Machine::checkpoint`]. A machine without storage of its own has nothing.
    fn recovered(&self) -> Option<(u64, Bytes)> {
        None
    }

    /// How far the machine's own storage is durable: the index of the last command in it. `None` when it has none.
    fn stored(&self) -> Option<u64> {
        None
    }

    /// About how many bytes `command` takes in a log or a message: what batches are bounded by.
    fn weight(command: &Self::Command) -> usize {
        let _ = command;
        1
    }

    /// Begins to make the state durable as it is after the command at `index`, together with `beside`, in the machine's
    /// own storage. Stops nobody; whether it is done is asked elsewhere. A machine without storage ignores it.
    fn checkpoint(&mut self, index: u64, beside: Bytes) {
        let _ = (index, beside);
    }
}
