//! Expiry: the time of leases, as the head keeps it by its own clock.
//!
//! | what happens                    | here                                                                  |
//! |---------------------------------|-----------------------------------------------------------------------|
//! | a node becomes head             | [`Expiry::began`]: every lease gets its full term again               |
//! | a grant is applied              | [`Expiry::granted`]: the full term from now                           |
//! | a client renews                 | [`Expiry::renewed`]: the full term from now, unless a revoke is ordered |
//! | time passes                     | [`Expiry::due`]: the leases to order a revoke for, so many a call     |
//! | a revoke is applied             | [`Expiry::revoked`]                                                   |
//!
//! A lease may live longer than its term, never shorter: a term counts from a moment after the client's wish, on one
//! clock. Once `due` has named a lease its end is ordered, and a renewal comes too late; if the order is lost, `due` names
//! it again after [`ORDER_PATIENCE`].
//!
//! The queue is a heap with at most a few entries for each lease: a renewal does not touch it; an entry that comes up
//! too early goes back in with the later time. So 100,000 leases that are renewed three times a term cost one search for
//! each renewal and one turn of the heap for each term.

use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use quorate_model::Instant;

use super::command::LeaseId;

/// How long an ordered revoke may take before it is ordered again.
pub const ORDER_PATIENCE: Duration = Duration::from_secs(3);

/// How many stale entries the queue may hold beside one for each lease, before it is built anew.
const STALE_MAX: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    Running,
    /// A revoke is ordered.
    Ending,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Running {
    term_s: i64,
    ends: Instant,
    /// The entry of the queue that counts for this lease; others are stale.
    queued: Instant,
    phase: Phase,
}

/// The time of all leases.
#[derive(Clone, Debug, Default)]
pub struct Expiry {
    leases: BTreeMap<LeaseId, Running>,
    queue: BinaryHeap<Reverse<(Instant, LeaseId)>>,
}

impl Expiry {
    /// The node became head: all `leases`, with their terms in seconds, have their full term from now.
    #[must_use]
    pub fn began(leases: impl IntoIterator<Item = (LeaseId, i64)>, now: Instant) -> Self {
        let mut expiry = Self::default();
        for (id, term_s) in leases {
            expiry.granted(id, term_s, now);
        }
        expiry
    }

    /// A lease was made.
    pub fn granted(&mut self, id: LeaseId, term_s: i64, now: Instant) {
        let ends = now + term(term_s);
        self.leases.insert(id, Running { term_s, ends, queued: ends, phase: Phase::Running });
        self.enqueue(ends, id);
    }

    /// A client renews a lease; its term in seconds, or `None` when there is no such lease or its end is ordered.
    pub fn renewed(&mut self, id: LeaseId, now: Instant) -> Option<i64> {
        let lease = self.leases.get_mut(&id).filter(|lease| lease.phase == Phase::Running)?;
        lease.ends = lease.ends.max(now + term(lease.term_s));
        Some(lease.term_s)
    }

    /// A lease is gone.
    pub fn revoked(&mut self, id: LeaseId) {
        self.leases.remove(&id);
    }

    /// The leases whose term is over, to order a revoke for. Looks at no more than `looks_max` entries: when
    /// [`Expiry::next`] is not after `now` then, there is more to do.
    pub fn due(&mut self, now: Instant, looks_max: usize) -> Vec<LeaseId> {
        let mut due = Vec::new();
        for _ in 0..looks_max {
            let Some(&Reverse((at, id))) = self.queue.peek() else { break };
            if at > now {
                break;
            }
            self.queue.pop();
            let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.queued == at) else { continue };
            if lease.ends > now {
                lease.queued = lease.ends;
            } else {
                lease.phase = Phase::Ending;
                lease.queued = now + ORDER_PATIENCE;
                due.push(id);
            }
            let queued = lease.queued;
            self.queue.push(Reverse((queued, id)));
        }
        due
    }

    /// When to ask [`Expiry::due`] next; `None` when there are no leases.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// The term that a lease was granted, in seconds; `None` when there is none of that name.
    #[must_use]
    pub fn granted_s(&self, id: LeaseId) -> Option<i64> {
        self.leases.get(&id).map(|lease| lease.term_s)
    }

    /// What is left of a lease; `None` when there is none of that name.
    #[must_use]
    pub fn remaining(&self, id: LeaseId, now: Instant) -> Option<Duration> {
        self.leases.get(&id).map(|lease| lease.ends.since(now))
    }

    /// How many leases there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    fn enqueue(&mut self, at: Instant, id: LeaseId) {
        self.queue.push(Reverse((at, id)));
        // Leases that are made and revoked long before their end would pile up otherwise.
        if self.queue.len() > 2 * self.leases.len() + STALE_MAX {
            self.queue = self.leases.iter().map(|(id, lease)| Reverse((lease.queued, *id))).collect();
        }
    }
}

