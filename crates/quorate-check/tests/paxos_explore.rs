//! Paxos in every interleaving of small instances, and each of its rules broken on purpose and seen: first the write-once
//! register, then the log.

use expect_test::{Expect, expect};
use quorate_check::casts::Lists;
use quorate_check::casts::paxos_log::{self, LogRole, Shape, Wish};
use quorate_check::casts::paxos_register::{self, RegisterRole};
use quorate_check::explore::Explorable;
use quorate_check::{Alarms, Cast, Exploration, Explorer, Faults, space_time_diagram};
use quorate_model::{Outbox, Pid};
use quorate_protocols::paxos::log::{Mutant, Node};
use quorate_protocols::paxos::register;

use Wish::{Append, Members, Read};

/// How wide a counterexample is printed.
const DIAGRAM_WIDTH: usize = 160;
/// No instance has more states than fit a small machine.
const HOLDING_STATES_MAX: u64 = 12_000_000;
/// A broken rule is seen within so many states.
const MUTANT_STATES_MAX: u64 = 8_000_000;

fn faults() -> Faults {
    Faults::none().alarms(Alarms::WhenQuiet)
}

fn holds<P: Explorable>(cast: &Cast<P>, faults: Faults, expected: &Expect) {
    let run = Explorer::new(cast).faults(faults).states_max(HOLDING_STATES_MAX).threads(2).run();
    println!("{run}");
    assert!(run.verdict.holds(), "{run}\n{}", space_time_diagram::text(&run.trace, DIAGRAM_WIDTH));
    expected.assert_eq(&run.verdict.to_string());
}

fn judged(run: &Exploration, expected: &Expect) {
    let verdict = run.verdict.to_string();
    println!("{run}");
    assert!(verdict.starts_with("refuted"), "what breaks a rule is refuted, but it {verdict}");
    expected.assert_eq(&verdict);
}

fn refuted<P: Explorable>(cast: &Cast<P>, faults: Faults, expected: &Expect) {
    judged(&Explorer::new(cast).faults(faults).states_max(MUTANT_STATES_MAX).threads(2).run(), expected);
}

// The write-once register.

/// Three acceptors, and two proposers who both want to write.
fn two_writers() -> paxos_register::Shape {
    paxos_register::Shape::new(3, vec![vec![1], vec![2]])
}

#[test]
fn a_register_that_two_write_holds() {
    holds(
        &paxos_register::cast(&two_writers()),
        faults(),
        &expect!["holds: 960287 states, 5244226 transitions, depth 32"],
    );
}

/// Safety alone could be had by never answering: from every state, whatever was lost, a decision can be reached.
#[test]
fn a_register_that_two_write_holds_with_a_lost_message_and_can_always_be_decided() {
    let cast = paxos_register::cast(&two_writers())
        .steps_until("something can happen until everything is answered", |view| view.all_answered())
        .possible("everything can still be answered", |view| view.all_answered());
    holds(&cast, faults().losses(1), &expect!["holds: 3921977 states, 24823368 transitions, depth 46"]);
}

#[test]
fn a_register_that_two_write_holds_with_a_crash_of_a_proposer() {
    let faults = faults().crashes(1).crash_only([Pid::proposer(1, 0)]);
    holds(
        &paxos_register::cast(&two_writers()),
        faults,
        &expect!["holds: 8460008 states, 50841929 transitions, depth 45"],
    );
}

/// Acceptors are all alike: a crash of one is a crash of any.
#[test]
fn a_register_that_two_write_holds_with_a_crash_of_an_acceptor() {
    let faults = faults().crashes(1).crash_only([Pid::acceptor(1, 0)]);
    let shape = paxos_register::Shape::new(2, vec![vec![1], vec![2]]);
    holds(&paxos_register::cast(&shape), faults, &expect!["holds: 10101 states, 28430 transitions, depth 44"]);
}

#[test]
fn a_register_that_two_write_holds_with_a_copied_message_and_a_lost_one() {
    let shape = paxos_register::Shape::new(2, vec![vec![1], vec![2]]);
    holds(
        &paxos_register::cast(&shape),
        faults().copies(1).losses(1),
        &expect!["holds: 573447 states, 2438553 transitions, depth 43"],
    );
}

fn broken_register(alter: fn(RegisterRole) -> RegisterRole, faults: Faults, expected: &Expect) {
    refuted(&paxos_register::cast(&two_writers().altered(alter)), faults, expected);
}

#[test]
fn an_acceptor_that_forgets_its_promise_is_refuted() {
    broken_register(
        |role| role.breaking(register::Mutant::ForgetsPromise),
        faults(),
        &expect!["refuted in 17 steps: what is learned is on the disks of a quorum"],
    );
}

