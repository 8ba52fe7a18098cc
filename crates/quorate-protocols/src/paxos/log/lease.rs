//! The lease: while it lasts, the leader answers reads alone.
//!
//! A member that says `Confirmed` grants the leader this: for a while it promises nobody a higher ballot. While a quorum
//! is bound so, nobody else can lead, so nothing can be chosen that the leader does not know of. Both count on their own
//! chip clocks, which may run at different rates, and neither knows when the other began to count. So the leader counts
//! its term from before it asked, and a member counts from after it was asked, and longer by what the clocks may differ:
//! the right ends before the duty does. A member that starts anew has forgotten whom it granted what, and waits that long.
//!
//! Source: notes "ALF Locks" (staleness counts from before the request); Gray and Cheriton, "Leases", SOSP 1989; Ongaro,
//! "Consensus: Bridging Theory and Practice", 2014, section 6.4.1 (for reads).

use core::time::Duration;

use quorate_model::{Instant, NodeId};

/// How long a leader may answer reads alone after a quorum confirmed that it leads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lease {
    /// How long, on the leader's clock, from before it asked. A log without its leader cannot be led anew for as long.
    pub term: Duration,
    /// How much longer the members count, in parts of a million: at least by how much one clock may outrun another.
    pub drift_per_million: u32,
}

impl Lease {
    /// How long a member is bound, on its own clock.
    #[must_use]
    pub fn bound(&self) -> Duration {
        self.term + self.term * self.drift_per_million / 1_000_000
    }
}

/// What a member has granted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Grant {
    /// To whom; nobody knows after a restart.
    pub holder: Option<NodeId>,
    /// Until when, on the member's clock.
    pub until: Instant,
}

impl Grant {
    /// Whether it forbids to promise `candidate` a ballot. A holder that begins a new ballot has given its lease up.
    pub fn forbids(&self, candidate: NodeId, now: Instant) -> bool {
        self.holder != Some(candidate) && now < self.until
    }
}
