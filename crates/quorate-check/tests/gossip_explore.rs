//! Gossip in every interleaving of small instances, and each of its rules broken on purpose and seen.
//!
//! Alarms ring when nothing else can happen, in any order: whatever is not lost arrives before anyone loses patience, and
//! a suspicion may end before the suspect was told. So what holds here of false deaths holds however short suspicions are.

use expect_test::{Expect, expect};
use quorate_check::casts::gossip::{Mortal, Shape, cast, explored, nobody_is_buried_alive, nobody_is_slandered};
use quorate_check::{Alarms, Cast, Exploration, Explorer, Faults, space_time_diagram};
use quorate_model::NodeId;
use quorate_protocols::gossip::{Member, Mutant, Standing};

/// How wide a counterexample is printed.
const DIAGRAM_WIDTH: usize = 160;

fn faults() -> Faults {
    Faults::none().alarms(Alarms::WhenQuiet)
}

fn explore(cast: &Cast<Mortal>, faults: Faults) -> Exploration {
    Explorer::new(cast).faults(faults).threads(2).run()
}

fn holds(cast: &Cast<Mortal>, faults: Faults, expected: &Expect) {
    let run = explore(cast, faults);
    println!("{run}");
    assert!(run.verdict.holds(), "{run}\n{}", space_time_diagram::text(&run.trace, DIAGRAM_WIDTH));
    expected.assert_eq(&run.verdict.to_string());
}

#[test]
fn without_a_fault_nobody_is_suspected() {
    let cast = explored(&Shape::new(3)).always("nobody who is up is suspected", nobody_is_slandered);
    holds(&cast, faults(), &expect!["holds: 416 states, 676 transitions, depth 15"]);
}

/// No false death without a missed probe, and two losses are not a missed probe: it is pinged twice, and a helper's way is
/// another one.
#[test]
fn with_two_lost_messages_nobody_is_suspected() {
    let cast = explored(&Shape::new(3)).always("nobody who is up is suspected", nobody_is_slandered);
    holds(&cast, faults().losses(2), &expect!["holds: 20094 states, 39968 transitions, depth 26"]);
}

/// Two members have nobody to help them, so each loss may end in a death. It is never for ever.
#[test]
fn whatever_was_lost_a_member_that_is_up_is_known_to_be_alive_again() {
    let cast = explored(&Shape::new(2)).sometimes("a loss buries someone alive", |view| !nobody_is_buried_alive(view));
    holds(&cast, faults().losses(3).copies(1), &expect!["holds: 3248 states, 6282 transitions, depth 21"]);
}

#[test]
fn three_members_that_meet_by_their_seeds_come_to_know_all() {
    let shape = Shape::new(3).strangers();
    let cast = explored(&shape).always("nobody who is up is suspected", nobody_is_slandered);
    holds(&cast, faults(), &expect!["holds: 7180 states, 13594 transitions, depth 33"]);
}

#[test]
fn two_members_that_meet_come_to_know_each_other_whatever_is_lost_or_doubled() {
    holds(
        &explored(&Shape::new(2).strangers()),
        faults().losses(1).copies(1),
        &expect!["holds: 1512 states, 3234 transitions, depth 18"],
    );
}

#[test]
fn a_member_that_crashed_comes_back_in_a_later_life() {
    let later = |view: &quorate_check::View<'_, Mortal>| {
        view.processes().filter_map(|(_, it)| it.member()).any(|member| {
            member.facts().any(|fact| fact.node != member.node() && fact.is_alive() && fact.incarnation.life > 1)
        })
    };
    let cast = explored(&Shape::new(2)).sometimes("someone is known in a later life", later);
    holds(&cast, faults().crashes(2).losses(1), &expect!["holds: 39657 states, 106724 transitions, depth 40"]);
}

#[test]
fn three_members_hold_with_a_crash_of_any_and_a_lost_message() {
    holds(
        &explored(&Shape::new(3)),
        faults().crashes(1).losses(1),
        &expect!["holds: 3595231 states, 6743544 transitions, depth 64"],
    );
}

