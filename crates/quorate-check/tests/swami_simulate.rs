//! The swami under every fault that the simulator has: members of its log, those who decide beside them, and nodes that ask
//! for leases. One seed is one history.

use quorate_check::casts::swami::{self, Alter};
use quorate_check::casts::swami_node::NodeMutant;
use quorate_check::simulate::{Draw, Drift, Report, Severity};
use quorate_check::{Seeds, simulate};
use quorate_protocols::chain::swami::{Mutant, PATIENCE_MAX};
use quorate_protocols::paxos::log::{self, Lease};

/// How many seeds a test run plays.
const SEEDS: u64 = 2_000;
/// A broken rule is seen within so many.
const MUTANT_SEEDS_MAX: u64 = 20_000;

fn seeds(range: std::ops::Range<u64>) -> Seeds {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Seeds::new(range).threads(threads).severity(swami::severity()).bounds(swami::bounds())
}

fn broken(alter: Alter, range: std::ops::Range<u64>) -> Report {
    simulate(|draw: &mut Draw| swami::cast(&swami::Shape { alter, ..swami::drawn(draw) }), &seeds(range))
}

#[test]
fn swamis_hold_under_every_fault() {
    let report = broken(Alter::default(), 0..SEEDS);
    println!("{report}");
    assert!(report.holds(), "{report}");
}

/// As they ship: who was slow lately is waited for.
#[test]
fn swamis_that_are_patient_hold_under_every_fault() {
    let patient = Alter { swami: |it| it.patient(PATIENCE_MAX), ..Alter::default() };
    let report = broken(patient, 0..SEEDS);
    println!("{report}");
    assert!(report.holds(), "{report}");
}

macro_rules! breaking {
    ($($name:literal: $part:ident $alter:expr),* $(,)?) => {
        [$(($name, Alter { $part: $alter, ..Alter::default() })),*]
    };
}

/// Each of these breaks one rule.
#[test]
fn broken_rules_are_found_by_seeds() {
    for (name, alter) in breaking![
        "lets others leave as soon as it took over": swami |it| it.breaking(Mutant::LeavesAtOnce),
        "waits for leases as long as they are, whatever the clocks": swami |it| it.breaking(Mutant::IgnoresDrift),
        "decides when its right is over": swami |it| it.breaking(Mutant::OutlivesItsRight),
        "admits without the tail's word": swami |it| it.breaking(Mutant::AdmitsEarly),
        "grants to whom it asked to be put out": swami |it| it.breaking(Mutant::GrantsToLeaving),
        "grants to who acts on an older place": swami |it| it.breaking(Mutant::GrantsToOld),
        "lets what was decided before it happen after": swami |it| it.breaking(Mutant::TakesNothingOver),
        "ignores what revision was expected": system |it| it.ignoring_revisions(),
        "counts a node's lease from its grant": node |it| it.breaking(NodeMutant::CountsFromGrant),
        "serves again after it retired": node |it| it.breaking(NodeMutant::ServesAgain),
        "counts the leader's lease from its grant": log |it| it.breaking(log::Mutant::CountsLeaseFromGrant),
    ] {
        let report = broken(alter, 0..MUTANT_SEEDS_MAX);
        let failure = report.failure.unwrap_or_else(|| panic!("{name}: not found in {} runs", report.runs));
        println!("{name}: seed {}: {}", failure.seed, failure.property);
    }
}

/// Clocks of which one runs half as fast again as another, and leases that bear that.
fn wild(alter: Alter, range: std::ops::Range<u64>) -> Report {
    let severity = Severity { drift_max: Drift(200_000), ..swami::severity() };
    let shape = |draw: &mut Draw| {
        let drawn = swami::drawn(draw);
        let lease = Lease { drift_per_million: 500_000, ..drawn.lease };
        swami::Shape { alter, lease, ..drawn }
    };
    simulate(|draw: &mut Draw| swami::cast(&shape(draw)), &seeds(range).severity(severity))
}

#[test]
fn swamis_hold_when_one_clock_runs_half_as_fast_again_as_another() {
    let report = wild(Alter::default(), 0..SEEDS / 2);
    println!("{report}");
    assert!(report.holds(), "{report}");
}

#[test]
fn a_lead_that_is_granted_for_too_short_is_found_where_clocks_differ_much() {
    let alter = Alter { log: |it| it.breaking(log::Mutant::IgnoresDrift), ..Alter::default() };
    let failure = wild(alter, 0..MUTANT_SEEDS_MAX).failure.expect("two lead at once");
    println!("seed {}: {}", failure.seed, failure.property);
    assert_eq!(failure.property, "no two lead at once");
}
