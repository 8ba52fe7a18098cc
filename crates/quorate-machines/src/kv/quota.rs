//! Quota and alarms: when a store takes no writes, and which it takes even then.
//!
//! | command          | no space          | corrupt |
//! |------------------|-------------------|---------|
//! | put              | refused           | refused |
//! | txn with a put   | refused           | refused |
//! | txn without      | passes            | refused |
//! | delete           | passes            | refused |
//! | compact          | passes            | refused |
//! | lease grant      | refused           | refused |
//! | lease revoke     | passes            | refused |
//! | alarm            | passes            | passes  |
//!
//! What is refused follows from the raised alarms alone, which are replicated; the quota itself is a setting of the
//! node, and only decides when its node raises the alarm. So a changed setting cannot make replicas differ.

use alloc::vec::Vec;

use bytes::Bytes;

use super::command::{Alarm, AlarmKind, Command, Op, Refused, Txn};
use super::layout;
use super::table::Table;
use super::view::View;

/// About how many bytes `command` adds. What only frees costs nothing.
#[must_use]
pub fn cost(command: &Command) -> u64 {
    match command {
        Command::Put(put) => put_cost(put.key.len(), put.value.len()),
        Command::Txn(txn) => txn_cost(txn),
        Command::LeaseGrant { .. } => LEASE_COST,
        _ => 0,
    }
}

/// What a version takes beside its key, twice, and its value.
const PUT_COST: u64 = 64;
const LEASE_COST: u64 = 64;

fn put_cost(key: usize, value: usize) -> u64 {
    PUT_COST + 2 * key as u64 + value as u64
}

fn txn_cost(txn: &Txn) -> u64 {
    let of = |ops: &[Op]| -> u64 {
        ops.iter()
            .map(|op| match op {
                Op::Put(put) => put_cost(put.key.len(), put.value.len()),
                Op::Txn(txn) => txn_cost(txn),
                Op::Range(_) | Op::Delete(_) => 0,
            })
            .sum()
    };
    of(&txn.success).max(of(&txn.failure))
}

impl<T: Table> View<T> {
    /// Whether `command` would bring the store above `quota_bytes` (0: no quota). Who proposes asks before, refuses the
    /// command and raises the alarm.
    #[must_use]
    pub fn exceeds(&self, quota_bytes: u64, command: &Command) -> bool {
        let cost = cost(command);
        quota_bytes > 0 && cost > 0 && self.meta.bytes.saturating_add(cost) > quota_bytes
    }

    /// Whether a raised alarm forbids `command`.
    pub(crate) fn forbidden(&self, command: &Command) -> Option<Refused> {
        if self.meta.alarms == 0 || matches!(command, Command::AlarmRaise(_) | Command::AlarmLower(_)) {
            return None;
        }
        let kinds: Vec<AlarmKind> = self.alarms().into_iter().map(|alarm| alarm.kind).collect();
        if kinds.contains(&AlarmKind::Corrupt) {
            return Some(Refused::Corrupt);
        }
        (kinds.contains(&AlarmKind::NoSpace) && cost(command) > 0).then_some(Refused::NoSpace)
    }

    /// Raises an alarm; whether it was not raised before.
    pub(crate) fn raise(&mut self, alarm: Alarm) -> bool {
        let at = layout::alarm(alarm);
        let fresh = self.table.get(&at).is_none();
        if fresh {
            self.table.insert_at(&at, Bytes::new());
            self.meta.alarms += 1;
            self.meta.bytes += at.len() as u64;
        }
        fresh
    }

    /// Lowers an alarm; whether it was raised.
    pub(crate) fn lower(&mut self, alarm: Alarm) -> bool {
        let at = layout::alarm(alarm);
        let raised = self.table.get(&at).is_some();
        if raised {
            self.table.remove(&at);
            self.meta.alarms -= 1;
            self.meta.bytes -= at.len() as u64;
        }
        raised
    }
}
