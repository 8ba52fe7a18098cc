//! A network namespace a node, and a bridge between them that the clients stand at. Needs root.
//!
//! A one-way cut is an address that leads nowhere: in the sender's namespace the receiver's hardware address is set to one
//! that nobody has. The bridge carries the frames to no node, and the sender is told nothing, as on a wire that is broken.
//! Not chosen: a packet filter, which not every machine has; a route that refuses, which tells the sender; to take a link
//! down, which cuts the node from its clients too.

use std::collections::BTreeSet;

use anyhow::Context;

use super::shell::{run, run_now};

/// A hardware address of this machine's own making that no node has.
const NOBODY: &str = "02:00:00:00:00:01";
/// The clients' own number on the bridge.
const CLIENTS: u32 = 254;

/// The namespaces of nodes 1 to some number.
#[derive(Debug)]
pub struct Network {
    /// Tells it apart from that of another run.
    id: u32,
    node_count: u32,
    /// From whom to whom nothing goes.
    cuts: BTreeSet<(u32, u32)>,
}

impl Network {
    /// Namespaces for `node_count` nodes.
    ///
    /// # Errors
    /// When this user may not, or a tool is missing.
    pub async fn build(node_count: u32) -> anyhow::Result<Self> {
        let network = Self { id: std::process::id(), node_count, cuts: BTreeSet::new() };
        let bridge = network.bridge();
        run(&format!("ip link add {bridge} type bridge")).await.context("cannot make a bridge")?;
        run(&format!("ip addr add {}/24 dev {bridge}", network.address(CLIENTS))).await?;
        run(&format!("ip link set {bridge} up")).await?;
        for node in 1..=node_count {
            let (space, outer) = (network.space(node), network.outer(node));
            run(&format!("ip netns add {space}")).await.context("cannot make a network namespace")?;
            run(&format!("ip link add {outer} type veth peer name eth0 netns {space}")).await?;
            run(&format!("ip link set {outer} master {bridge} up")).await?;
            run(&format!("ip -n {space} addr add {}/24 dev eth0", network.address(node))).await?;
            run(&format!("ip -n {space} link set eth0 up")).await?;
            run(&format!("ip -n {space} link set lo up")).await?;
        }
        Ok(network)
    }

    /// Where a node is, without a port. Two runs at once rarely have the same.
    pub fn address(&self, node: u32) -> String {
        format!("10.{}.{}.{node}", 64 + self.id / 256 % 64, self.id % 256)
    }

    /// The name of a node's namespace.
    pub fn space(&self, node: u32) -> String {
        format!("quorate-{}-{node}", self.id)
    }

    fn bridge(&self) -> String {
        format!("qr{}", self.id)
    }

    fn outer(&self, node: u32) -> String {
        format!("qr{}n{node}", self.id)
    }

    /// From now on nothing that `from` sends comes to `to`.
    ///
    /// # Errors
    /// When the tool fails.
    pub async fn cut(&mut self, from: u32, to: u32) -> anyhow::Result<()> {
        let (space, address) = (self.space(from), self.address(to));
        self.cuts.insert((from, to));
        run(&format!("ip -n {space} neigh replace {address} lladdr {NOBODY} dev eth0 nud permanent")).await
    }

    /// From now on everything comes where it is sent to.
    ///
    /// # Errors
    /// When the tool fails.
    pub async fn heal(&mut self) -> anyhow::Result<()> {
        while let Some((from, to)) = self.cuts.first().copied() {
            let (space, address) = (self.space(from), self.address(to));
            run(&format!("ip -n {space} neigh del {address} dev eth0")).await?;
            self.cuts.remove(&(from, to));
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What is not there any more need not go; a namespace takes its end of a link with it.
        for node in 1..=self.node_count {
            let _ = run_now(&format!("ip netns del {}", self.space(node)));
        }
        let _ = run_now(&format!("ip link del {}", self.bridge()));
    }
}
