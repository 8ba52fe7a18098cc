//! Copying: a joiner gets a snapshot from the tail, page by page, and then the log behind it, while writes go on.
//!
//! | at | hears | does | tells |
//! |----|-------|------|-------|
//! | tail | Welcome, with a log that ends before ours begins | takes a snapshot | joiner: its first Page |
//! | joiner | Page | puts it into a blank machine | tail: Fetch, once its storage keeps up |
//! | tail | Fetch | nothing | joiner: the next Page |
//! | joiner | the last Page | makes it durable, then begins from it | tail: Welcome and Holds |
//! | joiner | alarm | nothing | tail: Fetch, once more |
//!
//! A snapshot stops nobody and is not changed by later writes. The joiner asks for each page, so it is sent no more than it
//! can store. What it had before it keeps until the copy is whole and durable; only then it says that it has it.
//!
//! The tail keeps the log behind the snapshot until the joiner has it, up to a bound; beyond it the tail forgets, and the
//! joiner, which then lacks something, is copied to once more. A restart of either side begins the copy anew: pages are
//! volatile, and the tail's greeting tells of its new life.
//!
//! **A copy is never behind the log.** Entries may come while a copy is under way: such that were sent before it. They end it,
//! for what they bring is all that is lacking. But once the copy is being made durable it is what a restart would find, so then
//! it is waited for, and what comes meanwhile is dropped. Else the machine would be the copy's, and the log be past it.

use bytes::Bytes;
use quorate_model::{Context, Machine, Wire};

use super::super::link::Stamp;
use super::super::message::{Message, Next, Record};
use super::super::session::Sessions;
use super::{Mutant, Node, Trouble, stored_in};

/// At the tail: the snapshot that the joiner is given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Given<S, A> {
    /// The joiner's life.
    boot: u64,
    /// What came of everything up to here.
    index: u64,
    snapshot: S,
    sessions: Sessions<A>,
    /// Whether the joiner asked for a further page since the alarm rang last: it goes on by itself.
    fetched: bool,
}

/// At the joiner: as much of the snapshot as came.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Taken<M, A> {
    index: u64,
    /// Where the next page begins.
    at: Bytes,
    machine: M,
    /// All pages came, and these with the last.
    sessions: Option<Sessions<A>>,
}

impl<M: Machine> Node<M> {
    /// All machines that are held: our own, one that is put aside while the log is replayed, one that is copied into. A host
    /// that keeps their storage asks.
    pub fn machines(&self) -> impl Iterator<Item = &M> {
        let copied_into = self.taken.as_ref().map(|taken| &taken.machine);
        core::iter::once(&self.machine).chain(&self.aside).chain(copied_into)
    }

    /// The same, for what is not part of their state.
    pub fn machines_mut(&mut self) -> impl Iterator<Item = &mut M> {
        let copied_into = self.taken.as_mut().map(|taken| &mut taken.machine);
        core::iter::once(&mut self.machine).chain(&mut self.aside).chain(copied_into)
    }

    /// The joiner lacks what our log does not hold any more.
    pub(super) fn give(&mut self, stamp: Stamp, cx: &mut Context<'_, Self>) {
        let Some(joiner) = self.own_joiner() else { return };
        let base = self.log.base();
        if self.given.as_ref().is_none_or(|given| given.boot != stamp.boot || given.index < base) {
            let (sessions, snapshot) = (self.sessions.on(joiner), self.machine.snapshot());
            self.given = Some(Given { boot: stamp.boot, index: self.applied, snapshot, sessions, fetched: false });
        }
        if self.given.as_ref().is_some_and(|given| !given.fetched) {
            self.send_page(Bytes::new(), cx);
        }
    }

    fn send_page(&self, at: Bytes, cx: &mut Context<'_, Self>) {
        let (Some(given), Some(joiner)) = (&self.given, self.successor(cx)) else { return };
        let (page, next) = M::page(&given.snapshot, &at, self.options.batch_weight_max);
        let next = next.map_or_else(|| Next::End(given.sessions.clone()), Next::Page);
        let stamp = self.stamp(Some(given.boot));
        cx.send(joiner, Message::Page { index: given.index, at, page, next, stamp });
    }

    /// The joiner asks for the next page.
    pub(super) fn fetched(&mut self, stamp: Stamp, index: u64, at: &Bytes, cx: &mut Context<'_, Self>) {
        let wanted = |given: &&mut Given<_, _>| given.boot == stamp.boot && given.index == index;
        if stamp.peer_boot == self.boot
            && let Some(given) = self.given.as_mut().filter(wanted)
        {
            given.fetched = true;
            self.send_page(at.clone(), cx);
        }
    }

