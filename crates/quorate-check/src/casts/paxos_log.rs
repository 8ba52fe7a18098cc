//! Instances of the log that is decided by consensus: members, clients, people who append to lists and read them, and
//! change the members, and what must be true.

use std::time::Duration;

use quorate_model::quorum::majority;
use quorate_model::{NodeId, Pid, Process as _, Service};
use quorate_protocols::paxos::log::{
    Client, ClientBounds, Item, Lease, Members, Message, Node, NodeOptions, Outcome, Record, Request, Role,
};

use super::{Append, ListSpec, Lists, Read};
use crate::cast::{Call, Cast, Status, View};
use crate::simulate::{Bounds, Draw};

/// A log's process over lists.
pub type LogRole = Role<Lists>;
type Said = Message<Lists>;

/// What one person asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Append the item to the key's list.
    Append(u32, u32),
    /// Read the key's list.
    Read(u32),
    /// Let these nodes be the members.
    Members(Vec<u32>),
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many nodes.
    pub node_count: u32,
    /// How many of them, from the first on, are members when the log begins.
    pub member_count: u32,
    /// People: at which node, and what they ask, one after the other.
    pub people: Vec<(u32, Vec<Wish>)>,
    /// How the members behave where they are free.
    pub options: NodeOptions,
    /// Whether members may lose their disks.
    pub losing: bool,
    /// What to do to each member before it starts: tests break a rule here, to see it noticed.
    pub alter: fn(Node<Lists>) -> Node<Lists>,
}

impl Shape {
    /// Members as they ship, which keep what they applied.
    #[must_use]
    pub fn new(node_count: u32, people: Vec<(u32, Vec<Wish>)>) -> Self {
        let options = NodeOptions { kept_weight_max: 1_000, ..NodeOptions::default() };
        Self { node_count, member_count: node_count, people, options, losing: false, alter: |member| member }
    }

    /// The same, with every member altered.
    #[must_use]
    pub fn altered(self, alter: fn(Node<Lists>) -> Node<Lists>) -> Self {
        Self { alter, ..self }
    }

    /// The same, with members that may lose their disks.
    #[must_use]
    pub fn losing(self) -> Self {
        Self { losing: true, ..self }
    }

    /// The same, with only so many of the nodes as the first members.
    #[must_use]
    pub fn begun_by(self, member_count: u32) -> Self {
        Self { member_count, ..self }
    }

    /// The same, with members that keep no more than so many items that they applied.
    #[must_use]
    pub fn keeping(mut self, items: usize) -> Self {
        self.options.kept_weight_max = items;
        self
    }

    /// The same, with a leader who answers reads alone for a while.
    #[must_use]
    pub fn leasing(mut self, lease: Lease) -> Self {
        self.options.lease = Some(lease);
        self
    }
}

/// A client has fewer lives than this before its disk is lost.
const LIVES_MAX: u64 = 1_000_000;
/// How far the clocks of a simulated run differ at most, with a little to spare.
const SIMULATED_DRIFT_PER_MILLION: u32 = 25_000;

/// An instance that a seed draws: one to five nodes, up to five people who append, read and change the members, small or
/// large windows, batches and memories, with leases or without.
#[must_use]
pub fn drawn(draw: &mut Draw) -> Shape {
    let node_count = draw.below(5) as u32 + 1;
    let member_count = if draw.per_mille(700) { node_count } else { draw.below(node_count.into()) as u32 + 1 };
    let changes = draw.per_mille(300);
    let mut item = 0;
    let people = (0..=draw.below(5)).map(|_| {
        let node = draw.below(node_count.into()) as u32 + 1;
        let wishes = (0..=draw.below(12)).map(|_| {
            item += 1;
            let key = draw.below(2) as u32;
            match draw.below(1_000) {
                0..100 if changes => Wish::Members(drawn_members(node_count, draw)),
                0..600 => Wish::Append(key, item),
                _ => Wish::Read(key),
            }
        });
        (node, wishes.collect())
    });
    let people = people.collect();
    let lease = Lease {
        term: draw.between(&(Duration::from_millis(50)..Duration::from_secs(2))),
        drift_per_million: SIMULATED_DRIFT_PER_MILLION,
    };
    let options = NodeOptions {
        batch_weight_max: draw.below(3) as usize + 1,
        window_len_max: draw.below(3) as usize + 1,
        kept_weight_max: *draw.pick(&[0, 1, 5, 1_000]),
        lease: draw.per_mille(500).then_some(lease),
        ..NodeOptions::default()
    };
    Shape { member_count, options, ..Shape::new(node_count, people) }
}

/// The least number of members that survives the loss of one disk and goes on.
const LOSING_COUNT_MIN: u32 = 3;

