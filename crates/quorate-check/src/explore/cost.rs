//! What each operation costs when it runs alone and nothing fails: counted, not estimated.
//!
//! Messages arrive in the order in which they were sent, records become durable as soon as nothing else can happen at
//! once, no alarm rings, and the first of all choices is made.

use std::collections::VecDeque;

use quorate_model::{Choose, Context, Event, Instant, Outbox, Pid, Process, Service};

use crate::cast::Cast;

/// A run that sends more messages than this for one operation is taken to have no end.
const MESSAGES_MAX: u64 = 100_000;

/// What one operation costs, from the question until everything has come to rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Cost {
    /// Messages between processes of the cast. Question and answer of the asker are not among them.
    pub messages: u64,
    /// Those of them that go from one node to another.
    pub messages_between_nodes: u64,
    /// Message delays from the question to the answer: the longest chain of messages of which one caused the next.
    pub delays: u64,
    /// Records that became durable.
    pub durable_writes: u64,
    /// Durable writes from the question to the answer of which one waited for the other.
    pub writes_in_sequence: u64,
    /// Whether it was answered.
    pub answered: bool,
}

struct Seat<P: Process> {
    pid: Pid,
    process: P,
    outbox: Outbox<P>,
    depth: Depth,
}

/// The longest chains of messages and of writes that led to a moment.
#[derive(Clone, Copy, Default)]
struct Depth {
    delays: u64,
    writes: u64,
}

struct First;

impl Choose for First {
    fn choose(&mut self, _: usize) -> usize {
        0
    }
}

/// The cost of each operation of the scripts, asker by asker, run one after the other.
///
/// # Panics
/// If an operation sends messages without end.
#[must_use]
pub fn cost<P: Process + Clone>(cast: &Cast<P>) -> Vec<Cost> {
    let mut host = Host {
        seats: cast
            .seats
            .iter()
            .map(|(pid, process)| Seat {
                pid: *pid,
                process: process.clone(),
                outbox: Outbox::new(),
                depth: Depth::default(),
            })
            .collect(),
        on_their_way: VecDeque::new(),
        cost: Cost::default(),
        asker: None,
    };
    for index in 0..host.seats.len() {
        host.step(index, Event::Start);
    }
    host.run();
    let mut costs = Vec::new();
    for asker in &cast.askers {
        let to = cast.index_of(asker.to).unwrap_or_else(|| panic!("{} is asked and not in the cast", asker.to));
        for ask in &asker.asks {
            host.cost = Cost::default();
            host.asker = Some(asker.pid);
            for seat in &mut host.seats {
                seat.depth = Depth::default();
            }
            host.step(to, Event::Message { from: asker.pid, message: ask.clone() });
            host.run();
            costs.push(host.cost);
        }
    }
    costs
}

struct Host<P: Process> {
    seats: Vec<Seat<P>>,
    on_their_way: VecDeque<(Pid, usize, P::Message, Depth)>,
    cost: Cost,
    asker: Option<Pid>,
}

impl<P: Process> Host<P> {
    fn step(&mut self, index: usize, event: Event<P>) {
        let seat = &mut self.seats[index];
        let mut first = First;
        let mut cx = Context::new(seat.pid, Instant::default(), &mut seat.outbox, &mut first);
        seat.process.on(event, &mut cx);
        while seat.outbox.alarm_change().is_some() {}
        self.release(index);
    }

    fn release(&mut self, index: usize) {
        let (from, depth) = (self.seats[index].pid, self.seats[index].depth);
        while let Some((to, message)) = self.seats[index].outbox.release() {
            if to.service == Service::Outside {
                if self.asker == Some(to) && !self.cost.answered {
                    let Depth { delays, writes } = depth;
                    self.cost = Cost { delays, writes_in_sequence: writes, answered: true, ..self.cost };
                }
                continue;
            }
            self.cost.messages += 1;
            self.cost.messages_between_nodes += u64::from(from.node != to.node);
            assert!(self.cost.messages <= MESSAGES_MAX, "one operation sends messages without end");
            if let Some(target) = self.seats.iter().position(|seat| seat.pid == to) {
                self.on_their_way.push_back((from, target, message, Depth { delays: depth.delays + 1, ..depth }));
            }
        }
    }

    fn run(&mut self) {
        loop {
            while let Some((from, to, message, depth)) = self.on_their_way.pop_front() {
                let seat = &mut self.seats[to].depth;
                seat.delays = seat.delays.max(depth.delays);
                seat.writes = seat.writes.max(depth.writes);
                self.step(to, Event::Message { from, message });
            }
            let mut synced_any = false;
            for index in 0..self.seats.len() {
                let seat = &mut self.seats[index];
                let mut count = 0;
                while seat.outbox.take_record().is_some() {
                    count += 1;
                }
                if count > 0 {
                    synced_any = true;
                    seat.outbox.synced(count);
                    seat.depth.writes += 1;
                    self.cost.durable_writes += count as u64;
                    self.release(index);
                }
            }
            if !synced_any {
                return;
            }
        }
    }
}
