//! `quorate serve`: one node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use quorate_runtime::net::NetMetrics;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use super::DIE_WITH_PARENT;
use crate::config::Config;
use crate::etcd::{Cluster, Gateway, Limits, Member};
use crate::http::{Metrics, serve as serve_gateway};
use crate::keyspace::Keyspace;
use crate::membership::{GossipKey, Membership, Standing};
use crate::node::Node;

/// How long calls under way may take when the node is told to stop.
const STOP_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Runs one node.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  quorate serve --config /etc/quorate.toml --found  # the first start of each node that founds the cluster
  quorate serve --config /etc/quorate.toml          # every other start, and that of a node that joins

A node whose data folder was lost starts like any other: it asks the others of them what it had promised, and is copied to.

A configuration for a chain of three:
  cluster = \"orders\"
  node = 1
  data = \"/var/lib/quorate\"
  [[member]]
  id = 1
  client = \"10.0.0.1:2379\"
  peer = \"10.0.0.1:2380\"          # TCP for the chain, UDP for gossip
  (and so on for members 2 and 3: head first, tail last, the same on every node)

Gossip, with which nodes find out who is there (`quorate node list`):
  zone = \"rack-7\"                 # where this node stands, for others to see
  gossip_keys = [\"<64 hex digits>\"] # `openssl rand -hex 32`; the first seals, all open; SIGHUP reads them again
Without keys anyone who reaches the port can speak; clusters of different names are kept apart all the same. To change
a key: add the new one at the end on every node, then put it first on every node, then take the old one out.
Instead of no key at all, 64 zeros stand for it.

Bounds, each with a default:
  [bounds]
  quota_bytes = 0               # store size from which writes are refused; 0 is no bound
  log_bytes = 1073741824        # log size; writes are refused near it until the log has freed itself
  checkpoint_bytes = 67108864   # log growth after which the store is checkpointed
  cache_bytes = 134217728       # memory for what was read from the store
  patience_ms = 7000            # after this a request's outcome is called unknown
  gateway_threads = 0           # threads that serve clients; 0 is half the cores")]
pub struct ServeArgs {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Found the cluster with the other nodes of the configuration. At the first start of each of them, and never again.
    #[arg(long)]
    found: bool,
}

/// Runs the node until it is told to stop.
///
/// # Errors
/// When the configuration is wrong, a port is taken, the data folder is not this node's or is damaged, or the node fails.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    if std::env::var_os(DIE_WITH_PARENT).is_some() {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .context("cannot ask to die with the parent")?;
    }
    say_broken_invariants_in_a_line();
    let config = Config::read(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(config, args))
}

/// A broken invariant is said in one line, whoever runs into it; the host and [`Node::open`] make it the end of the node.
fn say_broken_invariants_in_a_line() {
    std::panic::set_hook(Box::new(|broken| {
        let place = broken.location().map(ToString::to_string).unwrap_or_default();
        let text = broken.payload_as_str().unwrap_or("no message");
        tracing::error!("a broken invariant at {place}: {text}");
    }));
}

async fn serve(config: Config, args: &ServeArgs) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let peers = listen(config.peer_address(), false).await?;
    // The port is shared among our threads only: if nobody else has it, it can be had alone.
    drop(listen(config.client_address(), false).await?);
    let clients = listen(config.client_address(), true).await?;
    let cannot_start = || format!("node {} cannot start from {}", config.node, config.data.display());
    let listens_at = peers.local_addr().context("the socket for other nodes is broken")?;
    let node = Node::open(&config, peers, args.found).with_context(cannot_start)?;
    let (membership, gossip) = Membership::start(&config, listens_at).await.with_context(cannot_start)?;
    tokio::task::spawn_local(reload_keys(args.config.clone(), membership.clone()));
    tokio::task::spawn_local(tell_reached(membership.clone(), node.keyspace()));
    let metrics = Arc::new(Metrics::default());
    let page = node.page();
    metrics.also(move |out| page.read(out));
    let net = node.net_metrics();
    metrics.also(move |page| put_net_metrics(&net, page));
    let known = membership.clone();
    metrics.also(move |page| known.put_metrics(page));
    let mut threads = Vec::new();
    for _ in 1..config.bounds.gateway_thread_count() {
        let gateway = GatewayParts::new(&config, node.keyspace(), Arc::clone(&metrics), membership.clone());
        let stopped = stopped.clone();
        threads.push(std::thread::spawn(move || {
            if let Err(error) = run_gateway(&gateway, stopped) {
                tracing::error!("a gateway thread ended: {error:#}");
            }
        }));
    }
    let first = GatewayParts::new(&config, node.keyspace(), metrics, membership.clone());
    let gateway = tokio::task::spawn_local(serve_gateway(clients, first.gateway(), when(stopped.clone())));
    tracing::info!(
        "node {} of cluster {} serves clients on {} and nodes on {}; its data lies in {}",
        config.node,
        config.cluster,
        config.client_address(),
        config.peer_address(),
        config.data.display()
    );
    let (halt, halted) = watch::channel(false);
    let running = node.run(when(halted));
    tokio::pin!(running, gateway, gossip);
    let outcome = tokio::select! {
        outcome = &mut running => outcome,
        outcome = &mut gateway => {
            outcome.context("the gateway broke").and_then(|outcome| outcome.context("the gateway failed"))
        }
        outcome = &mut gossip => outcome.context("the node failed"),
        () = interrupted() => {
            // First the others hear that this node leaves and the calls under way get their answers, then the log takes what
            // waits.
            let _ = stop.send(true); // without a listener there is nobody to stop
            let drained = async {
                let answered = tokio::time::timeout(STOP_WITHIN, &mut gateway);
                let _ = tokio::join!(answered, membership.leave()).0; // who is not done by then is cut off
                let _ = halt.send(true); // as above
            };
            tokio::join!(drained, &mut running).1
        }
    };
    // Nobody listens any more when all threads have ended, which is what was to be said.
    let _ = stop.send(true);
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a gateway thread broke");
        }
    }
    outcome
}

