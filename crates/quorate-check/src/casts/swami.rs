//! Instances of the swami: members of the `_system` log with a swami beside each, nodes of one chain that stand in for real
//! ones, people who ask for nodes to be drained and for other lengths, and what must be true.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_model::{Instant, Machine, NodeId, Pid, Process as _};
use quorate_protocols::chain::swami::{
    self, Addresses, Chain, Command, Founded, Message, State, Swami, System, Wanted,
};
use quorate_protocols::chain::{Change, Configuration};
use quorate_protocols::paxos::log::{self, Client, ClientBounds, Lease, Members, Node, NodeOptions, Request};

use super::swami_node::ChainNode;
use super::swami_role::SwamiRole;
use super::swami_tape::Tape;
use crate::cast::{Cast, View};
use crate::simulate::{Bounds, Draw, Severity};

/// The number of the chain's keyspace, and of the log's.
const CHAIN: u32 = 0;

/// An instance.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many nodes, numbered from 1.
    pub node_count: u32,
    /// How many of them, from the first on, are members of the `_system` log.
    pub system_count: u32,
    /// How many of them, from the last on, are members of the chain.
    pub member_count: u32,
    /// How many members the chain shall have.
    pub wanted_len: u32,
    /// The leases of nodes, and of the log's leader.
    pub lease: Lease,
    /// What people ask, and at which node.
    pub people: Vec<(u32, Vec<Command>)>,
    /// What to do to what each kind of process begins as: tests break a rule here, to see it noticed.
    pub alter: Alter,
}

/// See [`Shape::alter`].
#[derive(Clone, Copy, Debug)]
pub struct Alter {
    /// The machine of the log.
    pub system: fn(System) -> System,
    /// The members of the log.
    pub log: fn(Node<System>) -> Node<System>,
    /// Those who decide.
    pub swami: fn(Swami) -> Swami,
    /// The nodes of the chain.
    pub node: fn(ChainNode) -> ChainNode,
}

impl Default for Alter {
    fn default() -> Self {
        Self { system: |it| it, log: |it| it, swami: |it| it, node: |it| it }
    }
}

/// How far the clocks of a simulated run differ at most, with a little to spare.
const SIMULATED_DRIFT_PER_MILLION: u32 = 25_000;

/// An instance that a seed draws.
#[must_use]
pub fn drawn(draw: &mut Draw) -> Shape {
    let node_count = draw.below(4) as u32 + 2;
    let system_count = if node_count > 2 && draw.per_mille(800) { 3 } else { 1 };
    let member_count = draw.below(node_count.min(3).into()) as u32 + 1;
    let term = draw.between(&(Duration::from_millis(100)..Duration::from_millis(400)));
    let lease = Lease { term, drift_per_million: SIMULATED_DRIFT_PER_MILLION };
    let wanted_len = if draw.per_mille(700) { member_count } else { draw.below(3) as u32 + 1 };
    let people = if draw.per_mille(500) { Vec::new() } else { vec![drawn_person(node_count, system_count, draw)] };
    Shape { node_count, system_count, member_count, wanted_len, lease, people, alter: Alter::default() }
}

fn drawn_person(node_count: u32, system_count: u32, draw: &mut Draw) -> (u32, Vec<Command>) {
    let at = draw.below(system_count.into()) as u32 + 1;
    let commands = (0..=draw.below(5)).map(|_| {
        let node = NodeId(draw.below(node_count.into()) as u32 + 1);
        match draw.below(10) {
            0..3 => Command::SetLength { chain: CHAIN, len: draw.below(3) as u32 + 1 },
            3..6 => Command::Drain(node),
            6..9 => Command::Restore(node),
            _ => Command::Remove(node),
        }
    });
    (at, commands.collect())
}

/// How bad a simulated run may get: faults that last for some leases.
#[must_use]
pub fn severity() -> Severity {
    Severity { faulty_max: Duration::from_secs(10), lasts_max: Duration::from_millis(1_500), ..Severity::default() }
}

/// What simulated runs are held to.
#[must_use]
pub fn bounds() -> Bounds {
    Bounds { settles_for: Duration::from_secs(20), check_every: 4, ..Bounds::default() }
}

/// The cast of an instance.
#[must_use]
pub fn cast(shape: &Shape) -> Cast<SwamiRole> {
    let mut cast = Cast::new();
    let swamis: Vec<_> = (1..=shape.system_count).map(|node| Pid::swami(node, CHAIN)).collect();
    let members: Vec<_> = members(shape).collect();
    for node in 1..=shape.node_count {
        if node <= shape.system_count {
            let client = Client::new(ClientBounds { retry_after: shape.lease.term, ..ClientBounds::default() });
            cast = cast
                .process(
                    Pid::consensus(node, CHAIN),
                    SwamiRole::System(swami::Role::Log(Box::new(member(shape, node)))),
                )
                .process(Pid::client(node, CHAIN), SwamiRole::System(swami::Role::Client(client)))
                .process(
                    Pid::swami(node, CHAIN),
                    SwamiRole::System(swami::Role::Swami(Box::new(decider(shape, node)))),
                );
        }
        let first = members.contains(&NodeId(node)).then(|| Configuration::new(1, members.clone()));
        let stand_in = (shape.alter.node)(ChainNode::new(swamis.clone(), first, shape.lease.term / 3));
        cast = cast.process(Pid::chain(node, CHAIN), SwamiRole::Node(Box::new(stand_in)));
    }
    for (at, (node, commands)) in (0..).zip(&shape.people) {
        let asks = (1..).zip(commands).map(|(token, command)| {
            Message::Log(log::Message::Ask { token, request: Request::Command(command.clone()) })
        });
        cast = cast.asks(Pid::outside(*node, at), Pid::client(*node, CHAIN), asks.collect::<Vec<_>>());
    }
    claims(cast.answers(answers), shape)
}

