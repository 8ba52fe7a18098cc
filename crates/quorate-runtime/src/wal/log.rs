//! The log itself, one call at a time: write a batch and sync it, begin a new segment, compact. [`super::Wal`] runs it on
//! a thread of its own.
//!
//! *Compaction* writes the records that stand for everything so far as a *base* at the start of a new chain of segments,
//! syncs it, and only then removes the old chain. Whatever a crash leaves is either an old chain that is whole, beside a
//! base that is not complete, or a base that is complete: [`super::recover`] takes the newest complete one. Nothing is
//! appended before the old chain is gone for good, so a whole old chain never lacks anything; and one that has lost a
//! segment is no chain, because the head of the base vouches for where it ended.
//!
//! Budget: one write and one data sync a batch; one directory sync a segment, made ahead of time.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::Options;
use super::disk::{Disk, File};
use super::error::{Damage, OpenError, WalError, segment_name};
use super::format::{
    BATCH_HEAD_BYTES, BatchHead, BatchKind, FILLER, Place, SECTOR_BYTES, SegmentHead, put_record, record_end,
    seal_records, whole_sectors,
};
use super::identity::{FolderIdentity, Identity, io_error};
use super::recover::{Seen, Segments, Torn, WalkError, Walked};
use super::spare::{PREPARE_BYTES, Spare, prepare};

/// Records that wait to be written, in the order of their sequence numbers.
#[derive(Default)]
pub struct Gathered {
    /// The records, as [`put_record`] makes them.
    pub bytes: Vec<u8>,
    /// How many.
    pub count: u64,
}

impl Gathered {
    /// Adds a record whose payload `write` appends.
    pub fn put(&mut self, stream: u64, write: impl FnOnce(&mut Vec<u8>)) {
        put_record(&mut self.bytes, stream, write);
        self.count += 1;
    }

    /// Takes over the records of `other`, behind the own ones.
    pub fn append(&mut self, other: &mut Self) {
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, &mut other.bytes);
        } else {
            self.bytes.extend_from_slice(&other.bytes);
        }
        other.bytes.clear();
        self.count += std::mem::take(&mut other.count);
    }
}

/// What an opened log found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recovered {
    /// How many records were read back.
    pub record_count: u64,
    /// The sequence number of the next record.
    pub next_sequence: u64,
    /// What was cut off at the end.
    pub torn: Option<Torn>,
    /// How many segments of a compaction were removed that a crash had broken off, or of one that it had finished.
    pub removed_count: u64,
    /// Whether the folder was made just now.
    pub is_new: bool,
    /// The random number of the folder.
    pub folder: u64,
}

/// An open log.
pub struct Log {
    disk: Arc<dyn Disk>,
    folder: u64,
    options: Options,
    generation: u64,
    /// Older segments of the chain: number and length.
    sealed: VecDeque<(u64, u64)>,
    file: Box<dyn File>,
    file_bytes: u64,
    /// Behind the last batch written.
    end: Place,
    /// Behind the last batch synced.
    synced: Place,
    next_batch: u64,
    previous_checksum: u32,
    next_sequence: u64,
    spare: Spare,
    scratch: Vec<u8>,
    _lock: Box<dyn Send>,
}

