//! The port's half for the `_system` keyspace: what gateways ask of it, how the cluster is founded, and who speaks for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use quorate_model::{Instant, NodeId, Pid};
use quorate_protocols::chain::Node;
use quorate_protocols::chain::swami::{self, Addresses, Answer, Command, Founded, Query};
use quorate_protocols::cluster::SYSTEM_KEYSPACE;
use quorate_protocols::paxos::log::{self, Outcome, Request};
use quorate_runtime::clock;
use quorate_runtime::host::PortContext;
use tokio::sync::oneshot;

use super::super::{Cluster, Kv, Refusal};
use super::{KvMessage, NodeRole};

/// How long to wait before the port asks the log something of its own again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What the cluster is founded with, the same on all nodes that found it.
#[derive(Clone, Debug)]
pub struct Founding {
    /// The nodes.
    pub nodes: BTreeMap<NodeId, Addresses>,
    /// The members of the chain, head first.
    pub chain: Vec<NodeId>,
}

impl Founding {
    /// The addresses of all nodes but `me`.
    fn peers(&self, me: NodeId) -> BTreeMap<NodeId, String> {
        let others = self.nodes.iter().filter(|(node, _)| **node != me);
        others.map(|(node, addresses)| (*node, addresses.peer.clone())).collect()
    }

    fn command(&self) -> Command {
        let wanted_len = u32::try_from(self.chain.len()).unwrap_or(u32::MAX);
        let chains = [(0, Founded { wanted_len, members: self.chain.clone() })].into();
        Command::Found { nodes: self.nodes.clone(), chains }
    }
}

/// See the module.
pub(super) struct SystemPort {
    me: NodeId,
    founding: Founding,
    /// The port's own question that waits for its answer: one at a time.
    own: Option<u64>,
    own_due: Instant,
    /// What the links know: as of which revision, and which change of the log's members.
    known: (u64, u64),
    peers: BTreeMap<NodeId, String>,
    /// Whom gossip reaches.
    reached: BTreeSet<NodeId>,
    askers: HashMap<u64, oneshot::Sender<Result<Outcome<Answer>, Refusal>>>,
    token_next: u64,
    /// Whom the member of the chain was told to ask for its lease.
    swamis: Vec<NodeId>,
}

impl SystemPort {
    pub fn new(me: NodeId, founding: Founding) -> Self {
        let peers = founding.peers(me);
        Self {
            me,
            founding,
            own: None,
            own_due: Instant::default(),
            known: (0, 0),
            peers,
            reached: BTreeSet::new(),
            askers: HashMap::new(),
            // Answers of an earlier life may still come: no number is used again.
            token_next: clock::wall_ms() << 20,
            swamis: Vec::new(),
        }
    }

    fn outside(&self) -> Pid {
        Pid::outside(self.me.0, 0)
    }

    /// Asks something of the port's own.
    fn ask_own(&mut self, request: Request<Command, Query>, cx: &mut PortContext<'_, NodeRole>) {
        self.own_due = cx.now + ASK_AGAIN;
        self.own = self.request(request, cx);
    }

    fn request(&mut self, request: Request<Command, Query>, cx: &mut PortContext<'_, NodeRole>) -> Option<u64> {
        let token = self.token_next;
        self.token_next += 1;
        let client = Pid::client(self.me.0, SYSTEM_KEYSPACE);
        let asked = cx.push(self.outside(), client, swami::Message::Log(log::Message::Ask { token, request }));
        asked.is_ok().then_some(token)
    }

    /// A gateway asks something.
    pub fn ask(
        &mut self,
        request: Request<Command, Query>,
        sender: oneshot::Sender<Result<Outcome<Answer>, Refusal>>,
        cx: &mut PortContext<'_, NodeRole>,
    ) {
        match self.request(request, cx) {
            Some(token) => drop(self.askers.insert(token, sender)),
            None => drop(sender.send(Err(Refusal::Busy))), // whoever asked may have gone
        }
    }

