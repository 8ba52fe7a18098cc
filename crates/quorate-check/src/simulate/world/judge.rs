//! What a simulated run is held to.

use quorate_model::{Instant, Pid, Process};

use super::World;
use crate::cast::{Asked, Claim, InFlight, Judged, Stage, Status, View};
use crate::history::{History, Operation};
use crate::simulate::Simulated;

impl<P: Simulated> World<'_, P> {
    pub(super) fn history(&self) -> History<P::Message> {
        let operations = self.done.iter().map(|done| {
            let who = &self.cast.askers[done.asker];
            let ask = who.asks[done.index].clone();
            Operation { asker: who.pid, ask, invoked: done.invoked, answer: done.answer.clone() }
        });
        History { operations: operations.collect() }
    }

    pub(super) fn check_state(&mut self) {
        let mut failure = None;
        let mut seen = std::mem::take(&mut self.seen);
        let view = View::new(self);
        for (at, property) in self.cast.properties.iter().enumerate() {
            match &property.claim {
                Claim::Always(check) if !check(&view) => {
                    failure = Some(property.name.clone());
                    break;
                }
                Claim::Sometimes(check) => seen[at] = seen[at] || check(&view),
                _ => {}
            }
        }
        self.seen = seen;
        self.failure = self.failure.take().or(failure);
    }

    pub(super) fn check_end(&mut self) {
        let history = self.history();
        let view = View::new(self);
        let faithful = self
            .cast
            .faithful
            .is_none_or(|faithful| self.seats.iter().all(|seat| faithful(&seat.opened, &seat.durable)));
        let failed = self.cast.properties.iter().find_map(|property| {
            let judged = match &property.claim {
                Claim::Finally(check) if !check(&view) => Judged::Fails,
                Claim::History(check) => check(&history),
                _ => Judged::Holds,
            };
            (judged != Judged::Holds).then(|| property.broken(judged))
        });
        let failure = failed.or_else(|| (!faithful).then(|| "compaction is faithful".to_owned()));
        self.failure = failure;
    }
}

impl<P: Process> Stage<P> for World<'_, P> {
    fn pid(&self, index: usize) -> Pid {
        self.seats[index].pid
    }

    fn len(&self) -> usize {
        self.seats.len()
    }

    fn live(&self, index: usize) -> Option<&P> {
        self.seats[index].live.as_ref()
    }

    fn durable(&self, index: usize) -> &P {
        &self.seats[index].durable
    }

    fn unsynced_count(&self, index: usize) -> usize {
        self.seats[index].disk.unsynced_count()
    }

    /// Messages on their way are bytes here; claims about them are for the explorer.
    fn flight(&self, _: usize) -> Option<InFlight<'_, P::Message>> {
        None
    }

    fn now(&self, index: usize) -> Instant {
        self.nodes[self.seats[index].node].clock.reading(self.now)
    }

    fn asked(&self, index: usize) -> Option<Asked<'_, P::Message>> {
        let done = self.done.get(index)?;
        let who = &self.cast.askers[done.asker];
        let status = match &done.answer {
            Some((_, answer)) => Status::Answered(answer),
            None if done.unknown => Status::Unknown,
            None => Status::Open,
        };
        Some(Asked { asker: who.pid, index: done.index, ask: &who.asks[done.index], status })
    }
}
