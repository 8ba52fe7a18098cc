//! The people of a simulated run: each asks what its script says, one thing at a time, and thinks in between.

use std::time::Duration;

use quorate_model::trace::What;
use quorate_model::{Event, Pid};

use super::{Asking, Done, Happening, World, nanos};
use crate::simulate::Simulated;

/// How long people think between an answer and the next question at least, on average.
const THINK_MEAN: Duration = Duration::from_millis(2);
/// How long they wait when nobody takes the question, on average.
const ASK_AGAIN_MEAN: Duration = Duration::from_millis(50);

impl<P: Simulated> World<'_, P> {
    pub(super) fn ask_later(&mut self, asker: usize) {
        let next = self.askers[asker].next;
        if next < self.cast.askers[asker].asks.len() {
            let planned = self.plan.asks_at.get(asker).and_then(|at| at.get(next)).map_or(0, |at| nanos(*at));
            let at = planned.max(self.now + nanos(self.draw.around(THINK_MEAN)));
            self.at(at, Happening::Ask { asker });
        }
    }

    pub(super) fn ask(&mut self, asker: usize) {
        let who = &self.cast.askers[asker];
        let seat = self.cast.index_of(who.to).unwrap_or_else(|| panic!("{} is asked and not in the cast", who.to));
        let node = self.seats[seat].node;
        if self.seats[seat].live.is_none() || self.nodes[node].paused.is_some() {
            let wait = self.draw.around(ASK_AGAIN_MEAN);
            return self.after(wait, Happening::Ask { asker });
        }
        let index = self.askers[asker].next;
        self.askers[asker] = Asking { next: index + 1, open: Some(self.done.len()) };
        self.done.push(Done { asker, index, invoked: self.events, answer: None, unknown: false });
        let (from, to, ask) = (who.pid, who.to, &who.asks[index]);
        let id = self.message_count;
        self.message_count += 1;
        self.note(from, 9, index as u64, || What::Send { id, to, label: format!("{ask:?}") });
        self.note(to, 9, index as u64, || What::Receive { id, from, label: format!("{ask:?}") });
        let open = self.done.len() - 1;
        self.step(seat, Event::Message { from, message: ask.clone() });
        if !who.waits {
            self.done[open].unknown = true;
            self.close(asker);
        }
    }

    pub(super) fn answered(&mut self, seat: usize, to: Pid, answer: P::Message) {
        let Some(asker) = self.cast.askers.iter().position(|asker| asker.pid == to) else { return };
        let from = self.seats[seat].pid;
        let id = self.message_count;
        self.message_count += 1;
        self.note(from, 10, id, || What::Send { id, to, label: format!("{answer:?}") });
        self.note(to, 10, id, || What::Receive { id, from, label: format!("{answer:?}") });
        let asks = &self.cast.askers[asker].asks;
        let open = self.askers[asker].open.filter(|&at| (self.cast.answers)(&asks[self.done[at].index], &answer));
        if let Some(at) = open {
            self.done[at].answer = Some((self.events, answer));
            self.close(asker);
        }
    }

    pub(super) fn close(&mut self, asker: usize) {
        self.askers[asker].open = None;
        if self.askers[asker].next == self.cast.askers[asker].asks.len() {
            self.unfinished -= 1;
        }
        self.ask_later(asker);
    }
}
