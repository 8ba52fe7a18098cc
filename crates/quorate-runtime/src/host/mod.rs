//! The host: drives the processes of one node with real messages, a real log and real time.
//!
//! ```text
//!            asks ----> port --+                       +--> port ----> answers
//!  links ---> mailbox --------(+)---> processes --------(+)--> links
//!  chip clock ---> alarms -----+        |  ^            |
//!                                records|  |durable     |
//!                                       v  |            |
//!                                      the log       released
//! ```
//!
//! It turns all that waits into one *batch*: takes it, steps the processes, hands the records to the log, sends. While
//! the disk turns, the next batch gathers. So the number of syncs, writes and wake-ups falls as the load grows, and there
//! is nothing to tune. Each part of a batch is bounded; what is left comes in the next, after the links had their turn.
//!
//! A broken invariant (a panic within a step) ends the node: the flight recorder is written out and [`Host::run`] gives
//! an error; whoever runs it exits, and the node starts again from its log. Source: notes "Scalable Architecture" (fail
//! fast and restart instead of browning out).

mod alarms;
mod driver;
mod port;

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_model::time::HybridTime;
use quorate_model::{Instant, NodeId, Pid, Process, Wire};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

pub use alarms::Alarms;
pub use driver::{BACKLOG_BYTES_MAX, Driver, HostMetrics, LOCAL_LEN_MAX, Links, StartError, pid_of, stream_of};
pub(crate) use driver::{Chance, within};
pub use port::{Busy, Port, PortContext};

use crate::clock;
use crate::net::{Inbound, Net, NetConfig};
use crate::wal::{Disk, Identity, Options, Recovered, WalError};

/// How many messages, asks and alarms each a batch takes, and how many local messages.
pub const BATCH_LEN_MAX: usize = 4096;

/// The longest sleep: the system's timers stand still while it is suspended, the chip clock does not.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// The least time between two compactions of a log that is full.
const COMPACTION_PAUSE: Duration = Duration::from_secs(1);

/// How a host is made.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The links.
    pub net: NetConfig,
    /// The log.
    pub wal: Options,
    /// By how much the log grows from one compaction to the next, in bytes.
    pub compact_growth_bytes: u64,
    /// Where the flight recorder is written to when the node ends in failure.
    pub flight_path: Option<PathBuf>,
}

impl HostConfig {
    /// A configuration with the usual sizes.
    #[must_use]
    pub fn new(net: NetConfig) -> Self {
        let wal = Options::default();
        Self { net, compact_growth_bytes: wal.bytes_max / 4, wal, flight_path: None }
    }
}

/// Why a node ended. The program must exit and be started again: the log has all that was promised.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The log failed.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// An invariant of a process does not hold.
    #[error("a process broke an invariant: {0}")]
    Broken(String),
}

/// The processes of a node, running.
pub struct Host<P: Process, T: Port<P>> {
    driver: Driver<P>,
    net: Net<P::Message>,
    port: T,
    asks: mpsc::Receiver<T::Ask>,
    doorbell: Arc<Notify>,
    compaction: Compaction,
    flight_path: Option<PathBuf>,
}

/// When the log is compacted next.
struct Compaction {
    growth_bytes: u64,
    /// At this length of the log.
    at_bytes: u64,
    /// But not before this time: a log that is full although it was just compacted is not compacted all the time.
    not_before: Instant,
    is_under_way: bool,
}

impl<M: Wire + Send + 'static> Links<M> for Net<M> {
    fn send(&mut self, from: Pid, to: Pid, message: &M) {
        Net::send(self, from, to, message);
    }

    fn stamp(&mut self) -> HybridTime {
        Net::stamp(self)
    }

    fn know(&mut self, peers: &BTreeMap<NodeId, String>) {
        Net::know(self, peers);
    }
}

