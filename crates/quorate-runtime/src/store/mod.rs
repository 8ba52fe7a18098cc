//! The store: tables that are larger than memory, below the key-value machine.
//!
//! ```text
//! insert, remove -> overlay (in memory, ordered, snapshots are free)
//!                      | checkpoint(index, beside): frozen at once
//!                      v
//!                   layers that wait, newest first (in memory)
//!                      | one thread: all that waits as one sorted run
//!                      v
//!                   engine (on disk, log-structured merge tree)
//! ```
//!
//! A read looks through overlay, layers and engine, newest first. A clone takes all three as they are, so it is a snapshot
//! whatever is flushed meanwhile.
//!
//! *A crash leaves the last finished checkpoint or the one before it, never a part.* The argument: (1) the engine is
//! written only by [`Flusher`](self), one checkpoint at a time, and nothing else; (2) a checkpoint is one sorted run that
//! holds the marker (index, beside) as its first key; (3) the run's files are written and synced first, and then enter
//! the tree by one new version, whose pointer is replaced by an atomic rename: before it, no key of the run is seen,
//! after it, all are; (4) merging runs changes no content. The changes since the marker come back from the replicated
//! log above, which keeps them until [`Table::stored`](quorate_machines::kv::Table::stored) has passed them.
//!
//! A copy from another node is written beside the table that it is to replace (`family`).
//!
//! What is read from disk is verified: each block carries a 128-bit checksum, and a block that does not pass ends the
//! process rather than leave it.
//!
//! *Why this engine.* Measured with 1,000,000 entries of 64 + 256 bytes in checkpoints of 100,000: sorted runs into
//! fjall 3 cost 1.8 us of CPU an entry and 273 MB of disk; transactions of sorted inserts into redb 4 cost 10.6 us and
//! 866 MB. A random read from disk costs 9.6 us with fjall and 6.4 us with redb, but redb verifies no page when it reads one.

mod family;
mod flusher;
mod merge;
mod table;
mod trickle;
mod verify;

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Database, Readable};
use quorate_model::codec::{DecodeError, Wire};

pub use table::DiskTable;

use family::Family;
use flusher::{Flusher, Lineage};

/// The longest key, in bytes. Whoever takes keys from outside refuses longer ones.
pub const KEY_BYTES_MAX: usize = 60_000;

/// The key of the marker, and what is before each other key.
const MARKER_KEY: &[u8] = &[0];
const ENTRY_PREFIX: u8 = 1;

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the folder open. Nothing was changed.
    #[error("the store in {folder} is in use by another process: stop it, or give this one a folder of its own")]
    Locked {
        /// The folder.
        folder: String,
    },
    /// Bytes on disk are not what was written. Nothing was changed.
    #[error(
        "the store in {folder} is damaged: {file}: {what}. Put back a copy of the data folder that was made after the node last \
         stopped; what the other nodes have is not harmed"
    )]
    Damaged {
        /// The folder.
        folder: String,
        /// Which file in it.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The disk is full. What was durable before still is.
    #[error("the disk is full: the store in {folder} cannot be written; make room and start again")]
    Full {
        /// The folder.
        folder: String,
    },
    /// The engine failed. What was durable before still is, unless the disk lost it.
    #[error(
        "the store in {folder} failed: {message}. Check the disk and the folder's permissions, then start the node again"
    )]
    Engine {
        /// The folder.
        folder: String,
        /// What the engine said.
        message: String,
    },
    /// The marker cannot be read: another version wrote it.
    #[error("the store in {folder} was written by another version: {error}. Run the build that wrote it")]
    Marker {
        /// The folder.
        folder: String,
        /// What is unknown.
        error: DecodeError,
    },
}

/// How large things are.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The memory for blocks that were read, in bytes.
    pub cache_bytes: u64,
    /// The threads that merge runs in the background.
    pub merge_thread_count: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, merge_thread_count: 1 }
    }
}

/// An open folder of tables.
#[derive(Clone)]
pub struct Store {
    database: Database,
    flusher: Arc<Flusher>,
    folder: Arc<str>,
}

impl Store {
    /// Opens the tables in `folder`, or makes it.
    ///
    /// # Errors
    /// If another process has it open, or the engine fails.
    pub fn open(folder: impl AsRef<Path>, options: &StoreOptions) -> Result<Self, StoreError> {
        let path = folder.as_ref();
        let folder: Arc<str> = path.display().to_string().into();
        verify::check(path)?;
        let builder =
            Database::builder(path).cache_size(options.cache_bytes).worker_threads(options.merge_thread_count);
        // On bytes that it does not expect the engine may break instead of giving an error. Nothing of it is kept then.
        let opened = catch_unwind(AssertUnwindSafe(|| builder.open()));
        let opened = opened.unwrap_or(Err(fjall::Error::Unrecoverable));
        let database = opened.map_err(|error| engine_error(&folder, &error))?;
        let flusher = Flusher::start(database.clone(), Arc::clone(&folder));
        Ok(Self { database, flusher: Arc::new(flusher), folder })
    }

    /// Why the store cannot be used any more, if so: the node must end.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.flusher.failed().map(str::to_owned)
    }

    /// Opens the table `name`, or makes it. A table is opened once; clones are its snapshots.
    ///
    /// # Errors
    /// If the engine fails or another version wrote the table.
    pub fn table(&self, name: &str) -> Result<DiskTable, StoreError> {
        let opened = Family::open(self.database.clone(), name);
        let (family, generation, keyspace) = opened.map_err(|error| engine_error(&self.folder, &error))?;
        let base = self.database.snapshot();
        let marker = base.get(&keyspace, MARKER_KEY).map_err(|error| engine_error(&self.folder, &error))?;
        let marker: Option<(u64, Bytes)> = match marker {
            None => None,
            Some(bytes) => {
                let decoded = Wire::from_bytes(Bytes::from(bytes));
                let error = |error| StoreError::Marker { folder: self.folder.to_string(), error };
                Some(decoded.map_err(error)?)
            }
        };
        let lineage = Lineage::new(keyspace, base.clone(), marker);
        Ok(DiskTable::new(Arc::clone(&self.flusher), Arc::new(family), generation, Arc::new(lineage), base))
    }
}

/// The engine's error, with the damaged file if there is one.
fn engine_error(folder: &str, error: &fjall::Error) -> StoreError {
    let engine = |message: String| StoreError::Engine { folder: folder.to_owned(), message };
    match error {
        fjall::Error::Locked => StoreError::Locked { folder: folder.to_owned() },
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))
            if !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::NotFound | ErrorKind::InvalidData) =>
        {
            match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { folder: folder.to_owned() },
                _ => engine(error.to_string()),
            }
        }
        fjall::Error::InvalidVersion(_) => {
            let (file, what) = ("version".to_owned(), "it names no version that this build reads".to_owned());
            StoreError::Damaged { folder: folder.to_owned(), file, what }
        }
        other => verify::damaged_file(Path::new(folder)).unwrap_or_else(|| engine(other.to_string())),
    }
}
