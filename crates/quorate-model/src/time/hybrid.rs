//! Hybrid clocks: a Lamport clock that stays near to wall time, so that its numbers mean something to people.
//!
//! The clock condition holds whatever the wall clock does; nothing that must be right depends on the wall part.
//! Source: Kulkarni et al., "Logical Physical Clocks", OPODIS 2014, figure 5.

use alloc::vec::Vec;

use crate::codec::{DecodeError, Reader, Wire};

/// A hybrid timestamp: wall milliseconds, then a counter among events of one millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct HybridTime {
    /// Milliseconds since 1970, by whichever wall clock of the causal past is furthest ahead.
    pub wall_ms: u64,
    /// Counts events that share `wall_ms`.
    pub counter: u32,
}

/// A clock that gives hybrid timestamps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct HybridClock {
    last: HybridTime,
}

impl HybridClock {
    /// The last timestamp that was given or heard.
    #[must_use]
    pub fn last(&self) -> HybridTime {
        self.last
    }

    /// Stamps a local event or a send; `wall_ms` is a reading of the wall clock.
    pub fn tick(&mut self, wall_ms: u64) -> HybridTime {
        self.last = if wall_ms > self.last.wall_ms {
            HybridTime { wall_ms, counter: 0 }
        } else {
            HybridTime { wall_ms: self.last.wall_ms, counter: self.last.counter.saturating_add(1) }
        };
        self.last
    }

    /// Stamps the receive of a message that was stamped `sent`.
    pub fn receive(&mut self, wall_ms: u64, sent: HybridTime) -> HybridTime {
        self.last = self.last.max(sent);
        self.tick(wall_ms)
    }
}

impl Wire for HybridTime {
    fn encode(&self, out: &mut Vec<u8>) {
        self.wall_ms.encode(out);
        self.counter.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { wall_ms: u64::decode(input)?, counter: u32::decode(input)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_goes_back_does_not_turn_the_order() {
        let mut clock = HybridClock::default();
        let early = clock.tick(1_000);
        let late = clock.tick(400);
        assert!(late > early);
        let heard = clock.receive(300, HybridTime { wall_ms: 2_000, counter: 7 });
        assert_eq!(heard, HybridTime { wall_ms: 2_000, counter: 8 });
    }
}