impl<P, T> Host<P, T>
where
    P: Process,
    P::Message: Wire + Send + 'static,
    P::Record: Wire,
    T: Port<P>,
{
    /// Opens the log in `disk`, lets `processes` replay it, and begins to listen and to dial. Nothing steps before
    /// [`Host::run`].
    ///
    /// # Errors
    /// See [`StartError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(
        config: HostConfig,
        disk: Arc<dyn Disk>,
        listener: TcpListener,
        processes: Vec<(Pid, P)>,
        port: T,
        asks: mpsc::Receiver<T::Ask>,
    ) -> Result<(Self, Recovered), StartError> {
        let doorbell = Arc::new(Notify::new());
        let identity = Identity { cluster: config.net.cluster.clone(), node: config.net.node };
        let ring = Arc::clone(&doorbell);
        let notify = move || ring.notify_one();
        let (driver, recovered) = Driver::open(disk, &identity, config.wal, processes, rand::random(), notify)?;
        let net = Net::start(config.net, listener, Arc::clone(&doorbell));
        let growth_bytes = config.compact_growth_bytes;
        let not_before = Instant::default();
        let compaction = Compaction { growth_bytes, at_bytes: growth_bytes, not_before, is_under_way: false };
        let flight_path = config.flight_path;
        Ok((Self { driver, net, port, asks, doorbell, compaction, flight_path }, recovered))
    }

    /// The links, for whoever shows how they are.
    #[must_use]
    pub fn net(&self) -> &Net<P::Message> {
        &self.net
    }

    /// The driver, for whoever shows how it is.
    #[must_use]
    pub fn driver(&self) -> &Driver<P> {
        &self.driver
    }

    /// Runs until `shutdown` is ready, then writes what waits for the disk.
    ///
    /// # Errors
    /// If the log fails or a process breaks an invariant. The program must exit then.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), HostError> {
        tokio::pin!(shutdown);
        let mut inbox: VecDeque<Inbound<P::Message>> = VecDeque::new();
        let mut asked: Vec<T::Ask> = Vec::new();
        let mut asks_open = true;
        let mut is_first = true;
        loop {
            let batch = catch_unwind(AssertUnwindSafe(|| self.batch(&mut inbox, &mut asked, is_first)));
            is_first = false;
            let more = match batch {
                Ok(Ok(more)) => more,
                Ok(Err(error)) => return Err(self.end(HostError::Wal(error))),
                Err(panic) => return Err(self.end(HostError::Broken(panic_text(&*panic)))),
            };
            // The links write what this batch sent and read what came meanwhile.
            tokio::task::yield_now().await;
            let is_stalled = self.driver.is_stalled();
            // The runtime's timer turns in whole milliseconds: an alarm that is due must not wait for it.
            let pause = if more { Duration::ZERO } else { self.pause() };
            let more = more || pause.is_zero();
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(self.driver.close()?),
                count = self.asks.recv_many(&mut asked, BATCH_LEN_MAX), if asks_open && !is_stalled => asks_open = count > 0,
                () = self.doorbell.notified() => {}
                () = std::future::ready(()), if more => {}
                () = tokio::time::sleep(pause) => {}
            }
            if asks_open && !is_stalled && asked.is_empty() {
                while asked.len() < BATCH_LEN_MAX
                    && let Ok(ask) = self.asks.try_recv()
                {
                    asked.push(ask);
                }
            }
        }
    }

    /// How long to sleep if nothing comes.
    fn pause(&self) -> Duration {
        self.driver.next_alarm().map_or(SLEEP_MAX, |at| at.since(clock::now()).min(SLEEP_MAX))
    }

    /// Takes all that waits through the processes. Whether more waits.
    fn batch(
        &mut self,
        inbox: &mut VecDeque<Inbound<P::Message>>,
        asked: &mut Vec<T::Ask>,
        is_first: bool,
    ) -> Result<bool, WalError> {
        let now = clock::now();
        self.net.set_wall_ms(clock::wall_ms());
        let Self { driver, net, port, .. } = self;
        driver.begin_batch(now);
        if is_first {
            driver.start(now, net);
        }
        driver.release_durable(net)?;
        let mut more = driver.ring(BATCH_LEN_MAX, net);
        if !driver.is_stalled() {
            more |= net.take(inbox, BATCH_LEN_MAX);
        } // else the mailbox fills and drops: the disk rings the doorbell when it has caught up
        driver.note_batch(inbox.len(), asked.len());
        for Inbound { from, to, message, .. } in inbox.drain(..) {
            driver.deliver(from, to, message, net);
        }
        for ask in asked.drain(..) {
            driver.note_ask();
            port.ask(ask, &mut PortContext { now, driver, links: net });
        }
        more |= driver.deliver_local(BATCH_LEN_MAX, net);
        while let Some(tell) = driver.take_tell() {
            port.tell(tell.from, tell.to, tell.message, &mut PortContext { now, driver, links: net });
        }
        port.after_batch(&mut PortContext { now, driver, links: net });
        more |= driver.deliver_local(BATCH_LEN_MAX, net);
        driver.submit()?;
        net.flush();
        self.compact_if_due(now)?;
        Ok(more)
    }

    fn compact_if_due(&mut self, now: Instant) -> Result<(), WalError> {
        let Self { driver, net, port, compaction, .. } = self;
        let wal = driver.wal();
        if wal.is_compacting() {
            return Ok(());
        }
        if std::mem::take(&mut compaction.is_under_way) {
            compaction.at_bytes = wal.bytes() + compaction.growth_bytes;
            compaction.not_before = now + COMPACTION_PAUSE;
        }
        let is_due = wal.bytes() >= compaction.at_bytes || (wal.is_full() && now >= compaction.not_before);
        if is_due && port.may_compact(&mut PortContext { now, driver, links: net }) && driver.compact()? {
            compaction.is_under_way = true;
            port.compaction_began(&mut PortContext { now, driver, links: net });
        }
        Ok(())
    }

    fn end(&self, error: HostError) -> HostError {
        tracing::error!(%error, "the node ends");
        if let Some(path) = &self.flight_path {
            match self.driver.flight.write_to(path) {
                Ok(()) => tracing::error!(path = %path.display(), "what happened before is in the flight recorder"),
                Err(error) => tracing::error!(%error, "cannot write the flight recorder"),
            }
        }
        error
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "no message".to_owned())
}
