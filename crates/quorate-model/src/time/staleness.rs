//! Staleness: the age of the newest proof of a right. When you hear news, it is already old.
//!
//! A proof is a reply to a question. The one who granted decided at some moment between our question and its reply; the
//! tight safe bound is the moment *before we asked*, read from our own chip clock. So staleness is counted from there.
//! Source: notes "ALF Locks" (Ts, Tu).

use core::time::Duration;

use super::Instant;

/// The age of the newest proof.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Staleness {
    asked: Instant,
}

impl Staleness {
    /// A proof came for what was asked at `asked`.
    #[must_use]
    pub fn proven(asked: Instant) -> Self {
        Self { asked }
    }

    /// A newer proof came. An older one that arrives late changes nothing.
    pub fn renew(&mut self, asked: Instant) {
        self.asked = self.asked.max(asked);
    }

    /// How old the proof is at `now`.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now - self.asked
    }

    /// What is left at `now` of a right that lasts `term` from its proof; zero when it ended.
    #[must_use]
    pub fn remaining(&self, term: Duration, now: Instant) -> Duration {
        term.saturating_sub(self.age(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_counts_from_when_it_was_asked_for_and_late_news_is_no_news() {
        let second = Duration::from_secs(1);
        let mut staleness = Staleness::proven(Instant(0) + second);
        assert_eq!(staleness.remaining(second * 10, Instant(0) + second * 4), second * 7);
        staleness.renew(Instant(0));
        assert_eq!(staleness.age(Instant(0) + second * 4), second * 3);
        assert_eq!(staleness.remaining(second * 2, Instant(0) + second * 4), Duration::ZERO);
    }
}
