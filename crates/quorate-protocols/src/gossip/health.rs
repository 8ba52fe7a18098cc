//! Local health: how far a member trusts its own hearing.
//!
//! A member that is slow, starved or cut off misses answers that were given in time, and would say of others what is true
//! of itself. So each sign that it hears badly (a probe that failed without a helper saying that the way to it is fine, a
//! suspicion of itself that it had to refute) makes it worse by one, and each answer that comes in time better by one.
//! The worse it is, the longer it waits: for answers, between probes, and before it calls a suspect dead.
//!
//! Source: Dadgar, Phillips and Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection", DSN 2018,
//! section IV.A (there the suspicion does not wait longer; here it does, since a deaf member's word does the same harm).

use core::time::Duration;

/// How badly a member hears: 0 is well, and [`super::Options::health_worst`] is worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Health(u32);

impl Health {
    pub(super) fn worse(&mut self, by: u32, worst: u32) {
        self.0 = (self.0 + by).min(worst);
    }

    pub(super) fn better(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// How many signs of bad hearing weigh on it; 0 when it is well.
    #[must_use]
    pub fn signs(self) -> u32 {
        self.0
    }

    /// How long to wait for what takes `duration` when all is well.
    #[must_use]
    pub fn stretch(self, duration: Duration) -> Duration {
        duration * (self.0 + 1)
    }
}
