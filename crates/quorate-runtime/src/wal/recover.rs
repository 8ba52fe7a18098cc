//! Reading a log back: what is whole, what was torn by a crash, and what is damaged.
//!
//! Batches are read in order, and the first that does not pass ends the reading. Three tests then tell a *torn tail*,
//! which nobody was told of and which is cut, from *damage*, which is refused:
//!
//! | test | why |
//! |------|-----|
//! | a later segment says that this one goes on behind the place | a segment is begun only when the one before is synced |
//! | a later batch says that it was synced behind the place | every batch carries how far the log was synced when it was written |
//! | no sector of the batch ends with zeros | a crash leaves sectors unwritten, and what was never written is zeros; a crash does not change bits |
//!
//! What remains undecided is a batch that is the very last, that was damaged exactly where its payload had zeros at the
//! end of a sector. An idle log writes an empty batch behind its last one, so that even this needs a crash within the
//! same moment.
//!
//! Not chosen: cutting at the first bad checksum (what most logs do). It throws acknowledged records away without a word
//! (Alagappan et al., "Protocol-Aware Recovery", FAST 2018).

use std::io;
use std::ops::ControlFlow;

use super::disk::Disk;
use super::error::{Damage, segment_name, segment_number};
use super::format::{
    BATCH_HEAD_BYTES, BatchHead, BatchKind, Place, RecordAt, Records, SECTOR_BYTES, SegmentHead, is_zero, looks_torn,
};

/// What a walk meets.
pub enum Seen<'a> {
    /// A segment begins.
    Segment(&'a SegmentHead),
    /// A batch begins; it is whole.
    Batch(Place, &'a BatchHead),
    /// A record of that batch.
    Record(BatchKind, RecordAt<'a>),
}

/// Bytes at the end of the log that a crash cut off. No one was told that they are durable.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Torn {
    /// The segment file.
    pub file: String,
    /// Where the whole part ends, in bytes.
    pub offset: u64,
    /// How many bytes are there behind, up to the last that is not zero.
    pub bytes: u64,
}

/// Where a walk ended, and what is needed to go on from there.
#[derive(Clone, Debug)]
pub struct Walked {
    /// The end of the last whole batch.
    pub end: Place,
    /// The number of the next batch.
    pub next_batch: u64,
    /// The checksum of the last batch.
    pub previous_checksum: u32,
    /// The sequence number of the next record.
    pub next_sequence: u64,
    /// The generation.
    pub generation: u64,
    /// The length of each segment file read, in bytes, in order.
    pub segments: Vec<(u64, u64)>,
    /// What was found behind the end.
    pub torn: Option<Torn>,
}

/// Why a walk could not be finished.
#[derive(Debug)]
pub enum WalkError {
    /// Synced bytes are not what was written.
    Damage(Damage),
    /// The disk failed.
    Io(String, io::Error),
    /// The visitor had seen enough.
    Stopped,
}

/// The segments of a folder, by number.
pub struct Segments<'d> {
    disk: &'d dyn Disk,
    /// The random number of the data folder.
    pub folder: u64,
    /// The numbers of all segment files, in order.
    pub numbers: Vec<u64>,
}

