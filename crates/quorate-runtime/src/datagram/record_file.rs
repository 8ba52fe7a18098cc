//! The records of a process that seldom writes any, in one small file that is replaced as a whole.
//!
//! A log would be a thread, a segment and a sync in turn for a number that changes once a life. Here each write puts the
//! shortest list of records with the same durable state into a new file, syncs it, and gives it the name of the old one: a
//! crash leaves one of the two, whole.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use quorate_model::codec::{HEADER_BYTES, Header, put_frame};
use quorate_model::{DecodeError, Reader, Wire};

use crate::wal::Disk;

const RECORDS_KIND: u8 = 0x1e;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Why the records were not read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordFileError {
    /// The disk failed.
    #[error("cannot read {name} in {folder}: {source}")]
    Io {
        /// Which folder.
        folder: String,
        /// Which file.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What is there is not what was written; take it away to begin anew.
    #[error("{name} in {folder} is damaged: {error}")]
    Damaged {
        /// Which folder.
        folder: String,
        /// Which file.
        name: &'static str,
        /// What is wrong with it.
        error: DecodeError,
    },
}

/// See the module.
pub struct RecordFile {
    disk: Arc<dyn Disk>,
    name: &'static str,
}

impl RecordFile {
    /// The file of this name on `disk`, which need not be there.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, name: &'static str) -> Self {
        Self { disk, name }
    }

    /// The records that were written last; none if there is no file.
    ///
    /// # Errors
    /// See [`RecordFileError`].
    pub fn read<R: Wire>(&self) -> Result<Vec<R>, RecordFileError> {
        let bytes = match self.bytes() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(RecordFileError::Io { folder: self.disk.display(), name: self.name, source }),
        };
        let damaged = |error| RecordFileError::Damaged { folder: self.disk.display(), name: self.name, error };
        decode(&bytes).map_err(damaged)
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let file = self.disk.open(self.name)?;
        let length = file.bytes()?.min(FILE_BYTES_MAX); // a longer one is none of ours, and its frame will say so
        let mut bytes = vec![0; length as usize];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Puts `records` in the place of what was there, whole or not at all, and durably.
    ///
    /// # Errors
    /// What the operating system says; what was there is there still, or these are.
    pub fn write<R: Wire>(&self, records: impl Iterator<Item = R>) -> io::Result<()> {
        let records: Vec<R> = records.collect();
        let mut bytes = Vec::new();
        put_frame(RECORDS_KIND, &mut bytes, |out| records.encode(out));
        let new = format!("{}.new", self.name);
        let file = self.disk.create(&new)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        self.disk.rename(&new, self.name)?;
        self.disk.sync_names()
    }
}

fn decode<R: Wire>(bytes: &[u8]) -> Result<Vec<R>, DecodeError> {
    let header = Header::read(bytes)?;
    let payload = &bytes[HEADER_BYTES..];
    if header.kind != RECORDS_KIND {
        return Err(DecodeError::Unknown { what: "kind of file", value: header.kind.into() });
    }
    if payload.len() != header.payload_bytes {
        return Err(DecodeError::Short);
    }
    header.check(payload)?;
    let mut reader = Reader::new(Bytes::copy_from_slice(payload));
    let records = Vec::decode(&mut reader)?;
    reader.end()?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::wal::memory::{Fault, MemoryDisk};

    fn file(disk: &MemoryDisk) -> RecordFile {
        RecordFile::new(Arc::new(disk.clone()), "records")
    }

    fn read(disk: &MemoryDisk) -> Vec<u64> {
        file(disk).read().expect("it is whole")
    }

    #[test]
    fn whenever_the_power_fails_what_was_written_last_is_there_or_what_was_before() {
        let disk = MemoryDisk::recording();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut written = vec![(0, Vec::new())];
        for last in 1..5_u64 {
            file(&disk).write([last, last * 1000].into_iter()).expect("the disk is fine");
            written.push((disk.operation_count(), vec![last, last * 1000]));
        }
        let mut between = 0;
        for operation_count in 0..=disk.operation_count() {
            let done = written.iter().rposition(|(at, _)| *at <= operation_count).expect("nothing is there at first");
            for _ in 0..100 {
                let held = read(&disk.crash(operation_count, &mut rng));
                let newer = written.get(done + 1).map(|(_, records)| records);
                between += usize::from(newer == Some(&held));
                assert!(held == written[done].1 || newer == Some(&held), "{held:?} after {operation_count}");
            }
        }
        assert!(between > 0, "a write that was not acknowledged can be there");
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        for fault in [Fault::Write, Fault::Sync, Fault::Full] {
            let disk = MemoryDisk::recording();
            file(&disk).write([1_u64].into_iter()).expect("the disk is fine");
            disk.fail_after(0, fault);
            file(&disk).write([2_u64].into_iter()).expect_err("it fails");
            disk.heal();
            assert_eq!(read(&disk), [1]);
        }
    }

    #[test]
    fn each_changed_bit_is_noticed() {
        let disk = MemoryDisk::recording();
        file(&disk).write([7_u64, 1 << 40].into_iter()).expect("the disk is fine");
        let whole = disk.content("records").expect("it was written");
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            disk.set_content("records", changed);
            file(&disk).read::<u64>().expect_err("a bit is wrong");
        }
        for length in 0..whole.len() {
            disk.set_content("records", whole[..length].to_vec());
            file(&disk).read::<u64>().expect_err("it is too short");
        }
    }
}
