//! A node: its store, its log, its processes and the loop that drives them.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use quorate_model::{NodeId, Pid, Process};
use quorate_protocols::chain::swami::{self, Addresses, Swami, System};
use quorate_protocols::chain::{self, Client, ClientBounds, Configuration, NodeOptions};
use quorate_protocols::cluster::{Record, Role, SYSTEM_KEYSPACE};
use quorate_protocols::paxos::log;
use quorate_runtime::clock;
use quorate_runtime::host::{Host, HostConfig};
use quorate_runtime::net::{NetConfig, NetMetrics};
use quorate_runtime::store::{Store, StoreOptions};
use quorate_runtime::wal::{Folder, FolderIdentity, Identity, Options};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::beginning::Beginning;
use crate::config::{Config, MemberConfig};
use crate::keyspace::{Ask, ChainPort, Founding, Keyspace, KeyspaceEnd, Kv, Page, PortOptions};

/// How many asks may wait for the loop.
const ASKS_LEN_MAX: usize = 32_768;
/// How often the loop looks after leases and notes.
const TICK: Duration = Duration::from_millis(50);
/// How many events lead to the configuration that a chain is founded with.
const CONFIGURATION_PREFIX_LEN: u64 = 1;
/// How long a member of that log waits for its leader before it tries to lead: at least this, at most twice this.
const LEADER_PATIENCE: Duration = Duration::from_millis(150);

/// A reading of the wall clock before any folder was made, in milliseconds: lives are counted from here, to be small numbers
/// on the wire.
pub(crate) const FIRST_LIFE_MS: u64 = 1_790_000_000_000;

/// A node that was opened and not run yet.
pub struct Node {
    host: Host<Role<Kv>, ChainPort>,
    keyspace: Keyspace,
    asks: mpsc::Sender<Ask>,
    page: Page,
    store: Store,
}

impl Node {
    /// Opens the node's folder, and begins to listen for other nodes on `peers`. `founds` is whether it was told that it
    /// founds a cluster.
    ///
    /// # Errors
    /// When the folder is another node's, in use, damaged or cannot be written, or is empty and should not be.
    pub fn open(config: &Config, peers: TcpListener, founds: bool) -> anyhow::Result<Self> {
        let cannot_make = || {
            let folder = config.data.display();
            format!("cannot make the data folder {folder}: let `data` name a folder that this user may write")
        };
        std::fs::create_dir_all(&config.data).with_context(cannot_make)?;
        let disk = Arc::new(Folder::open(config.data.join("log")).with_context(cannot_make)?);
        let me = config.node_id();
        // Whose folder it is comes before anything in it is touched.
        if let Some(found) = FolderIdentity::read(&*disk)? {
            found.check(&Identity { cluster: config.cluster.clone(), node: me }, &*disk)?;
        }
        let options = StoreOptions { cache_bytes: config.bounds.cache_bytes, ..StoreOptions::default() };
        let store = Store::open(config.data.join("store"), &options)?;
        // What was replayed may not fit together, as when one of two folders is an older copy: processes hold that for a
        // broken invariant, but it is the folder that is wrong.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Self::replay(config, peers, disk, store.clone(), Beginning::of(config, founds))
        }));
        opened.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(anyhow!(store.failure().unwrap_or_else(|| {
                format!(
                    "what the folder holds does not fit together: {text}. Put back a copy of the whole folder that was made after \
                     the node last stopped"
                )
            })))
        })
    }

    fn replay(
        config: &Config,
        peers: TcpListener,
        disk: Arc<Folder>,
        store: Store,
        beginning: Beginning,
    ) -> anyhow::Result<Self> {
        let me = config.node_id();
        let kv = Kv::new(store.table("kv")?, config.bounds.quota_bytes);
        let (keyspace, end) = Keyspace::new(kv.view().clone(), ASKS_LEN_MAX, config.bounds.patience());

        let founding = founding(config);
        let options = PortOptions { me, checkpoint_bytes: config.bounds.checkpoint_bytes };
        let mut processes = chain_processes(me, &first_chain(me, &founding.chain, beginning), kv);
        processes.extend(system_processes(me, config.system(), beginning)?);
        // Others may know lives of this node whose folder is gone, or that a copy put in its place never had. They must not take
        // this life for one of those, above all not its operations for theirs, which were answered: it is later than all of
        // them. Should the wall clock have been set back since, it counts as an old life: it is not heard, nothing is wrong.
        let before = clock::wall_ms().saturating_sub(FIRST_LIFE_MS);
        for (_, process) in &mut processes {
            process.replay(match process {
                Role::Chain(_) => Record::Chain(chain::Record::Boot(before)),
                Role::System(_) => Record::System(log::Record::Boot(before)),
            });
        }

        let others = config.members.iter().filter(|member| member.id != config.node);
        let others = others.map(|member| (NodeId(member.id), member.peer.clone())).collect();
        let mut host = HostConfig::new(NetConfig::new(config.cluster.clone(), me, others));
        let (bytes_max, reserve_bytes) = (config.bounds.log_bytes, config.bounds.log_reserve_bytes());
        host.wal = Options { bytes_max, reserve_bytes, ..Options::default() };
        host.compact_growth_bytes = config.bounds.checkpoint_bytes;
        host.flight_path = Some(config.data.join("flight.txt"));
        let KeyspaceEnd { asked, asks, revisions, views, observer_count } = end;
        let page = Page::default();
        let port = ChainPort::new(options, founding, revisions, views, observer_count, page.clone());
        let (host, recovered) = Host::open(host, disk, peers, processes, port, asked)?;
        let member = host.driver().process(Pid::chain(me.0, 0)).and_then(Role::node);
        if let Some((lacks, member)) = member.and_then(|member| Some((member.lacks()?, member))) {
            let holds = member.applied();
            return Err(anyhow!(
                "what the folder holds does not fit together: the log begins after entry {lacks}, but the store holds only what came \
                 of entry {holds}: the store's folder is older than the log's. Put back a copy of the whole folder that was made \
                 after the node last stopped"
            ));
        }
        let log = host.driver().process(Pid::consensus(me.0, SYSTEM_KEYSPACE)).and_then(Role::system);
        let remembers = log.and_then(swami::Role::log).is_some_and(log::Node::remembers);
        beginning.check(config, remembers)?;
        beginning.note(&config.data)?;
        if let Some(torn) = &recovered.torn {
            let (bytes, file, offset) = (torn.bytes, &torn.file, torn.offset);
            tracing::warn!(
                "the log had a torn end of {bytes} bytes at {file}:{offset}, never acknowledged; it was cut"
            );
        }
        Ok(Self { host, keyspace, asks, page, store })
    }

    /// What the links to other nodes count.
    #[must_use]
    pub fn net_metrics(&self) -> Arc<NetMetrics> {
        self.host.net().metrics()
    }

    /// A handle to the node's keyspace.
    #[must_use]
    pub fn keyspace(&self) -> Keyspace {
        self.keyspace.clone()
    }

    /// What the node's loop shows to Prometheus.
    #[must_use]
    pub fn page(&self) -> Page {
        self.page.clone()
    }

    /// Runs the node until `shutdown` is ready.
    ///
    /// # Errors
    /// When the log or the store fails or an invariant is broken: the program must end then, and be started again.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { host, asks, store, .. } = self;
        let ticking = async {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if store.failure().is_some() {
                    return; // met by a gateway, which went down with its question
                }
                if asks.send(Ask::Tick).await.is_err() {
                    return;
                }
            }
        };
        let outcome = tokio::select! {
            outcome = host.run(shutdown) => outcome.context("the node failed"),
            () = ticking => Ok(()), // the loop is gone, and says why itself; or the store is
        };
        match store.failure() {
            Some(failure) => Err(anyhow!(failure)),
            None => outcome,
        }
    }
}

