//! A crowd: thousands of members in one event loop of virtual time, to see how news spread and what they cost.
//!
//! The simulator draws every fault and encodes every message; a crowd only loses and delays, and hands messages on as they
//! are, so that ten thousand members that know ten thousand each fit a machine. Bytes are those of the encoded messages and
//! what sealing adds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use quorate_model::{AlarmChange, Context, Event, Instant, NodeId, Outbox, Pid, Process, Service, Wire};
use quorate_protocols::gossip::{Fact, Member, Message, Options, Timer};

use super::gossip::{alive, profile};
use crate::simulate::Draw;

/// What sealing adds to a message: see `quorate_runtime::datagram`.
const SEAL_BYTES: u64 = 59;

/// What a crowd is made of.
#[derive(Clone, Debug)]
pub struct CrowdShape {
    /// How many members; all know each other.
    pub member_count: u32,
    /// Messages lost, of a thousand.
    pub loss_per_mille: u32,
    /// How members behave where the protocol leaves them free.
    pub options: Options,
    /// What to do to each member before it starts.
    pub alter: fn(Member) -> Member,
}

impl CrowdShape {
    /// Members as they ship.
    #[must_use]
    pub fn new(member_count: u32, loss_per_mille: u32) -> Self {
        Self { member_count, loss_per_mille, options: Options::default(), alter: |member| member }
    }
}

/// What was sent so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// How many datagrams.
    pub datagrams: u64,
    /// How many bytes they hold, what sealing adds included.
    pub bytes: u64,
    /// The largest of them, in bytes.
    pub largest: u64,
}

enum Happening {
    Start,
    Arrive { from: Pid, message: Message },
    Ring { timer: Timer, setting: u64 },
}

struct Seat {
    /// Nothing while it is down.
    member: Option<Member>,
    outbox: Outbox<Member>,
    alarms: BTreeMap<Timer, u64>,
    /// How late it hears what is sent to it, on top of what the network takes.
    lag: Duration,
}

/// See the module. Members are numbered from 1.
pub struct Crowd {
    shape: CrowdShape,
    seats: Vec<Seat>,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64, u32, usize)>>,
    slots: Vec<Option<Happening>>,
    free: Vec<usize>,
    sequence: u64,
    draw: Draw,
    traffic: Traffic,
    /// What members told their own node.
    told: Vec<(NodeId, Message)>,
}

impl Crowd {
    /// A crowd whose members begin within the first round.
    #[must_use]
    pub fn new(shape: CrowdShape, seed: u64) -> Self {
        let facts: Vec<Arc<Fact>> = (1..=shape.member_count).map(alive).collect();
        let mut crowd = Self {
            seats: Vec::new(),
            now: 0,
            queue: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            draw: Draw::seeded(seed, 2),
            traffic: Traffic::default(),
            told: Vec::new(),
            shape,
        };
        for node in 1..=crowd.shape.member_count {
            let member = Member::new(NodeId(node), Vec::new(), profile(node), crowd.shape.options.clone());
            crowd.add((crowd.shape.alter)(member.knowing(facts.iter().cloned())));
            let after = crowd.draw.between(&(Duration::ZERO..crowd.shape.options.round));
            crowd.after(after, node, Happening::Start);
        }
        crowd
    }

    /// Adds one that knows nobody but `seeds`, and begins now. It has the next number.
    pub fn join(&mut self, seeds: Vec<NodeId>) -> NodeId {
        let node = self.seats.len() as u32 + 1;
        self.add(Member::new(NodeId(node), seeds, profile(node), self.shape.options.clone()));
        self.after(Duration::ZERO, node, Happening::Start);
        NodeId(node)
    }

    fn add(&mut self, member: Member) {
        let (outbox, alarms) = (Outbox::new(), BTreeMap::new());
        self.seats.push(Seat { member: Some(member), outbox, alarms, lag: Duration::ZERO });
    }

    /// Lets a member hear everything so much later from now on.
    pub fn lag(&mut self, node: NodeId, lag: Duration) {
        self.seat(node).lag = lag;
    }

    /// Lets a member be gone.
    pub fn crash(&mut self, node: NodeId) {
        self.seat(node).member = None;
    }

    /// Tells a member something, as its own node.
    pub fn tell(&mut self, node: NodeId, message: Message) {
        let from = Pid::outside(node.0, 0);
        self.step(node.0, Event::Message { from, message });
    }

    /// What members told their own nodes so far.
    #[must_use]
    pub fn told(&self) -> &[(NodeId, Message)] {
        &self.told
    }

