//! A trace: what happened, in the order of one observer, for people and for space-time diagrams.

use alloc::string::String;
use alloc::vec::Vec;

use crate::pid::Pid;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// At which process.
    pub at: Pid,
    /// What happened.
    pub what: What,
}

/// The kinds of things that happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// The process began, or began again.
    Start,
    /// A message was handed to the network; `id` is unique in its trace.
    Send {
        /// Which message.
        id: u64,
        /// To whom.
        to: Pid,
        /// The message, in words.
        label: String,
    },
    /// A message arrived.
    Receive {
        /// Which message.
        id: u64,
        /// From whom.
        from: Pid,
        /// The message, in words.
        label: String,
    },
    /// The network lost a message.
    Lose {
        /// Which message.
        id: u64,
    },
    /// An alarm rang.
    Alarm {
        /// Which alarm, in words.
        label: String,
    },
    /// So many records became durable.
    Sync {
        /// How many.
        count: usize,
    },
    /// The process died; it kept so many of its unsynced records.
    Crash {
        /// How many unsynced records the disk kept.
        kept: usize,
    },
    /// Something worth saying.
    Note {
        /// What.
        label: String,
    },
}

/// A whole trace, oldest step first.
pub type Trace = Vec<Step>;