impl Log {
    /// Opens the log of `identity`, or makes it, and hands every record (stream, payload) to `replay` in order.
    ///
    /// # Errors
    /// See [`OpenError`]; what `replay` was handed means nothing then.
    pub fn open(
        disk: Arc<dyn Disk>,
        identity: &Identity,
        options: Options,
        mut replay: impl FnMut(u64, Bytes),
    ) -> Result<(Self, Recovered), OpenError> {
        let lock = disk.lock().map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked { folder: disk.display() },
            _ => io_error(&*disk, "lock the folder", source),
        })?;
        let Some(found) = FolderIdentity::read(&*disk)? else {
            return Self::create(disk, lock, identity, options);
        };
        found.check(identity, &*disk)?;
        let folder = found.folder;
        let walk_error = |error| match error {
            WalkError::Damage(damage) => OpenError::Damaged(damage),
            WalkError::Io(doing, source) => io_error(&*disk, &doing, source),
            WalkError::Stopped => unreachable!("the visitor does not stop"),
        };
        let segments = Segments::list(&*disk, folder).map_err(|source| io_error(&*disk, "list the files", source))?;
        let base = segments.base().map_err(walk_error)?;
        let Some(base) = base else {
            let first = Place { segment: segments.numbers.first().copied().unwrap_or(1), offset: 0 };
            return Err(Damage::at(first, "no segment with a compacted start is there").into());
        };
        let mut record_count = 0;
        let walked = segments
            .walk(base, &mut |seen| {
                if let Seen::Record(_, record) = seen {
                    record_count += 1;
                    replay(record.stream, Bytes::copy_from_slice(record.payload));
                }
                ControlFlow::Continue(())
            })
            .map_err(walk_error)?;
        let removed_count = repair(&*disk, &segments, base, &walked)
            .map_err(|source| io_error(&*disk, "cut the torn end of the log", source))?;
        let recovered = Recovered {
            record_count,
            next_sequence: walked.next_sequence,
            torn: walked.torn.clone(),
            removed_count,
            is_new: false,
            folder,
        };
        let name = segment_name(walked.end.segment);
        let file = disk.open(&name).map_err(|source| io_error(&*disk, &format!("open {name}"), source))?;
        let mut sealed = VecDeque::from(walked.segments);
        let (_, file_bytes) = sealed.pop_back().expect("a walk that succeeds has read a segment");
        let mut log = Self {
            disk,
            folder,
            options,
            generation: walked.generation,
            sealed,
            file,
            file_bytes,
            end: walked.end,
            synced: walked.end,
            next_batch: walked.next_batch,
            previous_checksum: walked.previous_checksum,
            next_sequence: walked.next_sequence,
            spare: Spare::default(),
            scratch: Vec::new(),
            _lock: lock,
        };
        log.prepare_ahead();
        Ok((log, recovered))
    }

    /// Makes the folder: first a log with an empty base, then the identity file, which says that all is there.
    fn create(
        disk: Arc<dyn Disk>,
        lock: Box<dyn Send>,
        identity: &Identity,
        options: Options,
    ) -> Result<(Self, Recovered), OpenError> {
        let folder = options.folder.unwrap_or_else(rand::random);
        let list = Segments::list(&*disk, folder).map_err(|source| io_error(&*disk, "list the files", source))?;
        // A crash while the folder was made leaves the first segments; they hold no record then.
        if list.numbers.iter().any(|&number| number > 2) {
            let what = "missing, though there is a log".to_owned();
            return Err(OpenError::Identity { folder: disk.display(), what });
        }
        for &number in &list.numbers {
            let is_empty = holds_no_record(&*disk, number)
                .map_err(|source| io_error(&*disk, &format!("read {}", segment_name(number)), source))?;
            if !is_empty {
                let what = "missing, though there is a log with records".to_owned();
                return Err(OpenError::Identity { folder: disk.display(), what });
            }
        }
        for &number in &list.numbers {
            let name = segment_name(number);
            disk.remove(&name).map_err(|source| io_error(&*disk, &format!("remove {name}"), source))?;
        }
        let prepared = prepare(&*disk, 1, options.segment_bytes);
        let (file, file_bytes) = prepared.map_err(|source| io_error(&*disk, "make the first segment", source))?;
        let mut log = Self {
            disk,
            folder,
            options,
            generation: 0,
            sealed: VecDeque::new(),
            file,
            file_bytes,
            end: Place { segment: 1, offset: 0 },
            synced: Place::default(),
            next_batch: 0,
            previous_checksum: 0,
            next_sequence: 1,
            spare: Spare::default(),
            scratch: Vec::new(),
            _lock: lock,
        };
        let begun = log.begin_base().and_then(|()| log.end_base(0));
        begun.map_err(|error| io_error(&*log.disk, "make the first segment", io::Error::other(error)))?;
        FolderIdentity { identity: identity.clone(), folder }.write(&*log.disk)?;
        log.prepare_ahead();
        let recovered = Recovered { next_sequence: 1, is_new: true, folder, ..Recovered::default() };
        Ok((log, recovered))
    }

    /// The sequence number that the next record written gets.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The bytes in use, without what is prepared but empty.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sealed.iter().map(|&(_, bytes)| bytes).sum::<u64>() + self.end.offset
    }

    /// Writes all of `gathered` and syncs. When this returns without an error, all of it is durable.
    ///
    /// # Errors
    /// Final: the log must not be used any more.
    pub fn write(&mut self, gathered: &mut Gathered) -> Result<(), WalError> {
        let mut at = 0;
        while at < gathered.bytes.len() {
            let (end, count) = self.cut(&gathered.bytes, at);
            let first_sequence = self.next_sequence;
            self.write_batch(BatchKind::Records, &mut gathered.bytes[at..end], count, first_sequence)?;
            self.next_sequence += u64::from(count);
            self.sync()?;
            at = end;
        }
        gathered.bytes.clear();
        gathered.count = 0;
        Ok(())
    }

    /// Says behind the last batch that it was synced, without syncing that in turn.
    ///
    /// # Errors
    /// Final: the log must not be used any more.
    pub fn vouch(&mut self) -> Result<(), WalError> {
        // Worth no segment of its own: a new segment's head vouches as well.
        if self.end.offset + SECTOR_BYTES as u64 > self.file_bytes {
            return Ok(());
        }
        self.write_batch(BatchKind::Records, &mut [], 0, self.next_sequence)
    }

    /// Writes `base`, which stands for everything written so far, then removes everything written so far.
    ///
    /// # Errors
    /// Final: the log must not be used any more. What was durable before still is.
    pub fn compact(&mut self, base: &mut Gathered) -> Result<(), WalError> {
        let old: Vec<u64> = self.sealed.iter().map(|&(number, _)| number).chain([self.end.segment]).collect();
        self.roll(true, SECTOR_BYTES)?;
        self.begin_base()?;
        let mut at = 0;
        let mut index = 0;
        while at < base.bytes.len() {
            let (end, count) = self.cut(&base.bytes, at);
            self.write_batch(BatchKind::Base, &mut base.bytes[at..end], count, index)?;
            index += u64::from(count);
            at = end;
        }
        self.end_base(index)?;
        let remove = |number| {
            self.disk.remove(&segment_name(number)).map_err(|error| failed("remove", number, &error))?;
            Ok(())
        };
        old.iter().try_for_each(|&number| remove(number))?;
        self.sync_names()?;
        self.sealed.retain(|(number, _)| !old.contains(number));
        base.bytes.clear();
        base.count = 0;
        Ok(())
    }

    /// Whether the segment after this one cannot be made at present: most likely the disk is full. The log goes on until
    /// this segment is; it is tried again from time to time, when this is asked.
    pub fn is_short_of_room(&mut self) -> bool {
        if self.spare.poll(&self.disk) {
            self.prepare_ahead();
        }
        self.spare.is_short_of_room()
    }

    /// Whether the next segment is made, or need not be: then [`Log::is_short_of_room`] need not be asked again.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.spare.is_settled()
    }

    /// Syncs what [`Log::vouch`] left.
    ///
    /// # Errors
    /// Final: the log must not be used any more.
    pub fn sync(&mut self) -> Result<(), WalError> {
        if self.synced != self.end {
            self.file.sync().map_err(|error| failed("sync", self.end.segment, &error))?;
            self.synced = self.end;
        }
        Ok(())
    }

    /// How much of `records` from `at` on goes into one batch: where it ends, and how many records that are.
    fn cut(&self, records: &[u8], at: usize) -> (usize, u32) {
        let mut end = record_end(records, at);
        let mut count = 1;
        while end < records.len() {
            let next = record_end(records, end);
            if next - at > self.options.batch_bytes_max {
                break;
            }
            end = next;
            count += 1;
        }
        (end, count)
    }

    fn write_batch(
        &mut self,
        kind: BatchKind,
        records: &mut [u8],
        record_count: u32,
        first_sequence: u64,
    ) -> Result<(), WalError> {
        let disk_bytes = whole_sectors(BATCH_HEAD_BYTES + records.len());
        if self.end.offset + disk_bytes as u64 > self.file_bytes {
            self.roll(false, disk_bytes)?;
        }
        let head = BatchHead {
            kind,
            body_bytes: u32::try_from(records.len()).expect("a batch is one record or within batch_bytes_max"),
            record_count,
            batch: self.next_batch,
            first_sequence,
            synced: self.synced,
            previous_checksum: self.previous_checksum,
        };
        let (head, checksum) = head.encode(self.folder, self.end);
        let place = Place { offset: self.end.offset + BATCH_HEAD_BYTES as u64, ..self.end };
        seal_records(records, self.folder, place, first_sequence);
        self.scratch.clear();
        self.scratch.extend_from_slice(&head);
        self.scratch.extend_from_slice(records);
        self.scratch.resize(disk_bytes, FILLER);
        let written = self.file.write_at(self.end.offset, &self.scratch);
        written.map_err(|error| failed("write to", self.end.segment, &error))?;
        if self.scratch.capacity() > 4 * self.options.batch_bytes_max {
            self.scratch = Vec::new(); // one large record does not keep its memory
        }
        self.end.offset += disk_bytes as u64;
        self.next_batch += 1;
        self.previous_checksum = checksum;
        Ok(())
    }

    /// Goes on in a new segment that has room for `batch_bytes`.
    fn roll(&mut self, is_base: bool, batch_bytes: usize) -> Result<(), WalError> {
        self.sync()?;
        let number = self.end.segment + 1;
        let bytes = self.options.segment_bytes.max((SECTOR_BYTES + batch_bytes) as u64);
        let (file, file_bytes) =
            self.spare.take(&self.disk, number, bytes).map_err(|error| failed("make", number, &error))?;
        self.sealed.push_back((self.end.segment, self.file_bytes));
        self.file = file;
        self.file_bytes = file_bytes;
        let previous_end = self.end.offset;
        self.end = Place { segment: number, offset: 0 };
        if !is_base {
            self.write_head(false, previous_end)?;
        }
        self.prepare_ahead();
        Ok(())
    }

    fn begin_base(&mut self) -> Result<(), WalError> {
        self.generation += 1;
        self.previous_checksum = 0;
        let previous_end = self.synced.offset;
        self.write_head(true, previous_end)
    }

    fn end_base(&mut self, record_count: u64) -> Result<(), WalError> {
        self.write_batch(BatchKind::BaseEnd, &mut [], 0, record_count)?;
        self.sync()
    }

    fn write_head(&mut self, is_base: bool, previous_end: u64) -> Result<(), WalError> {
        let head = SegmentHead {
            folder: self.folder,
            segment: self.end.segment,
            bytes: self.file_bytes,
            generation: self.generation,
            is_base,
            previous_end,
            first_batch: self.next_batch,
            first_sequence: self.next_sequence,
            previous_checksum: self.previous_checksum,
        };
        let written = self.file.write_at(0, &head.encode());
        written.map_err(|error| failed("write to", self.end.segment, &error))?;
        self.end.offset = SECTOR_BYTES as u64;
        Ok(())
    }

    fn prepare_ahead(&mut self) {
        if self.options.prepare_ahead {
            self.spare.prepare_ahead(&self.disk, self.end.segment + 1, self.options.segment_bytes);
        }
    }

    fn sync_names(&self) -> Result<(), WalError> {
        self.disk.sync_names().map_err(|error| WalError::new("sync the names in", self.disk.display(), &error))
    }
}

