//! The queue that locks and elections are: keys under a prefix in the order of their creation, the first of which holds.
//!
//! Each waits for the one before it alone, so a release wakes one waiter and no herd, and it is woken by the hub with the
//! change itself. Who waits and goes away takes its key along; whose lease ends while it waits is told at once.
//!
//! The order stands on three facts. (1) A key's place is its creation revision, given by the log. (2) Whoever is before me
//! was there when I came, so a view that holds my key shows all of them. (3) A key that one view lacks after it was there
//! does not come back at its old place. So local views serve for the waiting; only the last look, at my own key, asks for
//! a linearizable one.

use bytes::Bytes;
use quorate_machines::kv::{
    Command, Compare, Comparison, Delete, Done, KeyValue, LeaseId, Op, OpDone, Operand, Put, Range, Revision,
    SortOrder, SortTarget, Span, Txn,
};
use tonic::Status;

use super::errors::EtcdError;
use super::gateway::Gateway;
use super::kv::foreign_answer;
use super::watch::Wish;

/// The term of a lease that nobody named, in seconds. etcd's.
const LEASE_TTL_S: i64 = 60;

/// A place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub prefix: Bytes,
    pub key: Bytes,
    /// The revision that created the key.
    pub created: Revision,
    pub lease: LeaseId,
}

/// What was there when a place was asked for.
pub(super) enum Joined {
    /// Nothing: the place is new.
    New(Place),
    /// The lease's key stood there already.
    Again(Place, KeyValue),
}

impl Gateway {
    /// Takes a place in the queue `name`; a lease has one in each. A lease of 0 makes one.
    pub(super) async fn join(&self, name: &[u8], lease: i64, value: Bytes) -> Result<Joined, Status> {
        let lease = LeaseId(if lease == 0 { self.grant(0, LEASE_TTL_S).await?.id } else { lease });
        let prefix = Bytes::from([name, b"/"].concat());
        let key = Bytes::from([&prefix[..], format!("{:x}", lease.0).as_bytes()].concat());
        let txn = Txn {
            compare: vec![created(&key, Revision(0))],
            success: vec![Op::Put(Put { key: key.clone(), value, lease, ..Put::default() })],
            failure: vec![Op::Range(all_of(Span::Key(key.clone())))],
        };
        let (revision, Done::Txn(done)) = self.propose(Command::Txn(txn)).await? else { return Err(foreign_answer()) };
        if done.succeeded {
            return Ok(Joined::New(Place { prefix, key, created: revision, lease }));
        }
        match done.answers.into_iter().next() {
            Some(OpDone::Range(mut found)) if !found.kvs.is_empty() => {
                let there = found.kvs.swap_remove(0);
                Ok(Joined::Again(Place { prefix, key, created: there.create_revision, lease }, there))
            }
            _ => Err(foreign_answer()),
        }
    }

    /// Waits until nobody is before `place`; answers with the store's revision then.
    ///
    /// # Errors
    /// [`EtcdError::SessionExpired`] when the place's key is gone.
    pub(super) async fn turn(&self, place: &Place) -> Result<Revision, Status> {
        let mut view = self.view_from(place.created).await?;
        loop {
            let mine = |kv: KeyValue| kv.create_revision == place.created;
            if !view.get(&place.key).is_some_and(mine) {
                return Err(EtcdError::SessionExpired.into());
            }
            let ahead = Range {
                limit: 1,
                sort_order: SortOrder::Descend,
                sort_target: SortTarget::Create,
                max_create_revision: Revision(place.created.0 - 1),
                keys_only: true,
                ..all_of(Span::prefix(place.prefix.clone()))
            };
            let found = view.range(&ahead).map_err(EtcdError::from)?;
            let Some(ahead) = found.kvs.into_iter().next() else { break };
            let outlet = self.hub.open().await?;
            outlet.create(deletion(OWN, place.key.clone(), view.revision()));
            outlet.create(deletion(AHEAD, ahead.key, view.revision()));
            loop {
                let heard = outlet.next().await;
                if heard.canceled || !heard.events.is_empty() {
                    break; // something is gone, or more than is remembered happened: look again
                }
            }
            view = self.view_here().await?;
        }
        let view = self.view_for(false, Revision(0), || vec![Span::Key(place.key.clone())]).await?;
        let mine = view.get(&place.key).is_some_and(|kv| kv.create_revision == place.created);
        if mine { Ok(view.revision()) } else { Err(EtcdError::SessionExpired.into()) }
    }

    /// The first view of this node at or after `revision`.
    async fn view_from(&self, revision: Revision) -> Result<crate::keyspace::View, EtcdError> {
        let mut revisions = self.keyspace.revisions();
        revisions.wait_for(|reached| *reached >= revision).await.map_err(|_| EtcdError::Stopped)?;
        self.view_here().await
    }

    /// Gives a place up, if it is still the one that was taken; answers with the store's revision.
    pub(super) async fn leave(&self, key: Bytes, created_at: Revision) -> Result<Revision, Status> {
        let txn = Txn {
            compare: vec![created(&key, created_at)],
            success: vec![Op::Delete(Delete { span: Span::Key(key), prev_kv: false })],
            failure: Vec::new(),
        };
        Ok(self.propose(Command::Txn(txn)).await?.0)
    }
}

/// Takes a place back when whoever waits for its turn goes away.
pub(super) struct Withdraw {
    waiting: Option<(Gateway, Place)>,
}

impl Withdraw {
    pub fn on_drop(gateway: &Gateway, place: &Place) -> Self {
        Self { waiting: Some((gateway.clone(), place.clone())) }
    }

    pub fn disarm(mut self) {
        self.waiting = None;
    }
}

impl Drop for Withdraw {
    fn drop(&mut self) {
        if let Some((gateway, place)) = self.waiting.take() {
            tokio::spawn(async move {
                // If it fails the place goes with its lease.
                let _ = gateway.leave(place.key, place.created).await;
            });
        }
    }
}

/// The watcher of one's own key.
const OWN: i64 = 1;
/// The watcher of the key before it.
const AHEAD: i64 = 2;

fn deletion(watch_id: i64, key: Bytes, seen: Revision) -> Wish {
    Wish {
        span: Span::Key(key),
        start: Some(Revision(seen.0 + 1)),
        watch_id,
        prev_kv: false,
        puts: false,
        deletes: true,
        progress_notify: false,
        fragment_bytes: None,
    }
}

/// That `key` was created at `revision`; at 0: that it is not there.
pub(super) fn created(key: &Bytes, revision: Revision) -> Compare {
    let operand = Operand::Create(super::convert::wire(revision.0));
    Compare { span: Span::Key(key.clone()), result: Comparison::Equal, operand }
}

/// All of `span` as it is now.
pub(super) fn all_of(span: Span) -> Range {
    Range {
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
