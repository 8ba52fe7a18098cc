//! The bytes of a segment.
//!
//! ```text
//! sector 0             | segment head, 84 bytes, rest 0xff
//! sector a, whole ones | batch head, 64 bytes | record | record | ... | 0xff up to the end of the sector
//! sector b             | batch head ...
//! the rest             | zeros
//! record               | checksum u32 | length u32 | stream u64 | payload
//! ```
//!
//! All numbers are little-endian. Each checksum is CRC-32C and covers the *place* too: folder, segment, offset, and for a
//! record its sequence number. So what was written to a wrong place, or stayed from an earlier time, does not pass.
//!
//! A batch begins on a sector of its own: no sector that holds synced bytes is ever written again. A sector is written
//! whole or not at all (what disks promise; 512 bytes is the smallest they promise it for), and what was never written
//! is zeros. Hence a batch that was cut by a crash shows a sector that ends with zeros, because ours never do by
//! themselves except where a payload does; a batch without such a sector that does not pass was *damaged*.

use crc_fast::{CrcAlgorithm, Digest};

/// The unit that a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// The bytes of a batch before its records.
pub const BATCH_HEAD_BYTES: usize = 64;

/// The bytes of a record before its payload.
pub const RECORD_HEAD_BYTES: usize = 16;

/// The largest payload of one record.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// The version of these formats.
pub const FORMAT_VERSION: u32 = 1;

/// What fills a sector behind the last byte that means something. Not zero, so that a sector that was written differs
/// from one that was not.
pub const FILLER: u8 = 0xff;

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"QrSegmnt");
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"QrBt");

/// How many zeros at the end of a sector make it look unwritten.
const ZEROS_OF_A_TEAR: usize = 16;

/// A place in the log: the order of places is the order of writing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, serde::Serialize)]
pub struct Place {
    /// The number of the segment.
    pub segment: u64,
    /// The offset in it, in bytes.
    pub offset: u64,
}

/// What a segment says about itself and about the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHead {
    /// The random number of the data folder.
    pub folder: u64,
    /// The number of the segment.
    pub segment: u64,
    /// The length of the file, written with zeros and synced before this head was: a shorter file was damaged.
    pub bytes: u64,
    /// Counts compactions; all segments since the last one share it.
    pub generation: u64,
    /// Whether the generation begins here.
    pub is_base: bool,
    /// Where the segment before ends; it is synced up to there. Zero if there was none.
    pub previous_end: u64,
    /// The number of the first batch.
    pub first_batch: u64,
    /// The sequence number of the first record that is not of the base.
    pub first_sequence: u64,
    /// The checksum of the batch before; zero at a base.
    pub previous_checksum: u32,
}

/// What the records of a batch are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchKind {
    /// Appended one by one.
    Records,
    /// Part of what a compaction wrote in place of all before.
    Base,
    /// Says that the base is complete. Has no records.
    BaseEnd,
}

/// What a batch says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHead {
    /// What its records are.
    pub kind: BatchKind,
    /// The bytes of its records.
    pub body_bytes: u32,
    /// How many records.
    pub record_count: u32,
    /// The number of the batch; they have no gaps.
    pub batch: u64,
    /// The sequence number of its first record; within a base, its index in the base.
    pub first_sequence: u64,
    /// Everything before this place was synced when the batch was written.
    pub synced: Place,
    /// The checksum of the batch before; zero at the first of a generation.
    pub previous_checksum: u32,
}

