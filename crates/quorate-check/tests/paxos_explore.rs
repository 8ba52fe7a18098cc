//! Paxos in every interleaving of small instances, and each of its rules broken on purpose and seen: first the write-once
//! register, then the log.

use std::time::Duration;

use expect_test::{Expect, expect};
use quorate_check::casts::Lists;
use quorate_check::casts::paxos_log::{self, LogRole, Shape, Wish};
use quorate_check::casts::paxos_register::{self, RegisterRole};
use quorate_check::explore::Explorable;
use quorate_check::{Alarms, Cast, Clocks, Exploration, Explorer, Faults, space_time_diagram};
use quorate_model::{Outbox, Pid};
use quorate_protocols::paxos::log::{Lease, Mutant, Node};
use quorate_protocols::paxos::register;

use Wish::{Append, Members, Read};

/// How wide a counterexample is printed.
const DIAGRAM_WIDTH: usize = 160;
/// A broken rule is seen within so many states.
const MUTANT_STATES_MAX: u64 = 8_000_000;

fn faults() -> Faults {
    Faults::none().alarms(Alarms::WhenQuiet)
}

fn holds<P: Explorable>(cast: &Cast<P>, faults: Faults, expected: &Expect) {
    let run = Explorer::new(cast).faults(faults).threads(2).run();
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
    holds(&paxos_register::cast(&two_writers()), faults(), &expect![[""]]);
}

/// Safety alone could be had by never answering: from every state, whatever was lost, a decision can be reached.
#[test]
fn a_register_that_two_write_holds_with_a_lost_message_and_can_always_be_decided() {
    let cast = paxos_register::cast(&two_writers())
        .steps_until("something can happen until everything is answered", |view| view.all_answered())
        .possible("everything can still be answered", |view| view.all_answered());
    holds(&cast, faults().losses(1), &expect![[""]]);
}

#[test]
fn a_register_that_two_write_holds_with_a_crash_of_a_proposer() {
    let faults = faults().crashes(1).crash_only([Pid::proposer(1, 0)]);
    holds(&paxos_register::cast(&two_writers()), faults, &expect![[""]]);
}

/// Acceptors are all alike: a crash of one is a crash of any.
#[test]
fn a_register_that_two_write_holds_with_a_crash_of_an_acceptor() {
    let faults = faults().crashes(1).crash_only([Pid::acceptor(1, 0)]);
    let shape = paxos_register::Shape::new(2, vec![vec![1], vec![2]]);
    holds(&paxos_register::cast(&shape), faults, &expect![[""]]);
}

#[test]
fn a_register_that_two_write_holds_with_a_copied_message_and_a_lost_one() {
    let shape = paxos_register::Shape::new(2, vec![vec![1], vec![2]]);
    holds(&paxos_register::cast(&shape), faults().copies(1).losses(1), &expect![[""]]);
}

#[test]
fn a_register_that_one_writes_holds_with_a_copied_message_and_a_crash_of_any_process() {
    let shape = paxos_register::Shape::new(3, vec![vec![1]]);
    let cast = paxos_register::cast(&shape);
    let run = Explorer::new(&cast).faults(faults().copies(1).crashes(1)).threads(2).run();
    println!("{run}");
    // Nothing is refuted; nobody else writes, so nobody is told of another's value.
    expect![[""]].assert_eq(&run.verdict.to_string());
}

fn broken_register(alter: fn(RegisterRole) -> RegisterRole, faults: Faults, expected: &Expect) {
    refuted(&paxos_register::cast(&two_writers().altered(alter)), faults, expected);
}

#[test]
fn an_acceptor_that_forgets_its_promise_is_refuted() {
    broken_register(|role| role.breaking(register::Mutant::ForgetsPromise), faults(), &expect![[""]]);
}

#[test]
fn an_acceptor_that_forgets_its_vote_is_refuted() {
    broken_register(|role| role.breaking(register::Mutant::ForgetsVote), faults(), &expect![[""]]);
}

