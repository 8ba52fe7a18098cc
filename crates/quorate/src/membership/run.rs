//! The thread of membership: hosts the member, and carries what it holds into the roster.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use quorate_model::{NodeId, Pid};
use quorate_protocols::gossip::{Fact, Member, Message, Options};
use quorate_runtime::clock;
use quorate_runtime::datagram::{DatagramHost, DatagramMetrics, Datagrams, KeyRing, RecordFile, Seal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

use super::load::Load;
use super::roster::{Roster, Standing};
use super::{Gauges, Order, book};

/// How often the load is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long whoever leaves waits to be heard.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);
/// How many have to have heard that this node leaves, if there are so many: they pass it on.
const HEARERS_LEN: usize = 3;
/// How many addresses may wait to be written into the book.
const FOUND_LEN_MAX: usize = 16;

/// What the thread begins with.
pub(super) struct Parts {
    pub me: NodeId,
    pub member: Member,
    pub records: RecordFile,
    pub ring: KeyRing,
    pub socket: UdpSocket,
    pub others: Vec<(NodeId, String)>,
    pub seeds: Vec<NodeId>,
    pub publish: watch::Sender<Roster>,
    pub ordered: mpsc::Receiver<Order>,
    pub gauges: Arc<Gauges>,
}

/// Runs until it is told to leave, or nobody has a handle any more. Says on `started` when it began.
pub(super) fn run(parts: Parts, started: oneshot::Sender<Arc<DatagramMetrics>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start gossip")?;
    runtime.block_on(async {
        let is_ipv4 = parts.socket.local_addr().is_ok_and(|address| address.is_ipv4());
        let (found, mut finds) = mpsc::channel(FOUND_LEN_MAX);
        let Started { mut gossip, mut ordered, names } = Gossip::start(parts, started).await?;
        tokio::spawn(book::keep(names, is_ipv4, found));
        let mut looks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                order = ordered.recv() => match order {
                    Some(Order::Leave(done)) => {
                        gossip.leave().await;
                        let _ = done.send(()); // whoever asked may not wait any more
                        return Ok(());
                    }
                    Some(Order::SetRing(ring)) => gossip.host.datagrams_mut().seal_mut().set_ring(ring),
                    None => return Ok(()),
                },
                Some((node, address)) = finds.recv() => gossip.locate(node, address),
                _ = looks.tick() => gossip.look(),
                _ = gossip.host.turn() => {}
            }
            gossip.carry();
        }
    })
}

struct Gossip {
    me: NodeId,
    configured: BTreeSet<NodeId>,
    /// Those that are where the configuration says, whatever they say themselves.
    located: BTreeSet<NodeId>,
    host: DatagramHost<Member>,
    load: Load,
    roster: Roster,
    publish: watch::Sender<Roster>,
    gauges: Arc<Gauges>,
}

struct Started {
    gossip: Gossip,
    ordered: mpsc::Receiver<Order>,
    /// Nodes that are at a name, which may resolve or not.
    names: Vec<(NodeId, String)>,
}

impl Gossip {
    async fn start(parts: Parts, started: oneshot::Sender<Arc<DatagramMetrics>>) -> anyhow::Result<Started> {
        let Parts { me, member, records, ring, socket, others, seeds, publish, ordered, gauges } = parts;
        let socket = tokio::net::UdpSocket::from_std(socket).context("the socket for gossip is broken")?;
        let seal = Seal::new(me, member.next_life(), ring, Options::default().members_len_max);
        let mut datagrams = Datagrams::new(socket, seal).await.context("the socket for gossip is broken")?;
        let metrics = datagrams.metrics();
        let (mut names, mut located) = (Vec::new(), BTreeSet::new());
        for (node, place) in others {
            match place.parse() {
                Ok(address) => {
                    datagrams.know(node, address);
                    located.insert(node);
                }
                Err(_) => names.push((node, place)),
            }
        }
        let roster = publish.borrow().clone();
        let mut gossip = Self {
            me,
            configured: seeds.into_iter().collect(),
            located,
            host: DatagramHost::start(Pid::gossip(me.0), member, records, datagrams),
            load: Load::new(),
            roster,
            publish,
            gauges,
        };
        gossip.carry();
        let _ = started.send(metrics); // whoever started it gave up on it; then nobody has a handle
        Ok(Started { gossip, ordered, names })
    }

    fn locate(&mut self, node: NodeId, address: SocketAddr) {
        self.located.insert(node);
        self.host.datagrams_mut().know(node, address);
    }

    fn look(&mut self) {
        let own = self.roster.get(self.me).and_then(|known| known.profile.clone());
        if let (Some(own), Some(load_per_mille)) = (own, self.load.look()) {
            let mut profile = (*own).clone();
            profile.load_per_mille = load_per_mille;
            self.host.tell(Message::Describe(Box::new(profile)));
        }
    }

    /// Carries what the member told into the roster, and lets it be seen. Whether it has done what it was asked for last.
    fn carry(&mut self) -> bool {
        let (mut is_done, mut is_news) = (false, false);
        while let Some(told) = self.host.take_told() {
            match told {
                Message::Changed(fact) => {
                    self.learn(&fact);
                    is_news = true;
                }
                Message::Forgotten(node) => {
                    self.forget(node);
                    is_news = true;
                }
                Message::Done => is_done = true,
                _ => {} // nothing else is said to the outside by a member that was asked what we ask
            }
        }
        if is_news {
            self.publish.send_replace(self.roster.clone());
        }
        let member = self.host.process();
        self.gauges.health_signs.store(member.health().signs(), Ordering::Relaxed);
        self.gauges.rumours.store(member.rumours_len() as u64, Ordering::Relaxed);
        is_done
    }

    fn learn(&mut self, fact: &Fact) {
        let now = clock::now();
        let before = self.roster.get(fact.node).map(|known| (known.standing, known.incarnation.life));
        self.roster.learn(fact, now);
        let standing = Standing::from(&fact.standing);
        if before != Some((standing, fact.incarnation.life)) && fact.node != self.me {
            let Fact { node, incarnation, .. } = fact;
            tracing::info!("node {} is {} now (incarnation {incarnation:?})", node.0, standing.name());
        }
        if let Some(profile) = fact.profile()
            && fact.node != self.me
            && !self.located.contains(&fact.node)
            && book::is_reachable(profile.addresses.gossip)
        {
            self.host.datagrams_mut().know(fact.node, profile.addresses.gossip);
        }
    }

    fn forget(&mut self, node: NodeId) {
        let is_configured = self.configured.contains(&node);
        self.roster.forget(node, is_configured, clock::now());
        if !is_configured {
            self.host.datagrams_mut().forget(node);
        }
    }

    /// Tells others that this node leaves, and waits a little for their answers.
    async fn leave(&mut self) {
        let is_up = |standing| matches!(standing, Standing::Alive | Standing::Suspected);
        let others = self.roster.iter().filter(|(node, known)| *node != self.me && is_up(known.standing));
        let wanted = others.count().min(HEARERS_LEN);
        let until = Instant::now() + LEAVE_WITHIN;
        let mut hearers = BTreeSet::new();
        self.host.tell(Message::Leave);
        let mut is_done = self.carry();
        while !is_done && hearers.len() < wanted {
            let Ok(heard) = timeout_at(until, self.host.turn()).await else { return };
            hearers.extend(heard);
            is_done = self.carry();
        }
    }
}