    /// Those who are up.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.seats.iter().filter_map(|seat| seat.member.as_ref())
    }

    /// The member of this number, unless it is gone.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.seats[node.0 as usize - 1].member.as_ref()
    }

    /// What was sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// How much virtual time went by.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// Lets so much time go by. `watch` is told after each step which member took it.
    pub fn run_for(&mut self, lasts: Duration, mut watch: impl FnMut(&Self, NodeId)) {
        let until = self.now + lasts.as_nanos() as u64;
        while let Some(&Reverse((at, _, node, slot))) = self.queue.peek()
            && at <= until
        {
            self.queue.pop();
            self.now = at;
            let happening = self.slots[slot].take().expect("a queued slot holds what happens");
            self.free.push(slot);
            self.happen(node, happening);
            watch(self, NodeId(node));
        }
        self.now = until;
    }

    fn seat(&mut self, node: NodeId) -> &mut Seat {
        &mut self.seats[node.0 as usize - 1]
    }

    fn after(&mut self, delay: Duration, node: u32, happening: Happening) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(happening);
        self.sequence += 1;
        self.queue.push(Reverse((self.now + delay.as_nanos() as u64, self.sequence, node, slot)));
    }

    fn happen(&mut self, node: u32, happening: Happening) {
        match happening {
            Happening::Start => self.step(node, Event::Start),
            Happening::Arrive { from, message } => self.step(node, Event::Message { from, message }),
            Happening::Ring { timer, setting } => {
                let seat = self.seat(NodeId(node));
                if seat.alarms.get(&timer) == Some(&setting) {
                    seat.alarms.remove(&timer);
                    self.step(node, Event::Alarm(timer));
                }
            }
        }
    }

    fn step(&mut self, node: u32, event: Event<Member>) {
        let seat = &mut self.seats[node as usize - 1];
        let Some(member) = &mut seat.member else { return };
        let mut cx = Context::new(Pid::gossip(node), Instant(self.now), &mut seat.outbox, &mut self.draw);
        member.on(event, &mut cx);
        while let Some(change) = self.seat(NodeId(node)).outbox.alarm_change() {
            match change {
                AlarmChange::Set(timer, range) => {
                    let after = self.draw.between(&range);
                    self.sequence += 1;
                    let setting = self.sequence;
                    self.seat(NodeId(node)).alarms.insert(timer, setting);
                    self.after(after, node, Happening::Ring { timer, setting });
                }
                AlarmChange::Stop(timer) => {
                    self.seat(NodeId(node)).alarms.remove(&timer);
                }
            }
        }
        let outbox = &mut self.seat(NodeId(node)).outbox;
        while outbox.take_record().is_some() {
            outbox.synced(1);
        }
        while let Some((to, message)) = self.seat(NodeId(node)).outbox.release() {
            self.send(node, to, message);
        }
    }

    fn send(&mut self, from: u32, to: Pid, message: Message) {
        if to.service == Service::Outside {
            return self.told.push((NodeId(from), message));
        }
        let bytes = message.to_bytes().len() as u64 + SEAL_BYTES;
        self.traffic.datagrams += 1;
        self.traffic.bytes += bytes;
        self.traffic.largest = self.traffic.largest.max(bytes);
        let known = (to.node.0 as usize) <= self.seats.len();
        if known && !self.draw.per_mille(self.shape.loss_per_mille) {
            let lag = self.seat(to.node).lag;
            let delay = Duration::from_micros(500) + self.draw.around(Duration::from_millis(1)) + lag;
            self.after(delay, to.node.0, Happening::Arrive { from: Pid::gossip(from), message });
        }
    }
}

/// How one piece of news spread.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// Rounds until half of the members knew.
    pub half: f64,
    /// Rounds until all knew.
    pub all: f64,
    /// What all members sent until then.
    pub traffic: Traffic,
    /// What all members send in as many rounds without news.
    pub idle_bytes: u64,
}

/// Lets the first member of a crowd change what it says of itself, and sees it spread. Nothing if it took more than
/// `rounds_max`.
#[must_use]
pub fn spread(shape: CrowdShape, rounds_max: u32, seed: u64) -> Option<Spread> {
    let (round, count) = (shape.options.round, shape.member_count as usize);
    let mut crowd = Crowd::new(shape, seed);
    crowd.run_for(round * 2, |_, _| {});
    let idle = crowd.traffic();
    let quiet = 2;
    crowd.run_for(round * quiet, |_, _| {});
    let idle_bytes = crowd.traffic().bytes - idle.bytes;

    let (begun, before) = (crowd.elapsed(), crowd.traffic());
    let source = NodeId(1);
    let mut changed = profile(source.0);
    changed.load_per_mille = 500;
    crowd.tell(source, Message::Describe(Box::new(changed)));
    let mut knows = vec![false; count];
    knows[0] = true;
    let (mut known, mut half, mut all) = (1, None, None);
    let rounds = |crowd: &Crowd| (crowd.elapsed() - begun).as_secs_f64() / round.as_secs_f64();
    for _ in 0..rounds_max * 4 {
        crowd.run_for(round / 4, |crowd, node| {
            let at = node.0 as usize - 1;
            let heard = |member: &Member| member.fact(source).is_some_and(|held| held.incarnation.count > 0);
            if !knows[at] && crowd.member(node).is_some_and(heard) {
                knows[at] = true;
                known += 1;
                if known * 2 >= count && half.is_none() {
                    half = Some(rounds(crowd));
                }
                if known == count {
                    all = Some((rounds(crowd), crowd.traffic()));
                }
            }
        });
        if let (Some(half), Some((all, after))) = (half, all) {
            let traffic = Traffic {
                datagrams: after.datagrams - before.datagrams,
                bytes: after.bytes - before.bytes,
                largest: after.largest,
            };
            let idle_bytes = (idle_bytes as f64 * all / f64::from(quiet)) as u64;
            return Some(Spread { half, all, traffic, idle_bytes });
        }
    }
    None
}
