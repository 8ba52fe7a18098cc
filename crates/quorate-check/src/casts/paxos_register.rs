//! Instances of the write-once register: acceptors, learners, proposers each with a client, and people who write.

use std::time::Duration;

use quorate_model::quorum::majority;
use quorate_model::{NodeId, Pid};
use quorate_protocols::paxos::register::{Acceptor, Client, Learner, Message, Proposer, Role};

use crate::cast::{Call, Cast, Status, View};
use crate::linearizable::Spec;
use crate::simulate::Draw;

/// A register's process, over numbers.
pub type RegisterRole = Role<u64>;
type Said = Message<u64>;

/// An instance. Acceptors live on the nodes from 1 on, and so do proposers.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many acceptors.
    pub acceptor_count: u32,
    /// What people write: a proposer for each, with the values that are asked of it, one after the other.
    pub writes: Vec<Vec<u64>>,
    /// How many learners there are.
    pub learner_count: u32,
    /// What to do to each process before it starts: tests break a rule here, to see it noticed.
    pub alter: fn(RegisterRole) -> RegisterRole,
}

impl Shape {
    /// Processes as they ship.
    #[must_use]
    pub fn new(acceptor_count: u32, writes: Vec<Vec<u64>>) -> Self {
        Self { acceptor_count, writes, learner_count: 1, alter: |role| role }
    }

    /// The same, with every process altered.
    #[must_use]
    pub fn altered(self, alter: fn(RegisterRole) -> RegisterRole) -> Self {
        Self { alter, ..self }
    }
}

/// An instance that a seed draws: one to five acceptors, up to five proposers.
#[must_use]
pub fn drawn(draw: &mut Draw) -> Shape {
    let acceptor_count = draw.below(5) as u32 + 1;
    let mut value = 0;
    let writes = (0..=draw.below(4)).map(|_| {
        let count = draw.below(4) + 1;
        let values = value + 1..=value + count;
        value += count;
        values.collect()
    });
    let shape = Shape::new(acceptor_count, writes.collect());
    Shape { learner_count: draw.below(3) as u32 + 1, ..shape }
}

/// The cast of an instance.
#[must_use]
pub fn cast(shape: &Shape) -> Cast<RegisterRole> {
    let nodes = |count: u32| (1..=count).map(NodeId).collect::<Vec<_>>();
    let (acceptors, learners) = (nodes(shape.acceptor_count), nodes(shape.learner_count));
    let proposers = nodes(shape.writes.len() as u32);
    let mut cast = Cast::new();
    for node in &acceptors {
        let acceptor = Role::Acceptor(Acceptor::new(learners.clone()));
        cast = cast.process(Pid::acceptor(node.0, 0), (shape.alter)(acceptor));
    }
    for node in &learners {
        let learner = Role::Learner(Learner::new(acceptors.clone(), proposers.clone()));
        cast = cast.process(Pid::learner(node.0, 0), (shape.alter)(learner));
    }
    for (node, values) in proposers.iter().zip(&shape.writes) {
        let proposer = Role::Proposer(Proposer::new(*node, acceptors.clone()));
        cast = cast
            .process(Pid::proposer(node.0, 0), (shape.alter)(proposer))
            .process(Pid::client(node.0, 0), Role::Client(Client::new(Duration::from_millis(100))));
        let asks = (1..).zip(values).map(|(token, value)| Message::Ask { token, value: *value });
        cast = cast.asks(Pid::outside(node.0, 0), Pid::client(node.0, 0), asks.collect::<Vec<_>>());
    }
    claims(cast.answers(answers), shape.acceptor_count)
}

fn answers(ask: &Said, said: &Said) -> bool {
    match (ask, said) {
        (Message::Ask { token, .. }, Message::Answered { token: answered, .. } | Message::Busy { token: answered }) => {
            token == answered
        }
        _ => false,
    }
}

fn claims(cast: Cast<RegisterRole>, acceptor_count: u32) -> Cast<RegisterRole> {
    cast.always("learners never differ", learners_agree)
        .always("what is learned is on the disks of a quorum", move |view| learned_is_durable(view, acceptor_count))
        .sometimes("everything is answered", |view| view.all_answered())
        .sometimes("a write is told of another's value", |view| {
            view.asked().any(|asked| match (asked.ask, asked.status) {
                (Message::Ask { value: asked, .. }, Status::Answered(Message::Answered { value, .. })) => {
                    asked != value
                }
                _ => false,
            })
        })
        .linearizable("one value is written, once", Once, |ask, answer| {
            let Message::Ask { value, .. } = ask else { return None };
            match answer {
                Some(Message::Busy { .. }) => None,
                Some(Message::Answered { value: written, .. }) => Some(Call { op: *value, ret: Some(*written) }),
                _ => Some(Call { op: *value, ret: None }),
            }
        })
        .compaction_is_faithful()
}

fn learners_agree(view: &View<'_, RegisterRole>) -> bool {
    let mut learned = learned(view);
    let first = learned.next();
    learned.all(|value| Some(value) == first)
}

fn learned(view: &View<'_, RegisterRole>) -> impl Iterator<Item = u64> {
    view.processes().filter_map(|(_, role)| match role {
        Role::Learner(learner) => learner.chosen().copied(),
        _ => None,
    })
}

/// An acceptor's newest vote is for what was chosen from when it voted for it, so a quorum stays.
fn learned_is_durable(view: &View<'_, RegisterRole>, acceptor_count: u32) -> bool {
    let Some(value) = learned(view).next() else { return true };
    let holds = |node: &u32| match view.durable(Pid::acceptor(*node, 0)) {
        Role::Acceptor(acceptor) => acceptor.vote().is_some_and(|vote| vote.value == value),
        _ => false,
    };
    (1..=acceptor_count).filter(holds).count() >= majority(acceptor_count as usize)
}

/// What a write-once register is compared with: whoever writes is told what is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Once;

impl Spec for Once {
    type State = Option<u64>;
    type Op = u64;
    type Ret = u64;

    fn initial(&self) -> Option<u64> {
        None
    }

    fn step(&self, state: &Option<u64>, value: &u64, ret: Option<&u64>) -> Option<Option<u64>> {
        let written = state.unwrap_or(*value);
        ret.is_none_or(|ret| *ret == written).then_some(Some(written))
    }
}
