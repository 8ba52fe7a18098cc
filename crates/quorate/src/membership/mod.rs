//! Membership: which nodes are there, where they are and what they say of themselves, as gossip brings it.
//!
//! ```text
//!  UDP, sealed <--> DatagramHost { gossip::Member } --> roster --> /v1/nodes, `quorate node list`
//!  (peer port)            ^            |                   |-----> /metrics
//!      orders: leave, keys            the life, in a file  +-----> changes, for whoever decides by them
//! ```
//!
//! It has a thread of its own, so that no load on the store makes a node look dead. What goes wrong with its socket or its
//! file is counted or said, and ends nothing. A broken invariant ends the node, as everywhere.
//!
//! The life of the member is on disk before anyone hears of it, and the wall clock is a floor under it: a node whose folder
//! was wiped comes back in a later life than it ever had. The life also begins the count of what is sealed, so what was
//! sealed in an earlier one is not heard again. Should the wall clock have been set back and the folder be lost, both, then the
//! node is not heard (refused as `earlier_life`) until its clock is past where it was, no more.
//!
//! Membership decides nothing that must be right.

mod book;
mod key;
mod load;
mod page;
mod roster;
mod run;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use quorate_model::{NodeId, Pid, Process};
use quorate_protocols::gossip::{Addresses, Member, Options, Profile, Record, Roles};
use quorate_runtime::clock;
use quorate_runtime::datagram::{DatagramMetrics, PAYLOAD_BYTES_MAX, RecordFile};
use quorate_runtime::wal::{Disk, Folder};
use tokio::sync::{mpsc, oneshot, watch};

pub use key::{GossipKey, ring};
pub use roster::{Change, Changes, Known, Roster, Standing};

use crate::config::Config;
use crate::node::FIRST_LIFE_MS;

/// How many orders may wait.
const ORDERS_LEN_MAX: usize = 16;
/// How long a leave may take: longer than the thread needs for it.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// The file of the member's life, in a folder of its own.
const RECORDS_NAME: &str = "member";

/// A handle to the membership of this node.
#[derive(Clone)]
pub struct Membership(Arc<Shared>);

struct Shared {
    me: NodeId,
    cluster: String,
    roster: watch::Receiver<Roster>,
    orders: mpsc::Sender<Order>,
    datagrams: Arc<DatagramMetrics>,
    gauges: Arc<Gauges>,
}

/// What the thread shows of its member.
#[derive(Debug, Default)]
struct Gauges {
    /// See [`quorate_protocols::gossip::Health`].
    health_signs: AtomicU32,
    rumours: AtomicU64,
}

/// What the thread is asked to do.
enum Order {
    /// Tell the others that this node leaves, say when that is done, and end.
    Leave(oneshot::Sender<()>),
    /// Seal and open with these keys.
    SetRing(quorate_runtime::datagram::KeyRing),
}

impl Membership {
    /// Binds the socket, reads the life of the member from the node's folder, and starts the thread. `listen` is where
    /// other nodes reach this one. The second part is ready when the thread ends, with an error if a broken invariant ended
    /// it.
    ///
    /// # Errors
    /// When the address is taken, or a folder cannot be made.
    pub async fn start(
        config: &Config,
        listen: SocketAddr,
    ) -> anyhow::Result<(Self, impl Future<Output = anyhow::Result<()>> + use<>)> {
        let socket = bind(listen)?;
        let me = config.node_id();
        let addresses = Addresses {
            client: book::own(&config.me().client, config.client_address()).await?,
            peer: book::own(&config.me().peer, config.peer_address()).await?,
            gossip: book::own(&config.me().peer, config.peer_address()).await?,
        };
        let folder = config.data.join("gossip");
        let disk = Folder::open(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let records = RecordFile::new(Arc::new(disk) as Arc<dyn Disk>, RECORDS_NAME);
        let member = member(config, addresses, &records);
        let ring = ring(&config.cluster, &config.gossip_keys)?;

        let seeds: Vec<_> = config.members.iter().map(|member| NodeId(member.id)).collect();
        let (publish, roster) = watch::channel(Roster::of(seeds.iter().copied(), clock::now()));
        let (orders, ordered) = mpsc::channel(ORDERS_LEN_MAX);
        let gauges = Arc::<Gauges>::default();
        let others = config.members.iter().filter(|member| member.id != config.node);
        let others: Vec<_> = others.map(|member| (NodeId(member.id), member.peer.clone())).collect();
        let parts = run::Parts {
            me,
            member,
            records,
            ring,
            socket,
            others,
            seeds,
            publish,
            ordered,
            gauges: Arc::clone(&gauges),
        };
        let (started, datagrams) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("gossip".to_owned())
            .spawn(move || ends.send(run::run(parts, started)))
            .context("cannot start the thread of gossip")?;
        let Ok(datagrams) = datagrams.await else {
            return Err(ended.await.ok().and_then(Result::err).unwrap_or_else(|| anyhow!("gossip did not start")));
        };
        let ended = async { ended.await.unwrap_or_else(|_| Err(anyhow!("gossip broke an invariant"))) };
        Ok((Self(Arc::new(Shared { me, cluster: config.cluster.clone(), roster, orders, datagrams, gauges })), ended))
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.0.me
    }

    /// Who is there, as of now.
    #[must_use]
    pub fn roster(&self) -> Roster {
        self.0.roster.borrow().clone()
    }

    /// Follows who is there.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Roster> {
        self.0.roster.clone()
    }

