//! The outbox holds output commit: a message leaves when every record appended ahead of it is on disk.
//!
//! One queue of records and messages, in the order in which the process made them. The host writes the records to disk
//! and says how many became durable; what stands before the first record that is not durable may leave. All three hosts
//! (runtime, simulator, explorer) use this one queue, so the durability contract is the same code everywhere.

use alloc::collections::VecDeque;
use core::fmt::{self, Debug};
use core::hash::{Hash, Hasher};
use core::ops::Range;
use core::time::Duration;

use crate::pid::Pid;
use crate::process::{Orders, Process};

/// A record or a message that waits for its turn.
pub enum Output<P: Process> {
    /// A record that is not durable yet.
    Record(P::Record),
    /// A message that waits for the records before it.
    Send {
        /// Whom to tell.
        to: Pid,
        /// What to tell.
        message: P::Message,
    },
}

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
    queue: VecDeque<Output<P>>,
    /// How many records of the queue the host took for writing.
    taken_count: usize,
    /// Where in the queue the first record stands that the host has not taken.
    taken_end: usize,
    alarms: VecDeque<AlarmChange<P::Timer>>,
}

impl<P: Process> Outbox<P> {
    /// An empty outbox.
    #[must_use]
    pub fn new() -> Self {
        Self { queue: VecDeque::new(), taken_count: 0, taken_end: 0, alarms: VecDeque::new() }
    }

    /// The next record to write that was not taken before. It stays in the queue, and holds back what stands behind
    /// it, until [`Outbox::synced`].
    pub fn take_record(&mut self) -> Option<&P::Record> {
        while self.taken_end < self.queue.len() {
            let at = self.taken_end;
            self.taken_end += 1;
            if let Output::Record(record) = &self.queue[at] {
                self.taken_count += 1;
                return Some(record);
            }
        }
        None
    }

    /// The first `count` records are durable now.
    ///
    /// # Panics
    /// If fewer records wait: the host counted wrong.
    pub fn synced(&mut self, count: usize) {
        let mut left = count;
        let mut index = 0;
        while left > 0 {
            assert!(index < self.queue.len(), "the host synced a record that no process appended");
            if matches!(self.queue[index], Output::Record(_)) {
                self.queue.remove(index);
                if index < self.taken_end {
                    self.taken_end -= 1;
                    self.taken_count -= 1;
                }
                left -= 1;
            } else {
                index += 1;
            }
        }
    }

    /// The next message that may leave, if the queue does not begin with a record.
    pub fn release(&mut self) -> Option<(Pid, P::Message)> {
        if !matches!(self.queue.front(), Some(Output::Send { .. })) {
            return None;
        }
        match self.queue.pop_front() {
            Some(Output::Send { to, message }) => {
                self.taken_end = self.taken_end.saturating_sub(1);
                Some((to, message))
            }
            _ => None, // seen to be a message just above
        }
    }

    /// The next change of an alarm.
    pub fn alarm_change(&mut self) -> Option<AlarmChange<P::Timer>> {
        self.alarms.pop_front()
    }

    /// The records that are not durable yet, oldest first: what a crash may lose any suffix of.
    pub fn unsynced(&self) -> impl Iterator<Item = &P::Record> {
        self.queue.iter().filter_map(|output| match output {
            Output::Record(record) => Some(record),
            Output::Send { .. } => None,
        })
    }

    /// The whole queue, oldest first.
    pub fn queue(&self) -> impl Iterator<Item = &Output<P>> {
        self.queue.iter()
    }

    /// The queue for a host that breaks the contract on purpose, to prove that breaking it is noticed.
    pub fn queue_mut(&mut self) -> &mut VecDeque<Output<P>> {
        &mut self.queue
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.alarms.is_empty()
    }
}

impl<P: Process> Orders<P::Message, P::Timer, P::Record> for Outbox<P> {
    fn push_send(&mut self, to: Pid, message: P::Message) {
        self.queue.push_back(Output::Send { to, message });
    }

    fn push_record(&mut self, record: P::Record) {
        self.queue.push_back(Output::Record(record));
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

impl<P: Process> Clone for Output<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Record(record) => Self::Record(record.clone()),
            Self::Send { to, message } => Self::Send { to: *to, message: message.clone() },
        }
    }
}

impl<P: Process> Clone for Outbox<P> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            taken_count: self.taken_count,
            taken_end: self.taken_end,
            alarms: self.alarms.clone(),
        }
    }
}

impl<P: Process> PartialEq for Output<P>
where
    P::Record: PartialEq,
    P::Message: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Record(a), Self::Record(b)) => a == b,
            (Self::Send { to: a, message: m }, Self::Send { to: b, message: n }) => a == b && m == n,
            _ => false,
        }
    }
}

impl<P: Process> Eq for Output<P>
where
    P::Record: Eq,
    P::Message: Eq,
{
}

impl<P: Process> Hash for Output<P>
where
    P::Record: Hash,
    P::Message: Hash,
{
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Record(record) => (0_u8, record).hash(state),
            Self::Send { to, message } => (1_u8, to, message).hash(state),
        }
    }
}

/// Two outboxes are equal when they hold the same outputs in the same order; what a host has taken already is its own
/// bookkeeping.
impl<P: Process> PartialEq for Outbox<P>
where
    P::Record: PartialEq,
    P::Message: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.queue == other.queue && self.alarms == other.alarms
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
        self.queue.hash(state);
        self.alarms.hash(state);
    }
}

impl<P: Process> Debug for Output<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(record) => f.debug_tuple("Record").field(record).finish(),
            Self::Send { to, message } => f.debug_struct("Send").field("to", to).field("message", message).finish(),
        }
    }
}

impl<P: Process> Debug for Outbox<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.queue.iter()).finish()
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
        outbox.push_send(to, 1);
        outbox.push_record(10);
        outbox.push_send(to, 2);
        outbox.push_record(11);
        outbox.push_send(to, 3);

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
    fn records_are_taken_once_though_messages_leave_in_between() {
        let to = Pid::chain(1, 0);
        let mut outbox = Outbox::<Echo>::new();
        outbox.push_send(to, 1);
        outbox.push_record(10);
        assert_eq!(outbox.take_record(), Some(&10));
        assert_eq!(outbox.release(), Some((to, 1)));
        outbox.push_record(11);
        assert_eq!(outbox.take_record(), Some(&11));
        assert_eq!(outbox.take_record(), None);
        outbox.synced(2);
        assert!(outbox.is_empty());
    }
}
