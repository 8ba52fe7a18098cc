//! The key-value store: etcd's data model as a machine that a log drives.
//!
//! | file          | what                                                                        |
//! |---------------|-----------------------------------------------------------------------------|
//! | `command`     | what the store is asked and what it answers                                  |
//! | `check`       | what is refused without a store                                              |
//! | `table`       | the ordered map that everything stands in; `layout` says where, `record` how    |
//! | `memory`      | a table in memory, on a persistent `tree` of packed `keys`                     |
//! | `view`        | the store at one moment: `range`, `txn`, `watch`, `hash` read it             |
//! | `mvcc`        | one change: new versions at a new revision; `compact` forgets old ones       |
//! | `lease`       | keys that die together; `expiry` is their time, at the head                  |
//! | `quota`       | when no writes are taken                                                     |
//! | `copy`        | a store on another node, from pages of this one                              |
//! | `watchers`    | who watches a key                                                            |
//! | `lock`        | the requests that etcd's lock and election are made of                       |
//! | `codec`       | all of it as bytes                                                           |
//!
//! The same machine serves the `local`, `chain` and `consensus` replication kinds.

pub mod check;
mod codec;
mod command;
mod compact;
mod copy;
pub mod expiry;
mod hash;
mod intervals;
mod keys;
mod layout;
pub mod lease;
pub mod lock;
mod memory;
mod mvcc;
pub mod quota;
mod range;
mod record;
mod snapshot;
mod span;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod txn;
mod view;
pub mod watch;
mod watchers;
mod weight;

use alloc::vec::Vec;

use bytes::Bytes;
use quorate_model::{DecodeError, Machine, Wire};

pub use command::*;
pub use expiry::Expiry;
pub use hash::StateHash;
pub use memory::MemoryTable;
pub use snapshot::{Chunk, Restore};
pub use table::Table;
pub use view::View;
pub use watch::{Change, Changes, Event, EventKind, Fragment, Wanted};
pub use watchers::Watchers;

use mvcc::Step;
use view::Meta;

/// The footprint of a read: the keys that it will look at. No span at all is a read of what is not a key: leases and
/// alarms. A read at a revision that the reader learned elsewhere must ask for [`Span::all`], since any write may be the
/// one that reaches that revision.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Query(pub Vec<Span>);

/// What a store answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reply<T> {
    /// To a command.
    Done(Answer),
    /// To a query: the store as it is, to read from.
    View(View<T>),
}

/// The store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Kv<T> {
    view: View<T>,
    quota_bytes: u64,
    /// While pages are pasted: the counters that must fit what comes.
    pasting: Option<Meta>,
}

impl<T: Table + Default> Default for Kv<T> {
    fn default() -> Self {
        Self::new(T::default(), 0)
    }
}

impl<T: Table> Kv<T> {
    /// The store in `table`, fresh if that is empty. `quota_bytes` is when [`Kv::is_over_quota`] says so; 0 is never.
    #[must_use]
    pub fn new(table: T, quota_bytes: u64) -> Self {
        Self { view: View::new(table), quota_bytes, pasting: None }
    }

    /// The store as it is.
    #[must_use]
    pub fn view(&self) -> &View<T> {
        &self.view
    }

    /// The table that the store is in.
    #[must_use]
    pub fn table(&self) -> &T {
        &self.view.table
    }

    /// The quota in bytes; 0 is none.
    #[must_use]
    pub fn quota_bytes(&self) -> u64 {
        self.quota_bytes
    }

    /// Whether the store holds more than its quota: then its host orders [`Command::AlarmRaise`]. Nothing is refused
    /// before that alarm is in the log.
    #[must_use]
    pub fn is_over_quota(&self) -> bool {
        self.quota_bytes > 0 && self.view.bytes_in_use() > self.quota_bytes
    }

    /// Sweeps some of what compaction forgot, beside what commands sweep anyway, when there is nothing else to do; whether
    /// there is more. No read and no hash can tell; only the bytes in use shrink sooner.
    pub fn sweep(&mut self, changes_max: u32) -> bool {
        self.view.sweep(changes_max);
        self.view.is_sweeping()
    }

