//! The driver: steps processes, holds their output until it is durable, and hands it on. No thread, no socket, no clock:
//! [`super::Host`] brings those.
//!
//! | comes | goes to |
//! |-------|---------|
//! | a message to a process of this node | the process, one step |
//! | a record | the log; the outbox holds everything behind it until the log says that it is durable |
//! | a message for a process of this node | the local queue, bounded |
//! | a message for [`Service::Outside`] of this node | the port |
//! | a message for another node | the links |

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::time::HybridTime;
use quorate_model::{
    AlarmChange, Choose, Context, DecodeError, Event, Instant, NodeId, Outbox, Pid, Process, Reader, Service, Wire,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::alarms::Alarms;
use super::port::Busy;
use crate::flight::{FlightRecorder, Kind};
use crate::wal::{Disk, Identity, OpenError, Options, Recovered, Wal, WalError};

/// How many messages between processes of one node may wait.
pub const LOCAL_LEN_MAX: usize = 64 << 10;

/// How many bytes may wait for the disk before nothing more is taken in. At half of it, new work is refused.
pub const BACKLOG_BYTES_MAX: u64 = 64 << 20;

/// The way to other nodes.
pub trait Links<M> {
    /// Sends, or drops if there is no room.
    fn send(&mut self, from: Pid, to: Pid, message: &M);

    /// Stamps an event with the hybrid clock of this node.
    fn stamp(&mut self) -> HybridTime;

    /// These are the others from now on, each with its address.
    fn know(&mut self, peers: &BTreeMap<NodeId, String>);
}

/// Why the processes of a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log did not open.
    #[error(transparent)]
    Wal(#[from] OpenError),
    /// The log has records of a process that is not configured. Nothing was changed: configure it again.
    #[error("the log has records of {0}, which this node is not configured to run: configure it again")]
    UnknownProcess(Pid),
    /// The log has a record, whole and unharmed, that this build cannot read. Nothing was changed: run a newer build.
    #[error("a record of {pid} cannot be read: {error}. Run the build that wrote it, or a newer one")]
    UnknownRecord {
        /// Whose it is.
        pid: Pid,
        /// What is unknown.
        error: DecodeError,
    },
    /// The log has records for no pid that there can be: it was not written by a host.
    #[error("the log has records of stream {0}, which is no process")]
    UnknownStream(u64),
    /// Two processes were given the same pid.
    #[error("{0} is configured twice")]
    Twice(Pid),
    /// A process was given a pid of another node.
    #[error("{0} belongs to another node")]
    OtherNode(Pid),
}

/// What a host did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct HostMetrics {
    /// Batches.
    pub batches: u64,
    /// Steps of processes.
    pub steps: u64,
    /// Records appended.
    pub records: u64,
    /// Messages from one process of the node to another.
    pub local: u64,
    /// Messages to other nodes.
    pub remote: u64,
    /// Messages to the outside.
    pub told: u64,
    /// Asks from the outside.
    pub asked: u64,
    /// Alarms that rang.
    pub alarms: u64,
    /// Messages dropped because the local queue was full.
    pub dropped_local: u64,
    /// Messages dropped because this node runs no such process.
    pub dropped_unknown: u64,
    /// Compactions begun.
    pub compactions: u64,
}

/// The processes of one node and their log.
pub struct Driver<P: Process> {
    node: NodeId,
    /// By pid.
    slots: Vec<Slot<P>>,
    wal: Wal,
    /// The slots of records that are appended and not durable, oldest first. The first has sequence `durable` + 1.
    appended: VecDeque<usize>,
    durable: u64,
    local: VecDeque<Envelope<P>>,
    tells: VecDeque<Envelope<P>>,
    alarms: Alarms<P::Timer>,
    chance: Chance,
    now: Instant,
    failed: Option<WalError>,
    metrics: HostMetrics,
    pub(super) flight: FlightRecorder,
}

