//! What every service of a gateway needs: the keyspace, who we are, and the bounds.
//!
//! A gateway thread has one [`Gateway`]; clones share everything. Two things are not asked of the keyspace's loop for each
//! call but kept: the configuration, which stands in every header, and whether anybody orders writes, which clients that
//! require a leader ask with each call. A [`Pulse`] renews them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quorate_machines::kv::Revision;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;

use super::convert;
use super::errors::EtcdError;
use super::generated::etcdserverpb as pb;
use super::watch::Hub;
use crate::http::metrics::Metrics;
use crate::keyspace::{Keyspace, Status};
use crate::membership::Membership;

/// The version that clients read and compare: they turn features on from 3.5.13.
pub const VERSION: &str = "3.5.13";
/// The version of the cluster's protocol.
pub const CLUSTER_VERSION: &str = "3.5.0";

/// How often the pulse asks the loop how it is.
const PULSE: Duration = Duration::from_millis(200);

/// The nodes of a cluster, as clients see them. They do not change while the gateway runs.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The cluster's name.
    pub name: String,
    /// Whether gossip is sealed with a key that is a secret.
    pub keyed: bool,
    /// The cluster's id.
    pub id: u64,
    /// This node's id as a member.
    pub member_id: u64,
    /// All members, this one among them.
    pub members: Vec<Member>,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where other nodes reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// The bounds of a gateway. The defaults are etcd's.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest request that may enter the log.
    pub request_bytes_max: usize,
    /// Whether a linearizable read waits for writes of its own keys alone. Then the revision in its header may be older than
    /// a write of another key that was acknowledged, which etcd promises not to happen.
    pub reads_by_key: bool,
    /// The longest list of a transaction.
    pub txn_ops_max: usize,
    /// The shortest term of a lease, in seconds; shorter ones are raised to it.
    pub lease_ttl_min_s: i64,
    /// How many calls may run at once; more are refused. Watches, keep-alives and waits for locks do not count.
    pub calls_max: usize,
    /// How many connections may be open at once; more are closed.
    pub connections_max: usize,
    /// How often a watcher that asked for it hears how far the store is.
    pub progress_interval: Duration,
    /// The size of the store that writes are refused from, as reported; the store itself refuses. 0 is none.
    pub quota_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 3 << 19, // 1.5 MiB
            reads_by_key: false,
            txn_ops_max: 128,
            lease_ttl_min_s: 2,
            calls_max: 20_000,
            connections_max: 10_000,
            progress_interval: Duration::from_secs(600),
            quota_bytes: 0,
        }
    }
}

impl Limits {
    /// The largest message taken off the wire: a request and what it is wrapped in.
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        self.request_bytes_max + (512 << 10)
    }
}

/// What the services of one gateway share.
#[derive(Clone)]
pub struct Gateway {
    /// The store.
    pub keyspace: Keyspace,
    /// Who is there.
    pub cluster: Arc<Cluster>,
    /// The bounds.
    pub limits: Arc<Limits>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which nodes are there; nothing where no gossip runs.
    pub membership: Option<Membership>,
    /// Who watches through this gateway.
    pub(crate) hub: Arc<Hub>,
    pulse: Arc<Pulse>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("cluster", &self.cluster).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway of one thread. Gateways of the same process share `metrics`.
    #[must_use]
    pub fn new(keyspace: Keyspace, cluster: Cluster, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let hub = Arc::new(Hub::new(keyspace.clone(), metrics.clone()));
        Self {
            keyspace,
            cluster: Arc::new(cluster),
            limits: Arc::new(limits),
            metrics,
            membership: None,
            hub,
            pulse: Arc::new(Pulse::default()),
        }
    }

    /// The same gateway, which shows what `membership` knows.
    #[must_use]
    pub fn with_membership(self, membership: Membership) -> Self {
        Self { membership: Some(membership), ..self }
    }

    /// The header of an answer at `revision`.
    #[must_use]
    pub fn header(&self, revision: Revision) -> pb::ResponseHeader {
        pb::ResponseHeader { revision: convert::wire(revision.0), ..self.header_without_revision() }
    }

    /// The header of an answer that has nothing to do with the store.
    #[must_use]
    pub fn header_without_revision(&self) -> pb::ResponseHeader {
        pb::ResponseHeader {
            cluster_id: self.cluster.id,
            member_id: self.cluster.member_id,
            revision: 0,
            raft_term: self.pulse.configuration.load(Ordering::Relaxed),
        }
    }

    /// Refuses a call whose client wants a leader when there is none.
    ///
    /// # Errors
    /// [`EtcdError::NoLeader`].
    pub fn check_leader(&self, metadata: &MetadataMap) -> Result<(), EtcdError> {
        match metadata.get("hasleader") {
            Some(wanted) if wanted.as_bytes() == b"true" && !self.has_leader() => Err(EtcdError::NoLeader),
            _ => Ok(()),
        }
    }

    /// Whether somebody orders writes, as of the last pulse.
    #[must_use]
    pub fn has_leader(&self) -> bool {
        self.pulse.has_leader.load(Ordering::Relaxed)
    }

    /// Follows whether somebody orders writes.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<bool> {
        self.pulse.leadership.subscribe()
    }

    /// Asks the loop how it is, and keeps what headers need.
    ///
    /// # Errors
    /// See [`Refusal`](crate::keyspace::Refusal).
    pub async fn status(&self) -> Result<Status, EtcdError> {
        let status = self.keyspace.status().await?;
        self.pulse.took(&status, &self.metrics);
        Ok(status)
    }

    /// Renews the pulse until the keyspace is gone.
    pub(crate) async fn keep_pulse(&self) {
        let mut missed = 0;
        loop {
            match self.keyspace.status().await {
                Ok(status) => {
                    missed = 0;
                    self.pulse.took(&status, &self.metrics);
                }
                Err(crate::keyspace::Refusal::Stopped) => return self.pulse.lost(&self.metrics),
                Err(_) => {
                    missed += 1;
                    if missed == MISSED_MAX {
                        self.pulse.lost(&self.metrics);
                    }
                }
            }
            tokio::time::sleep(PULSE).await;
        }
    }
}

/// So many pulses without an answer in a row mean that nobody orders writes.
const MISSED_MAX: u32 = 3;

/// What was last heard of the loop.
#[derive(Debug)]
struct Pulse {
    configuration: AtomicU64,
    head: AtomicU64,
    has_leader: AtomicBool,
    leadership: watch::Sender<bool>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            configuration: AtomicU64::new(0),
            head: AtomicU64::new(0),
            has_leader: AtomicBool::new(false),
            leadership: watch::Sender::new(false),
        }
    }
}

impl Pulse {
    fn took(&self, status: &Status, metrics: &Metrics) {
        self.configuration.store(status.configuration, Ordering::Relaxed);
        let leads = status.head != 0 && status.serving;
        let before = self.head.swap(status.head, Ordering::Relaxed);
        metrics.loop_status(status, leads, before != status.head);
        self.turn(leads);
    }

    fn lost(&self, metrics: &Metrics) {
        metrics.lost_leader();
        self.turn(false);
    }

    fn turn(&self, leads: bool) {
        self.has_leader.store(leads, Ordering::Relaxed);
        self.leadership.send_if_modified(|told| std::mem::replace(told, leads) != leads);
    }
}
