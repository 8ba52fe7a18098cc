//! The write-ahead log: what a process appended comes back after a crash, all of it that was said to be durable, in
//! order, and nothing that was not appended.
//!
//! ```text
//! host thread                         log thread                        disk
//! append append append -> submit ---> one write, one fdatasync -------> batch
//! append append append -> submit ---> (gathers while the disk turns)
//!            notify, durable() <----- sequence number
//! ```
//!
//! | file | what |
//! |------|------|
//! | `group_commit` | the log as a process host sees it: append, submit, be told |
//! | `log`(self::Log) | the log one call at a time: batches, segments, compaction |
//! | `spare` | the next segment, made ahead of time |
//! | `format` | the bytes |
//! | `recover` | reading back; torn or damaged |
//! | `transaction` | transactions on top, as the notes draw them |
//! | `inspect` | looking at a log from outside |
//! | `disk`, `memory` | the real disk, and one that crashes in every way it can |
//!
//! One log serves all processes of a node, told apart by a *stream* number, so that one sync serves them all. A failed
//! write or sync is final ([`WalError`]): a page that a failed sync left behind may read well and be on no disk.
//!
//! Source: notes "Write Ahead Logging"; Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020.

pub mod disk;
mod error;
pub mod format;
mod group_commit;
mod identity;
pub mod inspect;
mod log;
pub mod memory;
pub mod recover;
mod spare;
pub mod transaction;

pub use disk::{Disk, Folder};
pub use error::{Damage, OpenError, WalError, segment_name, segment_number};
pub use group_commit::{Wal, WalMetrics};
pub use identity::{FolderIdentity, Identity};
pub use log::{Gathered, Log, Recovered};
pub use recover::Torn;

/// How large things are.
#[derive(Clone, Debug)]
pub struct Options {
    /// The length of a segment file. One that must hold a larger record is longer.
    pub segment_bytes: u64,
    /// The most that is written between two syncs, except for a single record that is larger.
    pub batch_bytes_max: usize,
    /// The most bytes that the log should take. Past this, less [`Options::reserve_bytes`], [`Wal::is_full`].
    pub bytes_max: u64,
    /// What is kept free below `bytes_max` for a compaction.
    pub reserve_bytes: u64,
    /// Whether the next segment is made on a thread of its own before it is needed.
    pub prepare_ahead: bool,
    /// The number of a folder that is made; drawn by chance if it is not given.
    pub folder: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            batch_bytes_max: 4 << 20,
            bytes_max: 1 << 30,
            reserve_bytes: 256 << 20,
            prepare_ahead: true,
            folder: None,
        }
    }
}
