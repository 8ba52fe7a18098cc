//! The way to a state, walked again and written down as a trace.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;

use quorate_model::Pid;
use quorate_model::trace::{Step, Trace, What};

use super::Explorable;
use super::graph::Visited;
use super::local::{Known, Left, Outcome};
use super::moves::{Change, Move, Stepper};
use super::state::State;

/// The trace to state `number`. `initial_numbers` are those of the initial states, in the order in which they are made.
pub(super) fn trace<P: Explorable>(
    stepper: &Stepper<'_, P>,
    visited: &Visited,
    initial_numbers: &[u32],
    number: u32,
) -> Trace {
    let (first, path) = visited.path(number);
    let first = initial_numbers.iter().position(|it| *it == first).expect("a path begins in an initial state");
    let mut known = Known::new();
    let (mut state, mut writer) = start(stepper, &mut known, first);
    let mut moves = Vec::new();
    for wanted in path {
        stepper.moves(&state, &mut moves);
        let (mut ordinal, mut next) = (0, None);
        for &made in &moves {
            stepper.changes(&state, made, &mut known, |change| {
                if ordinal == wanted {
                    writer.write(stepper, &state, &change);
                    next = Some(stepper.apply(&state, change));
                }
                ordinal += 1;
            });
        }
        state = next.expect("a move that was made can be made again");
    }
    writer.trace
}

/// Initial state number `wanted`, and how it came to be.
fn start<P: Explorable>(stepper: &Stepper<'_, P>, known: &mut Known<P>, wanted: usize) -> (State<P>, Writer) {
    let mut states: Vec<_> = stepper.unstarted().into_iter().map(|state| (state, Writer::default())).collect();
    for actor in 0..stepper.cast.seats.len() {
        let mut started = Vec::new();
        for (state, writer) in &states {
            stepper.changes(state, Move::Start { actor }, known, |change| {
                let mut writer = writer.clone();
                writer.write(stepper, state, &change);
                started.push((stepper.apply(state, change), writer));
            });
        }
        states = started;
    }
    states.swap_remove(wanted)
}

/// Writes what happens as a trace. Equal messages on their way are told apart by age: the oldest arrives first.
#[derive(Clone, Default)]
struct Writer {
    trace: Trace,
    on_their_way: HashMap<u128, VecDeque<u64>>,
    next_id: u64,
}

impl Writer {
    fn push(&mut self, at: Pid, what: What) {
        self.trace.push(Step { at, what });
    }

    fn send(&mut self, from: Pid, to: Pid, message: &impl Debug) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.push(from, What::Send { id, to, label: format!("{message:?}") });
        id
    }
}

impl Writer {
    fn write<P: Explorable>(&mut self, stepper: &Stepper<'_, P>, state: &State<P>, change: &Change<'_, P>) {
        match change.made {
            Move::Deliver { flight, keep } => self.arrive(stepper, state, flight, keep),
            Move::Lose { flight } => {
                let lost = &state.network[flight];
                let id = self.oldest(lost.print, false);
                self.push(stepper.pid(lost.to.into()), What::Lose { id });
            }
            Move::Ask { asker, index, .. } => {
                let who = &stepper.cast.askers[asker];
                let ask = &who.asks[index];
                let id = self.send(who.pid, who.to, ask);
                self.push(who.to, What::Receive { id, from: who.pid, label: format!("{ask:?}") });
            }
            Move::Ring { actor, timer } => {
                self.push(stepper.pid(actor), What::Alarm { label: format!("{timer:?}") });
            }
            Move::Crash { actor, kept } => self.push(stepper.pid(actor), What::Crash { kept }),
            Move::LoseDisk { actor } => {
                self.push(stepper.pid(actor), What::Crash { kept: 0 });
                self.push(stepper.pid(actor), What::Note { label: "its disk is lost".to_owned() });
            }
            Move::Start { actor } => self.push(stepper.pid(actor), What::Start),
            Move::Sync { .. } => {} // written with its outcome
            Move::Tick => {
                let mut after = state.clone();
                after.tick_count += 1;
                for actor in 0..after.actors.len() {
                    let reading = stepper.now(&after, actor).since(Default::default());
                    self.push(stepper.pid(actor), What::Note { label: format!("clock {reading:?}") });
                }
            }
        }
        if let Some((actor, outcome)) = change.outcome {
            self.leave(stepper, stepper.pid(actor), outcome, change.void);
        }
    }

    fn arrive<P: Explorable>(&mut self, stepper: &Stepper<'_, P>, state: &State<P>, flight: usize, keep: bool) {
        let flight = &state.network[flight];
        let (from, to) = (stepper.pid(flight.from.into()), stepper.pid(flight.to.into()));
        let id = self.oldest(flight.print, keep);
        if state.actors[usize::from(flight.to)].live.is_some() {
            self.push(to, What::Receive { id, from, label: format!("{:?}", flight.message) });
        } else {
            self.push(to, What::Lose { id });
        }
    }

    fn leave<P: Explorable>(&mut self, stepper: &Stepper<'_, P>, from: Pid, outcome: &Outcome<P>, void: u64) {
        if outcome.synced_count > 0 {
            self.push(from, What::Sync { count: outcome.synced_count });
        }
        for (at, left) in outcome.outputs.iter().enumerate() {
            let void = void & (1 << at) != 0;
            match left {
                Left::Message(flight) => {
                    let to = stepper.pid(flight.to.into());
                    let id = self.send(from, to, &flight.message);
                    if void {
                        self.push(to, What::Lose { id });
                    } else {
                        self.on_their_way.entry(flight.print).or_default().push_back(id);
                    }
                }
                Left::Answer { asker, answer, .. } => {
                    let asker = stepper.cast.askers[*asker].pid;
                    let id = self.send(from, asker, answer);
                    self.push(asker, What::Receive { id, from, label: format!("{answer:?}") });
                    if void {
                        self.push(asker, What::Note { label: "came late".to_owned() });
                    }
                }
                Left::Gone { to, message } => {
                    let id = self.send(from, *to, message);
                    self.push(*to, What::Lose { id });
                }
            }
        }
    }

    fn oldest(&mut self, print: u128, keep: bool) -> u64 {
        let ids = self.on_their_way.get_mut(&print).expect("what arrives was sent");
        if keep { ids.front().copied() } else { ids.pop_front() }.expect("what arrives was sent")
    }
}
