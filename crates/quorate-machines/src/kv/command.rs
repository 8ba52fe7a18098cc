//! What a store is asked and what it answers: etcd's requests in our own words, so that the machine knows no wire format.
//!
//! A [`Command`] is what stands in the log; it changes the store. A read never enters the log: it gets a
//! [`View`](super::View), the store at one revision, and asks that.

use alloc::vec::Vec;

use bytes::Bytes;

/// The number of changes of the store so far. A fresh store is at 1; the first write makes it 2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Revision(pub u64);

/// The name of a lease; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LeaseId(pub i64);

/// A set of keys.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Span {
    /// One key.
    Key(Bytes),
    /// All keys from the first on, before the second.
    Range(Bytes, Bytes),
    /// All keys from this one on. From the empty key: all.
    From(Bytes),
}

/// One version of a key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The revision that created the key in its present life.
    pub create_revision: Revision,
    /// The revision that made this version.
    pub mod_revision: Revision,
    /// How many writes the key had in its present life, this one included.
    pub version: u64,
    /// What the key holds.
    pub value: Bytes,
    /// The lease that the key dies with; 0 is none.
    pub lease: LeaseId,
}

/// Writes a key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Put {
    /// The key; not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease to attach to; 0 detaches.
    pub lease: LeaseId,
    /// Whether to answer with what was there.
    pub prev_kv: bool,
    /// Keep the value that is there.
    pub ignore_value: bool,
    /// Keep the lease that is there.
    pub ignore_lease: bool,
}

impl Put {
    /// Puts `value` at `key`, without a lease.
    #[must_use]
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: value.into(), ..Self::default() }
    }
}

/// Deletes keys.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Delete {
    /// Which keys.
    pub span: Span,
    /// Whether to answer with what was there.
    pub prev_kv: bool,
}

/// What to order a range by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The creating revision.
    Create,
    /// The last revision.
    Mod,
    /// The value.
    Value,
}

/// Which way to order a range.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SortOrder {
    /// As stored: by key, ascending; ascending by any other target.
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
}

/// Reads keys. Bounds of 0 do not bound. Start from [`Range::of`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Range {
    /// Which keys.
    pub span: Span,
    /// At which revision; 0 is the present one.
    pub revision: Revision,
    /// At most so many; 0 is all.
    pub limit: u64,
    /// Which way.
    pub sort_order: SortOrder,
    /// By what.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Only keys last written at or after this revision.
    pub min_mod_revision: Revision,
    /// Only keys last written at or before this revision.
    pub max_mod_revision: Revision,
    /// Only keys created at or after this revision.
    pub min_create_revision: Revision,
    /// Only keys created at or before this revision.
    pub max_create_revision: Revision,
}

impl Range {
    /// All of `span`, now, by key.
    #[must_use]
    pub fn of(span: Span) -> Self {
        Self {
            span,
            revision: Revision(0),
            limit: 0,
            sort_order: SortOrder::None,
            sort_target: SortTarget::Key,
            keys_only: false,
            count_only: false,
            min_mod_revision: Revision(0),
            max_mod_revision: Revision(0),
            min_create_revision: Revision(0),
            max_create_revision: Revision(0),
        }
    }
}

/// What a range found.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Found {
    /// The keys, in the order asked for.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut it.
    pub more: bool,
    /// How many keys the span holds, whatever limit and filters.
    pub count: u64,
}

/// How a comparison must come out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Comparison {
    /// What is there equals the operand.
    Equal,
    /// What is there is greater.
    Greater,
    /// What is there is less.
    Less,
    /// What is there differs.
    NotEqual,
}

/// What to compare, and with what.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// The version; 0 when the key is missing.
    Version(i64),
    /// The creating revision; 0 when the key is missing.
    Create(i64),
    /// The last revision; 0 when the key is missing.
    Mod(i64),
    /// The value; false when the key is missing, however it is compared.
    Value(Bytes),
    /// The lease; 0 when the key is missing.
    Lease(i64),
}