/// What the cluster is founded with, as the configuration says.
fn founding(config: &Config) -> Founding {
    let addresses = |member: &MemberConfig| Addresses { peer: member.peer.clone(), client: member.client.clone() };
    let nodes = config.members.iter().map(|member| (NodeId(member.id), addresses(member))).collect();
    Founding { nodes, chain: config.chain() }
}

/// Whom the node takes for the members of the chain before it is told. One whose folder was lost is not among them: it has
/// nothing of what they have.
fn first_chain(me: NodeId, founded: &[NodeId], beginning: Beginning) -> Vec<NodeId> {
    let others: Vec<_> = founded.iter().copied().filter(|node| *node != me).collect();
    if beginning == Beginning::Lost && !others.is_empty() { others } else { founded.to_vec() }
}

type Processes = Vec<(Pid, Role<Kv>)>;

fn chain_processes(me: NodeId, members: &[NodeId], kv: Kv) -> Processes {
    let configuration = Configuration::new(CONFIGURATION_PREFIX_LEN, members.to_vec());
    let options = NodeOptions { lease_term: Some(swami::LEASE.term), ..NodeOptions::default() };
    let member = chain::Node::new(me, configuration, options, kv).observed_by(Pid::outside(me.0, 0));
    let client = Client::new(ClientBounds::default());
    vec![
        (Pid::chain(me.0, 0), Role::Chain(chain::Role::Node(Box::new(member)))),
        (Pid::client(me.0, 0), Role::Chain(chain::Role::Client(client))),
    ]
}

fn system_processes(me: NodeId, members: Vec<NodeId>, beginning: Beginning) -> anyhow::Result<Processes> {
    let members = log::Members::first(members)?;
    let options = log::NodeOptions {
        patience: LEADER_PATIENCE,
        patience_max: Some(swami::PATIENCE_MAX),
        lease: Some(swami::LEASE),
        ..log::NodeOptions::default()
    };
    let pid = |of: fn(u32, u32) -> Pid| of(me.0, SYSTEM_KEYSPACE);
    let member = log::Node::new(me, members, options, System::default());
    let member = member.observed_by(pid(Pid::swami)).with_nonce(rand::random());
    let member = if beginning.is_new() { member.begun_anew() } else { member };
    let client = log::Client::new(log::ClientBounds::default());
    let swami = Swami::new(pid(Pid::client), swami::LEASE).patient(swami::PATIENCE_MAX);
    Ok(vec![
        (pid(Pid::consensus), Role::System(swami::Role::Log(Box::new(member)))),
        (pid(Pid::client), Role::System(swami::Role::Client(client))),
        (pid(Pid::swami), Role::System(swami::Role::Swami(Box::new(swami)))),
    ])
}
