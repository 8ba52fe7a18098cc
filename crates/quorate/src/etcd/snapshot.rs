//! A snapshot as a file: one view of the store, whole and checked.
//!
//! ```text
//! "QUORSNP1"                                    8 bytes
//! frame: the counters                           each frame: its length (u32, little endian), then so many bytes
//! frames: entries                               each entry: key length (u32), key, value length (u32), value
//! frame of length 0
//! zeros up to a multiple of 512
//! SHA-256 of everything before                  32 bytes
//! ```
//!
//! The padding is there because etcdctl takes a file for whole when its length is that of a checksum over a multiple of
//! 512. The entries are those of the store's table, in order (see `quorate_machines::kv`); they are not etcd's own file
//! format, which is a database of another engine.

use std::io::{self, Read};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_machines::kv::{Chunk, Restore, Table};
use ring::digest;

use crate::keyspace::View;

const MAGIC: &[u8; 8] = b"QUORSNP1";
const BLOCK_BYTES: u64 = 512;
const CHECKSUM_BYTES: usize = 32;
/// About how large the frames are that are written.
const FRAME_BYTES: usize = 64 << 10;
/// The largest frame that is taken: an entry of the largest request, with room.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Writes a view as a snapshot, frame by frame.
pub struct Writer {
    view: View,
    after: Option<Bytes>,
    hash: digest::Context,
    written: u64,
    state: Writing,
}

enum Writing {
    Head,
    Entries,
    Done,
}

impl Writer {
    /// Of `view`.
    #[must_use]
    pub fn new(view: View) -> Self {
        Self { view, after: None, hash: digest::Context::new(&digest::SHA256), written: 0, state: Writing::Head }
    }

    /// How long the whole snapshot of `view` is, in bytes. `pause` is called between pieces, since it reads them all.
    pub async fn total_bytes<F: Future<Output = ()>>(view: &View, pause: impl Fn() -> F) -> u64 {
        let mut writer = Self::new(view.clone());
        let mut total = 0;
        loop {
            let Some(bytes) = writer.next_length() else { return total };
            total += bytes;
            pause().await;
        }
    }

    /// The length of the next piece, without making it.
    fn next_length(&mut self) -> Option<u64> {
        let bytes = match self.state {
            Writing::Head => {
                self.state = Writing::Entries;
                (MAGIC.len() + 4 + self.view.head().len()) as u64
            }
            Writing::Entries => {
                let chunk = self.view.chunk(self.after.as_deref(), FRAME_BYTES);
                let bytes: usize = chunk.entries.iter().map(|(key, value)| 8 + key.len() + value.len()).sum();
                let mut bytes = bytes as u64 + if bytes == 0 { 0 } else { 4 };
                self.after = chunk.entries.last().map(|(key, _)| key.clone());
                if chunk.last {
                    self.state = Writing::Done;
                    bytes += 4;
                    bytes += padding(self.written + bytes) + CHECKSUM_BYTES as u64;
                }
                bytes
            }
            Writing::Done => return None,
        };
        self.written += bytes;
        Some(bytes)
    }

    /// The next piece; `None` after the last.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        let mut piece = BytesMut::new();
        match self.state {
            Writing::Head => {
                piece.put_slice(MAGIC);
                let head = self.view.head();
                piece.put_u32_le(u32::try_from(head.len()).expect("counters are short"));
                piece.put_slice(&head);
                self.state = Writing::Entries;
            }
            Writing::Entries => {
                let chunk = self.view.chunk(self.after.as_deref(), FRAME_BYTES);
                if !chunk.entries.is_empty() {
                    piece.put_u32_le(0); // the length, once it is known
                    for (key, value) in &chunk.entries {
                        for part in [key, value] {
                            piece.put_u32_le(u32::try_from(part.len()).expect("entries are bounded by requests"));
                            piece.put_slice(part);
                        }
                    }
                    let length = u32::try_from(piece.len() - 4).expect("a frame is one chunk");
                    piece[..4].copy_from_slice(&length.to_le_bytes());
                }
                self.after = chunk.entries.last().map(|(key, _)| key.clone());
                if chunk.last {
                    piece.put_u32_le(0);
                    piece.put_bytes(0, usize::try_from(padding(self.written + piece.len() as u64)).expect("below 512"));
                    self.state = Writing::Done;
                    self.hash.update(&piece);
                    piece.put_slice(self.hash.clone().finish().as_ref());
                    return Some(piece.freeze());
                }
            }
            Writing::Done => return None,
        }
        self.hash.update(&piece);
        self.written += piece.len() as u64;
        Some(piece.freeze())
    }
}

fn padding(length: u64) -> u64 {
    length.next_multiple_of(BLOCK_BYTES) - length
}

/// Why a file is no snapshot. Nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It could not be read.
    #[error("the snapshot could not be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("this is not a snapshot of a Quorate store")]
    Foreign,
    /// It was damaged or cut.
    #[error("the snapshot is damaged: its checksum does not fit")]
    Damaged,
    /// It is whole, but no store could have written it.
    #[error("the snapshot makes no store: {0}")]
    Malformed(String),
}

/// Reads a snapshot, and builds its store in the empty `table`.
///
/// # Errors
/// See [`SnapshotError`].
pub fn read<T: Table>(source: impl Read, table: T) -> Result<quorate_machines::kv::View<T>, SnapshotError> {
    let mut input = Hashing { source, hash: digest::Context::new(&digest::SHA256), read: 0 };
    if input.take(MAGIC.len())?[..] != MAGIC[..] {
        return Err(SnapshotError::Foreign);
    }
    let malformed = |error: quorate_model::DecodeError| SnapshotError::Malformed(error.to_string());
    let head = input.frame()?;
    let mut restore = Restore::new(table, head).map_err(malformed)?;
    loop {
        let mut frame = input.frame()?;
        if frame.is_empty() {
            break;
        }
        let mut entries = Vec::new();
        while !frame.is_empty() {
            entries.push((part(&mut frame)?, part(&mut frame)?));
        }
        restore.take(Chunk { entries, last: false }).map_err(malformed)?;
    }
    input.take(usize::try_from(padding(input.read)).expect("below 512"))?;
    let wanted = input.hash.clone().finish();
    if input.take(CHECKSUM_BYTES)?[..] != *wanted.as_ref() {
        return Err(SnapshotError::Damaged);
    }
    restore.finish().map_err(malformed)
}

fn part(frame: &mut Bytes) -> Result<Bytes, SnapshotError> {
    let length = frame.try_get_u32_le().map_err(|_| SnapshotError::Damaged)? as usize;
    if frame.len() < length {
        return Err(SnapshotError::Damaged);
    }
    Ok(frame.split_to(length))
}

struct Hashing<R> {
    source: R,
    hash: digest::Context,
    read: u64,
}

impl<R: Read> Hashing<R> {
    fn take(&mut self, length: usize) -> Result<Bytes, SnapshotError> {
        let mut bytes = vec![0; length];
        self.source.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SnapshotError::Damaged,
            _ => SnapshotError::Io(error),
        })?;
        self.hash.update(&bytes);
        self.read += length as u64;
        Ok(bytes.into())
    }

    fn frame(&mut self) -> Result<Bytes, SnapshotError> {
        let length = self.take(4)?.get_u32_le() as usize;
        if length > FRAME_BYTES_MAX {
            return Err(SnapshotError::Damaged);
        }
        self.take(length)
    }
}
