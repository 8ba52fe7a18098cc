//! A disk in memory that keeps a record of what was done to it, and from that makes what a crash may leave.
//!
//! The promise of a real disk is modelled as weakly as a log may rely on: a sector of 512 bytes is written whole or not
//! at all; of everything that was not synced, any subset of sectors and of name changes may have reached the disk, in any
//! order. Beyond that it can fail a write, fail a sync (what was written before is then lost, and the file reads on as if
//! it were not: the pages are marked clean), be full, and flip a bit.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::{Rng, RngExt};

use super::disk::{Disk, File};
use super::format::SECTOR_BYTES;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

/// The next thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write fails with an I/O error, half done.
    Write,
    /// A sync fails, and what was not synced is lost from the disk but not from memory.
    Sync,
    /// No more room: files cannot grow, and what is within them can be written.
    Full,
}

/// What was done to the disk, in order. What a crash may leave is a function of this.
#[derive(Clone, Debug)]
enum Operation {
    Create { name: String, file: u64 },
    Remove { name: String },
    Rename { from: String, to: String, file: u64 },
    SyncNames,
    Write { file: u64, offset: u64, bytes: Vec<u8> },
    Sync { file: u64 },
}

#[derive(Default)]
struct Inner {
    /// What a running process sees.
    names: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Vec<u8>>,
    next_file: u64,
    /// What was done, if someone wants to know.
    history: Option<Vec<Operation>>,
    /// After so many writes and syncs, the fault.
    fault: Option<(u64, Fault)>,
}

impl MemoryDisk {
    /// An empty disk that remembers what is done to it, so that [`MemoryDisk::crash`] works.
    #[must_use]
    pub fn recording() -> Self {
        let disk = Self::default();
        disk.inner().history = Some(Vec::new());
        disk
    }

    /// A copy of what a running process sees.
    #[must_use]
    pub fn copy(&self) -> Self {
        let inner = self.inner();
        let copy = Self::default();
        {
            let mut to = copy.inner();
            to.names.clone_from(&inner.names);
            to.contents.clone_from(&inner.contents);
            to.next_file = inner.next_file;
        }
        copy
    }

    /// A disk that holds what a running process sees of this one, all of it durable, and remembers what is done from now
    /// on.
    #[must_use]
    pub fn copy_recording(&self) -> Self {
        let copy = self.copy();
        {
            let mut inner = copy.inner();
            let mut history = Vec::new();
            for (name, &file) in &inner.names {
                let bytes = inner.contents[&file].clone();
                history.push(Operation::Create { name: name.clone(), file });
                history.push(Operation::Write { file, offset: 0, bytes });
                history.push(Operation::Sync { file });
            }
            history.push(Operation::SyncNames);
            inner.history = Some(history);
        }
        copy
    }

    /// Lets the `count`-th write or sync from now on, counted from 0, meet `fault`.
    pub fn fail_after(&self, count: u64, fault: Fault) {
        self.inner().fault = Some((count, fault));
    }

    /// Lets nothing go wrong any more.
    pub fn heal(&self) {
        self.inner().fault = None;
    }

    /// How many operations were done so far.
    #[must_use]
    pub fn operation_count(&self) -> usize {
        self.inner().history.as_ref().map_or(0, Vec::len)
    }

    /// The content of a file as a running process sees it.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.inner();
        inner.names.get(name).map(|file| inner.contents[file].clone())
    }

    /// Replaces the content of a file, for a test that damages it.
    pub fn set_content(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.inner();
        let file = match inner.names.get(name) {
            Some(&file) => file,
            None => inner.new_file(name),
        };
        inner.contents.insert(file, bytes);
    }

    /// What a power cut after the first `operation_count` operations leaves: all that was synced, and of the rest
    /// whatever `rng` says.
    pub fn crash(&self, operation_count: usize, rng: &mut impl Rng) -> Self {
        let inner = self.inner();
        let history = inner.history.as_ref().expect("only a recording disk can be crashed");
        let mut image = Image::default();
        for operation in &history[..operation_count] {
            image.apply(operation);
        }
        let kept_per_mille = [0, 100, 500, 900, 1000][rng.random_range(0..5)];
        image.settle(&mut |_| rng.random_range(0..1000) < kept_per_mille);
        let disk = Self::default();
        {
            let mut to = disk.inner();
            to.names = image.names;
            to.contents = image.contents;
            to.next_file = inner.next_file;
        }
        disk
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn record(&mut self, operation: impl FnOnce() -> Operation) {
        if let Some(history) = &mut self.history {
            history.push(operation());
        }
    }

    fn new_file(&mut self, name: &str) -> u64 {
        let file = self.next_file;
        self.next_file += 1;
        self.names.insert(name.to_owned(), file);
        self.contents.insert(file, Vec::new());
        file
    }

    fn fault(&mut self) -> Option<Fault> {
        let (count, fault) = self.fault.as_mut()?;
        if *count > 0 {
            *count -= 1;
            return None;
        }
        let fault = *fault;
        if fault != Fault::Full {
            self.fault = None;
        }
        Some(fault)
    }
}

