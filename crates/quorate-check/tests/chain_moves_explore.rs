//! Chains whose members come and go, in every interleaving of small instances, and each rule broken on purpose and seen.

use expect_test::{Expect, expect};
use quorate_check::casts::Lists;
use quorate_check::casts::chain::Wish;
use quorate_check::casts::chain_moves::{Moves, Part, cast};
use quorate_check::{Alarms, Cast, Explorer, Faults, space_time_diagram};
use quorate_model::{NodeId, Pid};
use quorate_protocols::chain::{Change, Mutant, Node};

use Change::{Admit, Join, Leave};
use Wish::{Append, Read};

/// How wide a counterexample is printed.
const DIAGRAM_WIDTH: usize = 160;
const STATES_MAX: u64 = 20_000_000;

fn faults() -> Faults {
    Faults::none().alarms(Alarms::WhenQuiet)
}

/// A crash of the process of this node's member, no other.
fn crash_of(node: u32) -> Faults {
    faults().crashes(1).crash_only([Pid::chain(node, 0)])
}

/// A cast that claims that everything can be answered from everywhere.
fn possible(moves: &Moves) -> Cast<Part> {
    cast(moves)
        .steps_until("something can happen until everything is answered", |view| view.all_answered())
        .possible("everything can still be answered", |view| view.all_answered())
}

fn holds(moves: &Moves, faults: Faults, expected: Expect) {
    let run = Explorer::new(&possible(moves)).faults(faults).threads(2).states_max(STATES_MAX).run();
    println!("{run}");
    assert!(run.verdict.holds(), "{run}\n{}", space_time_diagram::text(&run.trace, DIAGRAM_WIDTH));
    expected.assert_eq(&run.verdict.to_string());
}

fn leave(node: u32) -> Vec<Change> {
    vec![Leave(NodeId(node))]
}

#[test]
fn the_head_of_two_leaves() {
    let moves = Moves::new(vec![1, 2], leave(1), vec![(2, vec![Append(0, 1), Read(0)])]);
    holds(&moves, faults(), expect!["holds: 12429 states, 48001 transitions, depth 24"]);
}

#[test]
fn the_tail_of_two_leaves() {
    let moves = Moves::new(vec![1, 2], leave(2), vec![(1, vec![Append(0, 1), Read(0)])]);
    holds(&moves, faults(), expect!["holds: 10644 states, 42316 transitions, depth 23"]);
}

/// The one who leaves is itself asked: it answers, or says that it is no member.
#[test]
fn who_leaves_sees_its_client_through_or_refuses_it() {
    let moves = Moves::new(vec![1, 2], leave(1), vec![(1, vec![Append(0, 1)]), (2, vec![Read(0)])]);
    holds(&moves, faults(), expect!["holds: 68890 states, 289565 transitions, depth 26"]);
}

#[test]
fn the_head_of_two_leaves_while_who_stays_crashes() {
    let moves = Moves::new(vec![1, 2], leave(1), vec![(2, vec![Append(0, 1)])]);
    holds(&moves, crash_of(2), expect!["holds: 2107007 states, 11112372 transitions, depth 52"]);
}

fn join_and_admit(node: u32) -> Vec<Change> {
    vec![Join(NodeId(node)), Admit(NodeId(node))]
}

/// Lists of two keys are copied in two pages.
fn one_joins() -> Moves {
    Moves::new(vec![1], join_and_admit(2), vec![(1, vec![Append(0, 1)])]).paged(2)
}

#[test]
fn a_node_joins_and_a_message_is_lost() {
    holds(&one_joins(), faults().losses(1), expect!["holds: 13458931 states, 100334342 transitions, depth 49"]);
}

/// Explores `moves` with every node altered; the rule that it breaks must be refuted, and soon.
fn refuted(moves: Moves, faults: Faults, alter: fn(Node<Lists>) -> Node<Lists>, expected: Expect) {
    let run = Explorer::new(&possible(&moves.altered(alter))).faults(faults).threads(2).states_max(STATES_MAX).run();
    let verdict = run.verdict.to_string();
    assert!(verdict.starts_with("refuted"), "what breaks a rule is refuted, but it {verdict}");
    expected.assert_eq(&verdict);
}

#[test]
fn a_joiner_that_serves_before_it_has_all_is_refuted() {
    refuted(
        one_joins(),
        faults(),
        |node| node.breaking(Mutant::AdmitsEarly),
        expect!["refuted in 11 steps: what is committed is on the disks of all members"],
    );
}

/// The tail restarts after it said that it commits nothing without the joiner, and commits what only it has.
#[test]
fn a_tail_that_forgets_that_it_waits_for_the_joiner_is_refuted() {
    refuted(
        one_joins(),
        crash_of(1),
        |node| node.breaking(Mutant::ForgetsInStep),
        expect!["refuted in 15 steps: what is committed is on the disks of all members"],
    );
}

#[test]
fn a_node_that_forgets_its_configuration_is_refuted() {
    let moves = Moves::new(vec![1, 2], leave(2), vec![(1, vec![Append(0, 1)]), (2, vec![Read(0)])]);
    refuted(
        moves,
        crash_of(1),
        |node| node.breaking(Mutant::ForgetsConfiguration),
        expect!["refuted in 16 steps: the lists are linearizable"],
    );
}

/// A node leaves and comes back with what only it had: the chain has given the place of that to something else.
#[test]
fn a_joiner_that_keeps_its_old_log_is_refuted() {
    let mut plan = leave(1);
    plan.extend(join_and_admit(1));
    let moves = Moves::new(vec![1, 2], plan, vec![(1, vec![Append(0, 1)]), (2, vec![Append(0, 2)])]);
    refuted(
        moves,
        faults(),
        |node| node.breaking(Mutant::JoinsWithOldLog),
        expect!["refuted in 14 steps: members that applied the same are the same"],
    );
}
