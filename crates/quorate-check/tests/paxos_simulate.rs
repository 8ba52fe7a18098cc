//! Paxos under every fault that the simulator has. One seed is one history.

use quorate_check::casts::{paxos_log, paxos_register};
use quorate_check::simulate::{Draw, Report};
use quorate_check::{Seeds, simulate};

/// How many seeds of each kind a test run plays.
const SEEDS: u64 = 2_000;

fn seeds(range: std::ops::Range<u64>) -> Seeds {
    Seeds::new(range).threads(std::thread::available_parallelism().map_or(1, usize::from))
}

fn holds(report: &Report) {
    println!("{report}");
    assert!(report.holds(), "{report}");
}

#[test]
fn a_write_once_register_holds_under_every_fault() {
    holds(&simulate(|draw: &mut Draw| paxos_register::cast(&paxos_register::drawn(draw)), &seeds(0..SEEDS)));
}

#[test]
fn lists_on_a_consensus_log_hold_under_every_fault() {
    holds(&simulate(|draw: &mut Draw| paxos_log::cast(&paxos_log::drawn(draw)), &seeds(0..SEEDS)));
}
