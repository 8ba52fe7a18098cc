//! The nodes of the lab: founded, looked after, waited for, replaced.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use quorate::config::{Bounds, Config, MemberConfig};
use quorate::http::ChainList;
use quorate::membership::GossipKey;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::disk;
use super::faults::Fault;
use super::network::Network;
use super::node::Node;
use super::shell::read;
use crate::history::Run;

/// Nodes at a time.
pub const NODE_COUNT: u32 = 5;
/// Nodes in all: each of the first is replaced.
pub const NODE_COUNT_ALL: u32 = 2 * NODE_COUNT;
/// How long the cluster may take to be whole, on a machine that does much else: a join copies the whole store.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks at the nodes.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Ports of a cluster on loopback are looked for from here, below those that systems give to connections.
const PORTS_FROM: u16 = 12_000;

/// All that the lab has. What it built is undone from the first field to the last.
pub struct Lab {
    /// All that there will ever be, by their numbers.
    pub nodes: Vec<Node>,
    /// The network, unless all are on loopback.
    pub network: Option<Network>,
    /// Who is next, and for how long.
    pub chance: ChaCha8Rng,
    /// What clients share.
    pub run: Option<Arc<Run>>,
    /// Which nodes are part of the cluster.
    pub here: BTreeSet<u32>,
    /// Nodes that ended by themselves since the present fault began.
    pub ended: Vec<String>,
    program: PathBuf,
    home: TempDir,
}

