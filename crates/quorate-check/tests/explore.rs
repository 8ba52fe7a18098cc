//! The explorer on protocols that are known: what holds is found to hold, with pinned counts, and every mutant is
//! refuted in the least number of steps.

mod support;

use std::cell::Cell;
use std::time::Duration;

use expect_test::expect;
use quorate_check::explore::{Cost, Verdict};
use quorate_check::{Alarms, Cast, Clocks, Explorer, Faults, View, cost, explore};
use quorate_model::trace::What;
use quorate_model::{Context, Event, Outbox, Pid, Process};
use support::abd::{Message, Role, cast, storage_pids};
use support::counter::{self, Counter};

fn read_and_write(storage: fn() -> Role, client: fn(&[Pid]) -> Role) -> Cast<Role> {
    cast(3, storage, client, [vec![Message::Write(7)], vec![Message::Read, Message::Read]])
}

#[test]
fn abd_is_atomic() {
    let cast = cast(3, Role::storage, Role::client, [vec![Message::Write(7)], vec![Message::Read]])
        .sometimes("a read sees the write", |view| view.answer(Pid::outside(12, 0), 0) == Some(&Message::Value(7)))
        .sometimes("a read comes first", |view| view.answer(Pid::outside(12, 0), 0) == Some(&Message::Value(0)))
        .possible("all is answered", |view| view.all_answered())
        .steps_until("all is answered", |view| view.all_answered())
        .finally("a majority holds what was written", |view| {
            let held = storage_pids(3).into_iter().filter(|pid| match view.process(*pid) {
                Some(Role::Storage(storage)) => storage.value == 7,
                _ => false,
            });
            held.count() >= 2
        });
    let run = explore(&cast, Faults::none());
    expect!["holds: 173124 states, 934365 transitions, depth 26"].assert_eq(&run.verdict.to_string());
}

#[test]
fn without_the_write_back_a_second_read_can_go_back() {
    let run = explore(&read_and_write(Role::storage, Role::hasty_client), Faults::none());
    expect!["refuted in 16 steps: the register is atomic"].assert_eq(&run.verdict.to_string());
    assert!(run.trace.iter().any(|step| matches!(&step.what, What::Send { label, .. } if label == "Value(0)")));
}

#[test]
fn storages_that_forget_lose_a_write() {
    let faults = Faults::none().crashes(1).crash_only(storage_pids(3));
    let scripts = || [vec![Message::Write(7), Message::Read]];
    let run = explore(&cast(3, Role::forgetful_storage, Role::client, scripts()), faults.clone());
    expect!["refuted in 20 steps: the register is atomic"].assert_eq(&run.verdict.to_string());
    let run = explore(&cast(3, Role::storage, Role::client, scripts()), faults);
    expect!["holds: 195381 states, 1016905 transitions, depth 29"].assert_eq(&run.verdict.to_string());
}

#[test]
fn what_is_lost_is_asked_again() {
    let scripts = [vec![Message::Write(7)]];
    let answered = |cast: Cast<Role>| cast.possible("all is answered", |view| view.all_answered());
    let faults = Faults::none().losses(2).same_max(1).alarms(Alarms::WhenQuiet);
    let run = explore(&answered(cast(3, Role::storage, Role::patient_client, scripts.clone())), faults.clone());
    expect!["holds: 2094 states, 7582 transitions, depth 17"].assert_eq(&run.verdict.to_string());
    let run = explore(&answered(cast(3, Role::storage, Role::client, scripts)), faults);
    expect!["refuted in 3 steps: all is answered"].assert_eq(&run.verdict.to_string());
}

#[test]
fn copies_change_nothing() {
    let cast = cast(3, Role::storage, Role::client, [vec![Message::Write(7)]]);
    let run = explore(&cast, Faults::none().copies(2));
    expect!["holds: 12747 states, 60088 transitions, depth 15"].assert_eq(&run.verdict.to_string());
}

#[test]
fn a_counter_says_no_number_twice() {
    let run = explore(&counter::cast(Counter::default(), 2, 2), Faults::none().crashes(2));
    expect!["holds: 1743 states, 2228 transitions, depth 12"].assert_eq(&run.verdict.to_string());
}