#[test]
fn an_acceptor_that_forgets_its_vote_is_refuted() {
    broken_register(
        |role| role.breaking(register::Mutant::ForgetsVote),
        faults(),
        &expect!["refuted in 10 steps: what is learned is on the disks of a quorum"],
    );
}

#[test]
fn a_proposer_that_ignores_the_highest_vote_is_refuted() {
    broken_register(
        |role| role.breaking(register::Mutant::IgnoresVotes),
        faults(),
        &expect!["refuted in 17 steps: what is learned is on the disks of a quorum"],
    );
}

#[test]
fn a_proposer_that_begins_a_ballot_twice_is_refuted() {
    // The client has to die too: else it proposes the same value again, and nobody can tell.
    let faults = faults().crashes(2).crash_only([Pid::proposer(1, 0), Pid::client(1, 0)]);
    let shape =
        paxos_register::Shape::new(3, vec![vec![1, 2]]).altered(|role| role.breaking(register::Mutant::ForgetsBallot));
    refuted(
        &paxos_register::cast(&shape),
        faults,
        &expect!["refuted in 24 steps: what is learned is on the disks of a quorum"],
    );
}

#[test]
fn quorums_that_do_not_intersect_are_refuted() {
    broken_register(
        |role| role.breaking(register::Mutant::DecidesAlone),
        faults(),
        &expect!["refuted in 6 steps: what is learned is on the disks of a quorum"],
    );
}

#[test]
fn a_host_that_lets_messages_overtake_an_acceptors_records_is_refuted() {
    let cast = paxos_register::cast(&two_writers());
    let overtake = |outbox: &mut Outbox<RegisterRole>| {
        outbox.break_commit();
    };
    let faults = faults().crashes(1).crash_only([Pid::acceptor(1, 0)]);
    let run = Explorer::new(&cast).faults(faults).mutate_outboxes(overtake).threads(2).run();
    judged(&run, &expect!["refuted in 10 steps: what is learned is on the disks of a quorum"]);
}

// The log.

fn append_then_read(node_count: u32) -> Shape {
    Shape::new(node_count, vec![(1, vec![Append(0, 1)]), (2, vec![Read(0)])])
}

fn crash_of(node: u32) -> Faults {
    faults().crashes(1).crash_only([Pid::consensus(node, 0)])
}

#[test]
fn two_members_hold_with_a_crash_of_any_process() {
    let cast = paxos_log::cast(&append_then_read(2))
        .steps_until("something can happen until everything is answered", |view| view.all_answered())
        .possible("everything can still be answered", |view| view.all_answered());
    holds(&cast, faults().crashes(1), &expect!["holds: 19932 states, 46593 transitions, depth 47"]);
}

#[test]
fn two_members_hold_with_a_lost_and_a_copied_message() {
    let cast = paxos_log::cast(&append_then_read(2));
    holds(&cast, faults().losses(1).copies(1), &expect!["holds: 12029 states, 29107 transitions, depth 32"]);
}

/// Both members are asked and know no leader, so both try to lead.
#[test]
fn three_members_hold_with_a_lost_message() {
    let cast = paxos_log::cast(&Shape::new(3, vec![(1, vec![Append(0, 1), Read(0)])]));
    holds(&cast, faults().losses(1), &expect!["holds: 28138 states, 124355 transitions, depth 34"]);
}

#[test]
fn a_change_of_members_holds() {
    let people = vec![(1, vec![Append(0, 1), Members(vec![1, 2]), Read(0)])];
    holds(
        &paxos_log::cast(&Shape::new(3, people)),
        faults(),
        &expect!["holds: 3090387 states, 16954991 transitions, depth 38"],
    );
}

#[test]
fn a_member_that_joins_by_a_snapshot_holds() {
    let people = vec![(1, vec![Append(0, 1), Members(vec![1, 2]), Append(0, 2)]), (2, vec![Read(0)])];
    let cast = paxos_log::cast(&Shape::new(2, people).begun_by(1).keeping(0));
    holds(&cast, faults().losses(1), &expect!["holds: 1361068 states, 7259038 transitions, depth 38"]);
}

fn broken_log(shape: Shape, faults: Faults, alter: fn(Node<Lists>) -> Node<Lists>, expected: &Expect) {
    refuted(&paxos_log::cast(&shape.altered(alter)), faults, expected);
}