/// What a swami that is no more has left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Legacy {
    /// A lease of node 2 that it granted at its last moment. Node 1 is heard, node 2 is not.
    Lease,
    /// A change that it decided when node 2 had no lease, and that comes to the log at any time: node 2 leaves. Node 2 is
    /// heard, node 1 is not.
    Change,
}

/// A tiny instance: a log in one, in which another swami leads for a tick and then this one for longer, and two members of
/// the chain. `lease` is granted to nodes.
#[must_use]
pub fn handed_over(legacy: Legacy, lease: Lease, tick: Duration, alter: Alter) -> Cast<SwamiRole> {
    let (node_count, system_count, member_count, wanted_len) = (2, 1, 2, 2);
    let shape = Shape { node_count, system_count, member_count, wanted_len, lease, people: Vec::new(), alter };
    let (tape, before, swami) = (Pid::consensus(3, CHAIN), Pid::swami(4, CHAIN), Pid::swami(3, CHAIN));
    let decider = (alter.swami)(Swami::new(tape, lease));
    let turns = vec![(before, tick), (swami, tick * 8)];
    let mut cast = Cast::new()
        .absent(before)
        .process(tape, SwamiRole::Tape(Box::new(Tape::new(system(&shape), turns))))
        .process(swami, SwamiRole::System(swami::Role::Swami(Box::new(decider))));
    for node in 1..=node_count {
        let first = Some(Configuration::new(1, members(&shape).collect()));
        let is_heard = node == if legacy == Legacy::Lease { 1 } else { 2 };
        let swamis = if is_heard { vec![swami] } else { Vec::new() };
        let mut stand_in = (alter.node)(ChainNode::new(swamis, first, lease.term));
        if legacy == Legacy::Lease && node == 2 {
            stand_in = stand_in.granted_before(Instant::default() + tick, lease.term);
        }
        cast = cast.process(Pid::chain(node, CHAIN), SwamiRole::Node(Box::new(stand_in)));
    }
    if legacy == Legacy::Change {
        let command = Command::Change { chain: CHAIN, change: Change::Leave(NodeId(2)), expected: 1 };
        let late = Message::Log(log::Message::Ask { token: 1, request: Request::Command(command) });
        cast = cast.tells(Pid::outside(3, 0), tape, [late]);
    }
    always(cast, node_count).sometimes("a member is put out", |view| {
        newest(view).is_some_and(|state| state.chains[&CHAIN].configuration.members().len() == 1)
    })
}

fn members(shape: &Shape) -> impl Iterator<Item = NodeId> {
    (shape.node_count - shape.member_count + 1..=shape.node_count).map(NodeId)
}

fn member(shape: &Shape, node: u32) -> Node<System> {
    let members = Members::first((1..=shape.system_count).map(NodeId).collect()).expect("a shape has members");
    let options = NodeOptions {
        patience: shape.lease.term,
        retry_after: shape.lease.term / 4,
        lease: Some(shape.lease),
        kept_weight_max: 100,
        ..NodeOptions::default()
    };
    let observer = Pid::swami(node, CHAIN);
    let mut member = Node::new(NodeId(node), members, options, system(shape)).observed_by(observer);
    member.replay(Node::nothing_to_recall());
    (shape.alter.log)(member)
}

fn decider(shape: &Shape, node: u32) -> Swami {
    (shape.alter.swami)(Swami::new(Pid::client(node, CHAIN), shape.lease))
}

fn system(shape: &Shape) -> System {
    let addresses = |node| Addresses { peer: format!("n{node}:1"), client: format!("n{node}:2") };
    let founded = Founded { wanted_len: shape.wanted_len, members: members(shape).collect() };
    let mut system = (shape.alter.system)(System::default());
    let nodes = (1..=shape.node_count).map(|node| (NodeId(node), addresses(node))).collect();
    system.apply(0, &Command::Found { nodes, chains: BTreeMap::from([(CHAIN, founded)]) });
    system
}

fn answers(ask: &Message, said: &Message) -> bool {
    match (ask, said) {
        (
            Message::Log(log::Message::Ask { token, .. }),
            Message::Log(log::Message::Answered { token: answered, .. } | log::Message::Busy { token: answered }),
        ) => token == answered,
        _ => false,
    }
}

