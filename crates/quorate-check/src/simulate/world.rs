//! One simulated run: virtual time jumps from event to event.
//!
//! 1. *Faulty*: faults happen as planned, people ask.
//! 2. *Healed*: links are good, walls are down, every node is up; all that is asked must be answered in bounded time.
//! 3. *Settling*: nobody asks; then what must be true at rest is checked, and the history is judged.
//!
//! Every message and record is encoded, framed and decoded on its way, as in production.

mod faults;
mod judge;
mod people;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use quorate_model::codec::{HEADER_BYTES, Header, put_frame};
use quorate_model::trace::{Step, Trace, What};
use quorate_model::{AlarmChange, Context, DecodeError, Event, NodeId, Outbox, Pid, Process, Service, Wire};

use super::clock::Clock;
use super::disk::Disk;
use super::network::Network;
use super::plan::Plan;
use super::{Bounds, Draw, Drift, FaultCounts, Links, Simulated, Simulation};
use crate::cast::Cast;
use crate::fingerprint::Fingerprinter;

/// The kind of a message's frame.
const MESSAGE: u8 = 1;

enum Happening<T> {
    Arrive { from: usize, to: usize, id: u64, frame: Bytes, damaged: bool },
    Ring { seat: usize, timer: T, life: u32, setting: u64 },
    Synced { seat: usize, life: u32, count: usize },
    Ask { asker: usize },
    Fault { index: usize },
    FaultEnds { index: usize },
    Restart { node: usize },
    Resume { node: usize, pause: u64 },
    Heal,
    End,
}

struct Seat<P: Process> {
    pid: Pid,
    node: usize,
    live: Option<P>,
    /// What it is before anything of its disk is read.
    begun: P,
    /// The fold of what is durable.
    durable: P,
    outbox: Outbox<P>,
    disk: Disk,
    syncing: bool,
    /// Alarms that are set, each with the number of its setting.
    alarms: BTreeMap<P::Timer, u64>,
    /// Which life: what was begun in an earlier one is void.
    life: u32,
}

struct Node {
    clock: Clock,
    /// The number of the pause, and what came meanwhile.
    paused: Option<u64>,
    slow_factor: u32,
    sync_fails_for: Option<Duration>,
}

struct Asking {
    next: usize,
    /// The operation that is open.
    open: Option<usize>,
}

/// One operation, by its place in the scripts.
struct Done<M> {
    asker: usize,
    index: usize,
    invoked: u64,
    answer: Option<(u64, M)>,
    unknown: bool,
}

pub(super) struct World<'a, P: Process> {
    cast: &'a Cast<P>,
    plan: &'a Plan,
    bounds: &'a Bounds,
    draw: Draw,
    now: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Option<Happening<P::Timer>>>,
    free: Vec<u32>,
    seats: Vec<Seat<P>>,
    nodes: Vec<Node>,
    /// What paused nodes hear when they go on.
    deferred: Vec<(usize, Happening<P::Timer>)>,
    network: Network,
    links: Links,
    askers: Vec<Asking>,
    done: Vec<Done<P::Message>>,
    unfinished: usize,
    healed: bool,
    settling: bool,
    events: u64,
    message_count: u64,
    /// Messages on their way between processes of one node: these are never bytes.
    within_node: BTreeMap<u64, P::Message>,
    setting_count: u64,
    counts: FaultCounts,
    print: Fingerprinter,
    trace: Option<Trace>,
    seen: Vec<bool>,
    failure: Option<String>,
}

pub(super) fn node_ids<P: Process>(cast: &Cast<P>) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = cast.seats.iter().map(|(pid, _)| pid.node).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

