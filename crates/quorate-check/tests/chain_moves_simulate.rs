//! Chains whose members come and go under every fault that the simulator has. One seed is one history.

use quorate_check::casts::Lists;
use quorate_check::casts::chain_moves::{LEASE, Lease, Moves, cast, drawn};
use quorate_check::simulate::{Draw, Report};
use quorate_check::{Seeds, simulate};
use quorate_protocols::chain::{Mutant, Node};

/// How many seeds a test run plays.
const SEEDS: u64 = 2_000;

/// How many seeds may be needed to find what is broken.
const SEEDS_MAX: u64 = 40_000;

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

fn broken(name: &str, lease: Lease, alter: fn(Node<Lists>) -> Node<Lists>) {
    let make = |draw: &mut Draw| {
        let moves = drawn(draw);
        let retires = lease.retires && moves.lease.is_some_and(|drawn| drawn.retires);
        cast(&Moves { lease: Some(Lease { retires, ..lease }), ..moves }.altered(alter))
    };
    found(name, simulate(make, &seeds(0..SEEDS_MAX)));
}

#[test]
fn a_member_that_reads_after_its_lease_is_found() {
    broken("ReadsAfterLease", LEASE, |node| node.breaking(Mutant::ReadsAfterLease));
}

#[test]
fn a_lease_that_counts_from_its_grant_is_found() {
    broken("CountsFromGrant", LEASE, |node| node.breaking(Mutant::CountsFromGrant));
}

#[test]
fn a_right_that_was_given_up_and_is_taken_all_the_same_is_found() {
    broken("TakesRetiredRight", Lease { retires: true, ..LEASE }, |node| node.breaking(Mutant::TakesRetiredRight));
}

/// It waits as long on its clock as the right lasts on the other, which may be slower.
#[test]
fn a_decider_that_ignores_drift_is_found() {
    let waits = LEASE.term;
    broken("waits too little", Lease { waits, ..LEASE }, |node| node);
}

#[test]
fn broken_rules_of_moving_are_found_by_seeds_too() {
    for (name, alter) in [
        ("AdmitsEarly", (|node| node.breaking(Mutant::AdmitsEarly)) as fn(Node<Lists>) -> Node<Lists>),
        ("HearsOldConfigurations", |node| node.breaking(Mutant::HearsOldConfigurations)),
        ("ForgetsConfiguration", |node| node.breaking(Mutant::ForgetsConfiguration)),
    ] {
        broken(name, LEASE, alter);
    }
}

#[test]
#[ignore]
fn debug_seed() {
    let seed: u64 = std::env::var("SEED").expect("SEED").parse().expect("number");
    println!("{:?}", drawn(&mut Draw::seeded(seed, 0)));
    let (run, _) = quorate_check::simulate::run_seed(&|draw: &mut Draw| cast(&drawn(draw)), &seeds(0..1), seed, true);
    for line in &run.trace { println!("{line:?}"); }
}
