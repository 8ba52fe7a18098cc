//! Chains whose members come and go under every fault that the simulator has. One seed is one history.

use std::time::Duration;

use quorate_check::casts::Lists;
use quorate_check::casts::chain::Wish;
use quorate_check::casts::chain_moves::{LEASE, Lease, Moves, cast, drawn, drawn_storage};
use quorate_check::simulate::{Bounds, Draw, Report};
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
    // A sync of a slow disk that began before everything was healed lasts on.
    let bounds = Bounds { settles_for: Duration::from_secs(20), ..Bounds::default() };
    Seeds::new(range).threads(std::thread::available_parallelism().map_or(1, usize::from)).bounds(bounds)
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

/// Machines with storage of their own: copies go into storage too, checkpoints are behind, and logs are cut.
#[test]
fn members_with_storage_of_their_own_come_and_go_under_every_fault() {
    let make = |draw: &mut Draw| {
        let moves = drawn(draw);
        cast(&drawn_storage(moves, draw))
    };
    let report = simulate(make, &seeds(0..SEEDS));
    println!("{report}");
    assert!(report.holds(), "{report}");
}

/// A node that joins, leaves and joins again, while it dies now and then. Found by such seeds: its log told of both joins when
/// it was read again, so the machine was put aside for a blank one twice, and the storage of the second blank one deleted the
/// copy that the second join had ended with.
#[test]
fn a_node_that_joins_twice_finds_its_copy_again() {
    let report = joins_twice(SEEDS, |node| node);
    println!("{report}");
    assert!(report.holds(), "{report}");
}

fn joins_twice(seeds_max: u64, alter: fn(Node<Lists>) -> Node<Lists>) -> Report {
    let make = |draw: &mut Draw| {
        let (three, item) = (NodeId(3), |item| Wish::Append(item % 2, item));
        let plan = [Change::Join(three), Change::Admit(three), Change::Leave(three)].repeat(2);
        let people = vec![(1, (0..8).map(item).collect()), (3, (8..16).map(item).collect())];
        let moves = Moves::new(vec![1, 2], plan, people).paged(16).leased(LEASE).altered(alter);
        cast(&drawn_storage(moves, draw))
    };
    simulate(make, &seeds(0..seeds_max))
}

#[test]
fn broken_rules_of_storage_are_found() {
    for (name, alter) in [
        ("ForgetsAside", (|node| node.breaking(Mutant::ForgetsAside)) as fn(Node<Lists>) -> Node<Lists>),
        ("BeginsBehindLog", |node| node.breaking(Mutant::BeginsBehindLog)),
        ("JoinsWithOldLog", |node| node.breaking(Mutant::JoinsWithOldLog)),
    ] {
        found(name, joins_twice(SEEDS_MAX, alter));
    }
}