#[test]
fn an_acceptor_that_promises_before_it_is_durable_is_refuted() {
    let faults = faults().crashes(1).crash_only([Pid::acceptor(1, 0)]);
    broken_register(|role| role.breaking(register::Mutant::SaysBeforeDurable), faults, &expect![[""]]);
}

#[test]
fn a_proposer_that_ignores_the_highest_vote_is_refuted() {
    broken_register(|role| role.breaking(register::Mutant::IgnoresVotes), faults(), &expect![[""]]);
}

#[test]
fn a_proposer_that_begins_a_ballot_twice_is_refuted() {
    let faults = faults().crashes(1).crash_only([Pid::proposer(1, 0)]);
    let shape =
        paxos_register::Shape::new(3, vec![vec![1, 2]]).altered(|role| role.breaking(register::Mutant::ForgetsBallot));
    refuted(&paxos_register::cast(&shape), faults, &expect![[""]]);
}

#[test]
fn quorums_that_do_not_intersect_are_refuted() {
    broken_register(|role| role.breaking(register::Mutant::DecidesAlone), faults(), &expect![[""]]);
}

#[test]
fn a_host_that_lets_messages_overtake_an_acceptors_records_is_refuted() {
    let cast = paxos_register::cast(&two_writers());
    let overtake = |outbox: &mut Outbox<RegisterRole>| {
        outbox.break_commit();
    };
    let faults = faults().crashes(1).crash_only([Pid::acceptor(1, 0)]);
    let run = Explorer::new(&cast).faults(faults).mutate_outboxes(overtake).threads(2).run();
    judged(&run, &expect![[""]]);
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
    holds(&cast, faults().crashes(1), &expect![[""]]);
}

#[test]
fn two_members_hold_with_a_lost_and_a_copied_message() {
    let cast = paxos_log::cast(&append_then_read(2));
    holds(&cast, faults().losses(1).copies(1), &expect![[""]]);
}

/// Both members are asked and know no leader, so both try to lead.
#[test]
fn three_members_and_two_clients_hold_without_faults() {
    holds(&paxos_log::cast(&append_then_read(3)), faults(), &expect![[""]]);
}

#[test]
fn three_members_hold_with_a_lost_message() {
    let cast = paxos_log::cast(&Shape::new(3, vec![(1, vec![Append(0, 1), Read(0)])]));
    holds(&cast, faults().losses(1), &expect![[""]]);
}

#[test]
fn three_members_hold_with_a_crash_of_the_leader() {
    let cast = paxos_log::cast(&Shape::new(3, vec![(1, vec![Append(0, 1)])]));
    holds(&cast, crash_of(1), &expect![[""]]);
}

#[test]
fn a_change_of_members_holds() {
    let people = vec![(1, vec![Append(0, 1), Members(vec![1, 2]), Read(0)])];
    holds(&paxos_log::cast(&Shape::new(3, people)), faults(), &expect![[""]]);
}

#[test]
fn a_member_that_joins_by_a_snapshot_holds() {
    let people = vec![(1, vec![Append(0, 1), Members(vec![1, 2]), Append(0, 2)]), (2, vec![Read(0)])];
    let cast = paxos_log::cast(&Shape::new(2, people).begun_by(1).keeping(0));
    holds(&cast, faults().losses(1), &expect![[""]]);
}

/// How much faster one clock runs than the other, at most.
const RATES: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(750)];

/// One leads and reads twice; the other never heard of it, and wants to append. Clocks differ by as much as the lease
/// allows for. No alarm rings: messages may be under way for as long as it takes.
fn leases(alter: fn(Node<Lists>) -> Node<Lists>) -> Exploration {
    let lease = Lease { term: Duration::from_secs(2), drift_per_million: 500_000 };
    let shape = Shape::new(3, vec![(1, vec![Read(0), Read(0)]), (2, vec![Append(0, 1)])]).leasing(lease);
    let cast = paxos_log::cast(&shape.altered(alter));
    let clocks = Clocks { rates: RATES.to_vec(), tick_max: 4 };
    Explorer::new(&cast).faults(Faults::none().alarms(Alarms::Never)).clocks(clocks).threads(2).run()
}

