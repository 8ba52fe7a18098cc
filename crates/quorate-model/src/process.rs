//! A process and what it may do.
//!
//! | rule | why |
//! |------|-----|
//! | no message leaves before every record that it rests on is on disk | output commit: what is told is never forgotten |
//! | durable state changes only in [`Process::replay`] | live, after a restart and from a snapshot are one code path |
//! | `now` is a reading of the local chip clock | two clocks are never compared, only durations are |
//! | chance is [`Context::choose`] | the runtime draws, the simulator draws from its seed, the explorer tries all |
//!
//! Source: notes "Asynchronous Message Passing"; output commit: Elnozahy et al., "A Survey of Rollback-Recovery
//! Protocols", section 2.4.

use core::fmt::Debug;
use core::ops::Range;
use core::time::Duration;

use crate::outbox::{AlarmChange, Outbox};
use crate::pid::Pid;
use crate::time::Instant;

/// A deterministic state machine that hears events and answers with effects.
pub trait Process: Sized {
    /// What processes of this protocol tell each other.
    type Message: Clone + Debug;
    /// Names of alarms. Setting a name that is set replaces it.
    type Timer: Copy + Ord + Debug;
    /// One record of the write-ahead log.
    type Record: Clone + Debug;

    /// Takes one step.
    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>);

    /// Folds one record into the durable state. The only place where durable state changes: called at once by
    /// [`Context::append`], and again for every record that survived when the process starts anew.
    fn replay(&mut self, record: Self::Record);

    /// The shortest log that has the same durable state: a snapshot.
    fn compact(&self) -> impl Iterator<Item = Self::Record>;
}

/// What a process hears.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Event<P: Process> {
    /// The process begins, for the first time or after a restart; its records have been replayed.
    Start,
    /// A message arrived: perhaps late, perhaps again, perhaps out of order.
    Message {
        /// Who sent it.
        from: Pid,
        /// What it says.
        message: P::Message,
    },
    /// An alarm that the process had set ran down.
    Alarm(P::Timer),
}

/// What a process orders. The order of effects is the whole durability contract.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Effect<P: Process> {
    /// Hand `message` to the network, once all records appended before are durable.
    Send {
        /// Whom to tell.
        to: Pid,
        /// What to tell.
        message: P::Message,
    },
    /// Write one record to the log.
    Append(P::Record),
    /// Let the alarm ring once, after a time within the range.
    Set(P::Timer, Range<Duration>),
    /// Let the alarm not ring.
    Stop(P::Timer),
}

/// Chance, as an order to choose: a number below `count`, which is at least 1.
pub trait Choose {
    /// Chooses an index, counted from 0, below `count`.
    fn choose(&mut self, count: usize) -> usize;
}

/// What a process has at hand during one step.
pub struct Context<'a, P: Process> {
    /// The address of the process itself.
    pub me: Pid,
    /// A reading of the local chip clock. Only differences between two readings of one node mean anything.
    pub now: Instant,
    orders: &'a mut dyn Orders<P::Message, P::Timer, P::Record>,
    chance: &'a mut dyn Choose,
}

/// Where the orders of a process go: its outbox, by what is in it and not by whose it is, so that a process that is one
/// of several roles can hand the context on to the role.
pub(crate) trait Orders<M, T, R> {
    fn push_send(&mut self, to: Pid, message: M, without: usize);
    fn push_record(&mut self, record: R);
    fn push_alarm(&mut self, change: AlarmChange<T>);
}

/// The orders of a part, put into the words of the whole.
struct Within<'a, M, T, R> {
    whole: &'a mut dyn Orders<M, T, R>,
}

impl<M, T, R, A: Into<M>, B: Into<T>, C: Into<R>> Orders<A, B, C> for Within<'_, M, T, R> {
    fn push_send(&mut self, to: Pid, message: A, without: usize) {
        self.whole.push_send(to, message.into(), without);
    }

    fn push_record(&mut self, record: C) {
        self.whole.push_record(record.into());
    }

    fn push_alarm(&mut self, change: AlarmChange<B>) {
        self.whole.push_alarm(match change {
            AlarmChange::Set(timer, after) => AlarmChange::Set(timer.into(), after),
            AlarmChange::Stop(timer) => AlarmChange::Stop(timer.into()),
        });
    }
}

impl<'a, P: Process> Context<'a, P> {
    /// What a host builds before each step.
    pub fn new(me: Pid, now: Instant, outbox: &'a mut Outbox<P>, chance: &'a mut dyn Choose) -> Self {
        Self { me, now, orders: outbox, chance }
    }

    /// The same context for a role that the process consists of: it speaks the same messages and writes the same records.
    pub fn role<Q>(&mut self) -> Context<'_, Q>
    where
        Q: Process<Message = P::Message, Timer = P::Timer, Record = P::Record>,
    {
        Context { me: self.me, now: self.now, orders: &mut *self.orders, chance: &mut *self.chance }
    }

    /// Lets a part of the process take a step that speaks a language of its own, which this process's contains.
    pub fn part<Q, R>(&mut self, step: impl FnOnce(&mut Context<'_, Q>) -> R) -> R
    where
        Q: Process<Message: Into<P::Message>, Timer: Into<P::Timer>, Record: Into<P::Record>>,
    {
        let mut orders = Within { whole: &mut *self.orders };
        step(&mut Context { me: self.me, now: self.now, orders: &mut orders, chance: &mut *self.chance })
    }

    /// Tells `to` something, once every record appended before this call is durable.
    pub fn send(&mut self, to: Pid, message: P::Message) {
        self.orders.push_send(to, message, 0);
    }

    /// Tells `to` something that does not rest on the newest `count` records that this process appended in this life:
    /// it leaves as soon as those before them are durable.
    ///
    /// This is for a process that can say why: what the message claims must be true even if these records are lost.
    pub fn send_without(&mut self, count: usize, to: Pid, message: P::Message) {
        self.orders.push_send(to, message, count);
    }

    /// Writes `record` to the log and folds it into the state of `process`, in this order of meaning: whoever hears of
    /// the new state hears it after the record is durable.
    pub fn append(&mut self, process: &mut P, record: P::Record) {
        self.orders.push_record(record.clone());
        process.replay(record);
    }

    /// Sets the alarm `timer` to ring once, after a time within `after`; replaces the same alarm if it is set.
    pub fn set(&mut self, timer: P::Timer, after: Range<Duration>) {
        self.orders.push_alarm(AlarmChange::Set(timer, after));
    }

    /// Stops the alarm `timer`; nothing happens if it is not set.
    pub fn stop(&mut self, timer: P::Timer) {
        self.orders.push_alarm(AlarmChange::Stop(timer));
    }

    /// Chooses one of `options`: by chance when running, by seed when simulated, all of them when explored.
    ///
    /// # Panics
    /// If there is nothing to choose from.
    pub fn choose<'o, T>(&mut self, options: &'o [T]) -> &'o T {
        assert!(!options.is_empty(), "a choice needs at least one option");
        let index = if options.len() == 1 { 0 } else { self.chance.choose(options.len()) };
        &options[index]
    }
}