    /// A process of the system answers.
    pub fn tell(&mut self, message: swami::Message) {
        let swami::Message::Log(message) = message else { return };
        let (token, answer) = match message {
            log::Message::Answered { token, outcome } => (token, Ok(outcome)),
            log::Message::Busy { token } => (token, Err(Refusal::Busy)),
            log::Message::Unfit { token, .. } => (token, Err(Refusal::Unfit)),
            _ => return, // said to a process
        };
        self.own = self.own.filter(|own| *own != token);
        if let Some(sender) = self.askers.remove(&token) {
            let _ = sender.send(answer); // whoever asked may have gone
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        self.askers.retain(|_, sender| !sender.is_closed());
        let Some(log) = log_of(self.me, cx) else { return };
        let (is_founded, swamis) = (log.machine().state().revision > 0, log.members().nodes().to_vec());
        let is_member = swamis.contains(&self.me);
        if self.own.is_none() && cx.now >= self.own_due {
            if is_member && !is_founded {
                let command = self.founding.command();
                self.ask_own(Request::Command(command), cx);
            } else if !is_member {
                // Nobody tells who is no member: it asks, and hears what came of all that was decided.
                self.ask_own(Request::Query(Query::Since(u64::MAX)), cx);
            }
        }
        self.mind_electorate(cx);
        self.mind_peers(cx);
        self.mind_swamis(swamis, cx);
    }

    /// Tells the links who the other nodes are.
    fn mind_peers(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        let Some(log) = log_of(self.me, cx) else { return };
        let state = log.machine().state();
        let known = (state.revision, log.members().since());
        if state.revision == 0 || known == self.known {
            return; // before anything is founded they are those of the configuration
        }
        self.known = known;
        // Who is removed and still a member of the log is needed to decide that it is none any more.
        let members = log.members().nodes();
        self.peers.retain(|node, _| members.contains(node));
        let others = state.nodes.iter().filter(|(node, _)| **node != self.me);
        self.peers.extend(others.map(|(node, registered)| (*node, registered.addresses.peer.clone())));
        cx.know(&self.peers);
    }

    /// As the leader, lets another node take the place of a member that is to go.
    fn mind_electorate(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        let may_ask = self.own.is_none() && cx.now >= self.own_due;
        let Some(log) = log_of(self.me, cx).filter(|log| log.status().leads && may_ask) else { return };
        let reached = |node| node == self.me || self.reached.contains(&node);
        if let Some(next) = log.machine().state().electorate(log.members().nodes(), reached) {
            self.ask_own(Request::Members(next), cx);
        }
    }

    /// Tells the member of the chain whom to ask for its lease.
    fn mind_swamis(&mut self, swamis: Vec<NodeId>, cx: &mut PortContext<'_, NodeRole>) {
        if swamis == self.swamis {
            return;
        }
        let pids = swamis.iter().map(|node| Pid::swami(node.0, SYSTEM_KEYSPACE)).collect();
        let member = Pid::chain(self.me.0, 0);
        if cx.push(self.outside(), member, KvMessage::Swamis(pids)).is_ok() {
            self.swamis = swamis;
        } // else the next tick tells it
    }

    /// Gossip says that a node is reached, or is not.
    pub fn reaches(&mut self, node: NodeId, is_reached: bool, cx: &mut PortContext<'_, NodeRole>) {
        if is_reached {
            self.reached.insert(node);
        } else {
            self.reached.remove(&node);
        }
        let news = if is_reached { swami::Message::Alive(node) } else { swami::Message::Suspected(node) };
        let _ = cx.push(self.outside(), Pid::swami(self.me.0, SYSTEM_KEYSPACE), news); // it is advice
    }

    /// The cluster as this node knows it.
    pub fn cluster(&self, member: &Node<Kv>, cx: &PortContext<'_, NodeRole>) -> Option<Cluster> {
        let log = log_of(self.me, cx)?;
        let leader = log.status().promised.node;
        Some(Cluster {
            state: log.machine().state().clone(),
            system: log.members().nodes().to_vec(),
            swami: Some(leader).filter(|leader| leader.0 > 0),
            own: member.status(),
            right_left: member.right_left(cx.now),
            acts_on: member.configuration().clone(),
        })
    }
}

fn log_of<'c>(me: NodeId, cx: &'c PortContext<'_, NodeRole>) -> Option<&'c log::Node<swami::System>> {
    cx.process(Pid::consensus(me.0, SYSTEM_KEYSPACE))?.system()?.log()
}