#[test]
fn a_member_that_falls_silent_is_held_dead_in_the_end() {
    let dead = |view: &quorate_check::View<'_, Mortal>| {
        view.processes()
            .filter_map(|(_, it)| it.member())
            .all(|member| member.fact(NodeId(3)).is_some_and(|held| held.standing == Standing::Dead))
    };
    let mut shape = Shape::new(3).mortal(3);
    shape.options.health_worst = 0; // without clocks, how long one waits makes no difference
    let cast = explored(&shape).sometimes("all hold it dead", dead);
    holds(&cast, faults().losses(1), &expect!["holds: 3831161 states, 8551718 transitions, depth 70"]);
}

#[test]
fn the_only_other_one_that_falls_silent_is_held_dead_in_the_end_whatever_is_lost() {
    holds(
        &explored(&Shape::new(2).mortal(2)),
        faults().losses(1).copies(1),
        &expect!["holds: 906 states, 2575 transitions, depth 16"],
    );
}

#[test]
fn a_member_that_leaves_is_known_to_have_left() {
    let left = |view: &quorate_check::View<'_, Mortal>| {
        let one = view.processes().find_map(|(_, it)| it.member());
        one.is_some_and(|member| member.fact(NodeId(2)).is_some_and(|held| held.standing == Standing::Left))
    };
    let cast = explored(&Shape::new(2).leaving(2))
        .sometimes("the other one knows", left)
        .possible("whoever asked for it is answered", |view| view.all_answered());
    holds(&cast, faults().losses(1), &expect!["holds: 84 states, 206 transitions, depth 9"]);
}

/// Explores `shape` with every member altered; the rule that it breaks must be refuted.
fn refuted(shape: Shape, faults: Faults, alter: fn(Member) -> Member, expected: &Expect) {
    let cast = explored(&shape.altered(alter));
    judged(&explore(&cast, faults), expected);
}

fn judged(run: &Exploration, expected: &Expect) {
    let verdict = run.verdict.to_string();
    assert!(verdict.starts_with("refuted"), "what breaks a rule is refuted, but it {verdict}");
    expected.assert_eq(&verdict);
}

#[test]
fn a_member_that_never_refutes_is_refuted() {
    refuted(
        Shape::new(2),
        faults().losses(2),
        |member| member.breaking(Mutant::NeverRefutes),
        &expect!["refuted in 7 steps: all can still be known and told"],
    );
}

#[test]
fn a_member_that_refutes_without_raising_its_incarnation_is_refuted() {
    refuted(
        Shape::new(2),
        faults().losses(2),
        |member| member.breaking(Mutant::RefutesWithoutRaising),
        &expect!["refuted in 7 steps: all can still be known and told"],
    );
}

#[test]
fn a_member_that_tells_for_ever_is_refuted() {
    refuted(
        Shape::new(2).strangers(),
        faults(),
        |member| member.breaking(Mutant::TellsForEver),
        &expect!["refuted in 0 steps: all can still be known and told"],
    );
}

#[test]
fn a_member_that_never_compares_is_refuted() {
    refuted(
        Shape::new(2).strangers(),
        faults(),
        |member| member.breaking(Mutant::NeverCompares),
        &expect!["refuted in 0 steps: all can still be known and told"],
    );
}

/// A ping is lost, and the next one, which tells of the suspicion; and the same the other way. Each holds the other dead then,
/// and so nobody asks anybody.
#[test]
fn a_member_that_leaves_the_lost_alone_is_refuted() {
    refuted(
        Shape::new(2),
        faults().losses(6),
        |member| member.breaking(Mutant::LeavesTheLost),
        &expect!["refuted in 18 steps: all can still be known and told"],
    );
}

#[test]
fn a_member_that_begins_each_life_with_the_same_number_is_refuted() {
    let alter = |member: Member| member.breaking(Mutant::ForgetsLife);
    refuted(
        Shape::new(2),
        faults().losses(2).crashes(1),
        alter,
        &expect!["refuted in 13 steps: nobody holds an incarnation that its member has not reached"],
    );
}

#[test]
fn a_member_that_asks_no_help_is_refuted() {
    let shape = Shape::new(3).altered(|member| member.breaking(Mutant::AsksNoHelp));
    let cast = cast(&shape).always("nobody who is up is suspected", nobody_is_slandered);
    judged(&explore(&cast, faults().losses(2)), &expect!["refuted in 9 steps: nobody who is up is suspected"]);
}