/// One condition of a transaction; it must hold for every key of the span.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Compare {
    /// Which keys.
    pub span: Span,
    /// How.
    pub result: Comparison,
    /// With what.
    pub operand: Operand,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// Read keys, seeing what earlier operations of the transaction did.
    Range(Range),
    /// Write a key.
    Put(Put),
    /// Delete keys.
    Delete(Delete),
    /// A transaction within.
    Txn(Txn),
}

/// If all of `compare` hold then all of `success`, else all of `failure`, at one revision.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Txn {
    /// The conditions.
    pub compare: Vec<Compare>,
    /// What to do when they hold.
    pub success: Vec<Op>,
    /// What to do when one does not.
    pub failure: Vec<Op>,
}

/// Why a store takes no writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AlarmKind {
    /// It holds more than its quota.
    NoSpace,
    /// Replicas differ.
    Corrupt,
}

/// A raised alarm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Alarm {
    /// The member that raised it.
    pub member: u64,
    /// Which.
    pub kind: AlarmKind,
}

/// A change of the store, as it stands in the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// Write a key.
    Put(Put),
    /// Delete keys.
    Delete(Delete),
    /// A transaction that may write.
    Txn(Txn),
    /// Forget versions that were superseded at or before the revision.
    Compact(Revision),
    /// Make a lease. The id is not 0: whoever proposes picks one. The term was checked and raised to the floor before.
    LeaseGrant {
        /// Its name.
        id: LeaseId,
        /// Its term in seconds.
        ttl_s: i64,
    },
    /// End a lease and delete its keys, in their order, at one revision.
    LeaseRevoke(LeaseId),
    /// Raise an alarm.
    AlarmRaise(Alarm),
    /// Lower an alarm.
    AlarmLower(Alarm),
}

/// What one operation of a transaction answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum OpDone {
    /// A range.
    Range(Found),
    /// A put, with what was there if that was asked.
    Put(Option<KeyValue>),
    /// A delete: how many, and what was there if that was asked.
    Delete(u64, Vec<KeyValue>),
    /// A transaction within.
    Txn(TxnDone),
}

/// What a transaction answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct TxnDone {
    /// Whether the conditions held.
    pub succeeded: bool,
    /// One answer for each operation of the branch that was taken.
    pub answers: Vec<OpDone>,
}

/// What a command did.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Done {
    /// A put, with what was there if that was asked.
    Put(Option<KeyValue>),
    /// A delete: how many, and what was there if that was asked.
    Delete(u64, Vec<KeyValue>),
    /// A transaction.
    Txn(TxnDone),
    /// Superseded versions are forgotten.
    Compacted,
    /// The lease exists, with its term in seconds.
    LeaseGranted(i64),
    /// The lease is gone.
    LeaseRevoked,
    /// The alarm that is raised now, or that was lowered; none when it was not raised.
    Alarms(Vec<Alarm>),
}

/// Why a command or a read was refused. The store is as it was. The texts and codes are etcd's, since clients match them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refused {
    /// A key is empty.
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that is not there.
    KeyNotFound,
    /// `ignore_value` with a value.
    ValueProvided,
    /// `ignore_lease` with a lease.
    LeaseProvided,
    /// More operations than allowed.
    TooManyOps,
    /// One transaction writes a key twice.
    DuplicateKey,
    /// The revision was compacted.
    Compacted,
    /// The revision is not reached yet.
    FutureRevision,
    /// No lease of that name.
    LeaseNotFound,
    /// A lease of that name exists.
    LeaseExists,
    /// The store holds more than its quota.
    NoSpace,
    /// Replicas differ; nothing is written until it is mended.
    Corrupt,
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Answer {
    /// The store's revision after the command.
    pub revision: Revision,
    /// What it did, or why not.
    pub outcome: Result<Done, Refused>,
}
