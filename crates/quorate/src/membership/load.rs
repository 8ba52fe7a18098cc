//! The load of a node: which part of the machine's processors its process uses.

use std::time::Duration;

use quorate_model::Instant;
use quorate_runtime::clock;
use rustix::time::{ClockId, clock_gettime};

/// By how much the load must differ from what was told last to be told anew, in thousandths: each telling makes all nodes
/// speak of it.
const TELLING_STEP_PER_MILLE: u16 = 100;

/// Measures from one look to the next.
pub(super) struct Load {
    looked_at: Instant,
    used: Duration,
    told_per_mille: u16,
}

impl Load {
    pub fn new() -> Self {
        Self { looked_at: clock::now(), used: used(), told_per_mille: 0 }
    }

    /// The load since the last look, in thousandths of all processors, if it is worth telling.
    pub fn look(&mut self) -> Option<u16> {
        let (now, used) = (clock::now(), used());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let load = per_mille(used.saturating_sub(self.used), now.since(self.looked_at), processors);
        (self.looked_at, self.used) = (now, used);
        self.worth_telling(load)
    }

    fn worth_telling(&mut self, load: u16) -> Option<u16> {
        if load.abs_diff(self.told_per_mille) < TELLING_STEP_PER_MILLE {
            return None;
        }
        self.told_per_mille = load;
        Some(load)
    }
}

fn used() -> Duration {
    let reading = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(reading.tv_sec as u64, reading.tv_nsec as u32)
}

fn per_mille(used: Duration, elapsed: Duration, processors: usize) -> u16 {
    let whole = elapsed.as_nanos() * processors as u128;
    if whole == 0 {
        return 0;
    }
    u16::try_from(used.as_nanos() * 1000 / whole).map_or(1000, |load| load.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_the_part_of_all_processors_that_was_used() {
        let second = Duration::from_secs(1);
        assert_eq!(per_mille(second, second, 2), 500);
        assert_eq!(per_mille(second * 9, second, 2), 1000, "clocks are read one after the other");
        assert_eq!(per_mille(second, Duration::ZERO, 2), 0);
    }

    #[test]
    fn what_differs_little_from_what_was_told_is_not_told() {
        let mut load = Load::new();
        let told: Vec<_> = [50, 99, 100, 150, 199, 201, 105, 101].map(|now| load.worth_telling(now)).into();
        assert_eq!(told, [None, None, Some(100), None, None, Some(201), None, Some(101)]);
    }
}