fn term(term_s: i64) -> Duration {
    Duration::from_secs(u64::try_from(term_s).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_is_due_when_its_term_is_over_and_not_before() {
        let mut expiry = Expiry::default();
        expiry.granted(LeaseId(7), 10, at(100));
        assert!(expiry.due(at(109), 10).is_empty());
        assert_eq!(expiry.remaining(LeaseId(7), at(104)), Some(Duration::from_secs(6)));
        assert_eq!(expiry.due(at(110), 10), [LeaseId(7)]);
    }

    #[test]
    fn a_renewal_gives_the_full_term_again() {
        let mut expiry = Expiry::default();
        expiry.granted(LeaseId(7), 10, at(100));
        assert_eq!(expiry.renewed(LeaseId(7), at(109)), Some(10));
        assert!(expiry.due(at(118), 10).is_empty());
        assert_eq!(expiry.due(at(119), 10), [LeaseId(7)]);
    }

    #[test]
    fn a_renewal_after_the_end_was_ordered_comes_too_late() {
        let mut expiry = Expiry::default();
        expiry.granted(LeaseId(7), 10, at(0));
        assert_eq!(expiry.due(at(10), 10), [LeaseId(7)]);
        assert_eq!(expiry.renewed(LeaseId(7), at(10)), None);
        assert_eq!(expiry.renewed(LeaseId(8), at(10)), None);
    }

    #[test]
    fn an_order_that_was_lost_is_given_again_but_not_at_once() {
        let mut expiry = Expiry::default();
        expiry.granted(LeaseId(7), 10, at(0));
        assert_eq!(expiry.due(at(10), 10), [LeaseId(7)]);
        assert!(expiry.due(at(11), 10).is_empty());
        assert_eq!(expiry.due(at(10) + ORDER_PATIENCE, 10), [LeaseId(7)]);
        expiry.revoked(LeaseId(7));
        assert!(expiry.due(at(1000), 10).is_empty());
        assert!(expiry.is_empty());
    }

    #[test]
    fn a_new_head_gives_every_lease_its_full_term() {
        let expiry = Expiry::began([(LeaseId(1), 5), (LeaseId(2), 50)], at(1000));
        assert_eq!(expiry.remaining(LeaseId(1), at(1000)), Some(Duration::from_secs(5)));
        assert_eq!(expiry.remaining(LeaseId(2), at(1000)), Some(Duration::from_secs(50)));
        assert_eq!(expiry.next(), Some(at(1005)));
    }

    #[test]
    fn a_call_does_bounded_work_and_the_next_goes_on() {
        let mut expiry = Expiry::began((1..=1000).map(|id| (LeaseId(id), 10)), at(0));
        let mut named = Vec::new();
        let mut calls = 0;
        while expiry.next().is_some_and(|next| next <= at(10)) {
            let due = expiry.due(at(10), 100);
            assert!(due.len() <= 100);
            named.extend(due);
            calls += 1;
        }
        assert_eq!((named.len(), calls), (1000, 10));
    }

    #[test]
    fn leases_that_come_and_go_leave_no_pile_behind() {
        let mut expiry = Expiry::default();
        for id in 1..100_000 {
            expiry.granted(LeaseId(id), 9_000_000_000, at(0));
            expiry.revoked(LeaseId(id));
        }
        assert!(expiry.queue.len() <= STALE_MAX + 2, "{} entries for no lease", expiry.queue.len());
    }

    #[test]
    fn a_lease_made_again_under_its_old_name_has_its_own_time() {
        let mut expiry = Expiry::default();
        expiry.granted(LeaseId(7), 10, at(0));
        expiry.revoked(LeaseId(7));
        expiry.granted(LeaseId(7), 100, at(1));
        assert!(expiry.due(at(50), 10).is_empty());
        assert_eq!(expiry.due(at(101), 10), [LeaseId(7)]);
        assert!(expiry.due(at(101), 10).is_empty());
    }
}
