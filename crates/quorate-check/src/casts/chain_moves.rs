//! Instances of the chain whose members come and go: a decider hands out configurations one after the other, and each node
//! hears of them when it does.

use std::time::Duration;

use bytes::Bytes;
use quorate_model::{Context, Event, NodeId, Pid, Process};
use quorate_protocols::chain::{
    Change, Client, ClientBounds, Configuration, Message, Node, NodeOptions, Record, Role, Timer,
};

use super::Lists;
use super::chain::{
    HOST, ListRole, Said, Seat, Wish, answers, by_key, logs_agree, replicas_agree, request, sees_an_append,
};
pub use super::chain_decider::{Decider, Lease};
use super::housed::Housed;
use crate::cast::{Cast, View};
use crate::simulate::Draw;

/// Where the decider is: no node of a chain has this number.
pub const DECIDER: Pid = Pid::chain(0, 0);

/// Who tells the decider to go on.
const PACEMAKER: Pid = Pid::outside(0, 0);

/// How simulated nodes may read. The decider waits longer than the term by twice what a clock may be wrong by, and a bit.
pub const LEASE: Lease =
    Lease { term: Duration::from_millis(1_000), waits: Duration::from_millis(1_021), retires: false };

/// A process of a chain whose members come and go.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// A process of the chain.
    Chain(ListRole),
    /// A node whose machine has storage of its own.
    Housed(Box<Housed>),
    /// Who decides.
    Decider(Decider),
}

