//! Trouble: what a member says when something that a disk had held is gone.

/// What keeps a member from taking its place: something that its disk had held is gone. A member never serves from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Trouble {
    /// We are to join, but the state that the tail gave is none that our machine can be made from.
    CannotCopy,
    /// Our own log ends at `last`, though everything up to `committed` was on our disk once.
    LostOwn {
        /// Where the log ends.
        last: u64,
        /// What was committed.
        committed: u64,
    },
    /// The successor's log ends at `last`, though everything up to `committed` was on its disk once.
    LostBySuccessor {
        /// Where the log ends.
        last: u64,
        /// What was committed.
        committed: u64,
    },
}

impl core::fmt::Display for Trouble {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (whose, last, committed) = match self {
            Self::CannotCopy => {
                return f.write_str(
                    "the state that this node was given is none that it can begin with. Let it leave, and see that all \
                     nodes are of one version",
                );
            }
            Self::LostOwn { last, committed } => ("this node's", last, committed),
            Self::LostBySuccessor { last, committed } => ("the successor's", last, committed),
        };
        write!(
            f,
            "{whose} log ends at entry {last}, but everything up to entry {committed} was on its disk once: its data \
             folder was lost or replaced. Put the right folder back and start it again"
        )
    }
}
