//! The host of a process that speaks in datagrams: real sockets, real time, a small file for what is durable.
//!
//! | comes | goes to |
//! |-------|---------|
//! | a message of another node's process of the same kind | the process, one step |
//! | an alarm that is due | the process, one step |
//! | a record | the file ([`RecordFile`]), before anything that rests on it leaves |
//! | a message for another node | the socket, or nowhere: loss is in the model |
//! | a message for the outside of this node | [`DatagramHost::take_told`] |
//!
//! Each turn takes a bounded number of datagrams and then lets alarms ring, so that no flood keeps a probe waiting. An error
//! of the socket is counted and never the end: the next turns try again.
//!
//! A record that cannot be written is said in the log, and the process goes on: a full disk must not make a node look dead
//! to others that is not. Whoever needs more keeps a floor under its records that does not rest on this disk, as a member
//! does with the number of its life ([`crate::clock::wall_ms`]).
//!
//! The other host ([`crate::host`]) is for processes with a log and links.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_model::{AlarmChange, Context, Event, Instant, NodeId, Outbox, Pid, Process, Service, Wire};

use super::record_file::RecordFile;
use super::{Datagrams, count};
use crate::clock;
use crate::host::{Alarms, Chance, within};

/// The longest sleep: the system's timers stand still while it is suspended, the chip clock does not.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long not to ask a socket that failed.
const DEAF_FOR: Duration = Duration::from_millis(100);

/// How many alarms ring in one turn.
const ALARMS_LEN_MAX: usize = 256;

/// See the module.
pub struct DatagramHost<P: Process> {
    me: Pid,
    process: P,
    outbox: Outbox<P>,
    alarms: Alarms<P::Timer>,
    chance: Chance,
    datagrams: Datagrams<P::Message>,
    records: RecordFile,
    inbox: Vec<(NodeId, P::Message)>,
    told: VecDeque<P::Message>,
    now: Instant,
    deaf_until: Instant,
}

impl<P> DatagramHost<P>
where
    P: Process,
    P::Message: Wire,
    P::Record: Wire,
{
    /// Lets `process`, which has replayed what is in `records`, take its first step as `me`.
    pub fn start(me: Pid, process: P, records: RecordFile, datagrams: Datagrams<P::Message>) -> Self {
        let mut host = Self {
            me,
            process,
            outbox: Outbox::new(),
            alarms: Alarms::new(),
            chance: Chance::drawn(),
            datagrams,
            records,
            inbox: Vec::new(),
            told: VecDeque::new(),
            now: clock::now(),
            deaf_until: Instant::default(),
        };
        host.step(Event::Start);
        host
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &P {
        &self.process
    }

    /// The socket, to write into its book or to change its keys.
    pub fn datagrams_mut(&mut self) -> &mut Datagrams<P::Message> {
        &mut self.datagrams
    }

    /// The pid that stands for whoever runs this host.
    #[must_use]
    pub fn outside(&self) -> Pid {
        Pid::outside(self.me.node.0, 0)
    }

    /// Tells the process something, from the outside of this node.
    pub fn tell(&mut self, message: P::Message) {
        self.now = self.now.max(clock::now());
        self.step(Event::Message { from: self.outside(), message });
    }

    /// The next message that the process told the outside of this node. To be asked after each turn, until there is none.
    pub fn take_told(&mut self) -> Option<P::Message> {
        self.told.pop_front()
    }

    /// Waits for datagrams or an alarm, and lets the process hear them. From whom it heard. May be dropped while it waits.
    pub async fn turn(&mut self) -> Vec<NodeId> {
        let now = clock::now();
        let pause = self.alarms.next().map_or(SLEEP_MAX, |at| at.since(now).min(SLEEP_MAX));
        let is_deaf = now < self.deaf_until;
        let pause = if is_deaf { pause.min(DEAF_FOR) } else { pause };
        tokio::select! {
            received = self.datagrams.receive_some(&mut self.inbox), if !is_deaf => {
                if received.is_err() {
                    count(&self.datagrams.metrics.failed_kernel);
                    self.deaf_until = now + DEAF_FOR;
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
        self.now = self.now.max(clock::now());
        let mut heard = Vec::with_capacity(self.inbox.len());
        for (from, message) in std::mem::take(&mut self.inbox) {
            heard.push(from);
            self.step(Event::Message { from: Pid { node: from, ..self.me }, message });
        }
        for _ in 0..ALARMS_LEN_MAX {
            let Some((_, timer, _)) = self.alarms.due(self.now) else { break };
            self.step(Event::Alarm(timer));
        }
        heard
    }

    fn step(&mut self, event: Event<P>) {
        self.process.on(event, &mut Context::new(self.me, self.now, &mut self.outbox, &mut self.chance));
        while let Some(change) = self.outbox.alarm_change() {
            match change {
                AlarmChange::Set(timer, after) => {
                    self.alarms.set(0, timer, self.now + within(after.start, after.end, &mut self.chance));
                }
                AlarmChange::Stop(timer) => self.alarms.stop(0, timer),
            }
        }
        self.write();
        while let Some((to, message)) = self.outbox.release() {
            if to == self.outside() {
                self.told.push_back(message);
            } else if to.service != Service::Outside {
                self.datagrams.send(to.node, &message);
            }
        }
    }

    fn write(&mut self) {
        let mut record_count = 0;
        while self.outbox.take_record().is_some() {
            record_count += 1;
        }
        if record_count == 0 {
            return;
        }
        if let Err(error) = self.records.write(self.process.compact()) {
            tracing::warn!(%error, "cannot write what {} must remember; it goes on without", self.me);
        }
        self.outbox.synced(record_count);
    }
}
