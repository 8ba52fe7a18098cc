//! Looking at a log from outside, while no node runs on it or from a copy: every segment, batch and record, up to the
//! end or to the first thing that does not pass. Nothing is changed and nothing is locked.

use std::ops::ControlFlow;

use super::disk::Disk;
use super::error::{Damage, OpenError, segment_name};
use super::format::{BatchKind, Place};
use super::identity::{FolderIdentity, io_error};
use super::recover::{Seen, Segments, Torn, WalkError};

/// One thing in a log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "row", rename_all = "snake_case")]
pub enum Row {
    /// A segment begins.
    Segment {
        /// Its file.
        file: String,
        /// Counts compactions.
        generation: u64,
        /// Whether the generation begins here.
        is_base: bool,
        /// The sequence number of the first record that is not of the base.
        first_sequence: u64,
    },
    /// A batch begins.
    Batch {
        /// Where.
        place: Place,
        /// What its records are.
        kind: BatchKind,
        /// Its number.
        batch: u64,
        /// How many records.
        record_count: u32,
        /// How many bytes they are.
        body_bytes: u32,
        /// Everything before this was synced when the batch was written.
        synced: Place,
    },
    /// A record.
    Record {
        /// Where.
        place: Place,
        /// Its sequence number, or its index in the base.
        sequence: u64,
        /// Whose it is.
        stream: u64,
        /// The bytes of its payload.
        payload_bytes: usize,
    },
}

/// What a log is, all in all.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// The cluster that the folder belongs to.
    pub cluster: String,
    /// The node.
    pub node: u32,
    /// How many segments are in use.
    pub segment_count: u64,
    /// How many batches passed.
    pub batch_count: u64,
    /// How many records passed.
    pub record_count: u64,
    /// The bytes of their payloads.
    pub payload_bytes: u64,
    /// What was found behind the end: normal after a crash, and cut when a node starts.
    pub torn: Option<Torn>,
    /// The first thing that does not pass. A node refuses to start on such a log.
    pub damage: Option<Damage>,
}

/// Who looks on: gets each row, and the payload if it is a record; breaks off when it has seen enough.
pub type Visit<'v> = dyn FnMut(Row, Option<&[u8]>) -> ControlFlow<()> + 'v;

/// Hands every row of the log in `disk` to `visit`, until it breaks off, and judges the whole.
///
/// # Errors
/// If the identity file cannot be read or the disk fails. Damage is no error here: it is in the verdict.
pub fn inspect(disk: &dyn Disk, visit: &mut Visit<'_>) -> Result<Verdict, OpenError> {
    let missing = || OpenError::Identity { folder: disk.display(), what: "missing: this is no log folder".to_owned() };
    let identity = FolderIdentity::read(disk)?.ok_or_else(missing)?;
    let mut verdict = Verdict {
        cluster: identity.identity.cluster,
        node: identity.identity.node.0,
        segment_count: 0,
        batch_count: 0,
        record_count: 0,
        payload_bytes: 0,
        torn: None,
        damage: None,
    };
    let segments = Segments::list(disk, identity.folder).map_err(|source| io_error(disk, "list the files", source))?;
    let base = segments.base();
    let walked = match base {
        Ok(Some(base)) => segments.walk(base, &mut |seen| visit_row(&seen, &mut verdict, visit)),
        Ok(None) => {
            let first = Place { segment: segments.numbers.first().copied().unwrap_or(1), offset: 0 };
            Err(WalkError::Damage(Damage::at(first, "no segment with a compacted start is there")))
        }
        Err(error) => Err(error),
    };
    match walked {
        Ok(walked) => verdict.torn = walked.torn,
        Err(WalkError::Damage(damage)) => verdict.damage = Some(damage),
        Err(WalkError::Io(doing, source)) => return Err(io_error(disk, &doing, source)),
        Err(WalkError::Stopped) => {}
    }
    Ok(verdict)
}

/// Judges the log in `disk`.
///
/// # Errors
/// As [`inspect`].
pub fn verify(disk: &dyn Disk) -> Result<Verdict, OpenError> {
    inspect(disk, &mut |_, _| ControlFlow::Continue(()))
}

fn visit_row(seen: &Seen<'_>, verdict: &mut Verdict, visit: &mut Visit<'_>) -> ControlFlow<()> {
    match seen {
        Seen::Segment(head) => {
            verdict.segment_count += 1;
            let row = Row::Segment {
                file: segment_name(head.segment),
                generation: head.generation,
                is_base: head.is_base,
                first_sequence: head.first_sequence,
            };
            visit(row, None)
        }
        Seen::Batch(place, head) => {
            verdict.batch_count += 1;
            let row = Row::Batch {
                place: *place,
                kind: head.kind,
                batch: head.batch,
                record_count: head.record_count,
                body_bytes: head.body_bytes,
                synced: head.synced,
            };
            visit(row, None)
        }
        Seen::Record(_, record) => {
            verdict.record_count += 1;
            verdict.payload_bytes += record.payload.len() as u64;
            let row = Row::Record {
                place: record.place,
                sequence: record.sequence,
                stream: record.stream,
                payload_bytes: record.payload.len(),
            };
            visit(row, Some(record.payload))
        }
    }
}