/// Cuts what a crash tore and removes what no chain needs, what is behind the end from the newest back, so that no gap is
/// left there.
fn repair(disk: &dyn Disk, segments: &Segments<'_>, base: u64, walked: &Walked) -> io::Result<u64> {
    let behind = segments.numbers.iter().rev().filter(|&&number| number > walked.end.segment);
    let before = segments.numbers.iter().filter(|&&number| number < base);
    let mut removed_count = 0;
    for &number in behind.chain(before) {
        disk.remove(&segment_name(number))?;
        disk.sync_names()?;
        removed_count += 1;
    }
    let file = disk.open(&segment_name(walked.end.segment))?;
    if walked.torn.is_some() {
        let zeros = vec![0; PREPARE_BYTES];
        let bytes = file.bytes()?;
        let mut offset = walked.end.offset;
        while offset < bytes {
            let part = &zeros[..zeros.len().min((bytes - offset) as usize)];
            file.write_at(offset, part)?;
            offset += part.len() as u64;
        }
    }
    file.sync()?;
    Ok(removed_count)
}

/// Whether segment `number` holds nothing but the start of a log that was never used.
fn holds_no_record(disk: &dyn Disk, number: u64) -> io::Result<bool> {
    let file = disk.open(&segment_name(number))?;
    let bytes = file.bytes()?;
    let first_bytes = (3 * SECTOR_BYTES as u64).min(bytes);
    let mut first = vec![0; first_bytes as usize];
    file.read_at(0, &mut first)?;
    // Segment head and the end of the empty base are two sectors; a record would be in the third.
    Ok(super::recover::written_bytes(&first) <= 2 * SECTOR_BYTES as u64)
}

fn failed(doing: &'static str, segment: u64, error: &io::Error) -> WalError {
    WalError::new(doing, segment_name(segment), error)
}
