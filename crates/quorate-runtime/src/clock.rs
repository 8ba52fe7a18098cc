//! The chip clock, as readings that mean something only to this node, and the wall clock, as milliseconds for people.
//!
//! `CLOCK_BOOTTIME` is the chip's time stamp counter, scaled by the kernel and read without a system call: it never goes
//! back, nobody can set it, and it counts while the machine is suspended.
//!
//! *Error.* The kernel steers the rate of this clock by at most 500 ppm when something like NTP asks for it, and the
//! quartz itself is off by at most about 100 ppm. Two clocks of two nodes thus run apart by at most 1,200 ppm: 1.2 ms in
//! each second. Whoever compares durations of two nodes (leases) leaves [`DRIFT_PPM_MAX`] room.
//!
//! Rejected: reading the counter ourselves (`rdtsc`, or a crate that does). It saves 14 of 23 ns once a batch, and then
//! does not count a suspend unless it is compared with this clock all the time.
//!
//! Source: notes "ALF Locks" (chip clock).

use std::sync::atomic::{AtomicU64, Ordering};

use quorate_model::Instant;
use rustix::time::{ClockId, clock_gettime};

/// How far the clocks of two nodes may run apart, in millionths, with room to spare.
pub const DRIFT_PPM_MAX: u64 = 2_000;

/// A reading of the chip clock of this node.
#[must_use]
pub fn now() -> Instant {
    /// The largest reading so far: should the kernel ever let the clock step back, we do not.
    static LATEST: AtomicU64 = AtomicU64::new(0);
    let reading = clock_gettime(ClockId::Boottime);
    let nanoseconds = (reading.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(reading.tv_nsec as u64);
    Instant(LATEST.fetch_max(nanoseconds, Ordering::Relaxed).max(nanoseconds))
}

/// The wall clock in milliseconds since 1970. It may jump either way: nothing that must be right may rest on it.
#[must_use]
pub fn wall_ms() -> u64 {
    let reading = clock_gettime(ClockId::Realtime);
    (reading.tv_sec.max(0) as u64).saturating_mul(1_000).saturating_add(reading.tv_nsec as u64 / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_never_go_back_on_any_thread() {
        let read = || {
            let mut last = now();
            for _ in 0..100_000 {
                let next = now();
                assert!(next >= last);
                last = next;
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(read);
            scope.spawn(read);
        });
    }

    #[test]
    fn a_second_of_the_chip_clock_is_a_second_of_the_system() {
        let (chip, system) = (now(), std::time::Instant::now());
        while system.elapsed() < std::time::Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let (by_chip, by_system) = (now().since(chip), system.elapsed());
        let difference = by_chip.abs_diff(by_system);
        assert!(difference < std::time::Duration::from_millis(20), "{by_chip:?} and {by_system:?}");
    }

    #[test]
    fn the_wall_clock_is_after_this_was_written() {
        assert!(wall_ms() > 1_700_000_000_000);
    }
}
