//! Punctuality: how long someone who speaks now and again was silent at most, lately. Whoever is to be taken for gone is
//! waited for some times as long: a fixed time is too short for a busy machine, or too long for all others.
//!
//! This is about liveness alone. Waiting longer than has to be is always safe.
//! Source: the idea of Hayashibara et al., "The phi accrual failure detector", SRDS 2004, with the longest pause in place of
//! a distribution: stalls of machines follow none.

use core::time::Duration;

use super::Instant;

/// For how long a pause is remembered: for one such window, at most two.
const WINDOW: Duration = Duration::from_secs(5);

/// What is assumed of someone who was not heard before, and for how long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const FIRST_WINDOW: Duration = Duration::from_secs(1);

/// How many times the longest pause is waited for.
const PAUSES: u32 = 3;

/// The longest pauses of someone who was heard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Punctuality {
    heard: Instant,
    /// When the present window ends.
    ends: Instant,
    /// The longest pause in the window before, and in the present one.
    longest: [Duration; 2],
}

impl Punctuality {
    /// Of someone who is heard for the first time.
    #[must_use]
    pub fn first_heard(now: Instant) -> Self {
        Self { heard: now, ends: now + FIRST_WINDOW, longest: [FIRST_PAUSE, Duration::ZERO] }
    }

    /// It is heard again.
    pub fn hear(&mut self, now: Instant) {
        if now >= self.ends {
            self.longest = [self.longest[1], Duration::ZERO];
            self.ends = now + WINDOW;
        }
        self.longest[1] = self.longest[1].max(now - self.heard);
        self.heard = now;
    }

    /// When it was heard last.
    #[must_use]
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// How long to wait for it, from when it was heard last.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.longest[0].max(self.longest[1]) * PAUSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_minded_for_a_while_and_then_forgotten() {
        let millis = Duration::from_millis;
        let mut now = Instant(0);
        let mut punctuality = Punctuality::first_heard(now);
        assert_eq!(punctuality.patience(), millis(750), "nothing is known yet");
        let mut hear_every = |pause, count| {
            let mut patience = Duration::ZERO;
            for _ in 0..count {
                now = now + pause;
                punctuality.hear(now);
                patience = punctuality.patience();
            }
            patience
        };
        assert_eq!(hear_every(millis(50), 19), millis(750));
        assert_eq!(hear_every(millis(50), 1), millis(150), "the first window is over");
        assert_eq!(hear_every(millis(400), 1), millis(1_200));
        assert_eq!(hear_every(millis(50), 100), millis(1_200), "the window before this one still counts");
        assert_eq!(hear_every(millis(50), 101), millis(150));
    }
}
