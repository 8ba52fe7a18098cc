//! The disk as the log sees it: a folder of files, and two kinds of "not yet": bytes before [`File::sync`], names
//! before [`Disk::sync_names`].
//!
//! Small on purpose, so that [`super::memory`] can stand in for it and enumerate what a crash may leave.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FallocateFlags, FlockOperation};

/// A folder that holds one log.
pub trait Disk: Send + Sync {
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// What the operating system says.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Makes an empty file, in place of one that has the name.
    ///
    /// # Errors
    /// What the operating system says.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Removes a file. The removal may be undone by a crash until [`Disk::sync_names`].
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, in place of one that has it.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations, removals and renames durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_names(&self) -> io::Result<()>;

    /// Holds the folder for this process until the value is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process holds it.
    fn lock(&self) -> io::Result<Box<dyn Send>>;

    /// The folder, for people.
    fn display(&self) -> String;
}

/// One file of a [`Disk`].
pub trait File: Send {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::UnexpectedEof`] when the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Any part of it may be lost by a crash until [`File::sync`].
    ///
    /// # Errors
    /// What the operating system says; part of the bytes may then be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Takes room on the disk for `bytes` from the start, if the file system can.
    ///
    /// # Errors
    /// What the operating system says, above all that the disk is full.
    fn reserve(&self, bytes: u64) -> io::Result<()>;

    /// Makes all that was written durable. After an error nothing is known about what was written, and asking again
    /// proves nothing: the operating system may have forgotten the pages (Rebello et al., ATC 2020).
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&self) -> io::Result<()>;

    /// Lets the next reads come from the disk and not from memory, where pages may stand that a failed sync left
    /// behind marked as written.
    ///
    /// # Errors
    /// What the operating system says.
    fn forget_cache(&self) -> io::Result<()>;
}

/// A real folder.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`; made if it is not there.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_path_buf();
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// The folder at `path`, which must be there: for looking at it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn existing(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_path_buf();
        fs::read_dir(&path)?;
        Ok(Self { path })
    }
}

/// The file that is locked; its content means nothing.
const LOCK_NAME: &str = "lock";

impl Disk for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let path = self.path.join(name);
        match fs::File::options().read(true).write(true).open(&path) {
            // A copy that may only be read can be looked at all the same.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                Ok(Box::new(fs::File::open(path)?))
            }
            other => Ok(Box::new(other?)),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let options = fs::File::options().read(true).write(true).create(true).truncate(true).clone();
        Ok(Box::new(options.open(self.path.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn lock(&self) -> io::Result<Box<dyn Send>> {
        let options = fs::File::options().read(true).write(true).create(true).truncate(false).clone();
        let file = options.open(self.path.join(LOCK_NAME))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }

    fn display(&self) -> String {
        self.path.display().to_string()
    }
}

impl File for fs::File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, bytes) {
            // Some file systems cannot; the zeros that are written next take the room then.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn forget_cache(&self) -> io::Result<()> {
        self.sync_data()?;
        Ok(rustix::fs::fadvise(self, 0, None, Advice::DontNeed)?)
    }
}
