//! The way to a state, walked again and written down as a trace.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;

use quorate_model::trace::{Step, Trace, What};
use quorate_model::{Pid, Process};

use super::Explorable;
use super::graph::Visited;
use super::moves::{Happening, Recorder, Scripted, Silent, Stepper};

/// The trace to state `number`. `initial_numbers` are those of the initial states, in the order of the stepper.
pub(super) fn trace<P: Explorable>(
    stepper: &Stepper<'_, P>,
    visited: &Visited,
    initial_numbers: &[u32],
    number: u32,
) -> Trace {
    let (first, path) = visited.path(number);
    let first = initial_numbers.iter().position(|it| *it == first).expect("a path begins in an initial state");
    let mut writer = Writer::default();
    let mut state = stepper.initial(&mut writer, Some(first)).pop().expect("there is an initial state");
    let mut moves = Vec::new();
    for wanted in path {
        stepper.moves(&state, &mut moves);
        let mut ordinal = 0;
        'found: for &made in &moves {
            let mut chance = Scripted::default();
            loop {
                if ordinal == wanted {
                    // Walked before, so each choice is made as the script stands now: once to find it, once to write.
                    state = stepper.apply(&state, made, &mut chance, &mut writer);
                    break 'found;
                }
                let _ = stepper.apply(&state, made, &mut chance, &mut Silent); // only to learn how it can choose
                ordinal += 1;
                if !chance.advance() {
                    break;
                }
            }
        }
    }
    writer.trace
}

/// Writes what happens as a trace. Equal messages on their way are told apart by age: the oldest arrives first.
#[derive(Default)]
pub(super) struct Writer {
    pub trace: Trace,
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

impl<P: Process> Recorder<P> for Writer {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, happening: Happening<'_, P>) {
        match happening {
            Happening::Start { at } => self.push(at, What::Start),
            Happening::Send { from, to, message, print, gone } => {
                let id = self.send(from, to, message);
                if gone {
                    self.push(to, What::Lose { id });
                } else {
                    self.on_their_way.entry(print).or_default().push_back(id);
                }
            }
            Happening::Receive { from, to, message, print, keep, down } => {
                let ids = self.on_their_way.get_mut(&print).expect("what arrives was sent");
                let id = if keep { ids.front().copied() } else { ids.pop_front() }.expect("what arrives was sent");
                if down {
                    self.push(to, What::Lose { id });
                } else {
                    self.push(to, What::Receive { id, from, label: format!("{message:?}") });
                }
            }
            Happening::Lose { to, print } => {
                let ids = self.on_their_way.get_mut(&print).expect("what is lost was sent");
                let id = ids.pop_front().expect("what is lost was sent");
                self.push(to, What::Lose { id });
            }
            Happening::Ring { at, timer } => self.push(at, What::Alarm { label: format!("{timer:?}") }),
            Happening::Sync { at, count } => self.push(at, What::Sync { count }),
            Happening::Crash { at, kept } => self.push(at, What::Crash { kept }),
            Happening::Ask { asker, to, ask } => {
                let id = self.send(asker, to, ask);
                self.push(to, What::Receive { id, from: asker, label: format!("{ask:?}") });
            }
            Happening::Answer { from, asker, answer, late } => {
                let id = self.send(from, asker, answer);
                self.push(asker, What::Receive { id, from, label: format!("{answer:?}") });
                if late {
                    self.push(asker, What::Note { label: "came late".to_owned() });
                }
            }
            Happening::Tick { readings } => {
                for (at, reading) in readings {
                    self.push(at, What::Note { label: format!("clock {:?}", reading.since(Default::default())) });
                }
            }
        }
    }
}
