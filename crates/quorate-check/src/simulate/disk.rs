//! The disk of a simulated process: a log of frames, of which the end may not be durable.
//!
//! A crash keeps any prefix of the bytes that were not synced, so it may tear a record. What is read back must be whole
//! frames; a torn end is cut, and only what was not synced can be torn.

use bytes::Bytes;
use quorate_model::codec::{HEADER_BYTES, Header, put_frame};
use quorate_model::{DecodeError, Wire};

use super::Draw;

/// The kind of a record's frame. The simulator has streams and files of its own.
const RECORD: u8 = 1;

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    synced: Vec<u8>,
    /// Written and not synced, with the end of each record.
    written: Vec<u8>,
    ends: Vec<usize>,
}

/// What a crash left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Left {
    /// How many records that were not synced are there all the same.
    pub kept: usize,
    /// Whether the record after them is there in part.
    pub torn: bool,
}

impl Disk {
    pub fn write(&mut self, record: &impl Wire) {
        put_frame(RECORD, &mut self.written, |out| record.encode(out));
        self.ends.push(self.written.len());
    }

    pub fn unsynced_count(&self) -> usize {
        self.ends.len()
    }

    /// The first `count` written records are durable from now on. Gives them back, read as they stand on disk.
    pub fn sync<R: Wire>(&mut self, count: usize) -> Result<Vec<R>, DecodeError> {
        let end = if count == 0 { 0 } else { self.ends[count - 1] };
        let bytes: Vec<u8> = self.written.drain(..end).collect();
        self.synced.extend_from_slice(&bytes);
        self.ends.drain(..count);
        for later in &mut self.ends {
            *later -= end;
        }
        let (records, used) = read(Bytes::from(bytes))?;
        assert!(used == end, "what was written is whole frames");
        Ok(records)
    }

    /// The power goes. `tear` allows the cut to fall inside a record.
    pub fn crash(&mut self, draw: &mut Draw, tear: bool) -> Left {
        let kept = draw.below(self.ends.len() as u64 + 1) as usize;
        let whole = if kept == 0 { 0 } else { self.ends[kept - 1] };
        let next = self.ends.get(kept).map_or(0, |end| end - whole);
        let part = if tear && next > 1 { draw.below(next as u64) as usize } else { 0 };
        self.synced.extend_from_slice(&self.written[..whole + part]);
        self.written.clear();
        self.ends.clear();
        Left { kept, torn: part > 0 }
    }

    /// Reads the log and cuts its torn end.
    pub fn recover<R: Wire>(&mut self) -> Result<Vec<R>, DecodeError> {
        let (records, used) = read(Bytes::copy_from_slice(&self.synced))?;
        self.synced.truncate(used);
        Ok(records)
    }

    /// Replaces the whole log by one that says the same.
    pub fn compact<R: Wire>(&mut self, records: impl Iterator<Item = R>) {
        self.synced.clear();
        for record in records {
            put_frame(RECORD, &mut self.synced, |out| record.encode(out));
        }
    }
}

/// The records of a log, and how many of its bytes are whole frames.
fn read<R: Wire>(bytes: Bytes) -> Result<(Vec<R>, usize), DecodeError> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let header = match Header::read(&bytes[at..]) {
            Ok(header) => header,
            Err(DecodeError::Short) => break,
            Err(other) => return Err(other),
        };
        let begin = at + HEADER_BYTES;
        let Some(end) = begin.checked_add(header.payload_bytes).filter(|end| *end <= bytes.len()) else { break };
        let payload = bytes.slice(begin..end);
        header.check(&payload)?;
        records.push(R::from_bytes(payload)?);
        at = end;
    }
    Ok((records, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        for seed in 0..200 {
            let mut draw = Draw::seeded(seed, 0);
            let mut disk = Disk::default();
            for record in 0_u64..6 {
                disk.write(&(record * 1000));
            }
            assert_eq!(disk.sync(2), Ok(vec![0_u64, 1000]));
            let left = disk.crash(&mut draw, true);
            let records: Vec<u64> = disk.recover().expect("a torn end is cut");
            assert_eq!(records, (0..2 + left.kept as u64).map(|record| record * 1000).collect::<Vec<_>>());
            disk.write(&7_u64);
            assert_eq!(disk.sync(1), Ok(vec![7_u64]));
            assert_eq!(disk.recover::<u64>().map(|records| records.len()), Ok(3 + left.kept), "after the cut end");
        }
    }
}
