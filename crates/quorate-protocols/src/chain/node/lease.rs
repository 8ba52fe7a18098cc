//! Leases for reads: a node that was removed and does not know it must not answer from what it has.
//!
//! | at | hears | does | tells |
//! |----|-------|------|-------|
//! | node | start, alarm, a new configuration | nothing | each swami: Renew, with the moment of its own clock |
//! | node | Granted | may read for the term, counted from when it asked | |
//! | node | a read, no right | drops it: its client asks again | |
//! | node | Retire | gives its right up, with what is under way of rights that it asked for | that swami: Retired |
//!
//! Whoever decides on the members grants no more to a node that it wants to leave, and lets it leave when it has given its
//! rights up, or when its last right has run out on *its* clock: the term and what two clocks may differ by. Counted from
//! the asking, a right ends at the node before it ends there. Writes need no lease: they are safe by claims alone.
//!
//! Source: notes "ALF Locks" (Ts, Tu).

use core::time::Duration;

use quorate_model::time::Staleness;
use quorate_model::{Context, Instant, Machine, Pid};

use super::super::membership::{self, Asked};
use super::super::message::{Message, Timer};
use super::super::read::Read;
use super::{Mutant, Node, Trouble};

/// A right is asked for anew after this part of its term: two questions may be lost.
const RENEWALS_PER_TERM: u32 = 3;

/// What was given to a disk may be under way for so long before a renewal waits for it.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

impl<M: Machine> Node<M> {
    /// Asks for the right to read, now and again.
    pub(super) fn renew(&mut self, cx: &mut Context<'_, Self>) {
        let Some(term) = self.options.lease_term else { return };
        if self.is_member() && matches!(self.trouble, Some(Trouble::LostOwn { .. } | Trouble::CannotCopy)) {
            cx.set(Timer::Renew, term..term);
            return; // of no use as it is: without a lease it is let go, and may join anew
        }
        // Also who is no member: so it is known that it could be one.
        // Who takes itself for none of the chain, though it may be one whose disk was lost, acts on no place of its own.
        let prefix_len = if self.is_in_line() { self.configuration.prefix_len() } else { 0 };
        let asked = self.asked_at(cx.now);
        let without = self.not_waited_for(cx.now);
        for swami in &self.swamis {
            cx.send_without(without, *swami, Message::Membership(membership::Message::Renew { asked, prefix_len }));
        }
        cx.set(Timer::Renew, term / RENEWALS_PER_TERM..term / RENEWALS_PER_TERM);
    }

    /// How many of the newest records a renewal does not wait for. A right does not rest on entries, and a disk that is slow
    /// for a moment costs nobody its place. But whose disk stands still shall be let go.
    fn not_waited_for(&mut self, now: Instant) -> usize {
        let oldest = self.batches.front().copied();
        self.oldest = match (self.oldest, oldest) {
            (Some((known, since)), Some(oldest)) if known == oldest => Some((known, since)),
            (_, oldest) => oldest.map(|oldest| (oldest, now)),
        };
        let stands_still = self.oldest.is_some_and(|(_, since)| now - since >= DISK_PATIENCE);
        if stands_still { 0 } else { self.batches.len() }
    }

    fn asked_at(&self, at: Instant) -> Asked {
        Asked { boot: self.boot, at }
    }

    /// What we asked for was granted.
    pub(super) fn granted(&mut self, asked: Asked, term: Duration, cx: &Context<'_, Self>) {
        let given_up = self.retired.is_some_and(|up_to| asked.at <= up_to) && !self.breaks(Mutant::TakesRetiredRight);
        if asked.boot != self.boot || given_up {
            return; // by an earlier life, or before we gave it up
        }
        let asked = if self.breaks(Mutant::CountsFromGrant) { cx.now } else { asked.at };
        // Late news of an older grant is no news.
        if self.right.is_none_or(|(known, _)| known <= asked) {
            self.right = Some((asked, term));
        }
    }

    /// We are to leave: gives all rights up.
    pub(super) fn retire(&mut self, swami: Pid, revision: u64, cx: &mut Context<'_, Self>) {
        self.right = None;
        self.retired = Some(cx.now);
        cx.send(swami, Message::Membership(membership::Message::Retired { revision }));
    }

    /// How much is left of the right to read; nothing if there is none.
    #[must_use]
    pub fn right_left(&self, now: Instant) -> Duration {
        self.right.map_or(Duration::ZERO, |(asked, term)| Staleness::proven(asked).remaining(term, now))
    }

    /// Whether we have the right to read.
    fn may_read(&self, now: Instant) -> bool {
        let has_right = self.options.lease_term.is_none() || self.right_left(now) > Duration::ZERO;
        self.is_member() && (has_right || self.breaks(Mutant::ReadsAfterLease))
    }

    /// Answers a read, if we have the right to. Otherwise its client asks again.
    pub(super) fn serve(&self, read: Read<M::Query>, cx: &mut Context<'_, Self>) {
        if self.may_read(cx.now) {
            self.answer_read(read, cx);
        }
    }
}