    fn run(&mut self, command: &Command) -> Result<(Done, u32), Refused> {
        // Who proposes checks the number of operations, which is a setting; what is left here is what the store rests on.
        check::command(command, usize::MAX)?;
        if let Some(refused) = self.view.forbidden(command) {
            return Err(refused);
        }
        let view = &mut self.view;
        match command {
            Command::Put(put) => {
                view.can_put(put)?;
                let mut step = Step::begin(view);
                let previous = step.put_asked(put);
                Ok((Done::Put(previous), step.finish()))
            }
            Command::Delete(delete) => {
                let mut step = Step::begin(view);
                let (count, kvs) = step.delete_asked(delete);
                Ok((Done::Delete(count, kvs), step.finish()))
            }
            Command::Txn(txn) => view.txn(txn).map(|(done, changes)| (Done::Txn(done), changes)),
            Command::Compact(revision) => view.compact(*revision).map(|()| (Done::Compacted, 0)),
            Command::LeaseGrant { id, ttl_s } => {
                view.grant(*id, *ttl_s).map(|granted_s| (Done::LeaseGranted(granted_s), 0))
            }
            Command::LeaseRevoke(id) => view.revoke(*id).map(|changes| (Done::LeaseRevoked, changes)),
            Command::AlarmRaise(alarm) => {
                view.raise(*alarm);
                Ok((Done::Alarms(alloc::vec![*alarm]), 0))
            }
            Command::AlarmLower(alarm) => {
                let lowered = view.lower(*alarm).then_some(*alarm);
                Ok((Done::Alarms(lowered.into_iter().collect()), 0))
            }
        }
    }
}

impl<T: Table> Machine for Kv<T> {
    type Command = Command;
    type Query = Query;
    type Answer = Reply<T>;
    type Snapshot = View<T>;

    fn apply(&mut self, _: u64, command: &Command) -> Reply<T> {
        let outcome = self.run(command);
        let changes = match &outcome {
            Ok((_, changes)) => *changes,
            Err(_) => 0,
        };
        let unversioned = matches!(
            command,
            Command::Compact(_)
                | Command::LeaseGrant { .. }
                | Command::LeaseRevoke(_)
                | Command::AlarmRaise(_)
                | Command::AlarmLower(_)
        );
        if outcome.is_ok() && unversioned {
            self.view.meta.digest = hash::fold_bytes(self.view.meta.digest, &command.to_bytes());
        }
        self.view.sweep(compact::SWEPT_PER_COMMAND.saturating_add(changes.saturating_mul(2)));
        Reply::Done(Answer { revision: self.view.revision(), outcome: outcome.map(|(done, _)| done) })
    }

    fn read(&self, _: &Query) -> Reply<T> {
        Reply::View(self.view.clone())
    }

    fn touches(command: &Command, query: &Query) -> bool {
        let meets = |span: &Span| query.0.iter().any(|asked| asked.meets(span));
        match command {
            Command::Put(put) => query.0.iter().any(|asked| asked.contains(&put.key)) || attaches(command, query),
            Command::Delete(delete) => meets(&delete.span) || attaches(command, query),
            Command::Txn(txn) => writes_into(txn, query) || attaches(command, query),
            // Which keys die with a lease is known to the store alone; a compaction ends reads of the past of all.
            Command::LeaseRevoke(_) | Command::Compact(_) => true,
            Command::LeaseGrant { .. } | Command::AlarmRaise(_) | Command::AlarmLower(_) => query.0.is_empty(),
        }
    }

    fn mark(&self) -> u64 {
        self.view.revision().0
    }

    fn snapshot(&self) -> View<T> {
        self.view.clone()
    }

    fn restore(&mut self, snapshot: View<T>) {
        self.view = snapshot;
    }

    fn page(snapshot: &View<T>, at: &[u8], bytes_max: usize) -> (Bytes, Option<Bytes>) {
        snapshot.page(at, bytes_max)
    }

    fn blank(&self) -> Self {
        Self::new(self.view.table.blank(), self.quota_bytes)
    }

    fn paste(&mut self, page: Bytes) -> Result<(), DecodeError> {
        self.take_page(page)
    }

    fn pasted(&mut self) -> Result<(), DecodeError> {
        self.took_all()
    }

    fn is_busy(&self) -> bool {
        self.view.table.is_busy()
    }

    fn recovered(&self) -> Option<(u64, Bytes)> {
        self.view.table.recovered()
    }

    fn stored(&self) -> Option<u64> {
        self.view.table.stored()
    }

    fn weight(command: &Command) -> usize {
        weight::weight(command)
    }

    fn checkpoint(&mut self, index: u64, beside: Bytes) {
        let meta = self.view.meta.to_bytes();
        let table = &mut self.view.table;
        table.insert(Bytes::from_static(layout::META), meta);
        table.checkpoint(index, beside);
        // The table took its snapshot; from here on the counters would only be old.
        table.remove(layout::META);
    }
}

/// A read of leases sees which keys are attached to them, and any change of a key may change that.
fn attaches(_: &Command, query: &Query) -> bool {
    query.0.is_empty()
}

fn writes_into(txn: &Txn, query: &Query) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Range(_) => false,
        Op::Put(put) => query.0.iter().any(|asked| asked.contains(&put.key)),
        Op::Delete(delete) => query.0.iter().any(|asked| asked.meets(&delete.span)),
        Op::Txn(txn) => writes_into(txn, query),
    })
}
