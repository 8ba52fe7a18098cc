//! The outbox holds output commit: a message leaves when every record that it rests on is on disk.
//!
//! A message rests on all records that its process appended before it, unless the process says that it rests on fewer
//! ([`crate::Context::send_without`]): a chain passes an entry on while its own disk turns, and says that something is
//! committed without waiting for what came after. The host writes the records to disk and says how many became durable;
//! what rests on these alone may leave. All three hosts (runtime, simulator, explorer) use this one outbox, so the
//! durability contract is the same code everywhere.

use alloc::collections::VecDeque;
use core::fmt::{self, Debug};
use core::hash::{Hash, Hasher};
use core::ops::Range;
use core::time::Duration;

use crate::pid::Pid;
use crate::process::{Orders, Process};

/// A change to the alarms of a process. Alarms are volatile, so they change at once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AlarmChange<T> {
    /// Ring once, after a time within the range.
    Set(T, Range<Duration>),
    /// Do not ring.
    Stop(T),
}

/// What a process has ordered and the host has not carried out.
pub struct Outbox<P: Process> {
    /// Not durable yet, oldest first.
    records: VecDeque<P::Record>,
    /// How many of `records` the host took for writing.
    taken_count: usize,
    /// How many records became durable so far.
    synced_count: u64,
    /// May leave.
    ready: VecDeque<(Pid, P::Message)>,
    /// Wait until so many records are durable, counted as `synced_count` is.
    held: VecDeque<(u64, Pid, P::Message)>,
    alarms: VecDeque<AlarmChange<P::Timer>>,
}

impl<P: Process> Outbox<P> {
    /// An empty outbox.
    #[must_use]
    pub fn new() -> Self {
        Self {
            records: VecDeque::new(),
            taken_count: 0,
            synced_count: 0,
            ready: VecDeque::new(),
            held: VecDeque::new(),
            alarms: VecDeque::new(),
        }
    }

    /// The next record to write that was not taken before. It holds back what rests on it until [`Outbox::synced`].
    pub fn take_record(&mut self) -> Option<&P::Record> {
        let record = self.records.get(self.taken_count)?;
        self.taken_count += 1;
        Some(record)
    }

    /// The first `count` records are durable now.
    ///
    /// # Panics
    /// If fewer records wait: the host counted wrong.
    pub fn synced(&mut self, count: usize) {
        assert!(count <= self.records.len(), "the host synced a record that no process appended");
        self.records.drain(..count);
        self.taken_count = self.taken_count.saturating_sub(count);
        self.synced_count += count as u64;
        if self.held.iter().all(|(after, ..)| *after > self.synced_count) {
            return;
        }
        for (after, to, message) in core::mem::take(&mut self.held) {
            if after <= self.synced_count {
                self.ready.push_back((to, message));
            } else {
                self.held.push_back((after, to, message));
            }
        }
    }

    /// The next message that may leave.
    pub fn release(&mut self) -> Option<(Pid, P::Message)> {
        self.ready.pop_front()
    }

    /// The next change of an alarm.
    pub fn alarm_change(&mut self) -> Option<AlarmChange<P::Timer>> {
        self.alarms.pop_front()
    }

    /// The records that are not durable yet, oldest first: what a crash may lose any suffix of.
    pub fn unsynced(&self) -> impl Iterator<Item = &P::Record> {
        self.records.iter()
    }

    /// How many messages wait for records.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Lets every message leave at once: for a host that breaks the contract on purpose, to prove that this is noticed.
    pub fn break_commit(&mut self) {
        self.ready.extend(self.held.drain(..).map(|(_, to, message)| (to, message)));
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.ready.is_empty() && self.held.is_empty() && self.alarms.is_empty()
    }

    /// What waits for records, with how many of those that wait each needs. Unlike the counts themselves, this is the same
    /// whatever the process did before.
    fn needs(&self) -> impl Iterator<Item = (u64, Pid, &P::Message)> {
        self.held.iter().map(|(after, to, message)| (after - self.synced_count, *to, message))
    }
}

