//! The thread that writes checkpoints to the engine, so that no one waits for the disk.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{Database, Keyspace, Snapshot};
use imbl::OrdMap;
use quorate_model::codec::Wire;

use super::merge::{Change, Merge};
use super::trickle::Trickle;
use super::{ENTRY_PREFIX, MARKER_KEY, engine_error};

/// How long writing a run is stretched, at most.
const SPREAD_MAX: Duration = Duration::from_secs(4);
/// After how many entries the pace is looked at.
const PACE_LEN: usize = 64;
/// Shorter pauses are left until they add up.
const PACE_PAUSE_MIN: Duration = Duration::from_millis(2);

/// What was changed up to a checkpoint since the one before.
pub(super) struct Layer {
    /// Counts the checkpoints of a table, from 1.
    pub(super) number: u64,
    pub(super) changes: OrdMap<Bytes, Option<Bytes>>,
    /// The index up to which the table holds everything, and what stands beside it; nothing for a part of a copy.
    pub(super) marker: Option<Marker>,
    /// How long its changes took to come.
    pub(super) gathered_for: Duration,
}

/// What is written with a checkpoint: its index, and what stands beside it.
pub(super) type Marker = (u64, Bytes);

/// A table from the side of the engine: how far its checkpoints are.
pub(super) struct Lineage {
    pub(super) keyspace: Keyspace,
    /// The number of the last checkpoint that was begun.
    pub(super) begun: AtomicU64,
    /// The number of the last checkpoint that is durable.
    flushed: AtomicU64,
    published: Mutex<Published>,
}

/// What is durable.
#[derive(Clone)]
pub(super) struct Published {
    /// The number of the last checkpoint in it.
    pub(super) number: u64,
    /// The engine with that checkpoint and nothing after.
    pub(super) base: Snapshot,
    /// The marker of that checkpoint; nothing before the first.
    pub(super) marker: Option<Marker>,
}

impl Lineage {
    pub(super) fn new(keyspace: Keyspace, base: Snapshot, marker: Option<Marker>) -> Self {
        let published = Published { number: 0, base, marker };
        Self { keyspace, begun: AtomicU64::new(0), flushed: AtomicU64::new(0), published: Mutex::new(published) }
    }

    /// The number of the last durable checkpoint. Cheap.
    pub(super) fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    pub(super) fn published(&self) -> Published {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The thread and what waits for it.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    database: Database,
    folder: Arc<str>,
    state: Mutex<State>,
    wake: Condvar,
    failed: OnceLock<String>,
    trickle: Trickle,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Arc<Lineage>, Arc<Layer>)>,
    /// Layers that a table let go. Freeing a large one takes milliseconds, so it is done here.
    garbage: Vec<Arc<Layer>>,
    is_closing: bool,
}

