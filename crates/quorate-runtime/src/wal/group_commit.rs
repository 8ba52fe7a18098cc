//! Group commit: one sync for everything that waits.
//!
//! Appending fills a buffer of the caller. Submitting hands it to the log's thread, which takes *all* that was handed
//! over so far, writes it with one call, syncs it with one call, and says how far the log is durable. While the disk
//! turns, the next batch gathers: the slower the disk, the larger the batches, and no timer or size has to be tuned.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::disk::Disk;
use super::error::{OpenError, WalError};
use super::identity::Identity;
use super::log::{Gathered, Log, Recovered};
use super::{Options, format};
use crate::metrics::Histogram;

/// How long the log must have nothing to do before it vouches for its last batch.
const IDLE: Duration = Duration::from_millis(10);

/// A log that a thread writes.
///
/// Dropping it writes and syncs what was submitted.
pub struct Wal {
    shared: Arc<Shared>,
    gathered: Gathered,
    next_sequence: u64,
    options: Options,
    thread: Option<JoinHandle<()>>,
}

/// What the log did. Read at any time from any thread.
#[derive(Debug, Default)]
pub struct WalMetrics {
    /// How many batches were written and synced.
    pub syncs: AtomicU64,
    /// How long writing and syncing a batch took, in microseconds.
    pub sync_us: Histogram,
    /// How many records were in a batch.
    pub batch_records: Histogram,
    /// How many bytes of records were written.
    pub bytes: AtomicU64,
    /// How many compactions were finished.
    pub compactions: AtomicU64,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// Everything up to this sequence number is durable.
    durable: AtomicU64,
    failed: OnceLock<WalError>,
    log_bytes: AtomicU64,
    backlog_bytes: AtomicU64,
    is_compacting: AtomicBool,
    is_short_of_room: AtomicBool,
    metrics: WalMetrics,
    notify: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// Handed over and not taken: records, then perhaps a base and the records appended after it.
    records: Gathered,
    base: Option<Gathered>,
    records_after_base: Gathered,
    is_closing: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after each statement, so a panic elsewhere leaves nothing half done in it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wal {
    /// Opens the log of `identity`, or makes it, and hands every record (stream, payload) to `replay` in order.
    /// Afterwards `notify` is called, on the log's thread, each time that more became durable or the log failed.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        identity: &Identity,
        options: Options,
        replay: impl FnMut(u64, Bytes),
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Self, Recovered), OpenError> {
        let folder = disk.display();
        let (log, recovered) = Log::open(disk, identity, options.clone(), replay)?;
        let next_sequence = log.next_sequence();
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
            durable: AtomicU64::new(next_sequence - 1),
            failed: OnceLock::new(),
            log_bytes: AtomicU64::new(log.bytes()),
            backlog_bytes: AtomicU64::new(0),
            is_compacting: AtomicBool::new(false),
            is_short_of_room: AtomicBool::new(false),
            metrics: WalMetrics::default(),
            notify: Box::new(notify),
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("wal".to_owned())
            .spawn(move || run(&for_thread, log))
            .map_err(|source| OpenError::Io { folder, doing: "start the log's thread".to_owned(), source })?;
        let wal = Self { shared, gathered: Gathered::default(), next_sequence, options, thread: Some(thread) };
        Ok((wal, recovered))
    }

    /// Appends a record and gives its sequence number. Nothing is written before [`Wal::submit`].
    ///
    /// # Errors
    /// If the log has failed.
    ///
    /// # Panics
    /// If the payload is larger than [`format::PAYLOAD_BYTES_MAX`].
    pub fn append(&mut self, stream: u64, payload: &[u8]) -> Result<u64, WalError> {
        self.append_with(stream, |out| out.extend_from_slice(payload))
    }

    /// As [`Wal::append`], with a payload that `write` appends to the log's own buffer.
    ///
    /// # Errors
    /// If the log has failed.
    ///
    /// # Panics
    /// If the payload is larger than [`format::PAYLOAD_BYTES_MAX`].
    pub fn append_with(&mut self, stream: u64, write: impl FnOnce(&mut Vec<u8>)) -> Result<u64, WalError> {
        self.check()?;
        self.gathered.put(stream, write);
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Ok(sequence)
    }

    /// Hands over what was appended. Costs nothing if that is nothing.
    ///
    /// # Errors
    /// If the log has failed.
    pub fn submit(&mut self) -> Result<(), WalError> {
        self.check()?;
        if self.gathered.count == 0 {
            return Ok(());
        }
        self.shared.backlog_bytes.fetch_add(self.gathered.bytes.len() as u64, Ordering::Relaxed);
        let mut state = self.shared.state();
        if state.base.is_some() {
            state.records_after_base.append(&mut self.gathered);
        } else {
            state.records.append(&mut self.gathered);
        }
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// The sequence number up to which everything is durable.
    ///
    /// # Errors
    /// If the log has failed. What was durable before still is.
    pub fn durable(&self) -> Result<u64, WalError> {
        self.check()?;
        Ok(self.shared.durable.load(Ordering::Acquire))
    }

    /// The sequence number that the next record gets.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Replaces everything appended so far by `records` (stream, payload), which must stand for the same state. Goes on
    /// in the background. Whether it begins: not if a compaction is under way, or if the disk has no room for it.
    ///
    /// # Errors
    /// If the log has failed.
    ///
    /// # Panics
    /// If a payload is larger than [`format::PAYLOAD_BYTES_MAX`].
    pub fn compact(&mut self, records: impl IntoIterator<Item = (u64, Bytes)>) -> Result<bool, WalError> {
        if self.is_compacting() || self.is_short_of_room() {
            self.check()?;
            return Ok(false);
        }
        self.submit()?;
        let mut base = Gathered::default();
        for (stream, payload) in records {
            base.put(stream, |out| out.extend_from_slice(&payload));
        }
        self.shared.is_compacting.store(true, Ordering::Relaxed);
        self.shared.state().base = Some(base);
        self.shared.wake.notify_one();
        Ok(true)
    }

    /// Whether a compaction is under way.
    #[must_use]
    pub fn is_compacting(&self) -> bool {
        self.shared.is_compacting.load(Ordering::Relaxed)
    }

    /// The bytes that the log takes on disk, without the segment that is prepared.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.log_bytes.load(Ordering::Relaxed)
    }