#[test]
fn a_message_that_leaves_before_its_record_is_refuted() {
    let cast = counter::cast(Counter::default(), 1, 2);
    let hasty = |outbox: &mut Outbox<Counter>| {
        outbox.break_commit();
    };
    let run = Explorer::new(&cast).faults(Faults::none().crashes(1)).mutate_outboxes(hasty).run();
    expect!["refuted in 4 steps: no number is said twice"].assert_eq(&run.verdict.to_string());
    let steps: Vec<String> = run.trace.iter().map(|step| format!("{} {:?}", step.at, step.what)).collect();
    expect![[r#"
        node1 Start
        outside1 Send { id: 0, to: node1, label: "Next" }
        node1 Receive { id: 0, from: outside1, label: "Next" }
        node1 Send { id: 1, to: outside1, label: "Number(1)" }
        outside1 Receive { id: 1, from: node1, label: "Number(1)" }
        node1 Crash { kept: 0 }
        node1 Start
        outside1 Send { id: 2, to: node1, label: "Next" }
        node1 Receive { id: 2, from: outside1, label: "Next" }
        node1 Send { id: 3, to: outside1, label: "Number(1)" }
        outside1 Receive { id: 3, from: node1, label: "Number(1)" }"#]]
    .assert_eq(&steps.join("\n"));
}

#[test]
fn a_snapshot_that_is_one_short_is_refuted() {
    let bad = Counter { compacts_badly: true, ..Counter::default() };
    let run = explore(&counter::cast(bad, 1, 2).compaction_is_faithful(), Faults::none());
    expect!["refuted in 2 steps: compaction is faithful"].assert_eq(&run.verdict.to_string());
    let run = explore(&counter::cast(Counter::default(), 1, 2).compaction_is_faithful(), Faults::none());
    expect!["holds: 3 states, 2 transitions, depth 2"].assert_eq(&run.verdict.to_string());
}

#[test]
fn a_claim_that_nothing_reaches_is_no_proof() {
    let cast = counter::cast(Counter::default(), 1, 1)
        .sometimes("the count is two", |view| view.process(Pid::chain(1, 0)).is_some_and(|counter| counter.count == 2));
    expect!["never happens in 2 states: the count is two"]
        .assert_eq(&explore(&cast, Faults::none()).verdict.to_string());
}

#[test]
fn a_state_without_a_next_step_is_found() {
    let cast = cast(3, Role::storage, Role::client, [vec![Message::Read]])
        .steps_until("all is answered", |view| view.all_answered());
    expect!["refuted in 5 steps: all is answered"]
        .assert_eq(&explore(&cast, Faults::none().losses(2)).verdict.to_string());
}

#[test]
fn with_a_slow_disk_the_same_is_found() {
    for (client, holds) in [(Role::client as fn(&[Pid]) -> Role, true), (Role::hasty_client, false)] {
        let mut ends = Vec::new();
        for slow in [false, true] {
            let scripts = [vec![Message::Write(7)], vec![Message::Read]];
            let collected = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
            let end = std::sync::Arc::clone(&collected);
            let cast = cast(3, Role::storage, client, scripts).finally("ends", move |view| {
                let processes: Vec<String> = view.processes().map(|(_, process)| format!("{process:?}")).collect();
                let answers: Vec<String> = view.asked().map(|asked| format!("{:?}", asked.status)).collect();
                end.lock().expect("no claim panics").insert(format!("{processes:?} {answers:?}"));
                true
            });
            assert!(explore(&cast, Faults::none().slow_disk(slow)).verdict.holds());
            ends.push(collected.lock().expect("no claim panics").clone());
            let twice = read_and_write(Role::storage, client);
            let run = Explorer::new(&twice).faults(Faults::none().slow_disk(slow)).states_max(400_000).run();
            assert_eq!(!matches!(run.verdict, Verdict::Refuted { .. }), holds);
        }
        assert!(!ends[0].is_empty());
        assert_eq!(ends[0], ends[1], "the same ends are reached");
    }
}

#[test]
fn threads_and_depth_first_find_the_same_states() {
    let cast = cast(3, Role::storage, Role::client, [vec![Message::Write(7)], vec![Message::Read]]);
    let one = Explorer::new(&cast).run();
    let two = Explorer::new(&cast).threads(2).run();
    assert_eq!(one.verdict, two.verdict);
    let deep = Explorer::new(&cast).depth_first().run();
    assert!(deep.verdict.holds());
    assert_eq!(one.states, deep.states);

    let hasty = read_and_write(Role::storage, Role::hasty_client);
    let one = Explorer::new(&hasty).run();
    let two = Explorer::new(&hasty).threads(2).run();
    assert_eq!((one.verdict, one.trace), (two.verdict, two.trace));
}

#[test]
fn limits_give_a_verdict_of_their_own() {
    let cast = read_and_write(Role::storage, Role::client);
    let told = Cell::new(0);
    let run = Explorer::new(&cast).states_max(1000).progress(|_| told.set(told.get() + 1)).run();
    assert!(matches!(run.verdict, Verdict::Unfinished { states: 1000.., .. }), "{run}");
    let run = Explorer::new(&cast).time_max(Duration::ZERO).run();
    assert!(matches!(run.verdict, Verdict::Unfinished { .. }), "{run}");
}

#[test]
fn the_cost_of_abd_is_two_rounds_and_four_messages_for_each_storage() {
    let cast = cast(3, Role::storage, Role::client, [vec![Message::Write(7), Message::Read]]);
    let expected = Cost {
        messages: 12,
        messages_between_nodes: 12,
        delays: 4,
        durable_writes: 3,
        writes_in_sequence: 1,
        answered: true,
    };
    let read = Cost { durable_writes: 0, writes_in_sequence: 0, ..expected };
    assert_eq!(cost(&cast), [expected, read]);
}

/// Chooses a number, and says it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Dice(Option<u8>);

impl Process for Dice {
    type Message = Option<u8>;
    type Timer = ();
    type Record = u8;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Start => self.0 = Some(*cx.choose(&[1, 2, 3])),
            Event::Message { from, .. } => {
                let (first, second) = (*cx.choose(&[0, 10]), *cx.choose(&[0, 100]));
                cx.send(from, self.0.map(|start| start + first + second));
            }
            Event::Alarm(()) => {}
        }
    }

    fn replay(&mut self, _: u8) {}

    fn compact(&self) -> impl Iterator<Item = u8> {
        std::iter::empty()
    }
}