struct Slot<P: Process> {
    pid: Pid,
    stream: u64,
    process: P,
    outbox: Outbox<P>,
}

/// A message on its way within the node.
pub(super) struct Envelope<P: Process> {
    pub(super) from: Pid,
    pub(super) to: Pid,
    pub(super) message: P::Message,
}

/// Chance, drawn by a generator.
pub(crate) struct Chance(ChaCha8Rng);

impl Chance {
    /// Chance that begins somewhere else each time.
    pub(crate) fn drawn() -> Self {
        Self(ChaCha8Rng::seed_from_u64(rand::random()))
    }
}

impl Choose for Chance {
    fn choose(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }
}

impl<P: Process> Driver<P>
where
    P::Message: Wire,
    P::Record: Wire,
{
    /// Opens the log and lets each process replay its records. `notify` is called by the log's thread when more became
    /// durable. `seed` is what chance begins with.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        identity: &Identity,
        options: Options,
        processes: Vec<(Pid, P)>,
        seed: u64,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Self, Recovered), StartError> {
        let mut slots: Vec<Slot<P>> = Vec::with_capacity(processes.len());
        for (pid, process) in processes {
            if pid.node != identity.node {
                return Err(StartError::OtherNode(pid));
            }
            slots.push(Slot { pid, stream: stream_of(pid), process, outbox: Outbox::new() });
        }
        slots.sort_by_key(|slot| slot.pid);
        if let Some(pair) = slots.windows(2).find(|pair| pair[0].pid == pair[1].pid) {
            return Err(StartError::Twice(pair[0].pid));
        }
        let mut first_error = None;
        let mut replay = |stream: u64, payload: Bytes| -> Result<(), StartError> {
            let pid = pid_of(identity.node, stream).ok_or(StartError::UnknownStream(stream))?;
            let index = slots.binary_search_by_key(&pid, |slot| slot.pid);
            let index = index.map_err(|_| StartError::UnknownProcess(pid))?;
            let record = P::Record::from_bytes(payload).map_err(|error| StartError::UnknownRecord { pid, error })?;
            slots[index].process.replay(record);
            Ok(())
        };
        let replay_or_note = |stream, payload| {
            if first_error.is_none() {
                first_error = replay(stream, payload).err();
            }
        };
        let (wal, recovered) = Wal::open(disk, identity, options, replay_or_note, notify)?;
        if let Some(error) = first_error {
            return Err(error);
        }
        let driver = Self {
            node: identity.node,
            slots,
            durable: wal.next_sequence() - 1,
            wal,
            appended: VecDeque::new(),
            local: VecDeque::new(),
            tells: VecDeque::new(),
            alarms: Alarms::new(),
            chance: Chance(ChaCha8Rng::seed_from_u64(seed)),
            now: Instant::default(),
            failed: None,
            metrics: HostMetrics::default(),
            flight: FlightRecorder::default(),
        };
        Ok((driver, recovered))
    }

    /// Lets every process take its first step.
    pub fn start(&mut self, now: Instant, links: &mut dyn Links<P::Message>) {
        self.now = now;
        for index in 0..self.slots.len() {
            self.step(index, Event::Start, links);
        }
    }

    /// Begins a batch: what follows happens at `now`.
    pub fn begin_batch(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.metrics.batches += 1;
    }

    /// Delivers a message to a process of this node. To the outside it goes by way of the port; to a process that is not
    /// here, nowhere.
    pub fn deliver(&mut self, from: Pid, to: Pid, message: P::Message, links: &mut dyn Links<P::Message>) {
        if to.service == Service::Outside {
            self.tells.push_back(Envelope { from, to, message });
            return;
        }
        match self.slots.binary_search_by_key(&to, |slot| slot.pid) {
            Ok(index) => {
                let sender = u64::from(from.node.0) << 32 | u64::from(from.shard);
                self.flight.note(self.now, Kind::Step, self.slots[index].stream, sender);
                self.step(index, Event::Message { from, message }, links);
            }
            Err(_) => self.metrics.dropped_unknown += 1,
        }
    }

    /// Delivers messages that processes of this node sent each other, at most `count_max`. Whether some are left.
    pub fn deliver_local(&mut self, count_max: usize, links: &mut dyn Links<P::Message>) -> bool {
        for _ in 0..count_max {
            let Some(Envelope { from, to, message }) = self.local.pop_front() else {
                return false;
            };
            self.deliver(from, to, message, links);
        }
        !self.local.is_empty()
    }

    /// Lets alarms ring whose time has come, at most `count_max`. Whether some are left.
    pub fn ring(&mut self, count_max: usize, links: &mut dyn Links<P::Message>) -> bool {
        for _ in 0..count_max {
            let Some((index, timer, deadline)) = self.alarms.due(self.now) else {
                return false;
            };
            self.metrics.alarms += 1;
            let late_ns = self.now.since(deadline).as_nanos() as u64;
            self.flight.note(self.now, Kind::Alarm, self.slots[index].stream, late_ns);
            self.step(index, Event::Alarm(timer), links);
        }
        true
    }

    /// A time before which no alarm is due.
    #[must_use]
    pub fn next_alarm(&self) -> Option<Instant> {
        self.alarms.next()
    }

    /// Asks the log how far it is durable, and lets go what waited for that.
    ///
    /// # Errors
    /// If the log has failed: the node must end.
    pub fn release_durable(&mut self, links: &mut dyn Links<P::Message>) -> Result<(), WalError> {
        let durable = self.wal.durable()?;
        if durable > self.durable {
            self.flight.note(self.now, Kind::Durable, durable, durable - self.durable);
        }
        while self.durable < durable {
            let index = self.appended.pop_front().expect("the log synced only what was appended");
            self.durable += 1;
            // One at a time: then the outbox always takes from its front.
            self.slots[index].outbox.synced(1);
            self.release(index, links);
        }
        Ok(())
    }

    /// Hands what was appended to the log's thread.
    ///
    /// # Errors
    /// If the log has failed: the node must end.
    pub fn submit(&mut self) -> Result<(), WalError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.wal.submit()?;
        self.flight.note(self.now, Kind::Submit, self.wal.next_sequence() - 1, self.wal.backlog_bytes());
        Ok(())
    }

    /// Replaces the log by the shortest one that stands for the same state. Whether that begins: see [`Wal::compact`].
    ///
    /// # Errors
    /// If the log has failed: the node must end.
    pub fn compact(&mut self) -> Result<bool, WalError> {
        let records =
            self.slots.iter().flat_map(|slot| slot.process.compact().map(|record| (slot.stream, record.to_bytes())));
        let began = self.wal.compact(records)?;
        if began {
            self.metrics.compactions += 1;
            self.flight.note(self.now, Kind::Compact, self.wal.next_sequence() - 1, self.wal.bytes());
        }
        Ok(began)
    }

    /// Puts a message on its way: within the node by the local queue, else over the links.
    ///
    /// # Errors
    /// If the local queue is full.
    pub fn push(
        &mut self,
        from: Pid,
        to: Pid,
        message: P::Message,
        links: &mut dyn Links<P::Message>,
    ) -> Result<(), Busy> {
        if to.node != self.node {
            self.metrics.remote += 1;
            links.send(from, to, &message);
        } else if to.service == Service::Outside {
            self.tells.push_back(Envelope { from, to, message });
        } else if self.local.len() < LOCAL_LEN_MAX {
            self.metrics.local += 1;
            self.local.push_back(Envelope { from, to, message });
        } else {
            self.metrics.dropped_local += 1;
            self.flight.note(self.now, Kind::Drop, stream_of(to), to.node.0.into());
            return Err(Busy);
        }
        Ok(())
    }

    pub(super) fn take_tell(&mut self) -> Option<Envelope<P>> {
        let tell = self.tells.pop_front()?;
        self.metrics.told += 1;
        Some(tell)
    }

    pub(super) fn note_ask(&mut self) {
        self.metrics.asked += 1;
    }

    pub(super) fn note_batch(&mut self, messages: usize, asks: usize) {
        self.flight.note(self.now, Kind::Batch, messages as u64, asks as u64);
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The process `pid`, if this node runs it.
    #[must_use]
    pub fn process(&self, pid: Pid) -> Option<&P> {
        let index = self.slots.binary_search_by_key(&pid, |slot| slot.pid).ok()?;
        Some(&self.slots[index].process)
    }

    /// All processes, by pid.
    pub fn processes(&self) -> impl Iterator<Item = (Pid, &P)> {
        self.slots.iter().map(|slot| (slot.pid, &slot.process))
    }

    /// The log.
    #[must_use]
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// What was done so far.
    #[must_use]
    pub fn metrics(&self) -> HostMetrics {
        self.metrics
    }

    /// Whether new work should be refused.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.wal.is_full() || self.wal.backlog_bytes() > BACKLOG_BYTES_MAX / 2 || self.local.len() > LOCAL_LEN_MAX / 2
    }

    /// Whether so much waits for the disk that nothing should be taken in before some of it is durable.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.wal.backlog_bytes() > BACKLOG_BYTES_MAX
    }

    /// Writes and syncs what was appended, and ends the log.
    ///
    /// # Errors
    /// If the log has failed.
    pub fn close(self) -> Result<(), WalError> {
        self.wal.close()
    }

    fn step(&mut self, index: usize, event: Event<P>, links: &mut dyn Links<P::Message>) {
        self.metrics.steps += 1;
        let slot = &mut self.slots[index];
        slot.process.on(event, &mut Context::new(slot.pid, self.now, &mut slot.outbox, &mut self.chance));
        while let Some(change) = slot.outbox.alarm_change() {
            match change {
                AlarmChange::Set(timer, after) => {
                    let deadline = self.now + within(after.start, after.end, &mut self.chance);
                    self.alarms.set(index, timer, deadline);
                }
                AlarmChange::Stop(timer) => self.alarms.stop(index, timer),
            }
        }
        while let Some(record) = slot.outbox.take_record() {
            match self.wal.append_with(slot.stream, |out| record.encode(out)) {
                Ok(_) => {
                    self.appended.push_back(index);
                    self.metrics.records += 1;
                }
                // Held back for ever, with everything behind it; `submit` tells the host.
                Err(error) => self.failed = Some(error),
            }
        }
        self.release(index, links);
    }

    fn release(&mut self, index: usize, links: &mut dyn Links<P::Message>) {
        let from = self.slots[index].pid;
        while let Some((to, message)) = self.slots[index].outbox.release() {
            // A full local queue is a loss, which the model knows; it was counted.
            let _ = self.push(from, to, message, links);
        }
    }
}

/// A duration by chance, from `start` to before `end`.
pub(crate) fn within(start: Duration, end: Duration, chance: &mut Chance) -> Duration {
    let width_ns = end.saturating_sub(start).as_nanos() as u64;
    if width_ns == 0 { start } else { start + Duration::from_nanos(chance.0.random_range(0..width_ns)) }
}

/// The number by which the log knows a process of its node: the service's number on the wire, then the shard.
#[must_use]
pub fn stream_of(pid: Pid) -> u64 {
    let mut bytes = Vec::with_capacity(8);
    Pid { node: NodeId(0), ..pid }.encode(&mut bytes);
    u64::from(bytes[1]) << 32 | u64::from(pid.shard)
}

/// The process of `node` that the log knows by `stream`, if there can be one.
#[must_use]
pub fn pid_of(node: NodeId, stream: u64) -> Option<Pid> {
    let mut bytes = vec![0, u8::try_from(stream >> 32).ok()?];
    (stream as u32).encode(&mut bytes);
    let pid = Pid::decode(&mut Reader::new(Bytes::from(bytes))).ok()?;
    Some(Pid { node, ..pid })
}