/// The state on the platter while a history is played: what is durable, and what is on its way.
#[derive(Default)]
struct Image {
    names: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Vec<u8>>,
    /// Name changes that are not durable.
    changes: Vec<Operation>,
    /// Sectors that are not durable, oldest first: file, sector index, where in it, bytes.
    sectors: Vec<(u64, u64, usize, Vec<u8>)>,
}

impl Image {
    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Write { file, offset, bytes } => {
                let mut at = 0;
                while at < bytes.len() {
                    let position = *offset as usize + at;
                    let within = position % SECTOR_BYTES;
                    let length = (SECTOR_BYTES - within).min(bytes.len() - at);
                    let sector = (position / SECTOR_BYTES) as u64;
                    self.sectors.push((*file, sector, within, bytes[at..at + length].to_vec()));
                    at += length;
                }
            }
            Operation::Sync { file } => {
                let sectors = std::mem::take(&mut self.sectors);
                for (owner, sector, within, bytes) in sectors {
                    if owner == *file {
                        self.write(owner, sector, within, &bytes);
                    } else {
                        self.sectors.push((owner, sector, within, bytes));
                    }
                }
            }
            Operation::SyncNames => {
                for change in std::mem::take(&mut self.changes) {
                    self.change(&change);
                }
            }
            change => self.changes.push(change.clone()),
        }
    }

    /// Lets each thing that is on its way arrive or not.
    fn settle(&mut self, keep: &mut dyn FnMut(()) -> bool) {
        for change in std::mem::take(&mut self.changes) {
            if keep(()) {
                self.change(&change);
            }
        }
        for (file, sector, within, bytes) in std::mem::take(&mut self.sectors) {
            if keep(()) {
                self.write(file, sector, within, &bytes);
            }
        }
        self.contents.retain(|file, _| self.names.values().any(|named| named == file));
        for &file in self.names.values() {
            self.contents.entry(file).or_default();
        }
    }

    fn write(&mut self, file: u64, sector: u64, within: usize, bytes: &[u8]) {
        let content = self.contents.entry(file).or_default();
        let start = sector as usize * SECTOR_BYTES + within;
        if content.len() < start + bytes.len() {
            content.resize(start + bytes.len(), 0);
        }
        content[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn change(&mut self, change: &Operation) {
        match change {
            Operation::Create { name, file } => {
                self.names.insert(name.clone(), *file);
            }
            Operation::Remove { name } => {
                self.names.remove(name);
            }
            Operation::Rename { from, to, file } => {
                self.names.retain(|name, named| name != from || named != file);
                self.names.insert(to.clone(), *file);
            }
            Operation::SyncNames | Operation::Write { .. } | Operation::Sync { .. } => {
                unreachable!("only changes of names are kept among the changes")
            }
        }
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: u64,
}

impl Disk for MemoryDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let file = *self.inner().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), file }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut inner = self.inner();
        let file = inner.new_file(name);
        inner.record(|| Operation::Create { name: name.to_owned(), file });
        drop(inner);
        Ok(Box::new(MemoryFile { disk: self.clone(), file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        inner.record(|| Operation::Remove { name: name.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        let file = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.to_owned(), file);
        inner.record(|| Operation::Rename { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.inner().record(|| Operation::SyncNames);
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn Send>> {
        Ok(Box::new(()))
    }

    fn display(&self) -> String {
        "memory".to_owned()
    }
}

impl File for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.inner().contents[&self.file].len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let inner = self.disk.inner();
        let content = &inner.contents[&self.file];
        let start = offset as usize;
        let part = content.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let is_longer = offset + bytes.len() as u64 > inner.contents[&self.file].len() as u64;
        let (bytes, result) = match inner.fault() {
            None => (bytes, Ok(())),
            Some(Fault::Full) if !is_longer => (bytes, Ok(())),
            Some(Fault::Full) => (&bytes[..0], Err(io::ErrorKind::StorageFull.into())),
            Some(_) => (&bytes[..bytes.len() / 2], Err(io::Error::other("injected"))),
        };
        let file = self.file;
        let content = inner.contents.get_mut(&file).expect("an open file has a content");
        let end = offset as usize + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(bytes);
        inner.record(|| Operation::Write { file, offset, bytes: bytes.to_vec() });
        result
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        match self.disk.inner().fault {
            Some((0, Fault::Full)) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        match inner.fault() {
            None | Some(Fault::Full) => {
                let file = self.file;
                inner.record(|| Operation::Sync { file });
                Ok(())
            }
            Some(_) => {
                // The pages are marked clean: a later sync of the file will not write them. So they go from the record.
                let file = self.file;
                if let Some(history) = &mut inner.history {
                    let synced =
                        history.iter().rposition(|done| matches!(done, Operation::Sync { file: of } if *of == file));
                    let from = synced.map_or(0, |at| at + 1);
                    for done in &mut history[from..] {
                        if matches!(done, Operation::Write { file: of, .. } if *of == file) {
                            *done = Operation::Write { file, offset: 0, bytes: Vec::new() };
                        }
                    }
                }
                Err(io::Error::other("injected"))
            }
        }
    }

    fn forget_cache(&self) -> io::Result<()> {
        self.sync()
    }
}