impl SegmentHead {
    /// The first sector of the segment.
    #[must_use]
    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut out = [FILLER; SECTOR_BYTES];
        out[0..8].copy_from_slice(&SEGMENT_MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&u32::from(self.is_base).to_le_bytes());
        for (index, number) in [
            self.folder,
            self.segment,
            self.bytes,
            self.generation,
            self.previous_end,
            self.first_batch,
            self.first_sequence,
            self.previous_checksum.into(),
        ]
        .into_iter()
        .enumerate()
        {
            out[16 + 8 * index..24 + 8 * index].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = checksum(&[&out[..80], &out[84..]]);
        out[80..84].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads a first sector; nothing if it is none.
    #[must_use]
    pub fn decode(sector: &[u8]) -> Option<Self> {
        let sector = sector.first_chunk::<SECTOR_BYTES>()?;
        if u64_at(sector, 0) != SEGMENT_MAGIC
            || u32_at(sector, 8) != FORMAT_VERSION
            || u32_at(sector, 12) > 1
            || u32_at(sector, 80) != checksum(&[&sector[..80], &sector[84..]])
        {
            return None;
        }
        Some(Self {
            folder: u64_at(sector, 16),
            segment: u64_at(sector, 24),
            bytes: u64_at(sector, 32),
            generation: u64_at(sector, 40),
            is_base: u32_at(sector, 12) == 1,
            previous_end: u64_at(sector, 48),
            first_batch: u64_at(sector, 56),
            first_sequence: u64_at(sector, 64),
            previous_checksum: u32_at(sector, 72),
        })
    }
}

impl BatchHead {
    /// The head for `place`, and its checksum.
    #[must_use]
    pub fn encode(&self, folder: u64, place: Place) -> ([u8; BATCH_HEAD_BYTES], u32) {
        let mut out = [0; BATCH_HEAD_BYTES];
        out[0..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        let kind = match self.kind {
            BatchKind::Records => 1_u32,
            BatchKind::Base => 2,
            BatchKind::BaseEnd => 3,
        };
        out[4..8].copy_from_slice(&kind.to_le_bytes());
        out[8..12].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&self.record_count.to_le_bytes());
        out[16..24].copy_from_slice(&self.batch.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[32..40].copy_from_slice(&self.synced.segment.to_le_bytes());
        out[40..48].copy_from_slice(&self.synced.offset.to_le_bytes());
        out[48..52].copy_from_slice(&self.previous_checksum.to_le_bytes());
        let checksum = checksum(&[&place_bytes(folder, place), &out[..60]]);
        out[60..64].copy_from_slice(&checksum.to_le_bytes());
        (out, checksum)
    }

    /// Reads the head of a batch at `place`, and its checksum; nothing if there is none that belongs there.
    #[must_use]
    pub fn decode(bytes: &[u8], folder: u64, place: Place) -> Option<(Self, u32)> {
        let head = bytes.first_chunk::<BATCH_HEAD_BYTES>()?;
        if u32_at(head, 0) != BATCH_MAGIC {
            return None;
        }
        let checksum = checksum(&[&place_bytes(folder, place), &head[..60]]);
        if u32_at(head, 60) != checksum {
            return None;
        }
        let kind = match u32_at(head, 4) {
            1 => BatchKind::Records,
            2 => BatchKind::Base,
            3 => BatchKind::BaseEnd,
            _ => return None,
        };
        let head = Self {
            kind,
            body_bytes: u32_at(head, 8),
            record_count: u32_at(head, 12),
            batch: u64_at(head, 16),
            first_sequence: u64_at(head, 24),
            synced: Place { segment: u64_at(head, 32), offset: u64_at(head, 40) },
            previous_checksum: u32_at(head, 48),
        };
        Some((head, checksum))
    }

    /// The bytes of the whole batch on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        whole_sectors(BATCH_HEAD_BYTES + self.body_bytes as usize) as u64
    }
}

/// A record in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordAt<'a> {
    /// Where it begins.
    pub place: Place,
    /// Its sequence number, or its index in the base.
    pub sequence: u64,
    /// Whose it is.
    pub stream: u64,
    /// What was appended.
    pub payload: &'a [u8],
}

/// The records of one batch, each checked as it is reached.
pub struct Records<'a> {
    folder: u64,
    place: Place,
    sequence: u64,
    left_count: u32,
    body: &'a [u8],
}

impl<'a> Records<'a> {
    /// The records of a batch with `head` at `place`, whose records are the bytes `body`.
    #[must_use]
    pub fn new(folder: u64, place: Place, head: &BatchHead, body: &'a [u8]) -> Self {
        let place = Place { offset: place.offset + BATCH_HEAD_BYTES as u64, ..place };
        Self { folder, place, sequence: head.first_sequence, left_count: head.record_count, body }
    }
}

impl<'a> Iterator for Records<'a> {
    /// A record, or the place of one that does not pass; nothing follows that.
    type Item = Result<RecordAt<'a>, Place>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left_count == 0 {
            if self.body.is_empty() {
                return None;
            }
            self.body = &[];
            return Some(Err(self.place));
        }
        let Some((head, rest)) = self.body.split_first_chunk::<RECORD_HEAD_BYTES>() else {
            return self.end_with_error();
        };
        let length = u32_at(head, 4) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            return self.end_with_error();
        };
        let stream = u64_at(head, 8);
        if u32_at(head, 0) != record_checksum(self.folder, self.place, self.sequence, stream, payload) {
            return self.end_with_error();
        }
        let record = RecordAt { place: self.place, sequence: self.sequence, stream, payload };
        self.place.offset += (RECORD_HEAD_BYTES + length) as u64;
        self.sequence += 1;
        self.left_count -= 1;
        self.body = rest;
        Some(Ok(record))
    }
}

impl<'a> Records<'a> {
    fn end_with_error(&mut self) -> Option<Result<RecordAt<'a>, Place>> {
        self.left_count = 0;
        self.body = &[];
        Some(Err(self.place))
    }
}