impl<'d> Segments<'d> {
    /// Lists the segments of `disk`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn list(disk: &'d dyn Disk, folder: u64) -> io::Result<Self> {
        let mut numbers: Vec<u64> = disk.names()?.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        Ok(Self { disk, folder, numbers })
    }

    /// The segment that recovery begins at: the newest whose base is complete. Nothing if there is no base at all.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn base(&self) -> Result<Option<u64>, WalkError> {
        let mut bases = Vec::new();
        for &number in self.numbers.iter().rev() {
            if self.head(number)?.is_some_and(|head| head.is_base) {
                bases.push(number);
            }
        }
        let Some((&oldest, newer)) = bases.split_last() else {
            return Ok(None);
        };
        for &number in newer {
            let mut is_complete = false;
            let walked = self.walk(number, &mut |seen| match seen {
                Seen::Batch(_, head) if head.kind == BatchKind::BaseEnd => {
                    is_complete = true;
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            });
            match walked {
                _ if is_complete => return Ok(Some(number)),
                Err(WalkError::Io(doing, source)) => return Err(WalkError::Io(doing, source)),
                _ => {} // a crash broke the compaction off, and what it would have replaced is still there
            }
        }
        // What is older than a base is removed only when the base is complete: the walk will say if this one is not.
        Ok(Some(oldest))
    }

    /// Visits everything from segment `from`, which begins a generation, up to the end of the log.
    ///
    /// # Errors
    /// Damage, a failing disk, or a visitor that breaks off.
    pub fn walk(&self, from: u64, visit: &mut dyn FnMut(Seen<'_>) -> ControlFlow<()>) -> Result<Walked, WalkError> {
        let mut number = from;
        let mut bytes = self.read(number)?;
        let Some(mut head) = SegmentHead::decode(&bytes) else {
            return Err(WalkError::Damage(Damage::at(Place { segment: number, offset: 0 }, "the segment's head")));
        };
        let mut walked = Walked {
            end: Place::default(),
            next_batch: head.first_batch,
            previous_checksum: head.previous_checksum,
            next_sequence: head.first_sequence,
            generation: head.generation,
            segments: Vec::new(),
            torn: None,
        };
        let mut base_index = Some(0);
        loop {
            self.check_head(&head, number, number == from, &bytes, &walked)?;
            visit_or_stop(visit(Seen::Segment(&head)))?;
            walked.segments.push((number, bytes.len() as u64));
            walked.end = Place { segment: number, offset: SECTOR_BYTES as u64 };
            let bad = loop {
                match self.batch_at(&bytes, &walked, base_index) {
                    At::Batch(batch, checksum, body) => {
                        let place = walked.end;
                        visit_or_stop(visit(Seen::Batch(place, &batch)))?;
                        for record in Records::new(self.folder, place, &batch, body) {
                            let record = record.expect("all records were checked when the batch was");
                            visit_or_stop(visit(Seen::Record(batch.kind, record)))?;
                        }
                        walked.end.offset += batch.disk_bytes();
                        walked.next_batch += 1;
                        walked.previous_checksum = checksum;
                        let count = u64::from(batch.record_count);
                        match batch.kind {
                            BatchKind::Records => walked.next_sequence += count,
                            BatchKind::Base => base_index = base_index.map(|index| index + count),
                            BatchKind::BaseEnd => base_index = None,
                        }
                    }
                    At::End => break None,
                    At::Bad { damage, looks_torn } => break Some((damage, looks_torn)),
                }
            };
            match self.head(number + 1)? {
                Some(next) if next.previous_end != walked.end.offset => {
                    let damage = bad.map_or_else(|| Damage::at(walked.end, "a synced batch is gone"), |(bad, _)| bad);
                    return Err(WalkError::Damage(damage));
                }
                Some(next) if next.is_base && base_index.is_none() => return Ok(walked), // a compaction that broke off
                Some(next) => {
                    number += 1;
                    bytes = self.read(number)?;
                    head = next;
                }
                None if base_index.is_some() => {
                    let ends_early = || Damage::at(walked.end, "the compacted start of the log ends early");
                    return Err(WalkError::Damage(bad.map_or_else(ends_early, |(damage, _)| damage)));
                }
                None => {
                    walked.torn = self.tail(&bytes, walked.end, bad)?;
                    return Ok(walked);
                }
            }
        }
    }

    fn check_head(
        &self,
        head: &SegmentHead,
        number: u64,
        is_first: bool,
        bytes: &[u8],
        walked: &Walked,
    ) -> Result<(), WalkError> {
        let what = if head.folder != self.folder || head.segment != number {
            "the segment belongs to another place or folder"
        } else if (bytes.len() as u64) < head.bytes {
            "the file is shorter than it was made"
        } else if is_first && !head.is_base {
            "the segments before are gone"
        } else if head.generation != walked.generation
            || head.first_batch != walked.next_batch
            || head.first_sequence != walked.next_sequence
            || head.previous_checksum != walked.previous_checksum
        {
            "the segment does not follow the one before"
        } else {
            return Ok(());
        };
        Err(WalkError::Damage(Damage::at(Place { segment: number, offset: 0 }, what)))
    }

    fn batch_at<'b>(&self, bytes: &'b [u8], walked: &Walked, base_index: Option<u64>) -> At<'b> {
        let place = walked.end;
        let start = place.offset as usize;
        let Some(sector) = bytes.get(start..start + SECTOR_BYTES) else {
            return At::End;
        };
        let Some((head, checksum)) = BatchHead::decode(sector, self.folder, place) else {
            if is_zero(sector) {
                return At::End;
            }
            return At::Bad { damage: Damage::at(place, "the batch's head"), looks_torn: looks_torn(sector) };
        };
        let (kind_fits, first_sequence) = match (head.kind, base_index) {
            (BatchKind::Records, None) => (true, walked.next_sequence),
            (BatchKind::Base | BatchKind::BaseEnd, Some(index)) => (true, index),
            _ => (false, 0),
        };
        if !kind_fits
            || head.first_sequence != first_sequence
            || head.batch != walked.next_batch
            || head.previous_checksum != walked.previous_checksum
        {
            let damage = Damage::at(place, "the batch does not follow the one before");
            return At::Bad { damage, looks_torn: false };
        }
        let body_start = start + BATCH_HEAD_BYTES;
        let Some(sectors) = bytes.get(start..start + head.disk_bytes() as usize) else {
            return At::Bad { damage: Damage::at(place, "the file ends within the batch"), looks_torn: false };
        };
        let body = &bytes[body_start..body_start + head.body_bytes as usize];
        for record in Records::new(self.folder, place, &head, body) {
            if let Err(at) = record {
                return At::Bad { damage: Damage::at(at, "the record's checksum"), looks_torn: looks_torn(sectors) };
            }
        }
        At::Batch(head, checksum, body)
    }

    /// Judges what lies behind `end`, the end of the last segment that has begun.
    fn tail(&self, bytes: &[u8], end: Place, bad: Option<(Damage, bool)>) -> Result<Option<Torn>, WalkError> {
        let rest = &bytes[end.offset as usize..];
        let mut torn_bytes = written_bytes(rest);
        let mut vouched = self.vouched(rest, end);
        let mut not_torn = bad.as_ref().is_some_and(|(_, looks_torn)| !looks_torn);
        for &number in self.numbers.iter().filter(|&&number| number > end.segment) {
            let later = self.read(number)?;
            let start = Place { segment: number, offset: 0 };
            vouched = vouched.max(self.vouched(&later, start));
            torn_bytes += written_bytes(&later);
            let sector = &later[..later.len().min(SECTOR_BYTES)];
            not_torn |= !is_zero(sector) && !looks_torn(sector);
            if SegmentHead::decode(&later).is_some() {
                let gap = Place { segment: end.segment + 1, offset: 0 };
                return Err(WalkError::Damage(Damage::at(gap, "the segment or its head is gone")));
            }
        }
        if vouched > end || not_torn {
            let damage = bad.map_or_else(|| Damage::at(end, "a batch that was synced is gone"), |(damage, _)| damage);
            return Err(WalkError::Damage(damage));
        }
        let file = segment_name(end.segment);
        Ok((torn_bytes > 0).then_some(Torn { file, offset: end.offset, bytes: torn_bytes }))
    }

    /// The furthest place that some whole batch head in `bytes` says was synced.
    fn vouched(&self, bytes: &[u8], start: Place) -> Place {
        let mut furthest = Place::default();
        for (index, sector) in bytes.chunks_exact(SECTOR_BYTES).enumerate() {
            let place = Place { offset: start.offset + (index * SECTOR_BYTES) as u64, ..start };
            if let Some((head, _)) = BatchHead::decode(sector, self.folder, place) {
                furthest = furthest.max(head.synced);
            }
        }
        furthest
    }

    /// The head of segment `number`; nothing if there is no such segment or it has not begun.
    fn head(&self, number: u64) -> Result<Option<SegmentHead>, WalkError> {
        if self.numbers.binary_search(&number).is_err() {
            return Ok(None);
        }
        let mut sector = [0; SECTOR_BYTES];
        let file = self.disk.open(&segment_name(number)).map_err(|source| read_error(number, source))?;
        match file.read_at(0, &mut sector) {
            Ok(()) => Ok(SegmentHead::decode(&sector)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(read_error(number, error)),
        }
    }

    fn read(&self, number: u64) -> Result<Vec<u8>, WalkError> {
        let read = || {
            let file = self.disk.open(&segment_name(number))?;
            file.forget_cache()?;
            let mut bytes = vec![0; file.bytes()? as usize];
            file.read_at(0, &mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| read_error(number, source))
    }
}

enum At<'b> {
    Batch(BatchHead, u32, &'b [u8]),
    End,
    Bad { damage: Damage, looks_torn: bool },
}

/// How many bytes there are up to the last that is not zero.
pub(super) fn written_bytes(bytes: &[u8]) -> u64 {
    let mut end = bytes.len();
    while end >= SECTOR_BYTES && is_zero(&bytes[end - SECTOR_BYTES..end]) {
        end -= SECTOR_BYTES;
    }
    bytes[..end].iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
}

fn visit_or_stop(flow: ControlFlow<()>) -> Result<(), WalkError> {
    if flow.is_break() { Err(WalkError::Stopped) } else { Ok(()) }
}

fn read_error(number: u64, source: io::Error) -> WalkError {
    WalkError::Io(format!("read {}", segment_name(number)), source)
}
