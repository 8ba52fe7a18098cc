//! What members tell each other, and what they write down.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use quorate_model::NodeId;
use quorate_model::time::Instant;

use super::fact::Fact;
use super::profile::Profile;

/// Facts that travel along with another message. Shared, since a member keeps what it tells.
pub type News = Vec<Arc<Fact>>;

/// What is held of the members from `first` to `last`, both included, in short.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The first member of the part.
    pub first: NodeId,
    /// The last member of the part.
    pub last: NodeId,
    /// How many facts are held.
    pub len: u32,
    /// A sum over these facts: who holds the same ones has the same sum.
    pub digest: u64,
}

// Short, since traces and diagrams are full of them: from where to where, how many, and the sum.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={} has {} #{:04x}", self.first.0, self.last.0, self.len, self.digest >> 48)
    }
}

/// What is said. A probe is named by the reading of the asker's clock at which it was asked, so a later one never has the
/// same name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Message {
    /// To a member: are you there?
    Ping {
        /// Which probe.
        asked: Instant,
        /// What is told along.
        news: News,
    },
    /// To whoever pinged, or asked to help: `target` is there.
    Ack {
        /// Who is there: the sender, or whom the sender was asked to ping.
        target: NodeId,
        /// Which probe.
        asked: Instant,
        /// What is told along.
        news: News,
    },
    /// To another member: `target` did not answer me; please ping it.
    Help {
        /// Whom to ping.
        target: NodeId,
        /// Which probe.
        asked: Instant,
        /// What is told along.
        news: News,
    },
    /// To whoever asked to help: `target` has not answered me so far. It says that the way between us is fine.
    Nack {
        /// Who did not answer.
        target: NodeId,
        /// Which probe.
        asked: Instant,
    },
    /// Push and pull: this is in short what I hold of these parts. Whoever holds the same is silent.
    Compare(Vec<Part>),
    /// Push and pull: these are all facts that I hold of a part where we differ; give me what you hold above them.
    Offer {
        /// The first member of the part.
        first: NodeId,
        /// The last member of the part.
        last: NodeId,
        /// All that is held of it.
        facts: News,
    },
    /// Push and pull: facts that you did not hold.
    Give(News),

    /// Own node to member: this is what there is to say of you from now on. Answered by [`Message::Done`], or by
    /// [`Message::Refused`] if a part is longer than its bound.
    Describe(Box<Profile>),
    /// Own node to member: leave. Answered by [`Message::Done`] when the others were told; the member may stop then.
    Leave,
    /// Own node to member: whom do you know? Answered by [`Message::Known`].
    Members,
    /// Member to own node: it is done.
    Done,
    /// Member to own node: it was refused, and nothing changed. [`Profile::check`] says why.
    Refused,
    /// Member to own node: all that it holds.
    Known(News),
    /// Member to its observer: this is what it holds now of a member.
    Changed(Arc<Fact>),
    /// Member to its observer: it holds nothing of this member any more, which fell long ago.
    Forgotten(NodeId),
}

/// The alarms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// A round is over: judge the probe, and begin the next.
    Round,
    /// The member that was pinged should have answered by now.
    Reply,
    /// The member that we pinged for this asker should have answered by now.
    Help(NodeId),
    /// This member was suspected for long enough.
    Suspicion(NodeId),
    /// It is time to compare all with someone.
    Exchange,
    /// It is time to look which of the dead can be forgotten.
    Forget,
}

/// What is written down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Record {
    /// A life of the member began.
    Life(u64),
}
