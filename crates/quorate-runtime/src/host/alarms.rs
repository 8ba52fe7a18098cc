//! The alarms of all processes of a node, by deadline.
//!
//! Protocols put the same alarm off with every message, so that must not cost a heap operation: a deadline that moves
//! back only changes a number, and the entry in the heap is moved on when it comes up. What is stopped leaves an entry
//! behind that is dropped when it comes up, or when such entries are the most.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use quorate_model::Instant;

/// Alarms of processes that are numbered by slot.
pub struct Alarms<T> {
    set: BTreeMap<(usize, T), Alarm>,
    /// At most one current entry for each alarm, never later than its deadline.
    heap: BinaryHeap<Reverse<(Instant, usize, T)>>,
}

struct Alarm {
    deadline: Instant,
    /// The time of its entry in the heap.
    entry: Instant,
}

/// The heap is rebuilt when it has more than twice as many entries as there are alarms, and more than this.
const STALE_COUNT_MIN: usize = 1024;

impl<T: Copy + Ord> Alarms<T> {
    /// No alarms.
    #[must_use]
    pub fn new() -> Self {
        Self { set: BTreeMap::new(), heap: BinaryHeap::new() }
    }

    /// Sets an alarm, in place of the same one if it is set.
    pub fn set(&mut self, slot: usize, timer: T, deadline: Instant) {
        let alarm = self.set.entry((slot, timer)).or_insert(Alarm { deadline, entry: Instant(u64::MAX) });
        alarm.deadline = deadline;
        if deadline < alarm.entry {
            alarm.entry = deadline;
            self.heap.push(Reverse((deadline, slot, timer)));
            if self.heap.len() > STALE_COUNT_MIN.max(2 * self.set.len()) {
                self.rebuild();
            }
        }
    }

    /// Stops an alarm, if it is set.
    pub fn stop(&mut self, slot: usize, timer: T) {
        self.set.remove(&(slot, timer));
    }

    /// Takes the next alarm whose deadline has come: its slot, name and deadline.
    pub fn due(&mut self, now: Instant) -> Option<(usize, T, Instant)> {
        loop {
            let &Reverse((entry, slot, timer)) = self.heap.peek()?;
            if entry > now {
                return None;
            }
            self.heap.pop();
            let Some(alarm) = self.set.get_mut(&(slot, timer)) else { continue };
            if alarm.entry != entry {
                continue; // an earlier entry took its place
            }
            if alarm.deadline > now {
                alarm.entry = alarm.deadline;
                self.heap.push(Reverse((alarm.deadline, slot, timer)));
                continue;
            }
            let deadline = alarm.deadline;
            self.set.remove(&(slot, timer));
            return Some((slot, timer, deadline));
        }
    }

    /// A time before which no alarm is due. May be earlier than the next deadline, never later.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((entry, ..))| *entry)
    }

    /// How many alarms are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether no alarm is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    fn rebuild(&mut self) {
        self.heap.clear();
        for (&(slot, timer), alarm) in &mut self.set {
            alarm.entry = alarm.deadline;
            self.heap.push(Reverse((alarm.deadline, slot, timer)));
        }
    }
}

impl<T: Copy + Ord> Default for Alarms<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn alarms_ring_as_those_of_a_plain_map_do() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut alarms = Alarms::new();
        let mut plain: BTreeMap<(usize, u8), Instant> = BTreeMap::new();
        let mut rung_count = 0;
        for now in 0..200_000 {
            let (slot, timer) = (rng.random_range(0..3), rng.random_range(0..20_u8));
            match rng.random_range(0..4) {
                0 | 1 => {
                    let deadline = Instant(now + rng.random_range(0..100));
                    alarms.set(slot, timer, deadline);
                    plain.insert((slot, timer), deadline);
                }
                2 => {
                    alarms.stop(slot, timer);
                    plain.remove(&(slot, timer));
                }
                _ => {
                    let now = Instant(now);
                    let next = alarms.next();
                    assert!(plain.values().all(|&deadline| next.is_some_and(|next| next <= deadline)));
                    while let Some((slot, timer, deadline)) = alarms.due(now) {
                        assert_eq!(plain.remove(&(slot, timer)), Some(deadline));
                        rung_count += 1;
                    }
                    assert!(plain.values().all(|&deadline| deadline > now));
                }
            }
            assert_eq!(alarms.len(), plain.len());
            assert!(alarms.heap.len() <= STALE_COUNT_MIN + 2 * alarms.len() + 1);
        }
        assert!(rung_count > 10_000, "{rung_count}");
    }
}