#[test]
fn every_way_to_choose_is_explored() {
    let cast = || {
        Cast::new()
            .process(Pid::chain(1, 0), Dice(None))
            .asks(Pid::outside(1, 0), Pid::chain(1, 0), [None])
            .always("no high throw", |view| view.answer(Pid::outside(1, 0), 0) != Some(&Some(113)))
    };
    let run = explore(&cast(), Faults::none());
    assert_eq!(run.verdict, Verdict::Refuted { property: "no high throw".into(), steps: 1 });
    assert!(run.trace.iter().any(|step| matches!(&step.what, What::Send { label, .. } if label == "Some(113)")));
    let mut count = 0;
    for number in 0..=113 {
        let cast = Cast::new()
            .process(Pid::chain(1, 0), Dice(None))
            .asks(Pid::outside(1, 0), Pid::chain(1, 0), [None])
            .sometimes("seen", move |view| view.answer(Pid::outside(1, 0), 0) == Some(&Some(number)));
        count += usize::from(explore(&cast, Faults::none()).verdict.holds());
    }
    assert_eq!(count, 12);
}

/// A lease: the holder counts it from when it asked, or (a mutant) from when it was granted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Lease {
    Server {
        free_after: Option<quorate_model::Instant>,
        holder: Option<Pid>,
    },
    Holder {
        server: Pid,
        term: Duration,
        counts_from_grant: bool,
        asked: Option<quorate_model::Instant>,
        held_until: Option<quorate_model::Instant>,
    },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum LeaseMessage {
    Ask,
    Granted,
}

const SECOND: Duration = Duration::from_secs(1);
const SERVER_TERM: Duration = Duration::from_secs(3);

