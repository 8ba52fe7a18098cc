//! A node: its store, its log, its processes and the loop that drives them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use quorate_model::Pid;
use quorate_protocols::chain::{Client, ClientBounds, Configuration, Node as Member, NodeOptions, Role};
use quorate_runtime::host::{Host, HostConfig};
use quorate_runtime::net::NetConfig;
use quorate_runtime::store::{Store, StoreOptions};
use quorate_runtime::wal::{Folder, Options};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::keyspace::{Ask, ChainPort, Keyspace, KeyspaceEnd, Kv, PortOptions};

/// How many asks may wait for the loop.
const ASKS_LEN_MAX: usize = 32_768;
/// How often the loop looks after leases and notes.
const TICK: Duration = Duration::from_millis(50);
/// The members do not change in this version, so the configuration is the first.
const CONFIGURATION_PREFIX_LEN: u64 = 1;

/// A node that was opened and not run yet.
pub struct Node {
    host: Host<Role<Kv>, ChainPort>,
    keyspace: Keyspace,
    asks: mpsc::Sender<Ask>,
}

impl Node {
    /// Opens the node's folder, and begins to listen for other nodes on `peers`.
    ///
    /// # Errors
    /// When the folder is another node's, in use, damaged or cannot be written.
    pub fn open(config: &Config, peers: TcpListener) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.data)
            .with_context(|| format!("cannot make the data folder {}", config.data.display()))?;
        let disk = Arc::new(Folder::open(&config.data.join("log")).context("cannot open the log")?);
        let me = config.node_id();
        let options = StoreOptions { cache_bytes: config.bounds.cache_bytes, ..StoreOptions::default() };
        let table = Store::open(config.data.join("store"), &options).and_then(|store| store.table("kv"));
        let kv = Kv::new(table.context("cannot open the store")?, config.bounds.quota_bytes);
        let (keyspace, end) = Keyspace::new(kv.view().clone(), ASKS_LEN_MAX, config.bounds.patience());

        let members = config.members.iter().map(|member| quorate_model::NodeId(member.id)).collect();
        let configuration = Configuration::new(CONFIGURATION_PREFIX_LEN, members);
        let options = PortOptions { me, head: configuration.head(), checkpoint_bytes: config.bounds.checkpoint_bytes };
        let member = Member::new(me, configuration, NodeOptions::default(), kv).observed_by(Pid::outside(me.0, 0));
        let client = Client::new(CONFIGURATION_PREFIX_LEN, ClientBounds::default());
        let processes =
            vec![(Pid::chain(me.0, 0), Role::Node(Box::new(member))), (Pid::client(me.0, 0), Role::Client(client))];

        let others = config.members.iter().filter(|member| member.id != config.node);
        let others = others.map(|member| (quorate_model::NodeId(member.id), member.peer.clone())).collect();
        let mut host = HostConfig::new(NetConfig::new(config.cluster.clone(), me, others));
        host.wal = Options { bytes_max: config.bounds.log_bytes, ..Options::default() };
        host.compact_growth_bytes = config.bounds.checkpoint_bytes;
        host.flight_path = Some(config.data.join("flight.txt"));
        let KeyspaceEnd { asked, asks, revisions, views, observer_count } = end;
        let port = ChainPort::new(options, revisions, views, observer_count);
        let (host, recovered) = Host::open(host, disk, peers, processes, port, asked)?;
        if let Some(torn) = &recovered.torn {
            let (bytes, file, offset) = (torn.bytes, &torn.file, torn.offset);
            tracing::warn!(
                "the log had a torn end of {bytes} bytes at {file}:{offset}, never acknowledged; it was cut"
            );
        }
        Ok(Self { host, keyspace, asks })
    }

    /// A handle to the node's keyspace.
    #[must_use]
    pub fn keyspace(&self) -> Keyspace {
        self.keyspace.clone()
    }

    /// Runs the node until `shutdown` is ready.
    ///
    /// # Errors
    /// When the log fails or an invariant is broken: the program must end then, and be started again.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let asks = self.asks;
        let ticking = async move {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if asks.send(Ask::Tick).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            outcome = self.host.run(shutdown) => outcome.context("the node failed"),
            () = ticking => Ok(()), // the loop is gone, and says why itself
        }
    }
}