/// Like [`drawn`], of members that survive the loss of a disk, and lose some.
#[must_use]
pub fn drawn_losing(draw: &mut Draw) -> Shape {
    let mut shape = drawn(draw).losing();
    shape.node_count = shape.node_count.max(LOSING_COUNT_MIN);
    shape.member_count = shape.member_count.max(LOSING_COUNT_MIN);
    for wish in shape.people.iter_mut().flat_map(|(_, wishes)| wishes) {
        if let Wish::Members(nodes) = wish {
            let others: Vec<_> = (1..=shape.node_count).filter(|node| !nodes.contains(node)).collect();
            nodes.extend(others.into_iter().take((LOSING_COUNT_MIN as usize).saturating_sub(nodes.len())));
        }
    }
    shape
}

fn drawn_members(node_count: u32, draw: &mut Draw) -> Vec<u32> {
    let mut nodes: Vec<_> = (1..=node_count).filter(|_| draw.per_mille(700)).collect();
    if nodes.is_empty() {
        nodes.push(draw.below(node_count.into()) as u32 + 1);
    }
    nodes
}

/// What simulated runs are held to: a disk that was slow when everything was healed may turn for a while yet, and until
/// then its member lags.
#[must_use]
pub fn bounds() -> Bounds {
    Bounds { settles_for: Duration::from_secs(60), ..Bounds::default() }
}

/// The cast of an instance.
#[must_use]
pub fn cast(shape: &Shape) -> Cast<LogRole> {
    let mut cast = Cast::new();
    for node in 1..=shape.node_count {
        cast = cast.process(Pid::consensus(node, 0), Role::Node(Box::new(member(shape, NodeId(node)))));
        let pid = Pid::client(node, 0);
        cast = if shape.people.iter().any(|(at, _)| *at == node) {
            cast.process(pid, Role::Client(Client::new(client_bounds(shape))))
        } else {
            cast.absent(pid)
        };
    }
    for (at, (node, wishes)) in (0..).zip(&shape.people) {
        let asks = (1..).zip(wishes).map(|(token, wish)| Message::Ask { token, request: request(wish) });
        cast = cast.asks(Pid::outside(*node, at), Pid::client(*node, 0), asks.collect::<Vec<_>>());
    }
    let wishes = || shape.people.iter().flat_map(|(_, wishes)| wishes);
    let mut cast = claims(cast.answers(answers), shape.node_count);
    if wishes().any(|wish| matches!(wish, Wish::Read(_))) && wishes().any(|wish| matches!(wish, Wish::Append(..))) {
        cast = cast.sometimes("a read sees an append", a_read_sees_an_append);
    }
    if shape.losing {
        let (losing, node_count) = (shape.clone(), shape.node_count);
        cast = cast.disks_may_be_lost(
            move |pid, nth| after_loss(&losing, pid, nth),
            // One at a time: the next when all have recalled what they forgot.
            move |view, _| nodes(view, node_count).all(|(_, durable)| durable.remembers()),
        );
    }
    if wishes().any(|wish| matches!(wish, Wish::Members(_))) {
        return cast;
    }
    let member_count = shape.member_count;
    cast.always("what is chosen is on the disks of a quorum", move |view| chosen_is_durable(view, member_count))
}

/// A client is as patient as its member.
fn client_bounds(shape: &Shape) -> ClientBounds {
    ClientBounds { retry_after: shape.options.retry_after * 2, ..ClientBounds::default() }
}

/// A member that is told that it has nothing to remember.
fn member(shape: &Shape, node: NodeId) -> Node<Lists> {
    let mut member = forgetful(shape, node);
    member.replay(Node::nothing_to_recall());
    member
}

fn forgetful(shape: &Shape, node: NodeId) -> Node<Lists> {
    let members = Members::first((1..=shape.member_count).map(NodeId).collect()).expect("a shape has members");
    (shape.alter)(Node::new(node, members, shape.options.clone(), Lists::default()))
}

/// What begins on a disk that is empty. The number of a client's life is later than all that it had.
fn after_loss(shape: &Shape, pid: Pid, nth: u64) -> LogRole {
    if pid.service == Service::Consensus {
        return Role::Node(Box::new(forgetful(shape, pid.node).with_nonce(nth)));
    }
    let mut client = Client::new(client_bounds(shape));
    client.replay(Record::Boot(nth * LIVES_MAX));
    Role::Client(client)
}

/// The request that a wish is.
#[must_use]
pub fn request(wish: &Wish) -> Request<Append, Read> {
    match wish {
        Wish::Append(key, item) => Request::Command(Append { key: *key, item: *item }),
        Wish::Read(key) => Request::Query(Read { key: *key }),
        Wish::Members(nodes) => Request::Members(nodes.iter().copied().map(NodeId).collect()),
    }
}