#[test]
fn leases_hold_when_clocks_differ_by_the_bound() {
    let run = leases(|member| member);
    println!("{run}");
    expect![[""]].assert_eq(&run.verdict.to_string());
}

#[test]
fn a_lease_that_ignores_the_drift_is_refuted() {
    judged(&leases(|member| member.breaking(Mutant::IgnoresDrift)), &expect![[""]]);
}

#[test]
fn a_lease_that_counts_from_its_grant_is_refuted() {
    judged(&leases(|member| member.breaking(Mutant::CountsLeaseFromGrant)), &expect![[""]]);
}

fn broken_log(shape: Shape, faults: Faults, alter: fn(Node<Lists>) -> Node<Lists>, expected: &Expect) {
    refuted(&paxos_log::cast(&shape.altered(alter)), faults, expected);
}

#[test]
fn a_member_that_forgets_its_promise_is_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Append(0, 1)]), (2, vec![Append(0, 2)])]);
    broken_log(shape, faults(), |member| member.breaking(Mutant::ForgetsPromise), &expect![[""]]);
}

#[test]
fn a_member_that_says_it_voted_before_it_is_durable_is_refuted() {
    let alter = |member: Node<Lists>| member.breaking(Mutant::SaysBeforeDurable);
    broken_log(append_then_read(3), crash_of(2), alter, &expect![[""]]);
}

#[test]
fn a_host_that_lets_messages_overtake_records_is_refuted() {
    let cast = paxos_log::cast(&append_then_read(3));
    let overtake = |outbox: &mut Outbox<LogRole>| {
        outbox.break_commit();
    };
    let run = Explorer::new(&cast).faults(crash_of(1)).mutate_outboxes(overtake).threads(2).run();
    judged(&run, &expect![[""]]);
}

#[test]
fn a_leader_that_skips_phase_one_after_a_restart_is_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Append(0, 1)]), (1, vec![Append(0, 2)])]);
    broken_log(shape, crash_of(1), |member| member.breaking(Mutant::SkipsPhaseOne), &expect![[""]]);
}

#[test]
fn a_leader_that_overwrites_what_may_be_chosen_is_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Append(0, 1)]), (2, vec![Append(0, 2)])]);
    broken_log(shape, faults(), |member| member.breaking(Mutant::IgnoresVotes), &expect![[""]]);
}

#[test]
fn a_log_whose_quorums_do_not_intersect_is_refuted() {
    let alter = |member: Node<Lists>| member.breaking(Mutant::DecidesAlone);
    broken_log(append_then_read(3), faults(), alter, &expect![[""]]);
}

#[test]
fn a_leader_that_does_not_confirm_that_it_leads_is_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Read(0), Read(0)]), (2, vec![Append(0, 1)])]);
    broken_log(shape, faults(), |member| member.breaking(Mutant::ReadsUnconfirmed), &expect![[""]]);
}

#[test]
fn a_new_leader_that_answers_before_it_has_applied_what_it_found_is_refuted() {
    let alter = |member: Node<Lists>| member.breaking(Mutant::ReadsBeforeFloor);
    broken_log(append_then_read(3), faults(), alter, &expect![[""]]);
}

#[test]
fn new_members_whose_votes_count_too_early_are_refuted() {
    let shape = Shape::new(3, vec![(1, vec![Members(vec![1])]), (2, vec![Append(0, 1)])]);
    broken_log(shape, faults(), |member| member.breaking(Mutant::UsesMembersEarly), &expect![[""]]);
}

#[test]
fn a_snapshot_without_sessions_is_refuted() {
    let shape = Shape::new(2, vec![(1, vec![Append(0, 1), Members(vec![1, 2])]), (2, vec![Read(0)])]);
    let alter = |member: Node<Lists>| member.breaking(Mutant::DropsSessions);
    broken_log(shape.begun_by(1).keeping(0), faults().losses(1), alter, &expect![[""]]);
}

#[test]
fn a_member_that_forgets_its_sessions_is_refuted() {
    let alter = |member: Node<Lists>| member.breaking(Mutant::ForgetsSessions);
    broken_log(append_then_read(2), faults().copies(1), alter, &expect![[""]]);
}
