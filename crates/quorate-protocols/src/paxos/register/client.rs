//! The client: has a value proposed, again and again until something is chosen, and remembers what that was.
//!
//! Two proposers can refuse each other's ballots for ever. Each waits a random time before the next attempt, and each
//! time twice as long, so sooner or later one is alone. Source: Lamport, "Paxos Made Simple", section 2.4 (progress);
//! Fischer, Lynch and Paterson, 1985 (that no deterministic rule can do it).

use alloc::vec::Vec;
use core::fmt::Debug;
use core::mem;
use core::time::Duration;

use quorate_model::{Context, Event, Pid, Process, Service};

use super::message::{Message, Record, Timer};

/// How many may wait for the answer.
const ASKERS_LEN_MAX: usize = 1_024;
/// How often the time until the next attempt doubles.
const DOUBLINGS_MAX: u32 = 6;

/// The process that takes requests on a node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Client<V> {
    redrive_after: Duration,
    phase: Phase<V>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Phase<V> {
    /// Nobody asked.
    Idle,
    /// A value is being proposed.
    Asking {
        value: V,
        /// Who waits, with the name that each gave to his request.
        askers: Vec<(Pid, u64)>,
        /// How often it was proposed.
        attempts: u32,
    },
    /// This was chosen, for good.
    Known(V),
}

impl<V: Clone> Client<V> {
    /// A client that proposes again after `redrive_after` to twice that, doubled with each attempt.
    #[must_use]
    pub fn new(redrive_after: Duration) -> Self {
        Self { redrive_after, phase: Phase::Idle }
    }
}

impl<V: Clone + Debug> Client<V> {
    fn asked(&mut self, asker: Pid, token: u64, value: V, cx: &mut Context<'_, Self>) {
        match &mut self.phase {
            Phase::Idle => {
                self.phase = Phase::Asking { value, askers: Vec::from([(asker, token)]), attempts: 0 };
                self.propose(cx);
            }
            Phase::Asking { askers, .. } if askers.len() >= ASKERS_LEN_MAX => cx.send(asker, Message::Busy { token }),
            Phase::Asking { askers, .. } => askers.push((asker, token)), // one value of a node is enough
            Phase::Known(value) => cx.send(asker, Message::Answered { token, value: value.clone() }),
        }
    }

    fn propose(&mut self, cx: &mut Context<'_, Self>) {
        let Phase::Asking { value, attempts, .. } = &mut self.phase else { return };
        let least = self.redrive_after * (1 << (*attempts).min(DOUBLINGS_MAX));
        *attempts = attempts.saturating_add(1).min(DOUBLINGS_MAX);
        cx.send(Pid { service: Service::Proposer, ..cx.me }, Message::Propose { value: value.clone() });
        cx.set(Timer::Redrive, least..least * 2);
    }

    fn chosen(&mut self, value: V, cx: &mut Context<'_, Self>) {
        if let Phase::Asking { askers, .. } = &mut self.phase {
            for (asker, token) in mem::take(askers) {
                cx.send(asker, Message::Answered { token, value: value.clone() });
            }
            cx.stop(Timer::Redrive);
        }
        self.phase = Phase::Known(value);
    }
}

impl<V: Clone + Debug> Process for Client<V> {
    type Message = Message<V>;
    type Timer = Timer;
    type Record = Record<V>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Message { from, message: Message::Ask { token, value } } => self.asked(from, token, value, cx),
            Event::Message { message: Message::Chosen { value }, .. } => self.chosen(value, cx),
            Event::Alarm(Timer::Redrive) => self.propose(cx),
            _ => {} // said to another role
        }
    }

    fn replay(&mut self, _: Record<V>) {} // what it knows it can ask for again

    fn compact(&self) -> impl Iterator<Item = Record<V>> {
        core::iter::empty()
    }
}
