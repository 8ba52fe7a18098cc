//! What can go wrong with a log, and what to do then.

use std::io;

use super::format::Place;

/// Bytes that were synced and are not what was written. Nothing was changed on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error(
    "damaged log: {file} at byte {offset}: {what}. Nothing was cut. Put back a copy of the data folder that was made after the \
     node last stopped; what the other nodes have is not harmed"
)]
pub struct Damage {
    /// The segment file.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl Damage {
    pub(super) fn at(place: Place, what: impl Into<String>) -> Self {
        Self { file: segment_name(place.segment), offset: place.offset, what: what.into() }
    }
}

/// Why a log did not open. Nothing was changed on disk, except by [`OpenError::Io`].
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder open. Stop it, or give this one a folder of its own.
    #[error("the data folder {folder} is in use by another process: stop it, or give this one a folder of its own")]
    Locked {
        /// The folder.
        folder: String,
    },
    /// The folder belongs to another cluster.
    #[error("the data folder {folder} belongs to cluster {found:?}, not to {wanted:?}: give this node another folder")]
    OtherCluster {
        /// The folder.
        folder: String,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// The folder belongs to another node.
    #[error("the data folder {folder} belongs to node {found}, not to node {wanted}: give this node another folder")]
    OtherNode {
        /// The folder.
        folder: String,
        /// Whose it is.
        found: u32,
        /// Whose it should be.
        wanted: u32,
    },
    /// The folder was written by another version.
    #[error("the data folder {folder} has format {found}, but this build reads {wanted}: run the build that wrote it")]
    Format {
        /// The folder.
        folder: String,
        /// Its format.
        found: u32,
        /// Ours.
        wanted: u32,
    },
    /// The file that says whose the folder is cannot be read, or there is a log without it.
    #[error("the identity file of {folder} is {what}: the folder may be any node's. Put the file back from a copy")]
    Identity {
        /// The folder.
        folder: String,
        /// What is wrong with it.
        what: String,
    },
    /// Synced bytes are not what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The disk failed. If it failed while a torn tail was being cut, opening again cuts it.
    #[error("cannot {doing} in {folder}: {source}")]
    Io {
        /// The folder.
        folder: String,
        /// What was tried.
        doing: String,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why a log ended. It is final: nothing more is written, nothing is retried, and what was not durable by then may or
/// may not be on the disk. Start the node again: it reads what the disk kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// The disk is full.
    #[error("the disk is full: could not {doing} {file}. The log has ended; make room and start again")]
    Full {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        file: String,
    },
    /// The disk failed to write or to sync.
    #[error("could not {doing} {file}: {message}. The log has ended; check the disk, then start again")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        file: String,
        /// What the operating system said.
        message: String,
    },
    /// The thread that writes the log ended without a word.
    #[error("the log's thread has ended. Start again")]
    ThreadEnded,
}

impl WalError {
    pub(super) fn new(doing: &'static str, file: String, source: &io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull || source.kind() == io::ErrorKind::QuotaExceeded {
            Self::Full { doing, file }
        } else {
            Self::Io { doing, file, message: source.to_string() }
        }
    }
}

/// The name of a segment's file.
#[must_use]
pub fn segment_name(segment: u64) -> String {
    format!("{segment:016}.wal")
}

/// The number of the segment whose file has `name`.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}