impl Lab {
    /// Networks and disks, and no node yet.
    ///
    /// # Errors
    /// When they cannot be made.
    pub async fn build(program: PathBuf, chance: ChaCha8Rng) -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix("quorate-lab-").tempdir().context("no temporary folder")?;
        let is_root = rustix::process::geteuid().is_root();
        let network = if is_root { Some(Network::build(NODE_COUNT_ALL).await?) } else { None };
        let mut ports = free_ports()?;
        let mut nodes = Vec::new();
        for number in 1..=NODE_COUNT_ALL {
            let addresses = match &network {
                Some(network) => [2379, 2380].map(|port| format!("{}:{port}", network.address(number))),
                None => [(); 2].map(|()| format!("127.0.0.1:{}", ports.next().unwrap_or_default())),
            };
            let space = network.as_ref().map(|network| network.space(number));
            nodes.push(Node::new(home.path(), number, addresses, space));
        }
        let here = (1..=NODE_COUNT).collect();
        Ok(Self { nodes, network, chance, run: None, here, ended: Vec::new(), program, home })
    }

    /// Where it all is, for people.
    pub fn place(&self) -> &'static str {
        if self.network.is_some() { "network namespaces" } else { "loopback" }
    }

    /// What cannot happen here, and why.
    pub fn left_out(&self) -> Vec<String> {
        let why = if self.network.is_some() { "this system cannot slow a disk" } else { "it needs root" };
        Fault::ALL.iter().filter(|fault| !self.can(**fault)).map(|fault| format!("{}: {why}", fault.name())).collect()
    }

    /// What can happen here.
    pub fn possible(&self) -> Vec<Fault> {
        Fault::ALL.iter().copied().filter(|fault| self.can(*fault)).collect()
    }

    fn can(&self, fault: Fault) -> bool {
        (self.network.is_some() || !fault.needs_root()) && (fault != Fault::SlowDisk || disk::can_be_slow())
    }

    /// The clients' addresses of all nodes that there will ever be.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.client.clone()).collect()
    }

    /// Node `number`.
    pub fn node(&mut self, number: u32) -> &mut Node {
        &mut self.nodes[number as usize - 1]
    }

    /// Founds the cluster and waits until it is whole.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn found(&mut self) -> anyhow::Result<()> {
        let members = self.nodes[..NODE_COUNT as usize].iter().map(|node| MemberConfig {
            id: node.number,
            name: None,
            client: node.client.clone(),
            peer: node.peer.clone(),
        });
        let members: Vec<_> = members.collect();
        let key = GossipKey::drawn();
        for at in 0..NODE_COUNT as usize {
            self.prepare(at).await?;
            let node = &self.nodes[at];
            std::fs::create_dir_all(&node.data)?;
            let config = Config {
                cluster: "lab".into(),
                node: node.number,
                data: node.data.clone(),
                listen_client: None,
                listen_peer: None,
                zone: String::new(),
                gossip_keys: vec![key],
                bounds: Bounds::default(),
                chain: None,
                system: None,
                members: members.clone(),
            };
            config.write(&node.config)?;
        }
        for node in &mut self.nodes[..NODE_COUNT as usize] {
            node.start(&self.program)?;
        }
        self.whole().await
    }

    async fn prepare(&mut self, at: usize) -> anyhow::Result<()> {
        match self.network {
            Some(_) => self.nodes[at].mount().await,
            None => Ok(()),
        }
    }

    /// Learns what clients share.
    pub fn takes(&mut self, run: Arc<Run>) {
        self.run = Some(run);
    }

    /// Starts a node.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&mut self, number: u32) -> anyhow::Result<()> {
        self.nodes[number as usize - 1].start(&self.program)
    }

    /// Waits, and looks after the nodes meanwhile.
    ///
    /// # Errors
    /// When one cannot be looked after.
    pub async fn hold(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            self.look_after()?;
            sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now()))).await;
        }
        Ok(())
    }

    /// Starts those again that ended by themselves.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn look_after(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            if let Some(status) = node.has_ended()? {
                self.ended.push(format!("node {} ended with {status}: {}", node.number, node.last_words()));
                node.start(&self.program)?;
            }
        }
        Ok(())
    }

    /// Waits until the cluster is whole: all nodes are members, and each says so and serves.
    ///
    /// # Errors
    /// When it is not after [`WHOLE_WITHIN`]; what is missing.
    pub async fn whole(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + WHOLE_WITHIN;
        loop {
            self.look_after()?;
            let Some(missing) = self.missing().await else { return Ok(()) };
            if Instant::now() > until {
                bail!("not whole after {} s: {missing}", WHOLE_WITHIN.as_secs());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn missing(&self) -> Option<String> {
        for node in self.nodes.iter().filter(|node| self.here.contains(&node.number)) {
            let list = node.chains().await;
            if let Some(missing) = list.map_or_else(|| Some("does not answer".into()), |list| lacks(&list, &self.here))
            {
                return Some(format!("node {} {missing}", node.number));
            }
        }
        None
    }

    /// What any node knows of the cluster.
    ///
    /// # Errors
    /// When none answers.
    pub async fn chains(&self) -> anyhow::Result<ChainList> {
        for node in self.nodes.iter().filter(|node| self.here.contains(&node.number)) {
            if let Some(list) = node.chains().await {
                return Ok(list);
            }
        }
        bail!("no node answers")
    }

    /// Lets a new node take the place of `old`, as a user does it.
    ///
    /// # Errors
    /// When a command fails or the cluster does not become whole.
    pub async fn replace(&mut self, old: u32, drains: bool) -> anyhow::Result<u32> {
        let new = old + NODE_COUNT;
        let at = new as usize - 1;
        self.prepare(at).await?;
        let [first, node] = [&self.nodes[old as usize - 1], &self.nodes[at]];
        let (data, client, peer, keys) = (node.data.display(), &node.client, &node.peer, first.config.display());
        let join = format!("join --data {data} --client {client} --peer {peer} --gossip-keys-from {keys}");
        let said = self.quorate(&join).await?;
        let given = serde_json::from_str::<serde_json::Value>(&said)?["node"].as_u64();
        if given != Some(u64::from(new)) {
            bail!("node {new} was to join, and was given another number: {said}");
        }
        self.start(new)?;
        self.here.insert(new);
        self.set_here(new, true);
        if drains {
            self.quorate(&format!("drain {old}")).await?;
        } else {
            self.quorate(&format!("remove {old}")).await?;
        }
        self.here.remove(&old);
        self.whole().await?;
        if drains {
            self.quorate(&format!("remove {old}")).await?;
            self.whole().await?;
        }
        self.set_here(old, false);
        self.node(old).stop().await?;
        Ok(new)
    }

    fn set_here(&self, number: u32, here: bool) {
        if let Some(run) = &self.run {
            run.set_here(number as usize - 1, here);
        }
    }

    async fn quorate(&self, words: &str) -> anyhow::Result<String> {
        let here = self.nodes.iter().filter(|node| self.here.contains(&node.number));
        let endpoints: Vec<_> = here.map(|node| node.client.as_str()).collect();
        read(&format!("{} node {words} --output json --endpoints {}", self.program.display(), endpoints.join(",")))
            .await
    }

    /// What each node said last.
    pub fn last_words(&self) -> String {
        let here = self.nodes.iter().filter(|node| self.here.contains(&node.number));
        here.map(|node| format!("node {} said last: {}\n", node.number, node.last_words())).collect()
    }

    /// Writes beside each node's messages what it knows of the cluster and what it counts.
    pub async fn take_down_pages(&self) {
        for node in self.nodes.iter().filter(|node| node.runs()) {
            for (name, path) in [("chains", "/v1/chains"), ("metrics", "/metrics")] {
                let page = node.page(path).await.unwrap_or_else(|| "no answer".into());
                // It is for whoever looks for the cause; without it there is still the rest.
                let _ = std::fs::write(self.home.path().join(format!("node-{}.{name}", node.number)), page);
            }
        }
    }

    /// Keeps the nodes' messages when the lab is gone; where they are.
    pub fn keep(&mut self) -> PathBuf {
        self.home.disable_cleanup(true);
        self.home.path().to_owned()
    }
}

/// What a node's own knowledge lacks of a whole cluster of `here`.
fn lacks(list: &ChainList, here: &BTreeSet<u32>) -> Option<String> {
    let Some(chain) = list.chains.first() else { return Some("knows of no chain".into()) };
    let members: BTreeSet<_> = chain.members.iter().map(|member| member.node).collect();
    if members != *here {
        return Some(format!("knows the members {members:?}, wanted are {here:?}"));
    }
    // Who drains stays registered, and may decide with the others, until it is removed.
    let drains: BTreeSet<_> = list.nodes.iter().filter(|row| row.wanted == "draining").map(|row| row.node).collect();
    let registered = list.nodes.iter().map(|row| row.node);
    let strangers: BTreeSet<_> = registered.chain(list.system.iter().copied()).collect();
    if let Some(stranger) = strangers.iter().find(|node| !here.contains(node) && !drains.contains(node)) {
        return Some(format!("knows node {stranger}, wanted are {here:?}"));
    }
    let own = &chain.own;
    let serves = own.serving && own.lease_ms > 0 && chain.joiner.is_none();
    (!serves).then(|| format!("does not serve: {own:?}, joiner {:?}", chain.joiner))
}

/// Ports on loopback that nobody listens on.
fn free_ports() -> anyhow::Result<impl Iterator<Item = u16>> {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let free: Vec<u16> = (PORTS_FROM..PORTS_FROM + 4_000).filter(is_free).take(2 * NODE_COUNT_ALL as usize).collect();
    anyhow::ensure!(free.len() == 2 * NODE_COUNT_ALL as usize, "too few ports are free from {PORTS_FROM} on");
    Ok(free.into_iter())
}
