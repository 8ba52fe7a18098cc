//! Instances of the chain: members, clients, people who append to lists and read them, and what must be true.

use std::time::Duration;

use quorate_model::{NodeId, Pid, Process};
use quorate_protocols::chain::{Client, ClientBounds, Configuration, Message, Node, NodeOptions, Request, Role};

use super::{Append, ListSpec, Lists, Read};
use crate::cast::{Call, Cast, Status, View};
use crate::simulate::Draw;

/// A chain's process over lists.
pub type ListRole = Role<Lists>;
pub(super) type Said = Message<Lists>;

/// A process that may be a member of a chain over lists: what claims look at.
pub(super) trait Seat: Process<Message = Said> {
    fn member(&self) -> Option<&Node<Lists>>;
}

impl Seat for ListRole {
    fn member(&self) -> Option<&Node<Lists>> {
        self.node()
    }
}

/// The shard of the person who tells a member how its disk is: no other has it.
pub const HOST: u32 = 1_000;

/// How long a member waits before it says something again for the first time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What one person asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Append the item to the key's list.
    Append(u32, u32),
    /// Read the key's list.
    Read(u32),
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many members.
    pub node_count: u32,
    /// People: at which node, and what they ask, one after the other.
    pub people: Vec<(u32, Vec<Wish>)>,
    /// Whether the head gathers what waits.
    pub batching: bool,
    /// How many commands the head may have taken that are not committed.
    pub uncommitted_len_max: usize,
    /// The longest pause before something is said again. It changes when alarms ring and not what they do, so where alarms
    /// may ring at any time it does not grow.
    pub retry_after_max: Duration,
    /// Members whose disk has no room and then has again, and how often.
    pub full: Vec<(u32, usize)>,
    /// What to do to each member before it starts: tests break a rule here, to see it noticed.
    pub alter: fn(Node<Lists>) -> Node<Lists>,
}

impl Shape {
    /// Members as they ship, without batching.
    #[must_use]
    pub fn new(node_count: u32, people: Vec<(u32, Vec<Wish>)>) -> Self {
        let uncommitted_len_max = NodeOptions::default().uncommitted_len_max;
        Self {
            node_count,
            people,
            batching: false,
            uncommitted_len_max,
            retry_after_max: Duration::ZERO,
            full: Vec::new(),
            alter: |member| member,
        }
    }

    /// The same, with every member altered.
    #[must_use]
    pub fn altered(self, alter: fn(Node<Lists>) -> Node<Lists>) -> Self {
        Self { alter, ..self }
    }

    /// The same, with a head that gathers what waits.
    #[must_use]
    pub fn batching(self) -> Self {
        Self { batching: true, ..self }
    }

    /// The same, with a head that takes at most so many commands before they are committed.
    #[must_use]
    pub fn uncommitted_len_max(self, uncommitted_len_max: usize) -> Self {
        Self { uncommitted_len_max, ..self }
    }

    /// The same, with a member whose disk has no room and then has again, so many times.
    #[must_use]
    pub fn full(mut self, node: u32, times: usize) -> Self {
        self.full.push((node, times));
        self
    }
}

/// An instance that a seed draws: one to five members, up to five people who append and read, sometimes disks
/// that are full for a while and a head that takes little.
#[must_use]
pub fn drawn(draw: &mut Draw) -> Shape {
    let node_count = draw.below(5) as u32 + 1;
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
    let people = people.collect();
    let shape = Shape {
        batching: draw.per_mille(500),
        retry_after_max: NodeOptions::default().retry_after_max,
        ..Shape::new(node_count, people)
    };
    let shape = if draw.per_mille(300) { shape.uncommitted_len_max(draw.below(4) as usize + 1) } else { shape };
    (1..=node_count).fold(shape, |shape, node| match draw.below(10) {
        0 | 1 => shape.full(node, 1),
        2 => shape.full(node, 3),
        _ => shape,
    })
}