    /// The bytes that were handed over and are not durable.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        self.shared.backlog_bytes.load(Ordering::Relaxed)
    }

    /// Whether the disk has no room for the segment after this one.
    #[must_use]
    pub fn is_short_of_room(&self) -> bool {
        self.shared.is_short_of_room.load(Ordering::Relaxed)
    }

    /// Whether so little room is left that new work should be refused, and a compaction is due.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_short_of_room()
            || self.bytes() + self.backlog_bytes() > self.options.bytes_max.saturating_sub(self.options.reserve_bytes)
    }

    /// How large things are.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What the log did so far.
    #[must_use]
    pub fn metrics(&self) -> &WalMetrics {
        &self.shared.metrics
    }

    /// Writes and syncs what was appended, and ends the log.
    ///
    /// # Errors
    /// If the log has failed, now or before.
    pub fn close(mut self) -> Result<(), WalError> {
        self.submit()?;
        self.end();
        self.check()
    }

    fn check(&self) -> Result<(), WalError> {
        self.shared.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn end(&mut self) {
        self.shared.state().is_closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            // The thread says itself why it panicked; whoever asks hears that the log has ended.
            self.shared.failed.get_or_init(|| WalError::ThreadEnded);
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.end();
    }
}

/// Says that the log has ended if its thread panics.
struct EndsWithThread<'a>(&'a Shared);

impl Drop for EndsWithThread<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.get_or_init(|| WalError::ThreadEnded);
            (self.0.notify)();
        }
    }
}

fn run(shared: &Shared, mut log: Log) {
    let _ends = EndsWithThread(shared);
    if let Err(error) = write_until_closed(shared, &mut log) {
        shared.failed.get_or_init(|| error);
        (shared.notify)();
    }
}

fn write_until_closed(shared: &Shared, log: &mut Log) -> Result<(), WalError> {
    let mut taken = Gathered::default();
    let mut is_vouched = true;
    loop {
        let (base, is_closing) = wait_for_work(shared, log, &mut taken, &mut is_vouched)?;
        if taken.count > 0 {
            let (count, bytes) = (taken.count, taken.bytes.len() as u64);
            let began = Instant::now();
            log.write(&mut taken)?;
            let metrics = &shared.metrics;
            metrics.sync_us.add(began.elapsed().as_micros() as u64);
            metrics.batch_records.add(count);
            metrics.syncs.fetch_add(1, Ordering::Relaxed);
            metrics.bytes.fetch_add(bytes, Ordering::Relaxed);
            shared.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
            if taken.bytes.capacity() > 4 * format::PAYLOAD_BYTES_MAX {
                taken = Gathered::default();
            }
            is_vouched = false;
            // Release: whoever sees the number sees all that the log did before.
            shared.durable.store(log.next_sequence() - 1, Ordering::Release);
            shared.log_bytes.store(log.bytes(), Ordering::Relaxed);
            (shared.notify)();
        }
        if let Some(mut base) = base {
            log.compact(&mut base)?;
            shared.metrics.compactions.fetch_add(1, Ordering::Relaxed);
            shared.log_bytes.store(log.bytes(), Ordering::Relaxed);
            shared.is_compacting.store(false, Ordering::Relaxed);
            is_vouched = false;
            (shared.notify)();
        } else if is_closing && taken.count == 0 {
            log.vouch()?;
            return log.sync();
        }
    }
}

/// Takes all records that were handed over, and a base if there is one.
fn wait_for_work(
    shared: &Shared,
    log: &mut Log,
    taken: &mut Gathered,
    is_vouched: &mut bool,
) -> Result<(Option<Gathered>, bool), WalError> {
    let mut state = shared.state();
    loop {
        let is_short_of_room = log.is_short_of_room();
        shared.is_short_of_room.store(is_short_of_room, Ordering::Relaxed);
        let has_work = state.records.count > 0 || state.base.is_some();
        if has_work || state.is_closing {
            std::mem::swap(taken, &mut state.records);
            let State { records, base, records_after_base, .. } = &mut *state;
            records.append(records_after_base); // taken next, when the base is written
            let base = base.take();
            return Ok((base, state.is_closing && !has_work));
        }
        if *is_vouched && !is_short_of_room && log.is_prepared() {
            state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let (again, waited) = shared.wake.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
        state = again;
        if waited.timed_out() && !*is_vouched && state.records.count == 0 && state.base.is_none() && !state.is_closing {
            drop(state);
            log.vouch()?;
            *is_vouched = true;
            state = shared.state();
        }
    }
}
