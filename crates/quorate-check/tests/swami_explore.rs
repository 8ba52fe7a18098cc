//! The swami in every interleaving of tiny instances: it begins to decide while what another one left behind still lives.

use std::time::Duration;

use expect_test::{Expect, expect};
use quorate_check::casts::swami::{self, Alter, Legacy};
use quorate_check::{Clocks, Explorer, Faults, space_time_diagram};
use quorate_protocols::chain::swami::Mutant;
use quorate_protocols::paxos::log::Lease;

/// How wide a counterexample is printed.
const DIAGRAM_WIDTH: usize = 160;
/// No instance has more states, and a broken rule is seen within so many.
const STATES_MAX: u64 = 6_000_000;
const TICK: Duration = Duration::from_millis(1);

/// All clocks are alike here: what clocks that differ do is simulated.
fn explored(legacy: Legacy, tick_max: u32, alter: Alter, expected: &Expect) {
    let lease = Lease { term: TICK * 2, drift_per_million: 0 };
    let cast = swami::handed_over(legacy, lease, TICK, alter);
    let clocks = Clocks { rates: vec![TICK], tick_max };
    let run =
        Explorer::new(&cast).faults(Faults::none().same_max(1)).clocks(clocks).states_max(STATES_MAX).threads(2).run();
    println!("{run}\n{}", space_time_diagram::text(&run.trace, DIAGRAM_WIDTH));
    expected.assert_eq(&run.verdict.to_string());
}

#[test]
fn a_lease_of_an_earlier_swami_is_waited_for() {
    explored(Legacy::Lease, 3, Alter::default(), &expect!["holds: 906982 states, 5581929 transitions, depth 31"]);
}

#[test]
fn a_change_of_an_earlier_swami_that_comes_late_harms_nobody() {
    explored(Legacy::Change, 2, Alter::default(), &expect!["holds: 25715 states, 104520 transitions, depth 23"]);
}

#[test]
fn a_swami_that_does_not_wait_is_refuted() {
    let alter = Alter { swami: |it| it.breaking(Mutant::LeavesAtOnce), ..Alter::default() };
    explored(Legacy::Lease, 3, alter, &expect!["refuted in 10 steps: who was put out serves nobody"]);
}

#[test]
fn a_swami_that_takes_nothing_over_is_refuted() {
    let alter = Alter { swami: |it| it.breaking(Mutant::TakesNothingOver), ..Alter::default() };
    explored(Legacy::Change, 2, alter, &expect!["refuted in 9 steps: who was put out serves nobody"]);
}

#[test]
fn a_system_that_ignores_revisions_is_refuted() {
    let alter = Alter { system: |it| it.ignoring_revisions(), ..Alter::default() };
    explored(Legacy::Change, 2, alter, &expect!["refuted in 9 steps: who was put out serves nobody"]);
}
