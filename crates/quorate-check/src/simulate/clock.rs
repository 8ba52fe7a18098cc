//! The chip clock of a simulated node: it runs a little too fast or too slow, and began at a moment of its own.

use std::time::Duration;

use quorate_model::Instant;

use super::Draw;

/// How much too fast a clock runs, in parts of a million.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Drift(pub i32);

/// A clock. Virtual time is real time here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    begun: u64,
    drift: Drift,
}

impl Clock {
    pub fn new(drift: Drift, draw: &mut Draw) -> Self {
        Self { begun: draw.below(1 << 40), drift }
    }

    fn rate(self) -> u128 {
        (1_000_000 + i64::from(self.drift.0)) as u128
    }

    /// What it says at a moment, in nanoseconds of virtual time.
    pub fn reading(self, at: u64) -> Instant {
        Instant(self.begun + (u128::from(at) * self.rate() / 1_000_000) as u64)
    }

    /// How much virtual time goes by while it counts `local`.
    pub fn real(self, local: Duration) -> u64 {
        // Rounded up, so that an alarm never rings before the clock says so.
        (local.as_nanos() * 1_000_000).div_ceil(self.rate()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_when_the_local_clock_says_so() {
        let mut draw = Draw::seeded(1, 0);
        for drift in [-100_000, -7, 0, 13, 100_000] {
            let clock = Clock::new(Drift(drift), &mut draw);
            for nanos in [0, 1, 999_999_937, 60_000_000_000] {
                let local = Duration::from_nanos(nanos);
                let passed = clock.reading(1_000 + clock.real(local)) - clock.reading(1_000);
                assert!(passed + Duration::from_nanos(2) >= local && passed <= local + Duration::from_nanos(2));
            }
        }
    }
}
