//! The chain in every interleaving of small instances, and each of its rules broken on purpose and seen.

use expect_test::{Expect, expect};
use quorate_check::cast::Status;
use quorate_check::casts::Lists;
use quorate_check::casts::chain::{HOST, ListRole, Shape, Wish, cast};
use quorate_check::{Alarms, Cast, Exploration, Explorer, Faults, space_time_diagram};
use quorate_model::{Outbox, Pid};
use quorate_protocols::chain::{Message, Mutant, Node, Request};

use Wish::{Append, Read};

/// How wide a counterexample is printed.
const DIAGRAM_WIDTH: usize = 160;

fn faults() -> Faults {
    Faults::none().alarms(Alarms::WhenQuiet)
}

fn explore(shape: &Shape, faults: Faults) -> Exploration {
    Explorer::new(&cast(shape)).faults(faults).threads(2).run()
}

fn holds(shape: &Shape, faults: Faults, expected: Expect) {
    let run = explore(shape, faults);
    println!("{run}");
    assert!(run.verdict.holds(), "{run}\n{}", space_time_diagram::text(&run.trace, DIAGRAM_WIDTH));
    expected.assert_eq(&run.verdict.to_string());
}

#[test]
fn alone_a_member_survives_its_crashes() {
    let shape = Shape::new(1, vec![(1, vec![Append(0, 1), Read(0)])]);
    holds(&shape, faults().crashes(3), expect!["holds: 4154 states, 10028 transitions, depth 17"]);
}

#[test]
fn two_members_hold_with_a_crash_of_any_process_and_a_copied_message() {
    let shape = Shape::new(2, vec![(1, vec![Append(0, 1)]), (2, vec![Read(0)])]);
    holds(&shape, faults().crashes(1).copies(1), expect!["holds: 5083720 states, 24051862 transitions, depth 49"]);
}

#[test]
fn two_members_hold_with_a_lost_and_a_copied_message() {
    let shape = Shape::new(2, vec![(1, vec![Append(0, 1)]), (2, vec![Read(0)])]);
    holds(&shape, faults().losses(1).copies(1), expect!["holds: 8794 states, 35856 transitions, depth 18"]);
}

#[test]
fn a_head_that_gathers_what_waits_holds_too() {
    let shape = Shape::new(2, vec![(1, vec![Append(0, 1)]), (2, vec![Append(0, 2), Read(0)])]).batching();
    holds(&shape, faults(), expect!["holds: 208 states, 428 transitions, depth 23"]);
}

#[test]
fn three_members_and_two_clients_hold_without_faults() {
    let shape = Shape::new(3, vec![(1, vec![Append(0, 1)]), (3, vec![Append(0, 2), Read(0)])]);
    holds(&shape, faults(), expect!["holds: 3407241 states, 19708185 transitions, depth 37"]);
}

#[test]
fn three_members_and_two_clients_hold_with_a_crash_of_any_process() {
    let shape = Shape::new(3, vec![(1, vec![Append(0, 1)]), (2, vec![Read(0)])]);
    holds(&shape, faults().crashes(1), expect!["holds: 25110005 states, 133598152 transitions, depth 61"]);
}

/// Safety alone could be had by never answering: whatever was lost, copied or died, everything can still be answered.
/// What was asked of a process that died counts as answered: its outcome is unknown, which is its own answer.
#[test]
fn whatever_happened_everything_can_still_be_answered() {
    let write_then_read = || Shape::new(2, vec![(1, vec![Append(0, 1)]), (2, vec![Read(0)])]);
    let alone = Shape::new(1, vec![(1, vec![Append(0, 1), Read(0)])]);
    for (shape, faults, expected) in [
        (alone, faults().crashes(3), expect!["holds: 4154 states, 10028 transitions, depth 17"]),
        (write_then_read(), faults().losses(1).copies(1), expect!["holds: 8794 states, 35856 transitions, depth 18"]),
        (write_then_read(), faults().crashes(1), expect!["holds: 375042 states, 1502027 transitions, depth 46"]),
    ] {
        can_be_answered(&shape, faults, expected);
    }
}

