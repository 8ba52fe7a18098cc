//! The next segment, made before it is needed: reserved, filled with zeros and synced on a thread of its own, so that the
//! log's own syncs have no length and no extents to write.
//!
//! It is also how a full disk is seen early: while the next segment cannot be made, the log still goes on in the one it
//! has, and the host can refuse new work before anything fails.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::disk::{Disk, File};
use super::error::segment_name;
use super::format::SECTOR_BYTES;

/// How many bytes of zeros are written between two syncs while a segment is prepared: small, so that the log's own
/// syncs do not wait behind it.
pub(super) const PREPARE_BYTES: usize = 1 << 20;

/// How long after a segment could not be made it is tried again.
const PREPARE_AGAIN: Duration = Duration::from_secs(1);

/// A segment file and its length.
type Prepared = (Box<dyn File>, u64);

/// The segment after the one in use.
#[derive(Default)]
pub(super) struct Spare {
    state: State,
    is_short_of_room: bool,
}

#[derive(Default)]
enum State {
    #[default]
    None,
    Preparing(u64, mpsc::Receiver<io::Result<Prepared>>),
    Ready(u64, Prepared),
    Failed {
        since: Instant,
    },
}

impl Spare {
    /// Begins to make segment `number`, if none is made or being made.
    pub(super) fn prepare_ahead(&mut self, disk: &Arc<dyn Disk>, number: u64, bytes: u64) {
        if !matches!(self.state, State::None) {
            return;
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let disk = Arc::clone(disk);
        let prepare = move || {
            // Whoever asked may be gone; the file is then found and removed when the log is opened again.
            let _ = sender.send(prepare(&*disk, number, bytes));
        };
        if std::thread::Builder::new().name("wal-prepare".to_owned()).spawn(prepare).is_ok() {
            self.state = State::Preparing(number, receiver);
        } // no thread to be had: the segment is made when it is needed
    }

    /// Looks how the making goes. Whether it should be begun again.
    pub(super) fn poll(&mut self, disk: &Arc<dyn Disk>) -> bool {
        match &self.state {
            State::Preparing(number, receiver) => match receiver.try_recv() {
                Ok(Ok(prepared)) => {
                    self.state = State::Ready(*number, prepared);
                    self.is_short_of_room = false;
                }
                Ok(Err(error)) => {
                    if !self.is_short_of_room {
                        tracing::warn!(folder = disk.display(), %error, "cannot make the log's next segment");
                    }
                    self.state = State::Failed { since: Instant::now() };
                    self.is_short_of_room = true;
                }
                Err(mpsc::TryRecvError::Empty) => {}
                Err(mpsc::TryRecvError::Disconnected) => self.state = State::None,
            },
            State::Failed { since } if since.elapsed() > PREPARE_AGAIN => {
                self.state = State::None;
                return true;
            }
            State::None | State::Ready(..) | State::Failed { .. } => {}
        }
        false
    }

    /// Whether the last try to make a segment failed.
    pub(super) fn is_short_of_room(&self) -> bool {
        self.is_short_of_room
    }

    /// Whether nothing will change by itself.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.state, State::Ready(..) | State::None)
    }

    /// Takes segment `number` with room for `bytes`; waits for it, or makes it now.
    pub(super) fn take(&mut self, disk: &Arc<dyn Disk>, number: u64, bytes: u64) -> io::Result<Prepared> {
        let (made_number, made) = match std::mem::take(&mut self.state) {
            State::Preparing(number, receiver) => (number, receiver.recv().ok().and_then(Result::ok)),
            State::Ready(number, prepared) => (number, Some(prepared)),
            State::None | State::Failed { .. } => return prepare(&**disk, number, bytes),
        };
        assert_eq!(made_number, number, "the spare segment is the next one");
        match made {
            Some((file, file_bytes)) if file_bytes >= bytes => Ok((file, file_bytes)),
            // Too small for a large record, or it failed and may go better now that there is more room.
            _ => prepare(&**disk, number, bytes),
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // The thread writes to the folder, so the folder's lock must outlive it.
        if let State::Preparing(_, receiver) = std::mem::take(&mut self.state) {
            let _ = receiver.recv();
        }
    }
}

/// Makes a segment file full of zeros. If it cannot, the room that was taken is given back.
pub(super) fn prepare(disk: &dyn Disk, number: u64, bytes: u64) -> io::Result<Prepared> {
    let name = segment_name(number);
    let prepare = || {
        let file = disk.create(&name)?;
        let bytes = bytes.next_multiple_of(SECTOR_BYTES as u64);
        file.reserve(bytes)?;
        let zeros = vec![0; PREPARE_BYTES.min(bytes as usize)];
        let mut offset = 0;
        while offset < bytes {
            let part = &zeros[..zeros.len().min((bytes - offset) as usize)];
            file.write_at(offset, part)?;
            file.sync()?;
            offset += part.len() as u64;
        }
        disk.sync_names()?;
        Ok((file, bytes))
    };
    prepare().inspect_err(|_| {
        // What went wrong first is what counts.
        let _ = disk.remove(&name);
    })
}