impl Process for Lease {
    type Message = LeaseMessage;
    type Timer = ();
    type Record = u8;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match (self, event) {
            (Self::Holder { server, asked, .. }, Event::Start) => {
                *asked = Some(cx.now);
                cx.send(*server, LeaseMessage::Ask);
            }
            (
                Self::Holder { term, counts_from_grant, asked: Some(asked), held_until, .. },
                Event::Message { message: LeaseMessage::Granted, .. },
            ) => {
                let from = if *counts_from_grant { cx.now } else { *asked };
                let age = cx.now - from;
                if age < *term {
                    *held_until = Some(from + *term);
                    cx.set((), *term - age..*term - age);
                }
            }
            (Self::Holder { held_until, .. }, Event::Alarm(())) => *held_until = None,
            (Self::Server { free_after, holder }, Event::Message { from, message: LeaseMessage::Ask })
                if holder.is_none() =>
            {
                (*holder, *free_after) = (Some(from), Some(cx.now + SERVER_TERM));
                cx.set((), SERVER_TERM..SERVER_TERM);
                cx.send(from, LeaseMessage::Granted);
            }
            (Self::Server { free_after, holder }, Event::Alarm(())) => (*holder, *free_after) = (None, None),
            _ => {} // asked while it is held: refused by silence
        }
    }

    fn replay(&mut self, _: u8) {}

    fn compact(&self) -> impl Iterator<Item = u8> {
        std::iter::empty()
    }
}

#[test]
fn a_lease_counts_from_when_it_was_asked_for_and_allows_for_drift() {
    let verdict = |term: Duration, counts_from_grant: bool| {
        let (server, holder) = (Pid::chain(1, 0), Pid::client(2, 0));
        let cast = Cast::new()
            .process(server, Lease::Server { free_after: None, holder: None })
            .process(holder, Lease::Holder { server, term, counts_from_grant, asked: None, held_until: None })
            .always("who holds it is known to hold it", move |view| {
                let (Some(Lease::Server { holder: known, .. }), Some(Lease::Holder { held_until, .. })) =
                    (view.process(server), view.process(holder))
                else {
                    return false;
                };
                held_until.is_none() || known.is_some()
            })
            .sometimes("it is held", move |view| {
                matches!(view.process(holder), Some(Lease::Holder { held_until: Some(_), .. }))
            });
        let clocks = Clocks { rates: vec![SECOND / 2, SECOND * 3 / 4], tick_max: 14 };
        Explorer::new(&cast).clocks(clocks).run().verdict.to_string()
    };
    expect!["holds: 746 states, 1092 transitions, depth 17"].assert_eq(&verdict(SECOND * 3 / 2, false));
    expect!["refuted in 7 steps: who holds it is known to hold it"].assert_eq(&verdict(SECOND * 3 / 2, true));
    expect!["refuted in 7 steps: who holds it is known to hold it"].assert_eq(&verdict(SECOND * 3, false));
}

/// Counts its lives on disk, and is content with the second.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Reborn {
    lives: u64,
}

impl Process for Reborn {
    type Message = ();
    type Timer = ();
    type Record = u64;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        if event == Event::Start {
            let lives = self.lives + 1;
            cx.append(self, lives);
        }
    }

    fn replay(&mut self, record: u64) {
        self.lives = record;
    }

    fn compact(&self) -> impl Iterator<Item = u64> {
        (self.lives > 0).then_some(self.lives).into_iter()
    }
}

#[test]
fn bad_luck_is_neither_a_way_nor_a_next_step() {
    let cast = || Cast::new().process(Pid::chain(1, 0), Reborn::default());
    let content = |view: &View<'_, Reborn>| view.process(Pid::chain(1, 0)).is_some_and(|it| it.lives >= 2);
    let verdict = |cast: Cast<Reborn>| explore(&cast, Faults::none().crashes(1)).verdict.to_string();
    expect!["holds: 8 states, 8 transitions, depth 3"].assert_eq(&verdict(cast().sometimes("it lived twice", content)));
    expect!["refuted in 0 steps: it lived twice"].assert_eq(&verdict(cast().possible("it lived twice", content)));
    expect!["refuted in 1 steps: it lived twice"].assert_eq(&verdict(cast().steps_until("it lived twice", content)));
    expect!["refuted in 1 steps: it lived twice"].assert_eq(&verdict(cast().finally("it lived twice", content)));
}