/// A cast that claims that everything can be answered from everywhere.
fn possible(shape: &Shape) -> Cast<ListRole> {
    cast(shape)
        .steps_until("something can happen until everything is answered", |view| view.all_answered())
        .possible("everything can still be answered", |view| view.all_answered())
}

fn can_be_answered(shape: &Shape, faults: Faults, expected: Expect) {
    let run = Explorer::new(&possible(shape)).faults(faults).threads(2).run();
    println!("{run}");
    assert!(run.verdict.holds(), "{run}\n{}", space_time_diagram::text(&run.trace, DIAGRAM_WIDTH));
    expected.assert_eq(&run.verdict.to_string());
}

/// A crash together with a loss: what is lost may be what the crash made necessary.
#[test]
fn whatever_was_lost_beside_a_crash_everything_can_still_be_answered() {
    can_be_answered(
        &write_then_read(),
        faults().crashes(1).losses(1),
        expect!["holds: 769553 states, 4149432 transitions, depth 46"],
    );
}

/// Two people append, the head takes one command at a time, and a disk is full for a while. Then one person, and alarms
/// that ring at any time, so that all is sent again also while there is no room.
#[test]
fn a_full_disk_stops_the_chain_for_as_long_as_it_is_full() {
    let shape =
        || Shape::new(2, vec![(1, vec![Append(0, 1)]), (2, vec![Append(0, 2), Read(0)])]).uncommitted_len_max(1);
    let alone = Shape::new(2, vec![(1, vec![Append(0, 1), Read(0)])]).full(2, 1);
    for (shape, faults, expected) in [
        (shape().full(1, 1), faults().losses(1), expect!["holds: 62682 states, 211521 transitions, depth 29"]),
        (shape().full(2, 1), faults().losses(1), expect!["holds: 222227 states, 913552 transitions, depth 31"]),
        (shape().full(1, 1).full(2, 1), faults(), expect!["holds: 861415 states, 2832348 transitions, depth 29"]),
        (alone, Faults::none().same_max(1), expect!["holds: 23334 states, 123269 transitions, depth 24"]),
    ] {
        can_be_answered(&shape, faults, expected);
    }
}

#[test]
fn a_member_that_restarts_while_its_disk_is_full_holds() {
    let shape = Shape::new(2, vec![(1, vec![Append(0, 1), Read(0)])]).full(2, 1);
    can_be_answered(&shape, faults().crashes(1), expect!["holds: 685988 states, 2903940 transitions, depth 48"]);
}

/// A cast with a tail whose disk is full for ever, which claims that reads are answered all the same.
fn reads_possible(shape: &Shape) -> Cast<ListRole> {
    let tail = shape.node_count;
    cast(shape).tells(Pid::outside(tail, HOST), Pid::chain(tail, 0), [Message::NoRoom]).possible(
        "a read can be answered while there is no room",
        |view| {
            view.asked().all(|asked| {
                let reads = matches!(asked.ask, Message::Ask { request: Request::Query(_), .. });
                !reads || matches!(asked.status, Status::Answered(_) | Status::Unknown)
            })
        },
    )
}

/// What the tail lacks after a crash may have been committed, so it answers no read before it has it again.
#[test]
fn a_full_tail_that_restarts_answers_reads_before_there_is_room() {
    for (shape, expected) in [
        (write_then_read(), expect!["holds: 1530231 states, 6405473 transitions, depth 47"]),
        (write_and_read_at_head(), expect!["holds: 3876236 states, 15961321 transitions, depth 48"]),
    ] {
        let run = Explorer::new(&reads_possible(&shape)).faults(faults().crashes(1)).threads(2).run();
        println!("{run}");
        assert!(run.verdict.holds(), "{run}\n{}", space_time_diagram::text(&run.trace, DIAGRAM_WIDTH));
        expected.assert_eq(&run.verdict.to_string());
    }
}

