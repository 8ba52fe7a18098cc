//! The chain under every fault that the simulator has, over lists and over the real store. One seed is one history.

use std::time::Duration;

use quorate_check::casts::{Lists, chain, store};
use quorate_check::simulate::{Draw, Report, Severity};
use quorate_check::{Seeds, simulate};
use quorate_protocols::chain::{Mutant, Node};

/// How many seeds of each kind a test run plays.
const SEEDS: u64 = 1_000;

fn seeds(range: std::ops::Range<u64>) -> Seeds {
    Seeds::new(range).threads(std::thread::available_parallelism().map_or(1, usize::from))
}

fn holds(report: &Report) {
    println!("{report}");
    assert!(report.holds(), "{report}");
}

#[test]
fn lists_on_a_chain_hold_under_every_fault() {
    holds(&simulate(|draw: &mut Draw| chain::cast(&chain::drawn(draw)), &seeds(0..SEEDS)));
}

#[test]
fn the_store_on_a_chain_holds_under_every_fault() {
    holds(&simulate(store::drawn, &seeds(0..SEEDS)));
}

/// Members that are back before the messages of their earlier lives have arrived.
fn short_faults() -> Severity {
    Severity { faulty_max: Duration::from_millis(300), lasts_max: Duration::from_millis(10), ..Severity::default() }
}

/// Found by such seeds, of which one in ten thousand never answered: a late Welcome of an earlier life of the tail was taken for one of the present life,
/// the present one's was lost, and all that was sent to the earlier life was dropped.
#[test]
fn lists_on_a_chain_hold_when_restarts_are_quicker_than_messages() {
    let lists = |draw: &mut Draw| chain::cast(&chain::drawn(draw));
    holds(&simulate(lists, &seeds(0..SEEDS).severity(short_faults())));
}

type Alter = fn(Node<Lists>) -> Node<Lists>;

macro_rules! breaking {
    ($($mutant:ident),* $(,)?) => {
        [$((stringify!($mutant), (|node: Node<Lists>| node.breaking(Mutant::$mutant)) as Alter)),*]
    };
}

/// The simulator must find what the explorer finds: each of these breaks one rule. `TakesLateAnswers` is the explorer's
/// alone: an answer that outlives a restart and meets the one question with its number is too rare to wait for.
#[test]
fn broken_members_are_found_by_seeds_too() {
    for (name, alter) in breaking![
        AcknowledgesBeforeDurable,
        ReadsUncommitted,
        IgnoresDirty,
        ForgetsSessions,
        ReordersOnResend,
        AppliesTwice,
        ReplaysOneOfBatch,
        TakesStaleForwards,
        OrdersBeforeJoined,
        AnswersBeforeFloor,
        CommitsAtTailAlone,
        TakesWithoutRoom,
        StaysFull,
        OrdersWithoutBound,
    ] {
        let broken = |draw: &mut Draw| chain::cast(&chain::drawn(draw).altered(alter));
        let severity = if name == "TakesStaleForwards" { short_faults() } else { Severity::default() };
        let report = simulate(broken, &seeds(0..5_000).severity(severity));
        let failure = report.failure.unwrap_or_else(|| panic!("{name} was not found in {} runs", report.runs));
        println!("{name}: seed {}: {}", failure.seed, failure.property);
    }
}