impl Flusher {
    pub(super) fn start(database: Database, folder: Arc<str>) -> Self {
        let shared = Arc::new(Shared {
            database,
            state: Mutex::default(),
            wake: Condvar::new(),
            failed: OnceLock::new(),
            trickle: Trickle::start(Path::new(&*folder)),
            folder,
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-flush".to_owned())
            .spawn(move || for_thread.run())
            .inspect_err(|error| {
                shared.failed.get_or_init(|| format!("cannot start the store's thread: {error}"));
            })
            .ok();
        Self { shared, thread }
    }

    /// Queues a checkpoint.
    pub(super) fn flush(&self, lineage: Arc<Lineage>, layer: Arc<Layer>) {
        self.shared.state().waiting.push_back((lineage, layer));
        self.shared.wake.notify_one();
    }

    /// Frees layers elsewhere.
    pub(super) fn let_go(&self, layers: impl IntoIterator<Item = Arc<Layer>>) {
        self.shared.state().garbage.extend(layers);
        self.shared.wake.notify_one();
    }

    /// Says that the engine failed, and why the store cannot be used any more.
    pub(super) fn fail(&self, error: &fjall::Error) -> &str {
        self.shared.fail(error)
    }

    /// Why nothing is flushed any more, if so.
    pub(super) fn failed(&self) -> Option<&str> {
        self.shared.failed.get().map(String::as_str)
    }

    pub(super) fn folder(&self) -> &str {
        &self.shared.folder
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.state().is_closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // If it panicked it has said so; nobody is left who could be told.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after each statement, so a panic elsewhere leaves nothing half done in it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the first failure.
    fn fail(&self, error: &fjall::Error) -> &str {
        self.failed.get_or_init(|| engine_error(&self.folder, error).to_string())
    }

    fn run(&self) {
        loop {
            let mut state = self.state();
            while state.waiting.is_empty() && state.garbage.is_empty() && !state.is_closing {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let garbage = std::mem::take(&mut state.garbage);
            let Some((lineage, layers)) = take_one_table(&mut state.waiting) else {
                if state.is_closing {
                    return;
                }
                drop(state);
                drop(garbage);
                continue;
            };
            drop(state);
            drop(garbage);
            if self.failed.get().is_some() {
                continue; // what failed once is not tried again: the node must end
            }
            if let Err(error) = self.flush(&lineage, &layers) {
                self.fail(&error);
            }
        }
    }

    /// Waits while the run is written faster than it must be. When more waits, it is written as fast as it can be.
    fn keep(&self, pace: &mut Pace) {
        let Some(early) = pace.early_by() else { return };
        let until = Instant::now() + early;
        let mut state = self.state();
        while state.waiting.is_empty() && !state.is_closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes `layers`, oldest first, as one sorted run with one marker.
    fn flush(&self, lineage: &Lineage, layers: &[Arc<Layer>]) -> Result<(), fjall::Error> {
        self.trickle.wake();
        let newest = layers.last().expect("there is a layer to flush");
        let mut run = lineage.keyspace.start_ingestion()?;
        if let Some(marker) = &newest.marker {
            run.write(MARKER_KEY, marker.to_bytes())?;
        }
        let sources = layers.iter().rev().map(|layer| {
            let changes = layer.changes.iter().map(|(key, value)| (key.clone(), value.clone()));
            Box::new(changes) as Box<dyn DoubleEndedIterator<Item = Change>>
        });
        let mut merge = Merge::new(sources);
        let mut pace = Pace::new(layers);
        while let Some((key, value)) = merge.next_change() {
            self.keep(&mut pace);
            let key = entry_key(&key);
            match value {
                Some(value) => run.write(key, value)?,
                None => run.write_tombstone(key)?,
            }
        }
        run.finish()?;
        let base = self.database.snapshot();
        let published = Published { number: newest.number, base, marker: newest.marker.clone() };
        *lineage.published.lock().unwrap_or_else(PoisonError::into_inner) = published;
        // Release: whoever sees the number sees what was published before.
        lineage.flushed.store(newest.number, Ordering::Release);
        Ok(())
    }
}

/// How fast a run is written: evenly over a part of the time in which its changes came, not all at once, so that the log
/// beside it gets its turns at the disk.
struct Pace {
    began: Instant,
    spread: Duration,
    entry_count: usize,
    written_count: usize,
}

impl Pace {
    fn new(layers: &[Arc<Layer>]) -> Self {
        let spread = layers.iter().map(|layer| layer.gathered_for).sum::<Duration>() / 2;
        let entry_count = layers.iter().map(|layer| layer.changes.len()).sum();
        Self { began: Instant::now(), spread: spread.min(SPREAD_MAX), entry_count, written_count: 0 }
    }

    /// How long the next entry should wait, now and then.
    fn early_by(&mut self) -> Option<Duration> {
        self.written_count += 1;
        if !self.written_count.is_multiple_of(PACE_LEN) {
            return None;
        }
        let due = self.spread.mul_f64(self.written_count as f64 / self.entry_count as f64);
        Some(due.saturating_sub(self.began.elapsed())).filter(|early| *early > PACE_PAUSE_MIN)
    }
}

/// All that waits for the table whose turn it is.
fn take_one_table(waiting: &mut VecDeque<(Arc<Lineage>, Arc<Layer>)>) -> Option<(Arc<Lineage>, Vec<Arc<Layer>>)> {
    let lineage = Arc::clone(&waiting.front()?.0);
    let mut layers = Vec::new();
    waiting.retain(|(owner, layer)| {
        let is_its = Arc::ptr_eq(owner, &lineage);
        if is_its {
            layers.push(Arc::clone(layer));
        }
        !is_its
    });
    Some((lineage, layers))
}

/// The engine's key for a key of a table.
pub(super) fn entry_key(key: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.push(ENTRY_PREFIX);
    out.extend_from_slice(key);
    Bytes::from(out)
}