#[test]
fn a_member_that_forgets_its_promise_is_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Append(0, 1)]), (2, vec![Append(0, 2)])]);
    broken_log(
        shape,
        faults(),
        |member| member.breaking(Mutant::ForgetsPromise),
        &expect!["refuted in 10 steps: what is chosen is on the disks of a quorum"],
    );
}

#[test]
fn a_member_that_says_it_voted_before_it_is_durable_is_refuted() {
    let alter = |member: Node<Lists>| member.breaking(Mutant::SaysBeforeDurable);
    broken_log(
        append_then_read(3),
        crash_of(2),
        alter,
        &expect!["refuted in 10 steps: what is chosen is on the disks of a quorum"],
    );
}

#[test]
fn a_host_that_lets_messages_overtake_records_is_refuted() {
    let cast = paxos_log::cast(&append_then_read(3));
    let overtake = |outbox: &mut Outbox<LogRole>| {
        outbox.break_commit();
    };
    let run = Explorer::new(&cast).faults(crash_of(1)).mutate_outboxes(overtake).threads(2).run();
    judged(&run, &expect!["refuted in 8 steps: what is chosen is on the disks of a quorum"]);
}

#[test]
fn a_leader_that_skips_phase_one_after_a_restart_is_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Append(0, 1)]), (1, vec![Append(0, 2)])]);
    broken_log(
        shape,
        crash_of(1),
        |member| member.breaking(Mutant::SkipsPhaseOne),
        &expect!["refuted in 14 steps: what is chosen is on the disks of a quorum"],
    );
}

#[test]
fn a_leader_that_overwrites_what_may_be_chosen_is_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Append(0, 1)]), (2, vec![Append(0, 2)])]);
    broken_log(
        shape,
        faults(),
        |member| member.breaking(Mutant::IgnoresVotes),
        &expect!["refuted in 10 steps: no slot is decided twice"],
    );
}

#[test]
fn a_log_whose_quorums_do_not_intersect_is_refuted() {
    let alter = |member: Node<Lists>| member.breaking(Mutant::DecidesAlone);
    broken_log(
        append_then_read(3),
        faults(),
        alter,
        &expect!["refuted in 2 steps: what is chosen is on the disks of a quorum"],
    );
}

#[test]
fn a_leader_that_does_not_confirm_that_it_leads_is_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Read(0), Read(0)]), (2, vec![Append(0, 1)])]);
    broken_log(
        shape,
        faults(),
        |member| member.breaking(Mutant::ReadsUnconfirmed),
        &expect!["refuted in 15 steps: the lists are linearizable"],
    );
}

#[test]
fn a_new_leader_that_answers_before_it_has_applied_what_it_found_is_refuted() {
    let alter = |member: Node<Lists>| member.breaking(Mutant::ReadsBeforeFloor);
    broken_log(append_then_read(3), faults(), alter, &expect!["refuted in 14 steps: the lists are linearizable"]);
}

#[test]
fn new_members_whose_votes_count_too_early_are_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Members(vec![1])]), (2, vec![Append(0, 1)])]);
    broken_log(
        shape,
        faults(),
        |member| member.breaking(Mutant::UsesMembersEarly),
        &expect!["refuted in 10 steps: no slot is decided twice"],
    );
}

#[test]
fn a_member_that_forgets_its_sessions_is_refuted() {
    let alter = |member: Node<Lists>| member.breaking(Mutant::ForgetsSessions);
    broken_log(
        append_then_read(2),
        faults().copies(1),
        alter,
        &expect!["refuted in 15 steps: the lists are linearizable"],
    );
}

// A disk that is lost.

fn loss_of(node: u32) -> Faults {
    faults().disk_losses(1, [Pid::consensus(node, 0)])
}

/// Who leads loses its disk, or who follows: whatever was said to it in its earlier life comes at any time.
#[test]
fn three_members_hold_when_one_loses_its_disk() {
    let shape = || Shape::new(3, vec![(1, vec![Append(0, 1)])]).losing();
    holds(
        &paxos_log::cast(&shape()),
        loss_of(1).same_max(1),
        &expect!["holds: 94271 states, 358495 transitions, depth 39"],
    );
    holds(
        &paxos_log::cast(&shape()),
        loss_of(2).same_max(1),
        &expect!["holds: 75454 states, 303394 transitions, depth 31"],
    );
}

#[test]
fn a_member_that_answers_without_a_memory_is_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Append(0, 1)]), (2, vec![Append(0, 2)])]).losing();
    broken_log(
        shape,
        loss_of(3),
        |member| member.breaking(Mutant::AnswersBeforeRecall),
        &expect!["refuted in 14 steps: no slot is decided twice"],
    );
}
