//! Membership on real sockets: members in this process, a stranger who sends what it likes, and whole nodes that are killed,
//! stopped and started again. Needs ports and processes.

#[path = "../support/cluster.rs"]
mod cluster;

mod keys;
mod lives;
mod nodes;
mod strangers;

use std::path::Path;
use std::time::{Duration, Instant};

use cluster::{PATIENCE, addresses};
use quorate::config::{Bounds, Config, MemberConfig};
use quorate::membership::{GossipKey, Membership, Roster, Standing};
use quorate_model::NodeId;
use tempfile::TempDir;
use tokio::time::timeout;

/// The configurations of a cluster whose nodes are only members.
struct Plan {
    folder: TempDir,
    members: Vec<MemberConfig>,
    cluster: String,
    keys: Vec<GossipKey>,
}

impl Plan {
    /// `count` nodes, with addresses of their own.
    fn new(count: usize) -> Self {
        let addresses = addresses(2 * count);
        let member = |(at, pair): (usize, &[String])| MemberConfig {
            id: at as u32 + 1,
            name: None,
            client: pair[0].clone(),
            peer: pair[1].clone(),
        };
        let members = addresses.chunks(2).enumerate().map(member).collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, members, cluster: "members".to_owned(), keys: Vec::new() }
    }

    fn data(&self, node: u32) -> std::path::PathBuf {
        self.folder.path().join(format!("data-{node}"))
    }

    fn peer(&self, node: u32) -> std::net::SocketAddr {
        self.members[node as usize - 1].peer.parse().expect("an address")
    }

    /// Starts member `node`. It ends when its handle goes.
    async fn start(&self, node: u32) -> Membership {
        let config = Config {
            chain: None,
            system: None,
            cluster: self.cluster.clone(),
            node,
            data: self.data(node),
            listen_client: None,
            listen_peer: None,
            zone: format!("zone-{node}"),
            gossip_keys: self.keys.clone(),
            bounds: Bounds::default(),
            members: self.members.clone(),
        };
        let started = Instant::now();
        loop {
            match Membership::start(&config, self.peer(node)).await {
                Ok((membership, _)) => return membership,
                // An earlier life of it has the port until its thread has ended.
                Err(error) if started.elapsed() < PATIENCE && format!("{error:#}").contains("in use") => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("member {node} does not start: {error:#}"),
            }
        }
    }

    async fn start_all(&self) -> Vec<Membership> {
        let mut members = Vec::new();
        for node in 1..=self.members.len() as u32 {
            members.push(self.start(node).await);
        }
        for member in &members {
            holds(member, "all are alive", |roster| roster.count(Standing::Alive) == self.members.len()).await;
        }
        members
    }
}

/// Waits until what `member` knows fulfils `condition`.
async fn holds(member: &Membership, what: &str, condition: impl Fn(&Roster) -> bool) {
    let mut roster = member.watch();
    let waited = timeout(PATIENCE, roster.wait_for(|roster| condition(roster))).await;
    let is_so = waited.is_ok_and(|changed| changed.is_ok());
    assert!(is_so, "node {} does not come to hold that {what}: {:?}", member.me().0, member.roster());
}

fn stands(roster: &Roster, node: u32) -> Option<Standing> {
    roster.get(NodeId(node)).map(|known| known.standing)
}

fn life(member: &Membership, node: u32) -> u64 {
    member.roster().get(NodeId(node)).map_or(0, |known| known.incarnation.life)
}

/// Waits until `condition` holds, looking again and again.
async fn comes_true(what: &str, condition: impl Fn() -> bool) {
    let ended = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < ended, "this does not come true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).expect("it is there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(path, bytes).expect("it can be written");
}