fn answers(ask: &Said, said: &Said) -> bool {
    match (ask, said) {
        (Message::Ask { token, .. }, Message::Answered { token: answered, .. } | Message::Busy { token: answered }) => {
            token == answered
        }
        _ => false,
    }
}

fn claims(cast: Cast<LogRole>, node_count: u32) -> Cast<LogRole> {
    cast.always("no slot is decided twice", move |view| chosen_agree(view, node_count))
        .sometimes("everything is answered", |view| view.all_answered())
        .finally("members that are as far are equal", move |view| {
            let standing: Vec<_> = nodes(view, node_count).filter_map(|(live, _)| live).collect();
            standing.iter().enumerate().all(|(at, one)| {
                let mut others = standing[..at].iter().filter(|other| other.status().applied == one.status().applied);
                others.all(|other| other.machine() == one.machine() && other.members() == one.members())
            })
        })
        .finally("every member has everything", move |view| {
            let standing = || nodes(view, node_count).filter_map(|(live, _)| live);
            let Some(most) = standing().max_by_key(|node| node.status().applied) else { return true };
            let applied = |node: &Node<Lists>| node.status().applied;
            let has = |id: &NodeId| view.process(Pid::consensus(id.0, 0)).and_then(Role::node).map(applied);
            most.members().nodes().iter().all(|id| has(id).is_none_or(|has| has == applied(most)))
        })
        .linearizable_by_key("the lists are linearizable", ListSpec, |ask, answer| {
            let Message::Ask { request, .. } = ask else { return None };
            let op = match request {
                Request::Command(append) => (append.key, Some(append.item)),
                Request::Query(read) | Request::Peek(read) => (read.key, None),
                Request::Members(_) => return None,
            };
            match answer {
                Some(Message::Busy { .. }) => None,
                Some(Message::Answered { outcome: Outcome::Answer(list), .. }) => {
                    Some(Call { op, ret: Some(list.clone()) })
                }
                _ => Some(Call { op, ret: None }),
            }
        })
        .compaction_is_faithful()
}

fn a_read_sees_an_append(view: &View<'_, LogRole>) -> bool {
    view.asked().any(|asked| {
        let read = matches!(asked.ask, Message::Ask { request: Request::Query(_), .. });
        let answered = matches!(
            asked.status,
            Status::Answered(Message::Answered { outcome: Outcome::Answer(list), .. }) if !list.is_empty()
        );
        read && answered
    })
}

/// What two members take for chosen in a slot is the same.
fn chosen_agree(view: &View<'_, LogRole>, node_count: u32) -> bool {
    let chosen = || nodes(view, node_count).filter_map(|(live, _)| live);
    chosen().enumerate().all(|(at, one)| chosen().take(at).all(|other| agree(one, other)))
}

/// Both hold what was chosen in consecutive slots, so from where both hold some, those of equal slots go side by side.
fn agree(one: &Node<Lists>, other: &Node<Lists>) -> bool {
    let from = one.status().base.max(other.status().base);
    let after = |(slot, _): &(u64, &Item<Append>)| *slot <= from;
    one.chosen().skip_while(after).zip(other.chosen().skip_while(after)).all(|(a, b)| a == b)
}

/// Whatever any member takes for chosen has the votes of a quorum on disk, counting those who have lost theirs and must recall
/// it. It is acted on only when the outbox lets it out,
/// so a member's own unsynced records do not count against it.
fn chosen_is_durable(view: &View<'_, LogRole>, member_count: u32) -> bool {
    let nodes: Vec<_> = nodes(view, member_count).collect();
    let farthest = nodes.iter().filter_map(|(live, _)| *live).max_by_key(|node| node.status().applied);
    let Some(farthest) = farthest else { return true };
    let unsynced: Vec<_> = (1..=member_count).map(|node| view.unsynced_count(Pid::consensus(node, 0)) > 0).collect();
    farthest.chosen().all(|(slot, item)| {
        let held = nodes.iter().zip(&unsynced).filter(|((_, durable), unsynced)| {
            let mut votes = durable.votes().skip_while(|(at, _)| *at < slot);
            let voted = votes.next().is_some_and(|(at, vote)| at == slot && vote.item == *item);
            **unsynced || voted || !durable.remembers() || durable.status().base >= slot
        });
        held.count() >= majority(member_count as usize)
    })
}

fn nodes<'a>(
    view: &View<'a, LogRole>,
    node_count: u32,
) -> impl Iterator<Item = (Option<&'a Node<Lists>>, &'a Node<Lists>)> {
    (1..=node_count).map(|node| {
        let pid = Pid::consensus(node, 0);
        let durable = view.durable(pid).node().expect("a consensus pid is a member's");
        (view.process(pid).and_then(Role::node), durable)
    })
}
