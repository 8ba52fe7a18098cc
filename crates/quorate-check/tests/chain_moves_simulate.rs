//! Chains whose members come and go under every fault that the simulator has. One seed is one history.

use std::time::Duration;

use quorate_check::casts::Lists;
use quorate_check::casts::chain::Wish;
use quorate_check::casts::chain_moves::{LEASE, Lease, Moves, cast, drawn};
use quorate_check::simulate::{Draw, Report};
use quorate_check::{Seeds, simulate};
use quorate_model::NodeId;
use quorate_protocols::chain::{Change, Mutant, Node};

/// How many seeds a test run plays.
const SEEDS: u64 = 2_000;

/// How many seeds may be needed to find what is broken.
const SEEDS_MAX: u64 = 40_000;

/// A lease that messages are late for often.
const SHORT: Lease = Lease { term: Duration::from_millis(100), waits: Duration::from_millis(103), retires: false };

fn seeds(range: std::ops::Range<u64>) -> Seeds {
    Seeds::new(range).threads(std::thread::available_parallelism().map_or(1, usize::from))
}

#[test]
fn members_come_and_go_under_every_fault() {
    let report = simulate(|draw: &mut Draw| cast(&drawn(draw)), &seeds(0..SEEDS));
    println!("{report}");
    assert!(report.holds(), "{report}");
}

fn found(name: &str, report: Report) {
    let failure = report.failure.unwrap_or_else(|| panic!("{name} was not found in {} runs", report.runs));
    println!("{name}: seed {}: {}", failure.seed, failure.property);
}

/// Two members of which one leaves, while one is written to and the other is read from.
fn leaver(lease: Lease, seeds_max: u64, alter: fn(Node<Lists>) -> Node<Lists>) -> Report {
    let make = |draw: &mut Draw| {
        let leaves = draw.below(2) as u32 + 1;
        let reads = || (leaves, vec![Wish::Read(0); 12]);
        let people = vec![reads(), reads(), (3 - leaves, (0..12).map(|item| Wish::Append(0, item)).collect())];
        cast(&Moves::new(vec![1, 2], vec![Change::Leave(NodeId(leaves))], people).leased(lease).altered(alter))
    };
    simulate(make, &seeds(0..seeds_max))
}

#[test]
fn a_member_that_leaves_while_it_is_read_from_holds() {
    for retires in [false, true] {
        let report = leaver(Lease { retires, ..SHORT }, SEEDS, |node| node);
        println!("{report}");
        assert!(report.holds(), "{report}");
    }
}

#[test]
fn a_member_that_reads_after_its_lease_is_found() {
    found("ReadsAfterLease", leaver(SHORT, SEEDS_MAX, |node| node.breaking(Mutant::ReadsAfterLease)));
}

#[test]
fn a_lease_that_counts_from_its_grant_is_found() {
    found("CountsFromGrant", leaver(SHORT, SEEDS_MAX, |node| node.breaking(Mutant::CountsFromGrant)));
}

#[test]
fn a_right_that_was_given_up_and_is_taken_all_the_same_is_found() {
    let lease = Lease { retires: true, ..LEASE };
    found("TakesRetiredRight", leaver(lease, SEEDS_MAX, |node| node.breaking(Mutant::TakesRetiredRight)));
}

#[test]
fn broken_rules_of_moving_are_found_by_seeds_too() {
    for (name, alter) in [
        ("AdmitsEarly", (|node| node.breaking(Mutant::AdmitsEarly)) as fn(Node<Lists>) -> Node<Lists>),
        ("HearsOldConfigurations", |node| node.breaking(Mutant::HearsOldConfigurations)),
        ("ForgetsConfiguration", |node| node.breaking(Mutant::ForgetsConfiguration)),
    ] {
        found(name, simulate(|draw: &mut Draw| cast(&drawn(draw).altered(alter)), &seeds(0..SEEDS_MAX)));
    }
}
