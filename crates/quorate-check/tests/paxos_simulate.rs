//! Paxos under every fault that the simulator has: the write-once register, and the log over lists and over the real store.
//! One seed is one history.

use std::time::Duration;

use quorate_check::casts::{Lists, paxos_log, paxos_register, paxos_store};
use quorate_check::simulate::{Draw, Drift, Report, Severity};
use quorate_check::{Seeds, simulate};
use quorate_protocols::paxos::log::{Lease, Mutant, Node};

/// How many seeds of each kind a test run plays.
const SEEDS: u64 = 2_000;

fn seeds(range: std::ops::Range<u64>) -> Seeds {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Seeds::new(range).threads(threads).bounds(paxos_log::bounds())
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

#[test]
fn the_store_on_a_consensus_log_holds_under_every_fault() {
    holds(&simulate(paxos_store::drawn, &seeds(0..SEEDS)));
}

/// Members that are back before the messages of their earlier lives have arrived.
fn short_faults() -> Severity {
    Severity { faulty_max: Duration::from_millis(300), lasts_max: Duration::from_millis(10), ..Severity::default() }
}

#[test]
fn lists_on_a_consensus_log_hold_when_restarts_are_quicker_than_messages() {
    let lists = |draw: &mut Draw| paxos_log::cast(&paxos_log::drawn(draw));
    holds(&simulate(lists, &seeds(0..SEEDS).severity(short_faults())));
}

/// Found as seed 286 of the lists: a member that had been down for long was asked to read. In phase 1 it found a change of
/// members behind which more was decided, and it answered before it had asked those members.
#[test]
fn a_leader_that_lags_behind_a_change_of_members_does_not_answer_reads() {
    let alter = |node: Node<Lists>| node.breaking(Mutant::ReadsDuringChange);
    let broken = |draw: &mut Draw| paxos_log::cast(&paxos_log::drawn(draw).altered(alter));
    let report = simulate(broken, &seeds(286..287));
    let failure = report.failure.expect("a leader that answers then is found");
    assert_eq!(failure.property, "the lists are linearizable");
}

/// Found as seed 12,723 of the lists: a member that restarted found in phase 1 a change of members that an older slot had
/// made already. It stopped there, as it must, but did not take the change for one when it applied it, and gave the slots
/// behind it to other commands, though they were decided.
#[test]
fn a_change_of_members_that_changes_nothing_ends_phase_one_all_the_same() {
    holds_but_for_what_is_rare(12_723);
}

/// Found as seed 21,524 of the lists: the only member that was left had not heard that it was one. Those who had been
/// members told it so in vain, since it asked them nothing.
#[test]
fn a_member_that_does_not_know_that_it_is_one_asks_who_tells_it() {
    holds_but_for_what_is_rare(21_524);
}

fn holds_but_for_what_is_rare(seed: u64) {
    let lists = |draw: &mut Draw| paxos_log::cast(&paxos_log::drawn(draw));
    let report = simulate(lists, &seeds(seed..seed + 1));
    assert!(report.failure.is_none(), "{report}");
}

type Alter = fn(Node<Lists>) -> Node<Lists>;

macro_rules! breaking {
    ($($mutant:ident),* $(,)?) => {
        [$((stringify!($mutant), (|node: Node<Lists>| node.breaking(Mutant::$mutant)) as Alter)),*]
    };
}

/// The simulator must find what the explorer finds, and more: each of these breaks one rule. Those of leases are broken in
/// `swami_simulate`, where a claim reads the clocks; what people read here seldom shows them.
#[test]
fn broken_members_are_found_by_seeds_too() {
    for (name, alter) in breaking![
        ForgetsPromise,
        SaysBeforeDurable,
        SkipsPhaseOne,
        IgnoresVotes,
        DecidesAlone,
        ReadsUnconfirmed,
        ReadsBeforeFloor,
        ReadsDuringChange,
        UsesMembersEarly,
        OrdersBehindChange,
        DropsSessions,
        ForgetsSessions,
    ] {
        let broken = |draw: &mut Draw| paxos_log::cast(&paxos_log::drawn(draw).altered(alter));
        let report = simulate(broken, &seeds(0..20_000));
        let failure = report.failure.unwrap_or_else(|| panic!("{name} was not found in {} runs", report.runs));
        println!("{name}: seed {}: {}", failure.seed, failure.property);
    }
}

/// Runs in which disks are lost, one at a time: the next when everyone has recalled what it forgot.
fn lost_disks() -> Severity {
    Severity { disk_losses_max: 6, ..Severity::default() }
}

fn losing(alter: Alter, range: std::ops::Range<u64>) -> Report {
    let lists = |draw: &mut Draw| paxos_log::cast(&paxos_log::drawn_losing(draw).altered(alter));
    simulate(lists, &seeds(range).severity(lost_disks()))
}

#[test]
fn lists_on_a_consensus_log_hold_when_disks_are_lost() {
    let report = losing(|member| member, 0..SEEDS);
    holds(&report);
    assert!(report.counts.lost_disks > SEEDS, "{report}");
}

/// What happened before members recalled: acknowledged commands were lost.
#[test]
fn members_that_answer_without_a_memory_are_found_by_seeds_too() {
    let report = losing(|member| member.breaking(Mutant::AnswersBeforeRecall), 0..20_000);
    let failure = report.failure.unwrap_or_else(|| panic!("not found in {} runs", report.runs));
    println!("seed {}: {}", failure.seed, failure.property);
}

/// Clocks of which one runs half as fast again as another, and faults that last about as long as leases: what rests on
/// leases is in danger then.
fn wild_clocks() -> Severity {
    Severity {
        drift_max: Drift(200_000),
        lasts_max: Duration::from_secs(2),
        faulty_max: Duration::from_secs(10),
        ..Severity::default()
    }
}

/// Like others that are drawn, with leases that bear such clocks.
fn leased(draw: &mut Draw) -> paxos_log::Shape {
    let term = draw.between(&(Duration::from_millis(100)..Duration::from_secs(2)));
    paxos_log::drawn(draw).leasing(Lease { term, drift_per_million: 500_000 })
}

#[test]
fn leases_hold_when_one_clock_runs_half_as_fast_again_as_another() {
    holds(&simulate(|draw: &mut Draw| paxos_log::cast(&leased(draw)), &seeds(0..SEEDS).severity(wild_clocks())));
}