/// The cast of an instance.
#[must_use]
pub fn cast(shape: &Shape) -> Cast<ListRole> {
    let members: Vec<_> = (1..=shape.node_count).map(NodeId).collect();
    let mut cast = Cast::new();
    for &node in &members {
        cast = cast.process(Pid::chain(node.0, 0), Role::Node(Box::new(member(shape, node, &members))));
        let pid = Pid::client(node.0, 0);
        cast = if shape.people.iter().any(|(at, _)| *at == node.0) {
            let first = ClientBounds::default();
            let bounds = ClientBounds { retry_after_max: shape.retry_after_max.max(first.retry_after), ..first };
            cast.process(pid, Role::Client(Client::new(bounds)))
        } else {
            cast.absent(pid)
        };
    }
    for (at, (node, wishes)) in (0..).zip(&shape.people) {
        let asks = (1..).zip(wishes).map(|(token, wish)| Message::Ask { token, request: request(*wish) });
        cast = cast.asks(Pid::outside(*node, at), Pid::client(*node, 0), asks.collect::<Vec<_>>());
    }
    for (node, times) in &shape.full {
        let tells = (0..*times).flat_map(|_| [Message::NoRoom, Message::RoomAgain]);
        cast = cast.tells(Pid::outside(*node, HOST), Pid::chain(*node, 0), tells);
    }
    let deaf: Vec<_> = members.into_iter().filter(|node| shape.people.iter().all(|(at, _)| *at != node.0)).collect();
    let cast = claims(cast.answers(answers), shape.node_count);
    let cast = bounds_claims(cast, shape.node_count, shape.uncommitted_len_max);
    cast.always("answers are kept for the own client only", move |view| {
        let at = |node: &NodeId| view.process(Pid::chain(node.0, 0)).and_then(Role::node);
        deaf.iter().filter_map(at).all(|member| member.sessions().answers_len() == 0)
    })
}

fn member(shape: &Shape, node: NodeId, members: &[NodeId]) -> Node<Lists> {
    let options = NodeOptions {
        batching: shape.batching,
        retry_after: FIRST_PAUSE,
        retry_after_max: shape.retry_after_max.max(FIRST_PAUSE),
        uncommitted_len_max: shape.uncommitted_len_max,
        ..NodeOptions::default()
    };
    (shape.alter)(Node::new(node, Configuration::new(1, members.to_vec()), options, Lists::default()))
}

pub(super) fn request(wish: Wish) -> Request<Append, Read> {
    match wish {
        Wish::Append(key, item) => Request::Command(Append { key, item }),
        Wish::Read(key) => Request::Query(Read { key }),
    }
}

pub(super) fn answers(ask: &Said, said: &Said) -> bool {
    match (ask, said) {
        (
            Message::Ask { token, .. },
            Message::Answered { token: answered, .. }
            | Message::Busy { token: answered }
            | Message::NotMember { token: answered }
            | Message::Left { token: answered },
        ) => token == answered,
        _ => false,
    }
}

fn bounds_claims(cast: Cast<ListRole>, node_count: u32, uncommitted_len_max: usize) -> Cast<ListRole> {
    cast.always("a member without room takes nothing", move |view| {
        let mut live =
            (1..).zip(members(view, node_count)).filter_map(|(node, (live, _))| Some((node, live?.status())));
        // But the tail takes what it may have committed in an earlier life.
        live.all(|(node, status)| {
            let floor = if node == node_count { status.floor } else { 0 };
            status.full_at.is_none_or(|at| (at..=floor.max(at)).contains(&status.last))
        })
    })
    .always("what the head took and is not committed is bounded", move |view| {
        let Some(head) = members(view, 1).find_map(|(live, _)| Some(live?.status())) else { return true };
        // What lies before the floor may have been committed in an earlier life.
        head.last.saturating_sub(head.committed.max(head.floor)) <= uncommitted_len_max as u64
    })
}

fn claims(cast: Cast<ListRole>, node_count: u32) -> Cast<ListRole> {
    let cast = cast
        .always("members never differ at an index", move |view| logs_agree(view, node_count, None))
        .always("what is committed is on every disk", move |view| commits_are_durable(view, node_count))
        .always("members that applied the same are the same", move |view| replicas_agree(view, node_count))
        .sometimes("everything is answered", |view| view.all_answered())
        .sometimes("a read sees an append", sees_an_append);
    by_key(cast)
}

/// Whether some read was answered with something.
pub(super) fn sees_an_append<P: Seat>(view: &View<'_, P>) -> bool {
    view.asked().any(|asked| {
        let read = matches!(asked.ask, Message::Ask { request: Request::Query(_), .. });
        read && matches!(asked.status, Status::Answered(Message::Answered { answer, .. }) if !answer.is_empty())
    })
}