/// Appends a record whose place is not known yet; [`seal_records`] completes it.
pub fn put_record(out: &mut Vec<u8>, stream: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEAD_BYTES]);
    out[start + 8..start + 16].copy_from_slice(&stream.to_le_bytes());
    write(out);
    let length = out.len() - start - RECORD_HEAD_BYTES;
    assert!(length <= PAYLOAD_BYTES_MAX, "a record is bounded by whoever appends it");
    out[start + 4..start + 8].copy_from_slice(&(length as u32).to_le_bytes());
}

/// Where the record that starts at `at` of `records` ends.
#[must_use]
pub fn record_end(records: &[u8], at: usize) -> usize {
    at + RECORD_HEAD_BYTES + u32_at(&records[at..], 4) as usize
}

/// Writes the checksums of records that [`put_record`] made, now that their place is known.
pub fn seal_records(records: &mut [u8], folder: u64, mut place: Place, mut sequence: u64) {
    let mut at = 0;
    while at < records.len() {
        let end = record_end(records, at);
        let stream = u64_at(&records[at..], 8);
        let checksum = record_checksum(folder, place, sequence, stream, &records[at + RECORD_HEAD_BYTES..end]);
        records[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        place.offset += (end - at) as u64;
        sequence += 1;
        at = end;
    }
}

/// `bytes` rounded up to whole sectors.
#[must_use]
pub fn whole_sectors(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR_BYTES)
}

/// Whether some sector of `bytes` ends as one does that a crash cut off.
#[must_use]
pub fn looks_torn(bytes: &[u8]) -> bool {
    bytes.chunks(SECTOR_BYTES).any(|sector| {
        let tail = &sector[sector.len().saturating_sub(ZEROS_OF_A_TEAR)..];
        sector.len() < SECTOR_BYTES || is_zero(tail)
    })
}

/// Whether all of `bytes` are zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<32>();
    words.iter().all(|word| *word == [0; 32]) && tail.iter().all(|&byte| byte == 0)
}

fn record_checksum(folder: u64, place: Place, sequence: u64, stream: u64, payload: &[u8]) -> u32 {
    let mut head = [0; 48];
    head[..24].copy_from_slice(&place_bytes(folder, place));
    head[24..32].copy_from_slice(&sequence.to_le_bytes());
    head[32..40].copy_from_slice(&stream.to_le_bytes());
    head[40..48].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    checksum(&[&head, payload])
}

fn place_bytes(folder: u64, place: Place) -> [u8; 24] {
    let mut out = [0; 24];
    out[..8].copy_from_slice(&folder.to_le_bytes());
    out[8..16].copy_from_slice(&place.segment.to_le_bytes());
    out[16..].copy_from_slice(&place.offset.to_le_bytes());
    out
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    digest.finalize() as u32
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_passes_at_its_place_and_at_no_other() {
        let mut body = Vec::new();
        put_record(&mut body, 7, |out| out.extend_from_slice(b"payload"));
        put_record(&mut body, 8, |_| {});
        let place = Place { segment: 3, offset: 1024 };
        let head = BatchHead {
            kind: BatchKind::Records,
            body_bytes: body.len() as u32,
            record_count: 2,
            batch: 5,
            first_sequence: 40,
            synced: Place { segment: 3, offset: 512 },
            previous_checksum: 9,
        };
        let (bytes, checksum) = head.encode(1, place);
        seal_records(&mut body, 1, Place { offset: place.offset + BATCH_HEAD_BYTES as u64, ..place }, 40);
        let passes = |folder, place: Place, first_sequence| {
            let records = Records::new(folder, place, &BatchHead { first_sequence, ..head }, &body);
            (BatchHead::decode(&bytes, folder, place).is_some(), records.filter(Result::is_ok).count())
        };
        assert_eq!(BatchHead::decode(&bytes, 1, place), Some((head, checksum)));
        assert_eq!(passes(1, place, 40), (true, 2));
        assert_eq!(passes(2, place, 40), (false, 0), "another folder");
        assert_eq!(passes(1, Place { segment: 4, ..place }, 40), (false, 0), "another segment");
        assert_eq!(passes(1, Place { offset: 1536, ..place }, 40), (false, 0), "another offset");
        assert_eq!(passes(1, place, 41).1, 0, "another sequence number");
    }

    #[test]
    fn a_sector_that_ends_with_zeros_looks_torn_and_ours_do_not() {
        let mut sectors = [FILLER; 2 * SECTOR_BYTES];
        assert!(!looks_torn(&sectors));
        sectors[SECTOR_BYTES - 16..SECTOR_BYTES].fill(0);
        assert!(looks_torn(&sectors));
        assert!(looks_torn(&[1; 100]), "a file that ends within a sector");
        assert!(is_zero(&[0; 77]) && !is_zero(&[0, 0, 1]));
    }
}