fn write_and_read_at_head() -> Shape {
    Shape::new(2, vec![(1, vec![Append(0, 1)]), (1, vec![Read(0)])])
}

#[test]
fn a_full_tail_that_takes_nothing_at_all_is_refuted() {
    let shape = write_then_read().altered(|node| node.breaking(Mutant::DropsBelowFloor));
    let run = Explorer::new(&reads_possible(&shape)).faults(faults().crashes(1)).threads(2).run();
    judged(&run, &expect!["refuted in 10 steps: a read can be answered while there is no room"]);
}

/// Explores `shape` with every member altered; the rule that it breaks must be refuted, and soon.
fn refuted(shape: Shape, faults: Faults, alter: fn(Node<Lists>) -> Node<Lists>, expected: Expect) {
    judged(&explore(&shape.altered(alter), faults), &expected);
}

fn judged(run: &Exploration, expected: &Expect) {
    let verdict = run.verdict.to_string();
    assert!(verdict.starts_with("refuted"), "what breaks a rule is refuted, but it {verdict}");
    expected.assert_eq(&verdict);
}

fn write_then_read() -> Shape {
    Shape::new(2, vec![(1, vec![Append(0, 1)]), (2, vec![Read(0)])])
}

#[test]
fn a_member_that_acknowledges_before_it_is_durable_is_refuted() {
    let alter = |node: Node<Lists>| node.breaking(Mutant::AcknowledgesBeforeDurable);
    refuted(
        write_then_read(),
        faults().crashes(1),
        alter,
        expect!["refuted in 10 steps: what is committed is on every disk"],
    );
}

#[test]
fn a_host_that_lets_messages_overtake_records_is_refuted() {
    let cast = cast(&write_then_read());
    let overtake = |outbox: &mut Outbox<ListRole>| {
        outbox.break_commit();
    };
    let run = Explorer::new(&cast).faults(faults().crashes(1)).mutate_outboxes(overtake).run();
    judged(&run, &expect!["refuted in 7 steps: what is committed is on every disk"]);
}

#[test]
fn a_member_that_reads_what_is_not_committed_is_refuted() {
    let alter = |node: Node<Lists>| node.breaking(Mutant::ReadsUncommitted);
    refuted(write_then_read(), faults(), alter, expect!["refuted in 8 steps: the lists are linearizable"]);
}

#[test]
fn a_member_that_ignores_what_is_under_way_is_refuted() {
    let shape = Shape::new(2, vec![(1, vec![Read(0), Read(0)]), (2, vec![Append(0, 1)])]);
    let alter = |node: Node<Lists>| node.breaking(Mutant::IgnoresDirty);
    refuted(shape, faults(), alter, expect!["refuted in 11 steps: the lists are linearizable"]);
}

#[test]
fn a_member_that_forgets_its_sessions_is_refuted() {
    let alter = |node: Node<Lists>| node.breaking(Mutant::ForgetsSessions);
    refuted(write_then_read(), faults().copies(1), alter, expect!["refuted in 11 steps: the lists are linearizable"]);
}

#[test]
fn a_member_that_takes_resent_entries_for_new_ones_is_refuted() {
    let shape = Shape::new(2, vec![(1, vec![Append(0, 1), Append(0, 2)]), (2, vec![Read(0)])]);
    let alter = |node: Node<Lists>| node.breaking(Mutant::ReordersOnResend);
    refuted(shape, faults(), alter, expect!["refuted in 14 steps: members never differ at an index"]);
}

#[test]
fn a_member_that_applies_twice_is_refuted() {
    let alter = |node: Node<Lists>| node.breaking(Mutant::AppliesTwice);
    refuted(write_then_read(), faults(), alter, expect!["refuted in 9 steps: the lists are linearizable"]);
}

