//! Leases: keys that die together.
//!
//! The lease and its keys are replicated state; its time is not. Time runs at the head alone, by its own clock
//! ([`Expiry`](super::expiry::Expiry)): when a term is over, the head orders a revoke like any other command. So no two
//! replicas ever compare clocks, and a lease may only live longer than its term, never shorter.

use quorate_model::Wire;

use super::command::{LeaseId, Refused, Span};
use super::layout;
use super::mvcc::Step;
use super::table::Table;
use super::view::View;

/// The longest term in seconds. Source: etcd's lessor.
pub const TERM_S_MAX: i64 = 9_000_000_000;

/// Why a term was refused. Nothing happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TermError {
    /// It is longer than [`TERM_S_MAX`]. Ask for less.
    TooLong,
}

/// The shortest term in seconds: one and a half of the time after which a head is given up, rounded up, so that a lease
/// outlives a change of heads. etcd's default of 1 s makes it 2.
#[must_use]
pub fn floor_s(failover: core::time::Duration) -> i64 {
    let millis = failover.as_millis().saturating_mul(3).div_ceil(2);
    i64::try_from(millis.div_ceil(1000)).unwrap_or(TERM_S_MAX).clamp(1, TERM_S_MAX)
}

/// The term that is granted to who asks for `asked_s`.
///
/// # Errors
/// When it is too long.
pub fn term_s(asked_s: i64, floor_s: i64) -> Result<i64, TermError> {
    if asked_s > TERM_S_MAX { Err(TermError::TooLong) } else { Ok(asked_s.max(floor_s)) }
}

impl<T: Table> View<T> {
    pub(crate) fn grant(&mut self, id: LeaseId, ttl_s: i64) -> Result<i64, Refused> {
        if id == LeaseId(0) {
            return Err(Refused::LeaseNotFound); // 0 is the name of no lease
        }
        if self.lease(id).is_some() {
            return Err(Refused::LeaseExists);
        }
        let ttl_s = ttl_s.clamp(1, TERM_S_MAX);
        let term = ttl_s.to_bytes();
        self.meta.bytes += (layout::lease(id).len() + term.len()) as u64;
        self.meta.leases += 1;
        self.table.insert_at(&layout::lease(id), term);
        Ok(ttl_s)
    }

    /// Ends a lease and deletes its keys, in their order, at one revision. Answers with how many keys went.
    pub(crate) fn revoke(&mut self, id: LeaseId) -> Result<u32, Refused> {
        let term = self.table.get(&layout::lease(id)).ok_or(Refused::LeaseNotFound)?;
        let keys = self.lease_keys(id);
        let mut step = Step::begin(self);
        for key in keys {
            step.delete(&Span::Key(key));
        }
        let changes = step.finish();
        self.table.remove(&layout::lease(id));
        self.meta.bytes -= (layout::lease(id).len() + term.len()) as u64;
        self.meta.leases -= 1;
        Ok(changes)
    }
}