impl<P: Process> Orders<P::Message, P::Timer, P::Record> for Outbox<P> {
    fn push_send(&mut self, to: Pid, message: P::Message, without: usize) {
        let needed = self.records.len().saturating_sub(without);
        if needed == 0 {
            self.ready.push_back((to, message));
        } else {
            self.held.push_back((self.synced_count + needed as u64, to, message));
        }
    }

    fn push_record(&mut self, record: P::Record) {
        self.records.push_back(record);
    }

    fn push_alarm(&mut self, change: AlarmChange<P::Timer>) {
        self.alarms.push_back(change);
    }
}

impl<P: Process> Default for Outbox<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Process> Clone for Outbox<P> {
    fn clone(&self) -> Self {
        Self {
            records: self.records.clone(),
            taken_count: self.taken_count,
            synced_count: self.synced_count,
            ready: self.ready.clone(),
            held: self.held.clone(),
            alarms: self.alarms.clone(),
        }
    }
}

/// Two outboxes are equal when the same waits in the same order; what a host has taken or synced before is its own
/// bookkeeping.
impl<P: Process> PartialEq for Outbox<P>
where
    P::Record: PartialEq,
    P::Message: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
            && self.ready == other.ready
            && self.needs().eq(other.needs())
            && self.alarms == other.alarms
    }
}

impl<P: Process> Eq for Outbox<P>
where
    P::Record: Eq,
    P::Message: Eq,
{
}

impl<P: Process> Hash for Outbox<P>
where
    P::Record: Hash,
    P::Message: Hash,
    P::Timer: Hash,
{
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.records.hash(state);
        self.ready.hash(state);
        self.held.len().hash(state);
        for needs in self.needs() {
            needs.hash(state);
        }
        self.alarms.hash(state);
    }
}

impl<P: Process> Debug for Outbox<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("records", &self.records)
            .field("ready", &self.ready)
            .field("held", &self.needs().collect::<alloc::vec::Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;
    impl Process for Echo {
        type Message = u8;
        type Timer = u8;
        type Record = u8;
        fn on(&mut self, _: crate::Event<Self>, _: &mut crate::Context<'_, Self>) {}
        fn replay(&mut self, _: u8) {}
        fn compact(&self) -> impl Iterator<Item = u8> {
            core::iter::empty()
        }
    }

    #[test]
    fn a_message_waits_for_the_records_before_it_and_for_no_others() {
        let to = Pid::chain(1, 0);
        let mut outbox = Outbox::<Echo>::new();
        outbox.push_send(to, 1, 0);
        outbox.push_record(10);
        outbox.push_send(to, 2, 0);
        outbox.push_record(11);
        outbox.push_send(to, 3, 0);

        assert_eq!(outbox.release(), Some((to, 1)));
        assert_eq!(outbox.release(), None);
        assert_eq!(outbox.take_record(), Some(&10));
        assert_eq!(outbox.release(), None, "written is not durable");
        outbox.synced(1);
        assert_eq!(outbox.release(), Some((to, 2)));
        assert_eq!(outbox.release(), None);
        assert_eq!(outbox.take_record(), Some(&11));
        assert_eq!(outbox.take_record(), None);
        outbox.synced(1);
        assert_eq!(outbox.release(), Some((to, 3)));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_message_that_does_not_rest_on_the_newest_records_waits_for_the_others_only() {
        let to = Pid::chain(1, 0);
        let mut outbox = Outbox::<Echo>::new();
        outbox.push_record(10);
        outbox.push_record(11);
        outbox.push_send(to, 1, 0);
        outbox.push_send(to, 2, 1);
        outbox.push_send(to, 3, 2);
        assert_eq!(outbox.release(), Some((to, 3)));
        assert_eq!(outbox.release(), None);
        outbox.synced(1);
        assert_eq!(outbox.release(), Some((to, 2)));
        assert_eq!(outbox.release(), None);
        outbox.synced(1);
        assert_eq!(outbox.release(), Some((to, 1)));
    }
}