    /// Follows how nodes come to stand: all that are known first, then each change.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes::of(self.0.roster.clone())
    }

    /// What the socket did.
    #[must_use]
    pub fn datagrams(&self) -> &DatagramMetrics {
        &self.0.datagrams
    }

    /// How many signs of bad hearing weigh on this node; 0 when it is well.
    #[must_use]
    pub fn health_signs(&self) -> u32 {
        self.0.gauges.health_signs.load(Ordering::Relaxed)
    }

    /// How many rumours this node tells.
    #[must_use]
    pub fn rumours(&self) -> u64 {
        self.0.gauges.rumours.load(Ordering::Relaxed)
    }

    /// Seals with the first of `keys` from now on, and opens with all of them.
    ///
    /// # Errors
    /// When there are too many keys, or membership has ended. The keys are as they were then.
    pub async fn set_keys(&self, keys: &[GossipKey]) -> anyhow::Result<()> {
        let ring = ring(&self.0.cluster, keys)?;
        self.0.orders.send(Order::SetRing(ring)).await.map_err(|_| anyhow!("gossip has ended"))
    }

    /// Tells the others that this node leaves, so that they do not take it for dead, and ends. Returns when some have heard of
    /// it, or after a while.
    pub async fn leave(&self) {
        let (done, is_done) = oneshot::channel();
        let leaving = async {
            if self.0.orders.send(Order::Leave(done)).await.is_ok() {
                let _ = is_done.await; // it ends in any case
            }
        };
        if tokio::time::timeout(LEAVE_PATIENCE, leaving).await.is_err() {
            tracing::warn!("gossip does not end; others will take this node for dead");
        }
    }

    /// Adds what is known and counted to the page for Prometheus.
    pub fn put_metrics(&self, page: &mut String) {
        page::put(self, page);
    }
}

/// The member, with its records replayed.
fn member(config: &Config, addresses: Addresses, records: &RecordFile) -> Member {
    let profile = Profile {
        roles: Roles::STORE.and(Roles::GATEWAY),
        zone: config.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Profile::at(addresses)
    };
    let me = config.node_id();
    let seeds = config.members.iter().map(|member| NodeId(member.id)).collect();
    let options = Options::default();
    assert!(options.message_bytes_max <= PAYLOAD_BYTES_MAX, "each message of a member fits a datagram");
    let mut member = Member::new(me, seeds, profile, options)
        .with_life_min(clock::wall_ms().saturating_sub(FIRST_LIFE_MS))
        .observed_by(Pid::outside(me.0, 0));
    match records.read::<Record>() {
        Ok(found) => found.into_iter().for_each(|record| member.replay(record)),
        // The floor under its life is all that is needed then.
        Err(error) => tracing::warn!("{error}; this node counts its lives by the wall clock alone"),
    }
    member
}

fn bind(listen: SocketAddr) -> anyhow::Result<UdpSocket> {
    let open = || {
        let socket = UdpSocket::bind(listen)?;
        socket.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(socket)
    };
    open().with_context(|| {
        format!(
            "cannot listen on {listen} for datagrams (UDP): stop whoever listens there, or give this node another port"
        )
    })
}