impl Process for Part {
    type Message = Said;
    type Timer = Timer;
    type Record = Record<Lists>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match self {
            Self::Chain(role) => role.on(for_part(event), &mut cx.role()),
            Self::Housed(housed) => housed.on(for_part(event), &mut cx.role()),
            Self::Decider(decider) => decider.on(for_part(event), &mut cx.role()),
        }
    }

    fn replay(&mut self, record: Record<Lists>) {
        match self {
            Self::Chain(role) => role.replay(record),
            Self::Housed(housed) => housed.replay(record),
            Self::Decider(decider) => decider.replay(record),
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<Lists>> {
        let (role, housed, decider) = match self {
            Self::Chain(role) => (Some(role.compact()), None, None),
            Self::Housed(housed) => (None, Some(housed.compact()), None),
            Self::Decider(decider) => (None, None, Some(decider.compact())),
        };
        role.into_iter().flatten().chain(housed.into_iter().flatten()).chain(decider.into_iter().flatten())
    }
}

fn for_part<P, Q>(event: Event<P>) -> Event<Q>
where
    P: Process<Message = Said, Timer = Timer>,
    Q: Process<Message = Said, Timer = Timer>,
{
    match event {
        Event::Start => Event::Start,
        Event::Message { from, message } => Event::Message { from, message },
        Event::Alarm(timer) => Event::Alarm(timer),
    }
}

impl Seat for Part {
    fn member(&self) -> Option<&Node<Lists>> {
        match self {
            Self::Chain(role) => role.node(),
            Self::Housed(housed) => Some(housed.node()),
            Self::Decider(_) => None,
        }
    }
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Moves {
    /// The first members, head first. Nodes are counted from 1.
    pub founders: Vec<u32>,
    /// How many nodes there are, those that may join included.
    pub node_count: u32,
    /// What is decided, in this order.
    pub plan: Vec<Change>,
    /// People: at which node, and what they ask, one after the other.
    pub people: Vec<(u32, Vec<Wish>)>,
    /// How the nodes behave.
    pub options: NodeOptions,
    /// How the right to read is granted; without it none is needed.
    pub lease: Option<Lease>,
    /// Whether the machines have storage of their own, and how often each is told to store what it has: the first of them that
    /// of node 1.
    pub stores: Option<Vec<usize>>,
    /// What to do to each node before it starts: tests break a rule here, to see it noticed.
    pub alter: fn(Node<Lists>) -> Node<Lists>,
}

impl Moves {
    /// Nodes as they ship, without batching.
    #[must_use]
    pub fn new(founders: Vec<u32>, plan: Vec<Change>, people: Vec<(u32, Vec<Wish>)>) -> Self {
        let joins = plan.iter().filter_map(|change| match change {
            Change::Join(node) => Some(node.0),
            _ => None,
        });
        let node_count = founders.iter().copied().chain(joins).max().unwrap_or(0);
        let options = NodeOptions { batching: false, ..NodeOptions::default() };
        Self { founders, node_count, plan, people, options, lease: None, stores: None, alter: |node| node }
    }

    /// The same, with every node altered.
    #[must_use]
    pub fn altered(self, alter: fn(Node<Lists>) -> Node<Lists>) -> Self {
        Self { alter, ..self }
    }

    /// The same, with nodes that need the right to read.
    #[must_use]
    pub fn leased(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self.options.lease_term = Some(lease.term);
        self
    }

    /// The same, with copies that go in pages of so many bytes.
    #[must_use]
    pub fn paged(mut self, page_bytes: usize) -> Self {
        self.options.batch_weight_max = page_bytes;
        self
    }

    /// The same, with machines that have storage of their own; each of the first ones is told so often to store what it has.
    #[must_use]
    pub fn stored(mut self, times: Vec<usize>) -> Self {
        self.stores = Some(times);
        self
    }

    fn founded(&self) -> Configuration {
        Configuration::new(1, self.founders.iter().copied().map(NodeId).collect())
    }

    fn nodes(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.node_count
    }
}

/// An instance that a seed draws: one to four first members, and up to nine changes that can follow each other.
#[must_use]
pub fn drawn(draw: &mut Draw) -> Moves {
    let founder_count = draw.below(4) as u32 + 1;
    let founders: Vec<u32> = (1..=founder_count).collect();
    let mut newest = Configuration::new(1, founders.iter().copied().map(NodeId).collect());
    let (mut plan, mut node_count) = (Vec::new(), founder_count);
    for _ in 0..draw.below(10) {
        let change = match newest.joiner() {
            Some(joiner) if draw.per_mille(800) => Change::Admit(joiner),
            None if draw.per_mille(500) => {
                // One that was never there, or one that left.
                let left = (1..=node_count).map(NodeId).find(|node| !newest.is_member(*node));
                let rejoins = left.filter(|_| draw.per_mille(600));
                Change::Join(rejoins.unwrap_or_else(|| {
                    node_count += 1;
                    NodeId(node_count)
                }))
            }
            _ => Change::Leave(*draw.pick(newest.members())),
        };
        if let Ok(next) = newest.after(change) {
            newest = next;
            plan.push(change);
        }
    }
    let mut item = 0;
    let people = (0..=draw.below(5)).map(|_| {
        let node = draw.below(node_count.into()) as u32 + 1;
        let wishes = (0..=draw.below(12)).map(|_| {
            item += 1;
            let key = draw.below(2) as u32;
            if draw.per_mille(600) { Wish::Append(key, item) } else { Wish::Read(key) }
        });
        (node, wishes.collect())
    });
    let moves = Moves { node_count, ..Moves::new(founders, plan, people.collect()) };
    let options = NodeOptions {
        batching: draw.per_mille(500),
        batch_weight_max: *draw.pick(&[16, 1 << 20]),
        copied_weight_max: *draw.pick(&[0, 2, 1 << 20]),
        ..moves.options
    };
    let moves = Moves { options, ..moves }.leased(Lease { retires: draw.per_mille(500), ..LEASE });
    if draw.per_mille(500) { drawn_storage(moves, draw) } else { moves }
}

/// The same, with machines that have storage of their own.
#[must_use]
pub fn drawn_storage(moves: Moves, draw: &mut Draw) -> Moves {
    let times = moves.nodes().map(|_| draw.below(5) as usize).collect();
    moves.stored(times)
}

/// A node before its records are replayed.
fn node(moves: &Moves, node: u32, machine: Lists) -> Node<Lists> {
    let node = Node::new(NodeId(node), moves.founded(), moves.options.clone(), machine);
    (moves.alter)(node.configured_by(vec![DECIDER]))
}

/// Lets machines keep what they stored, and tells them to store what they have.
fn housed(cast: Cast<Part>, moves: &Moves, times: &[usize]) -> Cast<Part> {
    let whole = moves.clone();
    let cast = cast.reopens(move |pid, dead, chance| match dead {
        Part::Housed(housed) => {
            let found = node(&whole, pid.node.0, housed.left(chance));
            Part::Housed(Box::new(Housed::new(found)))
        }
        Part::Chain(Role::Client(_)) => Part::Chain(Role::Client(Client::new(ClientBounds::default()))),
        Part::Chain(Role::Node(_)) => panic!("nodes have storage here"),
        Part::Decider(_) => Part::Decider(decider(&whole)),
    });
    moves.nodes().zip(times).filter(|(_, times)| **times > 0).fold(cast, |cast, (node, times)| {
        cast.tells(Pid::outside(node, HOST), Pid::chain(node, 0), (0..*times).map(|_| Message::Checkpoint))
    })
}

fn decider(moves: &Moves) -> Decider {
    Decider::new(moves.plan.clone(), moves.nodes().map(NodeId).collect(), moves.founded(), moves.lease)
}

/// The cast of an instance.
#[must_use]
pub fn cast(moves: &Moves) -> Cast<Part> {
    let mut cast = Cast::new();
    for number in moves.nodes() {
        let part = match moves.stores {
            Some(_) => Part::Housed(Box::new(Housed::new(node(moves, number, Lists::stored())))),
            None => Part::Chain(Role::Node(Box::new(node(moves, number, Lists::default())))),
        };
        cast = cast.process(Pid::chain(number, 0), part);
        let pid = Pid::client(number, 0);
        cast = if moves.people.iter().any(|(at, _)| *at == number) {
            cast.process(pid, Part::Chain(Role::Client(Client::new(ClientBounds::default()))))
        } else {
            cast.absent(pid)
        };
    }
    cast = cast.process(DECIDER, Part::Decider(decider(moves)));
    if let Some(times) = &moves.stores {
        cast = housed(cast, moves, times);
    }
    for (at, (node, wishes)) in (0..).zip(&moves.people) {
        let asks = (1..).zip(wishes).map(|(token, wish)| Message::Ask { token, request: request(*wish) });
        cast = cast.asks(Pid::outside(*node, at), Pid::client(*node, 0), asks.collect::<Vec<_>>());
    }
    let paces = moves.plan.iter().filter(|change| !matches!(change, Change::Admit(_)));
    cast = cast.tells(PACEMAKER, DECIDER, paces.map(|_| Message::Relay(Bytes::new())));
    claims(cast.answers(answers), moves)
}

fn claims(cast: Cast<Part>, moves: &Moves) -> Cast<Part> {
    let node_count = moves.node_count;
    let ends_at = 1 + moves.plan.len() as u64;
    let cast = cast
        .always("members never differ at an index", move |view| logs_agree(view, node_count, newest(view)))
        .always("what is committed is on the disks of all members", move |view| commits_are_durable(view, node_count))
        .always("members that applied the same are the same", move |view| replicas_agree(view, node_count))
        .sometimes("everything is answered", |view| view.all_answered())
        .sometimes("the plan is carried out", move |view| newest(view).is_some_and(|it| it.prefix_len() == ends_at))
        .finally("who can be admitted is", |view| decider_of(view).is_none_or(|decider| !decider.waits_for_joiner()));
    let reads = moves.people.iter().flat_map(|(_, wishes)| wishes).any(|wish| matches!(wish, Wish::Read(_)));
    by_key(if reads { cast.sometimes("a read sees an append", sees_an_append) } else { cast })
}

/// What the decider wrote down is what it decided, whether or not it is up.
fn decider_of<'a>(view: &View<'a, Part>) -> Option<&'a Decider> {
    match (view.process(DECIDER), view.durable(DECIDER)) {
        (Some(Part::Decider(decider)), _) | (None, Part::Decider(decider)) => Some(decider),
        _ => None,
    }
}

/// The newest configuration that anyone knows.
fn newest<'a>(view: &View<'a, Part>) -> Option<&'a Configuration> {
    decider_of(view).map(Decider::newest)
}

/// Whatever any node takes for committed is in the log on the disk of every member of the newest configuration.
fn commits_are_durable(view: &View<'_, Part>, node_count: u32) -> bool {
    let live = (1..=node_count).filter_map(|node| view.process(Pid::chain(node, 0))?.member());
    let committed = live.map(|member| member.status().committed).max().unwrap_or(0);
    let Some(newest) = newest(view) else { return true };
    newest.members().iter().all(|node| {
        let pid = Pid::chain(node.0, 0);
        let live = view.process(pid).and_then(Seat::member).map(Node::status);
        let durable = view.durable(pid).member().expect("a chain pid is a node's").status();
        // A commit is acted on only when the outbox lets it out, so a node's own unsynced records do not count against it.
        let on_disk = view.unsynced_count(pid) > 0 || durable.boot == 0 || durable.last >= committed;
        let in_log = live.is_none_or(|live| !live.joined || live.last >= committed);
        on_disk && in_log
    })
}