#[test]
fn a_member_that_replays_other_than_it_lived_is_refuted() {
    let shape = Shape::new(2, vec![(1, vec![Append(0, 1)]), (1, vec![Append(0, 2)]), (2, vec![Read(0)])]).batching();
    let alter = |node: Node<Lists>| node.breaking(Mutant::ReplaysOneOfBatch);
    refuted(shape, faults().crashes(1), alter, expect!["refuted in 18 steps: what is committed is on every disk"]);
}

/// The member asks the tail, the answer is under way while the append commits and the member restarts; then a second
/// person asks the member, whose first question of its new life has the same number as that of the old one.
#[test]
fn a_member_that_takes_answers_to_questions_of_an_earlier_life_is_refuted() {
    let shape = Shape::new(2, vec![(1, vec![Read(0)]), (1, vec![Read(0)]), (2, vec![Append(0, 1)])]);
    let alter = |node: Node<Lists>| node.breaking(Mutant::TakesLateAnswers);
    refuted(
        shape,
        faults().crashes(1).crash_only([Pid::chain(1, 0)]),
        alter,
        expect!["refuted in 24 steps: the lists are linearizable"],
    );
}

#[test]
fn a_member_that_hears_an_earlier_life_of_its_predecessor_is_refuted() {
    let shape = Shape::new(2, vec![(1, vec![Append(0, 1)]), (1, vec![Append(0, 2)]), (2, vec![Read(0)])]);
    let alter = |node: Node<Lists>| node.breaking(Mutant::TakesStaleForwards);
    refuted(shape, faults().crashes(1), alter, expect!["refuted in 15 steps: members never differ at an index"]);
}

#[test]
fn a_head_that_orders_before_it_knows_what_its_successor_has_is_refuted() {
    let shape = Shape::new(2, vec![(1, vec![Append(0, 1)]), (1, vec![Append(0, 2)]), (2, vec![Read(0)])]);
    let alter = |node: Node<Lists>| node.breaking(Mutant::OrdersBeforeJoined);
    refuted(shape, faults().crashes(1), alter, expect!["refuted in 12 steps: members never differ at an index"]);
}

#[test]
fn a_tail_that_answers_before_it_has_committed_again_is_refuted() {
    let alter = |node: Node<Lists>| node.breaking(Mutant::AnswersBeforeFloor);
    refuted(write_then_read(), faults().crashes(1), alter, expect!["refuted in 20 steps: the lists are linearizable"]);
}

#[test]
fn a_tail_that_commits_what_only_it_has_is_refuted() {
    let alter = |node: Node<Lists>| node.breaking(Mutant::CommitsAtTailAlone);
    refuted(
        write_then_read(),
        faults().crashes(1),
        alter,
        expect!["refuted in 9 steps: what is committed is on every disk"],
    );
}

fn full_tail() -> Shape {
    write_then_read().full(2, 1)
}

#[test]
fn a_member_that_takes_entries_without_room_is_refuted() {
    let alter = |node: Node<Lists>| node.breaking(Mutant::TakesWithoutRoom);
    refuted(full_tail(), faults(), alter, expect!["refuted in 6 steps: a member without room takes nothing"]);
}

#[test]
fn a_member_that_does_not_hear_of_room_is_refuted() {
    let shape = full_tail().altered(|node| node.breaking(Mutant::StaysFull));
    judged(
        &Explorer::new(&possible(&shape)).faults(faults()).run(),
        &expect!["refuted in 1 steps: everything can still be answered"],
    );
}

#[test]
fn a_head_that_orders_without_bound_is_refuted() {
    let shape = Shape::new(2, vec![(1, vec![Append(0, 1)]), (2, vec![Append(0, 2), Read(0)])]).uncommitted_len_max(1);
    let alter = |node: Node<Lists>| node.breaking(Mutant::OrdersWithoutBound);
    refuted(shape, faults(), alter, expect!["refuted in 7 steps: what the head took and is not committed is bounded"]);
}