impl<'a, P: Simulated> World<'a, P> {
    pub fn new(cast: &'a Cast<P>, plan: &'a Plan, bounds: &'a Bounds, seed: u64, traced: bool) -> Self {
        let mut draw = Draw::seeded(seed, 1);
        let ids = node_ids(cast);
        let nodes = (0..ids.len())
            .map(|node| Node {
                clock: Clock::new(plan.drifts.get(node).copied().unwrap_or(Drift(0)), &mut draw),
                paused: None,
                slow_factor: 1,
                sync_fails_for: None,
            })
            .collect();
        let seats = cast
            .seats
            .iter()
            .map(|(pid, process)| Seat {
                pid: *pid,
                node: ids.binary_search(&pid.node).expect("the ids are those of the seats"),
                live: None,
                begun: process.clone(),
                durable: process.clone(),
                outbox: Outbox::new(),
                disk: Disk::default(),
                syncing: false,
                alarms: BTreeMap::new(),
                life: 0,
            })
            .collect();
        Self {
            cast,
            plan,
            bounds,
            draw,
            now: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            seats,
            nodes,
            deferred: Vec::new(),
            network: Network::new(ids.len()),
            links: plan.links.clone(),
            askers: cast.askers.iter().map(|_| Asking { next: 0, open: None }).collect(),
            done: Vec::new(),
            unfinished: cast.askers.iter().filter(|asker| !asker.asks.is_empty()).count(),
            healed: false,
            settling: false,
            events: 0,
            message_count: 0,
            within_node: BTreeMap::new(),
            setting_count: 0,
            counts: FaultCounts::default(),
            print: Fingerprinter::seeded(seed),
            trace: traced.then(Trace::new),
            seen: vec![false; cast.properties.len()],
            failure: None,
        }
    }

    /// Runs to the end.
    pub fn run(mut self) -> Simulation {
        for node in 0..self.nodes.len() {
            self.restart(node);
        }
        for asker in 0..self.askers.len() {
            self.ask_later(asker);
        }
        for (index, (at, _)) in self.plan.faults.iter().enumerate() {
            self.at(nanos(*at), Happening::Fault { index });
        }
        self.at(nanos(self.plan.heals_at), Happening::Heal);
        let patience_ends = nanos(self.plan.heals_at + self.bounds.answers_within);
        while self.failure.is_none() {
            let Some(Reverse((at, _, slot))) = self.queue.pop() else { break };
            self.now = at;
            let happening = self.slots[slot as usize].take().expect("a queued slot holds what happens");
            self.free.push(slot);
            self.events += 1;
            if matches!(happening, Happening::End) {
                break;
            }
            if at > patience_ends && !self.settling {
                let within = self.bounds.answers_within;
                self.failure = Some(format!("all is answered within {within:?} after everything is healed"));
                break;
            }
            if self.events > self.bounds.events_max {
                self.failure = Some(format!("a run comes to rest within {} events", self.bounds.events_max));
                break;
            }
            self.happen(happening);
            if self.events.is_multiple_of(self.bounds.check_every) {
                self.check_state();
            }
            if !self.settling && self.healed && self.unfinished == 0 {
                self.settling = true;
                self.at(self.now + nanos(self.bounds.settles_for), Happening::End);
            }
        }
        self.finish()
    }

    fn finish(mut self) -> Simulation {
        if self.failure.is_none() {
            self.check_state();
        }
        if self.failure.is_none() {
            self.check_end();
        }
        Simulation {
            failure: self.failure,
            events: self.events,
            simulated: Duration::from_nanos(self.now),
            operations: self.done.len() as u64,
            counts: self.counts,
            print: self.print.print(),
            trace: self.trace.unwrap_or_default(),
            seen: self.seen,
        }
    }