    /// The tail gives us a page.
    pub(super) fn paged(
        &mut self,
        index: u64,
        at: &Bytes,
        page: Bytes,
        next: Next<M::Answer>,
        cx: &mut Context<'_, Self>,
    ) {
        let lacks_it = !self.is_member() && self.is_in_line() && self.trouble.is_none() && index > self.log.last();
        if !lacks_it || !self.has_room() {
            return; // of a copy that is over; or asked for again by the alarm
        }
        // Late pages may be of an older copy.
        if at.is_empty() && self.taken.as_ref().is_none_or(|taken| taken.index < index && taken.sessions.is_none()) {
            self.taken = Some(Taken { index, at: Bytes::new(), machine: self.machine.blank(), sessions: None });
        }
        let wanted = |taken: &&mut Taken<_, _>| taken.index == index && taken.at == *at && taken.sessions.is_none();
        let Some(taken) = self.taken.as_mut().filter(wanted) else { return }; // it came before
        if taken.machine.paste(page).is_err() {
            return self.cannot_copy();
        }
        match next {
            Next::Page(next) if next > taken.at => {
                taken.at = next;
                self.fetch(cx);
            }
            Next::Page(_) => self.cannot_copy(), // it would never end
            Next::End(sessions) => {
                if taken.machine.pasted().is_err() || sessions.node() != self.me {
                    return self.cannot_copy();
                }
                taken.machine.checkpoint(index, sessions.to_bytes());
                taken.sessions = Some(sessions);
                self.begin_from_copy(cx);
            }
        }
    }

    /// Whether a copy is whole, and not durable yet.
    pub(super) fn awaits_copy(&self) -> bool {
        self.taken.as_ref().is_some_and(|taken| taken.sessions.is_some()) && !self.breaks(Mutant::BeginsBehindLog)
    }

    /// What was copied so far is not wanted any more, unless it is the whole: that may count after a restart.
    pub(super) fn end_copy(&mut self) {
        self.taken.take_if(|taken| taken.sessions.is_none());
    }

    fn cannot_copy(&mut self) {
        self.taken = None;
        self.trouble = Some(Trouble::CannotCopy);
    }

    /// The alarm rang: perhaps a page was lost, perhaps our storage has caught up.
    pub(super) fn go_on_copying(&mut self, cx: &mut Context<'_, Self>) {
        if let Some(given) = &mut self.given {
            given.fetched = false;
        }
        self.fetch(cx);
        self.begin_from_copy(cx);
    }

    /// Asks for the next page, unless the storage has enough to do.
    fn fetch(&self, cx: &mut Context<'_, Self>) {
        let (Some(taken), Some(tail)) = (&self.taken, self.predecessor(cx)) else { return };
        if taken.sessions.is_none() && !taken.machine.is_busy() {
            let (index, at, stamp) = (taken.index, taken.at.clone(), self.stamp(self.up.boot));
            cx.send(tail, Message::Fetch { index, at, stamp });
        }
    }

    /// If the copy is whole, and durable if the machine has storage of its own, begins from it.
    fn begin_from_copy(&mut self, cx: &mut Context<'_, Self>) {
        let is_whole = |taken: &mut Taken<M, M::Answer>| {
            taken.sessions.is_some() && taken.machine.stored().is_none_or(|stored| stored >= taken.index)
        };
        let Some(Taken { index, machine, sessions: Some(sessions), .. }) = self.taken.take_if(is_whole) else { return };
        self.batches.clear(); // what is said from now on rests on the copy
        let state = match machine.stored() {
            None => Some((sessions, machine.snapshot())),
            Some(_) => {
                self.machine = machine; // its storage holds it, and the sessions
                None
            }
        };
        cx.append(self, Record::Base { index, state });
        self.floor = self.floor.max(index);
        self.up.greeted = Some(self.log.last());
        self.welcome(cx);
        self.hold(cx);
        self.observe(cx);
    }

    /// The log begins after `index`, and our machine's own storage holds what came before: after a copy it is the only one
    /// that does.
    pub(super) fn recover_up_to(&mut self, index: u64) {
        if index <= self.applied {
            return;
        }
        let held = self.aside.as_ref().unwrap_or(&self.machine);
        if let Some((stored, sessions)) = stored_in(held, self.me) {
            (self.applied, self.sessions) = (stored, sessions);
            self.machine = self.aside.take().unwrap_or_else(|| self.machine.clone());
        }
    }

    /// Forgets the entries up to `index`, except those that the joiner does not have yet.
    pub(super) fn forget(&mut self, index: u64) {
        if self.own_joiner().is_none() {
            return self.log.forget(index);
        }
        let heavy = self.kept_weight > self.options.copied_weight_max || self.breaks(Mutant::KeepsNothingForJoiner);
        let keeps_after = match &self.given {
            _ if heavy => index,
            Some(given) => given.index,
            None if self.down.boot.is_some() => self.down.has,
            None => index,
        };
        let (base, until) = (self.log.base(), index.min(keeps_after));
        let entries = self.log.after(base).take(usize::try_from(until.saturating_sub(base)).unwrap_or(usize::MAX));
        let weight: usize = entries.map(|entry| M::weight(&entry.command)).sum();
        self.kept_weight = self.kept_weight.saturating_sub(weight);
        self.log.forget(until);
    }
}
