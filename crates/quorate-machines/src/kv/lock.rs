//! Locks and elections: the requests that etcd's recipes are made of, as pure functions that a gateway drives.
//!
//! Who wants a lock writes a key of its own, `name/hex(lease)`, once. The keys queue by the revision that created them;
//! the first is the holder. Each waits for the one right before it to go, so a release wakes one waiter, not all.
//!
//! | step                 | here                                                     |
//! |----------------------|----------------------------------------------------------|
//! | join the queue       | propose [`Claim::join`], then [`Claim::joined`]          |
//! | is it my turn?       | [`Place::ahead`] of a view: nobody, or whom to wait for  |
//! | am I still in it?    | [`Place::still_stands`]: the lease may have died meanwhile |
//! | leave                | propose [`Place::leave`]                                 |
//!
//! The revision that created the key is the *fence*: it grows with each holder, and what the lock protects should refuse
//! a lower one than it has seen. An election is the same queue, with a value that its leader may replace.
//!
//! Source: etcd's client/v3/concurrency (key.go, mutex.go, election.go), which v3lock and v3election call.

use alloc::format;
use alloc::vec::Vec;

use bytes::Bytes;

use super::command::{
    Command, Compare, Comparison, Delete, KeyValue, LeaseId, Op, OpDone, Operand, Put, Range, Revision, SortOrder,
    SortTarget, Span, Txn, TxnDone,
};
use super::table::Table;
use super::view::View;

/// The term of a lease that a lock makes for who brings none, in seconds.
pub const OWN_LEASE_S: i64 = 60;

/// The wish to stand in the queue of a lock or an election.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Claim {
    queue: Bytes,
    lease: LeaseId,
    value: Bytes,
}

/// A place in the queue.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// The prefix of all keys of the queue.
    pub queue: Bytes,
    /// The key that holds the place.
    pub key: Bytes,
    /// The revision that created it: the order of the queue, and the fence.
    pub created: Revision,
    /// The lease that it dies with.
    pub lease: LeaseId,
}

impl Claim {
    /// Of a lock.
    #[must_use]
    pub fn lock(name: &[u8], lease: LeaseId) -> Self {
        Self { queue: queue_of(name), lease, value: Bytes::new() }
    }

    /// Of an election, to lead with `value`.
    #[must_use]
    pub fn election(name: &[u8], lease: LeaseId, value: Bytes) -> Self {
        Self { queue: queue_of(name), lease, value }
    }

    /// The key of the claim: the same lease always has the same, so joining twice is joining once.
    #[must_use]
    pub fn key(&self) -> Bytes {
        let mut key = self.queue.to_vec();
        key.extend_from_slice(format!("{:x}", self.lease.0).as_bytes());
        Bytes::from(key)
    }

    /// The transaction that joins the queue.
    #[must_use]
    pub fn join(&self) -> Txn {
        let key = self.key();
        let put = Put { lease: self.lease, ..Put::new(key.clone(), self.value.clone()) };
        Txn {
            compare: alloc::vec![created(key.clone(), Revision(0))],
            success: alloc::vec![Op::Put(put)],
            failure: alloc::vec![Op::Range(Range::of(Span::Key(key)))],
        }
    }

    /// The place that [`Claim::join`] got, from its answer and the revision of that; and the value that stands there, if
    /// the key was there before. `None` when the answer is not one to this transaction.
    #[must_use]
    pub fn joined(&self, revision: Revision, done: &TxnDone) -> Option<(Place, Option<Bytes>)> {
        let place = |created| Place { queue: self.queue.clone(), key: self.key(), created, lease: self.lease };
        if done.succeeded {
            return Some((place(revision), None));
        }
        match done.answers.first()? {
            OpDone::Range(found) => {
                let kv = found.kvs.first()?;
                Some((place(kv.create_revision), Some(kv.value.clone())))
            }
            _ => None,
        }
    }
}

impl Place {
    /// The place of who shows a key and the revision that created it, as `LeaderKey` of an election does.
    #[must_use]
    pub fn shown(name: &[u8], key: Bytes, created: Revision, lease: LeaseId) -> Self {
        Self { queue: queue_of(name), key, created, lease }
    }

    /// Whom to wait for: the last that joined before. `None`: it is this one's turn. Ask again whenever that key is gone;
    /// whom to watch is its key, from the revision after the view's.
    #[must_use]
    pub fn ahead<T: Table>(&self, view: &View<T>) -> Option<KeyValue> {
        let before = Revision(self.created.0.checked_sub(1).filter(|&before| before > 0)?);
        first(view, &self.queue, SortOrder::Descend, before)
    }

    /// Whether the key is still the one that joined. To be asked after the wait: `false` is "session is expired".
    #[must_use]
    pub fn still_stands<T: Table>(&self, view: &View<T>) -> bool {
        view.get(&self.key).is_some_and(|kv| kv.create_revision == self.created)
    }

    /// The command that leaves the queue, or gives the lock back: a plain delete, as Unlock does.
    #[must_use]
    pub fn leave(&self) -> Command {
        Command::Delete(Delete { span: Span::Key(self.key.clone()), prev_kv: false })
    }

    /// The transaction that replaces the leader's value, if it still leads from this place.
    #[must_use]
    pub fn proclaim(&self, value: Bytes) -> Txn {
        let put = Put { lease: self.lease, ..Put::new(self.key.clone(), value) };
        self.if_it_stands(Op::Put(put))
    }

    /// The transaction that leaves an election, if the key is still the one that joined.
    #[must_use]
    pub fn resign(&self) -> Txn {
        self.if_it_stands(Op::Delete(Delete { span: Span::Key(self.key.clone()), prev_kv: false }))
    }

    fn if_it_stands(&self, op: Op) -> Txn {
        Txn {
            compare: alloc::vec![created(self.key.clone(), self.created)],
            success: alloc::vec![op],
            failure: Vec::new(),
        }
    }
}

/// The holder of a lock, or the leader of an election: the key that joined first.
#[must_use]
pub fn holder<T: Table>(view: &View<T>, name: &[u8]) -> Option<KeyValue> {
    first(view, &queue_of(name), SortOrder::Ascend, Revision(0))
}

/// The prefix of all keys of a lock or an election.
#[must_use]
pub fn queue_of(name: &[u8]) -> Bytes {
    let mut queue = name.to_vec();
    queue.push(b'/');
    Bytes::from(queue)
}

fn first<T: Table>(view: &View<T>, queue: &Bytes, sort_order: SortOrder, newest: Revision) -> Option<KeyValue> {
    let range = Range {
        limit: 1,
        sort_order,
        sort_target: SortTarget::Create,
        max_create_revision: newest,
        ..Range::of(Span::prefix(queue.clone()))
    };
    view.range(&range).expect("the present can always be read").kvs.into_iter().next()
}

fn created(key: Bytes, revision: Revision) -> Compare {
    let operand = Operand::Create(i64::try_from(revision.0).unwrap_or(i64::MAX));
    Compare { span: Span::Key(key), result: Comparison::Equal, operand }
}
