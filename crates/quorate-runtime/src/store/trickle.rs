//! The thread that hands what the engine writes to the disk in small parts.
//!
//! The engine syncs a run's file when it is whole: tens of megabytes at once, behind which each sync of the log would wait
//! for hundreds of milliseconds. This thread syncs the files while they grow, so that little is left to do at their end.
//!
//! It adds nothing to what is durable, and takes nothing from it: a failure that this thread meets, the engine meets as well,
//! since the system tells it to every open handle of the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long to leave the disk to the log between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// How long nothing must have grown before nothing is looked for any more. Merges follow a checkpoint within this.
const QUIET: Duration = Duration::from_secs(2);

/// The thread. Dropping it ends it.
pub(super) struct Trickle {
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Trickle {
    /// Starts the thread for the store in `folder`. Without one, all is as durable and less smooth.
    pub(super) fn start(folder: &Path) -> Self {
        let (wake, woken) = mpsc::channel();
        let folder = folder.join("keyspaces");
        let run = move || {
            let mut growing = Growing { folder, lengths: BTreeMap::new() };
            while woken.recv().is_ok() {
                let mut grew_at = Instant::now();
                while grew_at.elapsed() < QUIET {
                    // A file or folder that is gone was merged into others.
                    if growing.sync_what_grew().unwrap_or(false) {
                        grew_at = Instant::now();
                    }
                    match woken.recv_timeout(PAUSE) {
                        Ok(()) => grew_at = Instant::now(),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
                growing.lengths.clear();
            }
        };
        let thread = std::thread::Builder::new().name("store-trickle".to_owned()).spawn(run).ok();
        Self { wake: Some(wake), thread }
    }

    /// Says that the engine is about to write much.
    pub(super) fn wake(&self) {
        // Without the thread nobody listens, which does no harm.
        let _ = self.wake.as_ref().map(|wake| wake.send(()));
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked it has said so; nobody is left who could be told.
            let _ = thread.join();
        }
    }
}

/// The files of all tables, and how long each was when it was looked at last.
struct Growing {
    folder: PathBuf,
    lengths: BTreeMap<PathBuf, u64>,
}

impl Growing {
    /// Whether anything grew since the last look. What was there at the first look is not taken for grown.
    fn sync_what_grew(&mut self) -> io::Result<bool> {
        let is_first = self.lengths.is_empty();
        let mut any = false;
        for keyspace in std::fs::read_dir(&self.folder)? {
            for file in std::fs::read_dir(keyspace?.path().join("tables"))? {
                let file = file?;
                let length = file.metadata()?.len();
                let path = file.path();
                let before = self.lengths.insert(path.clone(), length).unwrap_or(0);
                if !is_first && length > before {
                    any = true;
                    File::open(&path)?.sync_data()?;
                }
            }
        }
        Ok(any)
    }
}