    fn at(&mut self, at: u64, happening: Happening<P::Timer>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize] = Some(happening);
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, slot)));
    }

    fn after(&mut self, delay: Duration, happening: Happening<P::Timer>) {
        self.at(self.now + nanos(delay), happening);
    }

    /// Everything that happens goes into the print of the run, and into its trace if there is one.
    fn note(&mut self, at: Pid, kind: u64, detail: u64, what: impl FnOnce() -> What) {
        use std::hash::Hasher;
        self.print.write_u64(self.now);
        self.print.write_u64(u64::from(at.node.0) << 32 | u64::from(at.shard) << 8 | kind);
        self.print.write_u64(detail);
        if let Some(trace) = &mut self.trace {
            trace.push(Step { at, what: what() });
        }
    }

    fn happen(&mut self, happening: Happening<P::Timer>) {
        let seat = match &happening {
            Happening::Arrive { to, .. } => Some(*to),
            Happening::Ring { seat, .. } | Happening::Synced { seat, .. } => Some(*seat),
            _ => None,
        };
        if let Some(seat) = seat
            && self.nodes[self.seats[seat].node].paused.is_some()
        {
            self.deferred.push((self.seats[seat].node, happening));
            return;
        }
        match happening {
            Happening::Arrive { from, to, id, frame, damaged } => self.arrive(from, to, id, &frame, damaged),
            Happening::Ring { seat, timer, life, setting } => {
                let it = &mut self.seats[seat];
                if it.life == life && it.alarms.get(&timer) == Some(&setting) {
                    it.alarms.remove(&timer);
                    let pid = it.pid;
                    self.note(pid, 2, setting, || What::Alarm { label: format!("{timer:?}") });
                    self.step(seat, Event::Alarm(timer));
                }
            }
            Happening::Synced { seat, life, count } => {
                if self.seats[seat].life == life {
                    self.synced(seat, count);
                }
            }
            Happening::Ask { asker } => self.ask(asker),
            Happening::Fault { index } => self.fault(index),
            Happening::FaultEnds { index } => self.fault_ends(index),
            Happening::Restart { node } => self.restart(node),
            Happening::Resume { node, pause } => {
                if self.nodes[node].paused == Some(pause) {
                    self.resume(node);
                }
            }
            Happening::Heal => self.heal(),
            Happening::End => {}
        }
    }

    fn arrive(&mut self, from: usize, to: usize, id: u64, frame: &Bytes, damaged: bool) {
        let pid = self.seats[to].pid;
        let message = match self.within_node.remove(&id) {
            Some(message) => Ok(message), // such a message comes once and whole
            None => decode::<P::Message>(frame),
        };
        match message {
            Err(_) if damaged => {
                self.counts.damaged += 1;
                self.note(pid, 3, id, || What::Note { label: "a damaged frame was refused".to_owned() });
            }
            Err(error) => self.failure = Some(format!("what was encoded is decoded ({error})")),
            Ok(_) if damaged => self.failure = Some("a damaged frame is refused".to_owned()),
            Ok(_) if self.seats[to].live.is_none() => self.note(pid, 4, id, || What::Lose { id }),
            Ok(message) => {
                let from = self.seats[from].pid;
                self.note(pid, 5, id, || What::Receive { id, from, label: format!("{message:?}") });
                self.step(to, Event::Message { from, message });
            }
        }
    }

    fn step(&mut self, seat: usize, event: Event<P>) {
        let it = &mut self.seats[seat];
        let node = it.node;
        let now = self.nodes[node].clock.reading(self.now);
        let live = it.live.as_mut().expect("only a process that is up takes a step");
        live.on(event, &mut Context::new(it.pid, now, &mut it.outbox, &mut self.draw));
        while let Some(change) = self.seats[seat].outbox.alarm_change() {
            match change {
                AlarmChange::Set(timer, after) => {
                    self.setting_count += 1;
                    let setting = self.setting_count;
                    let real = self.nodes[node].clock.real(self.draw.between(&after));
                    let it = &mut self.seats[seat];
                    it.alarms.insert(timer, setting);
                    let life = it.life;
                    self.at(self.now + real, Happening::Ring { seat, timer, life, setting });
                }
                AlarmChange::Stop(timer) => {
                    self.seats[seat].alarms.remove(&timer);
                }
            }
        }
        let it = &mut self.seats[seat];
        while let Some(record) = it.outbox.take_record() {
            it.disk.write(record);
        }
        self.begin_sync(seat);
        self.release(seat);
    }

    /// Group commit: one sync at a time, for all that is written when it begins.
    fn begin_sync(&mut self, seat: usize) {
        let it = &mut self.seats[seat];
        let count = it.disk.unsynced_count();
        if it.syncing || count == 0 {
            return;
        }
        it.syncing = true;
        let (life, factor) = (it.life, self.nodes[it.node].slow_factor);
        let mean = if self.healed { self.plan.sync_mean } else { self.plan.sync_mean * factor };
        let lasts = self.draw.around(mean);
        self.after(lasts, Happening::Synced { seat, life, count });
    }

    fn synced(&mut self, seat: usize, count: usize) {
        let node = self.seats[seat].node;
        if let Some(down) = self.nodes[node].sync_fails_for.take() {
            self.counts.failed_syncs += 1;
            return self.crash(node, down, false);
        }
        let it = &mut self.seats[seat];
        it.syncing = false;
        match it.disk.sync::<P::Record>(count) {
            Ok(records) => records.into_iter().for_each(|record| it.durable.replay(record)),
            Err(error) => return self.failure = Some(format!("what was written is read back ({error})")),
        }
        it.outbox.synced(count);
        let pid = it.pid;
        self.note(pid, 6, count as u64, || What::Sync { count });
        self.begin_sync(seat);
        self.release(seat);
    }

    fn release(&mut self, seat: usize) {
        while let Some((to, message)) = self.seats[seat].outbox.release() {
            if to.service == Service::Outside {
                self.answered(seat, to, message);
            } else if let Some(target) = self.cast.index_of(to) {
                self.send(seat, target, &message);
            } else {
                let from = self.seats[seat].pid;
                assert!(self.cast.absent.contains(&to), "{from} tells {to}, who is neither in the cast nor absent");
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: &P::Message) {
        let id = self.message_count;
        self.message_count += 1;
        let mut frame = Vec::with_capacity(HEADER_BYTES + 32);
        if self.seats[from].node == self.seats[to].node {
            self.within_node.insert(id, message.clone());
        } else {
            put_frame(MESSAGE, &mut frame, |out| message.encode(out));
        }
        let frame = Bytes::from(frame);
        let (pid, target) = (self.seats[from].pid, self.seats[to].pid);
        self.note(pid, 7, quorate_model::codec::checksum(&frame).into(), || What::Send {
            id,
            to: target,
            label: format!("{message:?}"),
        });
        let fate = self.network.fate(self.seats[from].node, self.seats[to].node, &self.links, &mut self.draw);
        if fate.walled {
            self.counts.walled += 1;
        } else if fate.first.is_none() {
            self.counts.lost += 1;
        }
        if fate.first.is_none() {
            self.note(target, 8, id, || What::Lose { id });
        }
        self.counts.copied += u64::from(fate.copy.is_some());
        for delay in [fate.first, fate.copy].into_iter().flatten() {
            self.after(delay, Happening::Arrive { from, to, id, frame: frame.clone(), damaged: false });
        }
        if let Some(delay) = fate.damaged.filter(|_| !frame.is_empty()) {
            let mut bytes = frame.to_vec();
            let bit = self.draw.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            self.after(delay, Happening::Arrive { from, to, id, frame: Bytes::from(bytes), damaged: true });
        }
    }
}

fn decode<M: Wire>(frame: &Bytes) -> Result<M, DecodeError> {
    let header = Header::read(frame)?;
    let payload = frame.slice(HEADER_BYTES..);
    header.check(&payload)?;
    if header.kind != MESSAGE {
        return Err(DecodeError::Unknown { what: "frame kind", value: header.kind.into() });
    }
    M::from_bytes(payload)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a run is shorter than 500 years")
}