/// What a gateway on another thread is made of.
struct GatewayParts {
    keyspace: Keyspace,
    cluster: Cluster,
    limits: Limits,
    metrics: Arc<Metrics>,
    address: String,
    membership: Membership,
}

impl GatewayParts {
    fn new(config: &Config, keyspace: Keyspace, metrics: Arc<Metrics>, membership: Membership) -> Self {
        let limits = Limits {
            progress_interval: std::time::Duration::from_millis(config.bounds.progress_ms.max(100)),
            quota_bytes: config.bounds.quota_bytes,
            ..Limits::default()
        };
        let (cluster, address) = (cluster(config), config.client_address().to_owned());
        Self { keyspace, cluster, limits, metrics, address, membership }
    }

    fn gateway(&self) -> Gateway {
        Gateway::new(self.keyspace.clone(), self.cluster.clone(), self.limits.clone(), Arc::clone(&self.metrics))
            .with_membership(self.membership.clone())
    }
}

fn run_gateway(parts: &GatewayParts, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = listen(&parts.address, true).await?;
        serve_gateway(listener, parts.gateway(), when(stopped)).await.context("a gateway failed")
    })
}

fn cluster(config: &Config) -> Cluster {
    let member = |member: &crate::config::MemberConfig| Member {
        id: member.id.into(),
        name: member.name(),
        peer_urls: vec![format!("http://{}", member.peer)],
        client_urls: vec![format!("http://{}", member.client)],
    };
    Cluster {
        name: config.cluster.clone(),
        keyed: config.gossip_keys.iter().any(|key| *key != GossipKey::PUBLIC),
        id: config.cluster_id(),
        member_id: config.node.into(),
        members: config.members.iter().map(member).collect(),
    }
}

/// Adds what the links count to the page for Prometheus.
fn put_net_metrics(net: &NetMetrics, page: &mut String) {
    let counters = [
        ("refused", "Links that were refused, by either side.", &net.refused),
        ("malformed", "Links closed because bytes came that were not a node's.", &net.malformed),
        ("links_up", "Links that came up.", &net.links_up),
        ("links_down", "Links that went down.", &net.links_down),
        ("sent_bytes", "Bytes to other nodes.", &net.sent_bytes),
        ("received_bytes", "Bytes from other nodes.", &net.received_bytes),
        ("dropped_outgoing", "Messages dropped because too much waited for a node.", &net.dropped_outgoing),
        ("dropped_mailbox", "Messages dropped because too much waited for this node.", &net.dropped_mailbox),
    ];
    for (name, help, counter) in counters {
        let value = counter.load(Ordering::Relaxed);
        let name = format!("quorate_net_{name}_total");
        *page += &format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n");
    }
}

async fn when(mut stopped: watch::Receiver<bool>) {
    // An error means that whoever says "stop" is gone, which says it too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Listens on `address`; with `shared`, other threads of this process may listen on it too.
async fn listen(address: &str, shared: bool) -> anyhow::Result<TcpListener> {
    let resolved: SocketAddr = tokio::net::lookup_host(address)
        .await
        .with_context(|| format!("cannot find the address {address}"))?
        .next()
        .with_context(|| format!("the name in {address} has no address"))?;
    let open = || {
        let socket = if resolved.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(shared)?;
        socket.bind(resolved)?;
        socket.listen(BACKLOG)
    };
    open().with_context(|| {
        format!("cannot listen on {address}: stop whoever listens there, or give this node another port")
    })
}

/// Tells the keyspace whom gossip reaches, as advice to whoever decides on the members of chains.
async fn tell_reached(membership: Membership, keyspace: Keyspace) {
    let mut changes = membership.changes();
    while let Some(change) = changes.next().await {
        keyspace.reaches(change.node, change.standing == Standing::Alive).await;
    }
}

/// Reads the keys of gossip from the configuration again on each SIGHUP. All else in it waits for the next start.
async fn reload_keys(config: PathBuf, membership: Membership) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        let reloaded = match Config::read(&config) {
            Ok(config) => membership.set_keys(&config.gossip_keys).await.map(|()| config.gossip_keys.len()),
            Err(error) => Err(error.into()),
        };
        match reloaded {
            Ok(count) => tracing::info!("{count} keys of gossip were read again; the first one seals"),
            Err(error) => tracing::error!("the keys of gossip stay as they are: {error:#}"),
        }
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