fn claims(cast: Cast<SwamiRole>, shape: &Shape) -> Cast<SwamiRole> {
    let first = members(shape).collect::<Vec<_>>();
    always(cast, shape.node_count)
        .finally("the chain is as it was wanted", |view| newest(view).is_none_or(is_as_wanted))
        .finally("all its members act on it and serve", |view| {
            let Some(state) = newest(view) else { return true };
            let configuration = &state.chains[&CHAIN].configuration;
            configuration.members().iter().all(|member| {
                let pid = Pid::chain(member.0, CHAIN);
                let node = view.process(pid).and_then(SwamiRole::node);
                node.is_some_and(|node| {
                    node.serves(*member, view.now(pid)) && node.configuration() == Some(configuration)
                })
            })
        })
        .always("no two lead at once", |view| {
            let leads = |(pid, role): &(Pid, &SwamiRole)| match role {
                SwamiRole::System(role) => {
                    role.swami().and_then(Swami::leads_until).is_some_and(|it| view.now(*pid) < it)
                }
                SwamiRole::Node(_) | SwamiRole::Tape(_) => false,
            };
            view.processes().filter(leads).count() <= 1
        })
        .finally("one decides", |view| {
            let decide =
                |role: &SwamiRole| matches!(role, SwamiRole::System(role) if role.swami().is_some_and(Swami::decides));
            view.processes().filter(|(_, role)| decide(role)).count() == 1
        })
        .sometimes("a dead member is put out", move |view| {
            let Some(state) = newest(view) else { return false };
            let is_down = |node: &NodeId| view.process(Pid::chain(node.0, CHAIN)).is_none();
            first.iter().any(|node| is_down(node) && !state.chains[&CHAIN].configuration.is_member(*node))
        })
        .sometimes("a joiner is admitted", |view| {
            let changes =
                |state: &State| state.chains[&CHAIN].changes.iter().any(|(_, it)| matches!(it, Change::Admit(_)));
            newest(view).is_some_and(changes)
        })
        .compaction_is_faithful()
}

/// What is true in every state.
fn always(cast: Cast<SwamiRole>, node_count: u32) -> Cast<SwamiRole> {
    cast.always("who was put out serves nobody", who_serves_is_a_member)
        .always("nodes that act on as many events act on the same", |view| {
            let acts: Vec<_> = nodes(view).filter_map(|(_, node)| node.configuration()).collect();
            let differ =
                |one: &Configuration, other: &Configuration| one.prefix_len() == other.prefix_len() && one != other;
            !acts.iter().enumerate().any(|(at, one)| acts[..at].iter().any(|other| differ(one, other)))
        })
        .always("who was admitted was in step", move |view| admitted_were_in_step(view, node_count))
}

fn nodes<'a>(view: &View<'a, SwamiRole>) -> impl Iterator<Item = (Pid, &'a ChainNode)> {
    view.processes().filter_map(|(pid, role)| role.node().map(|node| (pid, node)))
}

/// The farthest that anybody knows.
fn newest<'a>(view: &View<'a, SwamiRole>) -> Option<&'a State> {
    view.processes().filter_map(|(_, role)| role.state()).max_by_key(|state| state.revision)
}

/// By each node's own clock, as it is now. A log that starts anew has to find out again what it had decided, so the newest
/// configuration is the longest that a member of the log knows or a node acts on.
fn who_serves_is_a_member(view: &View<'_, SwamiRole>) -> bool {
    let decided =
        view.processes().filter_map(|(_, role)| role.state()).map(|state| &state.chains[&CHAIN].configuration);
    let acted_on = nodes(view).filter_map(|(_, node)| node.configuration());
    let Some(newest) = decided.chain(acted_on).max_by_key(|it| it.prefix_len()) else { return true };
    nodes(view).all(|(pid, node)| newest.is_member(pid.node) || !node.serves(pid.node, view.now(pid)))
}

/// Each admission followed on a configuration under which some tail had written down that the joiner is in step.
fn admitted_were_in_step(view: &View<'_, SwamiRole>, node_count: u32) -> bool {
    let Some(state) = newest(view) else { return true };
    let Chain { configuration, changes, .. } = &state.chains[&CHAIN];
    let before = configuration.prefix_len() - changes.len() as u64;
    let mut admitted = (before..).zip(changes).filter(|(_, (_, change))| matches!(change, Change::Admit(_)));
    admitted.all(|(prefix_len, _)| {
        (1..=node_count).any(|node| {
            let node = view.durable(Pid::chain(node, CHAIN)).node();
            node.is_some_and(|node| node.in_step().contains(&prefix_len))
        })
    })
}

fn is_as_wanted(state: &State) -> bool {
    let chain = &state.chains[&CHAIN];
    let is_in_service = |node: &NodeId| state.nodes.get(node).is_some_and(|node| node.wanted == Wanted::InService);
    let serving = chain.configuration.members().iter().filter(|node| is_in_service(node)).count();
    let available = state.nodes.keys().filter(|node| is_in_service(node)).count();
    let (wanted, len) = (chain.wanted_len as usize, chain.configuration.members().len());
    let is_full = serving == wanted.min(available) && (serving < wanted || len == wanted);
    chain.configuration.joiner().is_none() && is_full
}
