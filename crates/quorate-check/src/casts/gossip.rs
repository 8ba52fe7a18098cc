//! Instances of gossip: members that know each other or meet by seeds, one of which may fall silent for good, and what
//! must be true.

use std::sync::Arc;
use std::time::Duration;

use quorate_model::{Context, Event, NodeId, Pid, Process};
use quorate_protocols::gossip::{
    Addresses, Fact, Incarnation, Member, Message, Options, Profile, Record, Standing, Timer,
};

use crate::cast::{Cast, View};
use crate::simulate::{Bounds, Draw, Drift, Severity};

/// A member that may fall silent for good, at any moment that chance chooses. A crash that the explorer makes is always
/// followed by a restart in the end; to see that the dead are found, one must stay dead.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mortal {
    /// It lives, and will.
    Lives(Member),
    /// It lives so far. It answers, and asks nobody: its alarms do not ring, which keeps instances small.
    MayDie(Member),
    /// It fell silent.
    Died(NodeId),
}

impl Mortal {
    /// The member, if it has not died.
    #[must_use]
    pub fn member(&self) -> Option<&Member> {
        match self {
            Self::Lives(member) | Self::MayDie(member) => Some(member),
            Self::Died(_) => None,
        }
    }
}

impl Process for Mortal {
    type Message = Message;
    type Timer = Timer;
    type Record = Record;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        if let Self::MayDie(member) = self {
            match event {
                Event::Start => {}
                Event::Alarm(_) => return,
                Event::Message { .. } if *cx.choose(&[false, true]) => *self = Self::Died(member.node()),
                Event::Message { .. } => {}
            }
        }
        let (Self::Lives(member) | Self::MayDie(member)) = self else { return };
        let event = match event {
            Event::Start => Event::Start,
            Event::Message { from, message } => Event::Message { from, message },
            Event::Alarm(timer) => Event::Alarm(timer),
        };
        member.on(event, &mut cx.role());
    }

    fn replay(&mut self, record: Record) {
        if let Self::Lives(member) | Self::MayDie(member) = self {
            member.replay(record);
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record> {
        self.member().into_iter().flat_map(Process::compact)
    }
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many members.
    pub member_count: u32,
    /// Whether all know each other from the start. Else each knows its seeds, the first two.
    pub acquainted: bool,
    /// The member that may fall silent for good.
    pub mortal: Option<u32>,
    /// How they behave where the protocol leaves them free.
    pub options: Options,
    /// Who is asked to leave.
    pub leaves: Vec<u32>,
    /// What to do to each member before it starts: tests break a rule here, to see it noticed.
    pub alter: fn(Member) -> Member,
}

impl Shape {
    /// Members that know each other, with as few helpers and as little told as there can be.
    #[must_use]
    pub fn new(member_count: u32) -> Self {
        let everyday = Options::default();
        let exchange_after = everyday.round;
        let options = Options { helpers_len: 1, told_factor: 1, health_worst: 1, exchange_after, ..everyday };
        Self { member_count, acquainted: true, mortal: None, options, leaves: Vec::new(), alter: |member| member }
    }

    /// The same, with members that know only their seeds.
    #[must_use]
    pub fn strangers(self) -> Self {
        Self { acquainted: false, ..self }
    }

    /// The same, with one that may fall silent for good.
    #[must_use]
    pub fn mortal(self, node: u32) -> Self {
        Self { mortal: Some(node), ..self }
    }

    /// The same, with one that is asked to leave.
    #[must_use]
    pub fn leaving(mut self, node: u32) -> Self {
        self.leaves.push(node);
        self
    }

    /// The same, with every member altered.
    #[must_use]
    pub fn altered(self, alter: fn(Member) -> Member) -> Self {
        Self { alter, ..self }
    }

    fn nodes(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.member_count
    }
}

/// An instance that a seed draws: two to seven members with everyday options, that meet by seeds.
#[must_use]
pub fn drawn(draw: &mut Draw) -> Shape {
    let member_count = 2 + draw.below(6) as u32;
    let options = Options { exchange_after: Duration::from_secs(10), ..Options::default() };
    let leaves = if draw.per_mille(300) { vec![1 + draw.below(member_count.into()) as u32] } else { Vec::new() };
    Shape { options, leaves, acquainted: draw.per_mille(500), ..Shape::new(member_count) }
}

/// What member `node` says of itself here.
#[must_use]
pub fn profile(node: u32) -> Profile {
    let [_, a, b, c] = node.to_be_bytes();
    Profile::at(Addresses::all(([10, a, b, c], 7946).into()))
}

/// That `node` is alive in its first life.
#[must_use]
pub fn alive(node: u32) -> Arc<Fact> {
    let incarnation = Incarnation { life: 1, count: 0 };
    Arc::new(Fact { node: NodeId(node), incarnation, standing: Standing::Alive(Arc::new(profile(node))) })
}

/// The cast of an instance, with the claims that hold whatever happens.
#[must_use]
pub fn cast(shape: &Shape) -> Cast<Mortal> {
    let mut cast = Cast::new();
    for node in shape.nodes() {
        let mut member = Member::new(NodeId(node), vec![NodeId(1), NodeId(2)], profile(node), shape.options.clone());
        if shape.acquainted {
            member = member.knowing(shape.nodes().map(alive));
        }
        let member = (shape.alter)(member);
        let member = if shape.mortal == Some(node) { Mortal::MayDie(member) } else { Mortal::Lives(member) };
        cast = cast.process(Pid::gossip(node), member);
    }
    for &node in &shape.leaves {
        cast = cast.asks(Pid::outside(node, 0), Pid::gossip(node), [Message::Leave]);
    }
    let all: Vec<_> = shape.nodes().collect();
    cast.always("nobody holds an incarnation that its member has not reached", move |view| no_hearsay(view, &all))
        .always("what a member holds of itself is what it says", |view| {
            view.processes().filter_map(|(_, mortal)| mortal.member()).all(|member| {
                member.fact(member.node()).is_none_or(|own| own.is_alive() || own.standing == Standing::Left)
            })
        })
}

/// The cast of an instance to explore: a step from every state, and a way from every state to one in which all hold what is
/// so and are done telling it.
#[must_use]
pub fn explored(shape: &Shape) -> Cast<Mortal> {
    cast(shape)
        .steps_until("something can happen until all is known", all_is_known)
        .possible("all can still be known and told", all_is_known_and_told)
}

/// The cast of an instance to simulate: after everything is healed, all hold what is so and are done telling it.
#[must_use]
pub fn simulated(shape: &Shape) -> Cast<Mortal> {
    cast(shape)
        .finally("all is known in the end", all_is_known)
        .finally("nothing is told any more in the end", all_is_known_and_told)
}

/// Faults that last longer than a suspicion, and clocks that run wrong by up to a tenth.
#[must_use]
pub fn severity() -> Severity {
    Severity {
        faulty_max: Duration::from_secs(120),
        faults_max: 5,
        lasts_max: Duration::from_secs(40),
        drift_max: Drift(100_000),
        ..Severity::default()
    }
}

/// After everything is healed: a comparison with the lost, and the rumours of what it brought.
#[must_use]
pub fn bounds() -> Bounds {
    Bounds { settles_for: Duration::from_secs(120), ..Bounds::default() }
}

/// Everyone holds of each other what is so: alive if it is up, dead or forgotten if it died, and left if it left.
#[must_use]
pub fn all_is_known(view: &View<'_, Mortal>) -> bool {
    let all: Vec<_> = view.processes().collect();
    let up = || all.iter().filter_map(|(_, it)| it.member());
    up().all(|member| all.iter().all(|(pid, other)| holds_what_is_so(member, pid.node, other.member())))
}

/// As [`all_is_known`], and nothing is told any more, unless there is nobody to tell.
#[must_use]
pub fn all_is_known_and_told(view: &View<'_, Mortal>) -> bool {
    let mut up = view.processes().filter_map(|(_, it)| it.member());
    all_is_known(view) && up.all(|member| member.rumours_len() == 0 || member.up_len() <= 1)
}

fn holds_what_is_so(member: &Member, node: NodeId, other: Option<&Member>) -> bool {
    let held = member.fact(node);
    match other {
        None => held.is_none_or(|held| !held.is_up()),
        Some(other) => match (held, other.fact(node)) {
            (Some(held), Some(own)) => held.rank() == own.rank(),
            (None, Some(own)) => own.standing == Standing::Left,
            (_, None) => false,
        },
    }
}

/// Nobody is held suspect or dead who is up.
#[must_use]
pub fn nobody_is_slandered(view: &View<'_, Mortal>) -> bool {
    nobody_is(view, |held| matches!(held.standing, Standing::Suspected { .. } | Standing::Dead))
}

/// Nobody is held dead who is up.
#[must_use]
pub fn nobody_is_buried_alive(view: &View<'_, Mortal>) -> bool {
    nobody_is(view, |held| held.standing == Standing::Dead)
}

fn nobody_is(view: &View<'_, Mortal>, wronged: fn(&Fact) -> bool) -> bool {
    let all: Vec<_> = view.processes().filter_map(|(_, it)| it.member()).collect();
    all.iter().all(|member| all.iter().all(|other| !member.fact(other.node()).is_some_and(|held| wronged(held))))
}

/// Incarnations are made by their members alone, on disk before anyone hears of the life.
fn no_hearsay(view: &View<'_, Mortal>, nodes: &[u32]) -> bool {
    nodes.iter().all(|&node| {
        let pid = Pid::gossip(node);
        let own = view.process(pid).and_then(Mortal::member);
        let reached = match own.and_then(|member| member.fact(NodeId(node))) {
            Some(own) => own.incarnation,
            // Down, or it has not begun: it can have said anything in the last life that is on its disk.
            None => {
                let life = view.durable(pid).member().map_or(u64::MAX, Member::life).max(1);
                Incarnation { life, count: u64::MAX }
            }
        };
        view.processes()
            .filter_map(|(_, it)| it.member())
            .all(|member| member.fact(NodeId(node)).is_none_or(|held| held.incarnation <= reached))
    })
}
