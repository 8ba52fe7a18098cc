//! Ordering: the head gives each new operation the next index; other members send proposals on to it.

use alloc::vec::Vec;
use core::time::Duration;

use quorate_model::{Context, Machine};

use super::super::message::{Batch, Entry, Message, OperationId, Record, Timer};
use super::super::session::Known;
use super::{Mutant, Node};

impl<M: Machine> Node<M> {
    /// Someone wants `entry` ordered.
    pub(super) fn proposed(&mut self, entry: Entry<M::Command>, cx: &mut Context<'_, Self>) {
        if self.refuses(entry.operation, cx) {
            return;
        }
        match self.sessions.known(entry.operation) {
            Known::Applied(Some(answer)) => {
                let answers = alloc::vec![(entry.operation, answer.clone())];
                return cx.send(Self::own_client(cx), Message::Applied(answers));
            }
            // It was executed while we were none of the members, so the answer was kept nowhere.
            Known::Applied(None) if entry.operation.owner == self.me && !self.swamis.is_empty() => {
                let operation = entry.operation;
                return cx.send(Self::own_client(cx), Message::Refused { operation, passed_on: true });
            }
            Known::Applied(None) | Known::Over if !self.breaks(Mutant::ForgetsSessions) => return, // its own node answers
            _ => {}
        }
        if !self.has_room() {
            return; // it will be proposed again
        }
        if !self.is_head() {
            let head = self.member(self.configuration.head(), cx);
            let configuration = self.configuration.prefix_len();
            return cx.send(head, Message::Propose { configuration, entry });
        }
        if !self.joined {
            return; // it will be proposed again
        }
        let twice = self.unapplied.contains(&entry.operation) && !self.breaks(Mutant::ForgetsSessions);
        if twice {
            return; // it has its place already
        }
        let weight = M::weight(&entry.command);
        if self.proposed.contains_key(&entry.operation) {
            return; // it waits already
        }
        // Once one is dropped so are all, or large ones would wait for ever behind small ones that still fit.
        self.crowded = self.crowded || self.is_crowded(weight);
        if self.crowded {
            return; // it will be proposed again
        }
        self.uncommitted_weight += weight;
        if self.proposed.is_empty() && self.options.batching {
            cx.set(Timer::Order, Duration::ZERO..Duration::ZERO);
        }
        self.proposed.insert(entry.operation, entry);
        if !self.options.batching {
            self.order(cx);
        }
    }

    /// Refuses an operation that we cannot see through since we are no member, or refused when we were none.
    fn refuses(&mut self, operation: OperationId, cx: &mut Context<'_, Self>) -> bool {
        if operation.owner != self.me {
            return !self.is_member();
        }
        if !self.is_member() {
            self.refused = (self.refused.0.max(operation), self.passed_on);
        } else if operation > self.refused.0 {
            if !self.swamis.is_empty() {
                self.passed_on = self.passed_on.max(operation);
            }
            return false;
        }
        let passed_on = operation <= self.refused.1;
        cx.send(Self::own_client(cx), Message::Refused { operation, passed_on });
        true
    }

    /// Gives the next indexes to what waits.
    pub(super) fn order(&mut self, cx: &mut Context<'_, Self>) {
        let mut proposed = core::mem::take(&mut self.proposed).into_values().peekable();
        while proposed.peek().is_some() {
            let mut weight = 0;
            let mut batch = Vec::new();
            while let Some(entry) = proposed.next_if(|entry| {
                weight += M::weight(&entry.command);
                weight <= self.options.batch_weight_max || batch.is_empty()
            }) {
                batch.push(entry);
            }
            self.take(batch.into(), cx);
        }
    }

    /// Takes new entries: passes them on first, then writes them, so that both disks turn at once.
    pub(super) fn take(&mut self, entries: Batch<M::Command>, cx: &mut Context<'_, Self>) {
        let first = self.log.last() + 1;
        self.send_forward(first, &entries, cx);
        cx.append(self, Record::Entries { first, entries });
        self.batches.push_back(first);
        if self.breaks(Mutant::ReadsUncommitted) {
            self.apply_up_to(self.log.last(), cx);
        }
        self.settle(cx);
    }
}