/// Claims that what people asked and were answered is linearizable.
pub(super) fn by_key<P: Seat>(cast: Cast<P>) -> Cast<P> {
    cast.linearizable_by_key("the lists are linearizable", ListSpec, |ask, answer| {
        let Message::Ask { request, .. } = ask else { return None };
        let op = match request {
            Request::Command(append) => (append.key, Some(append.item)),
            Request::Query(read) | Request::Peek(read) => (read.key, None),
        };
        match (answer, op) {
            (Some(Message::Busy { .. } | Message::NotMember { .. }), _) => None,
            (Some(Message::Answered { answer, .. }), op) => Some(Call { op, ret: Some(answer.clone()) }),
            (_, op) => Some(Call { op, ret: None }), // it may have happened, or happen yet
        }
    })
}

/// What every member holds at an index, live or on disk, is the same. Where members come and go, that is so for those of
/// the newest configuration; others agree with them on what they take for committed.
pub(super) fn logs_agree<P: Seat>(view: &View<'_, P>, node_count: u32, newest: Option<&Configuration>) -> bool {
    let stays = |node: u32| newest.is_none_or(|newest| newest.is_member(NodeId(node)));
    let held = || {
        (1..=node_count).zip(members(view, node_count)).flat_map(|(node, (live, durable))| {
            [live, Some(durable)].into_iter().flatten().map(move |held| (node, held))
        })
    };
    let until = |node: u32, held: &Node<Lists>| if stays(node) { u64::MAX } else { held.status().committed };
    held().enumerate().all(|(at, (one_node, one))| {
        held().take(at).all(|(other_node, other)| agree(one, other, until(one_node, one).min(until(other_node, other))))
    })
}

/// Members that have applied equally much are equal in all that is replicated.
pub(super) fn replicas_agree<P: Seat>(view: &View<'_, P>, node_count: u32) -> bool {
    let live = || members(view, node_count).filter_map(|(live, _)| live);
    let alike = |one: &Node<Lists>, other: &Node<Lists>| {
        one.applied() != other.applied()
            || (one.machine().say_the_same(other.machine()) && one.sessions().know_the_same(other.sessions()))
    };
    live().enumerate().all(|(at, one)| live().take(at).all(|other| alike(one, other)))
}

/// Both hold entries at consecutive indexes, so from where both hold some, those at equal indexes go side by side. Looks at
/// the entries up to `until`.
fn agree(one: &Node<Lists>, other: &Node<Lists>, until: u64) -> bool {
    let first = |node: &Node<Lists>| node.entries().next().map(|(index, _)| index);
    let (Some(one_first), Some(other_first)) = (first(one), first(other)) else { return true };
    let from = one_first.max(other_first);
    let skipped = |first: u64| usize::try_from(from - first).unwrap_or(usize::MAX);
    let pairs = one.entries().skip(skipped(one_first)).zip(other.entries().skip(skipped(other_first)));
    pairs.take_while(|((index, _), _)| *index <= until).all(|((_, one), (_, other))| one.operation == other.operation)
}

/// Whatever any member takes for committed is in the log on every member's disk.
fn commits_are_durable(view: &View<'_, ListRole>, node_count: u32) -> bool {
    let nodes: Vec<_> = members(view, node_count).collect();
    let committed = nodes.iter().filter_map(|(live, _)| Some((*live)?.status().committed)).max().unwrap_or(0);
    // A commit is acted on only when the outbox lets it out, so a member's own unsynced records do not count against it.
    let settled = |node: u32| view.unsynced_count(Pid::chain(node, 0)) == 0;
    (1..=node_count)
        .zip(&nodes)
        .filter(|(node, (_, durable))| settled(*node) && durable.status().boot > 0)
        .all(|(_, (_, durable))| durable.status().last >= committed)
}

fn members<'a, P: Seat>(
    view: &View<'a, P>,
    node_count: u32,
) -> impl Iterator<Item = (Option<&'a Node<Lists>>, &'a Node<Lists>)> {
    (1..=node_count).map(|node| {
        let pid = Pid::chain(node, 0);
        let durable = view.durable(pid).member().expect("a chain pid is a member's");
        (view.process(pid).and_then(Seat::member), durable)
    })
}
