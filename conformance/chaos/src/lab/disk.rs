//! A disk of a node's own: a file system in a file, which can be filled and slowed without harm to anybody else. Needs root.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::shell::{read, run, run_now};

/// How large it is. The file has holes, so that only what is written takes room.
const BYTES: u64 = 1 << 30;
/// Writes a second of a slow one; a sync takes two to four.
const SLOW_WRITES_PER_S: u32 = 40;
/// Where groups of processes are throttled, and what they are in before.
const GROUPS: &str = "/sys/fs/cgroup/blkio";

/// A disk that is mounted.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mounted: PathBuf,
    /// The number of its device, as `major:minor`.
    device: String,
    /// The group of processes that are throttled here.
    group: PathBuf,
}

/// Whether this system can slow a disk.
pub fn can_be_slow() -> bool {
    Path::new(GROUPS).join("blkio.throttle.write_iops_device").exists()
}

impl Disk {
    /// A new disk, mounted at `folder`.
    ///
    /// # Errors
    /// When this user may not, or a tool is missing.
    pub async fn mount(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let image = folder.with_extension("image");
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        File::create(&image)?.set_len(BYTES)?;
        run(&format!("mkfs.ext4 -q -F -m 0 {}", image.display())).await?;
        run(&format!("mount -o loop {} {}", image.display(), folder.display())).await?;
        let mut disk = Self {
            image,
            mounted: folder.to_owned(),
            device: String::new(),
            group: Path::new(GROUPS).join(format!("quorate-{}-{name}", std::process::id())),
        };
        let device = read(&format!("findmnt -n -o MAJ:MIN {}", folder.display())).await?;
        disk.device = device.trim().to_owned();
        Ok(disk)
    }

    fn filler(&self) -> PathBuf {
        self.mounted.join("filler")
    }

    /// Takes all room that it has left.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.filler())?;
        let left = statvfs(&self.mounted)?;
        // A part of what is said to be free goes for the file's own bookkeeping, so it is taken in ever smaller pieces.
        let (mut piece, mut end) = (left.f_bavail * left.f_bsize, 0);
        while piece >= left.f_bsize {
            match fallocate(&file, FallocateFlags::empty(), end, piece) {
                Ok(()) => end += piece,
                Err(_) => piece /= 2,
            }
        }
        match file.write_all(&vec![0; 1 << 20]).and_then(|()| file.sync_all()) {
            Ok(()) if statvfs(&self.mounted)?.f_bavail > 0 => bail!("{} is not full", self.mounted.display()),
            _ => Ok(()), // full, which is what was wanted
        }
    }

    /// Gives that room back.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    /// Lets what process `pid` writes here take long.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn slow(&self, pid: i32) -> anyhow::Result<()> {
        fs::create_dir_all(&self.group)?;
        let limit = format!("{} {SLOW_WRITES_PER_S}", self.device);
        fs::write(self.group.join("blkio.throttle.write_iops_device"), limit)?;
        Ok(fs::write(self.group.join("cgroup.procs"), pid.to_string())?)
    }

    /// Lets it be fast again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn speed(&self) -> anyhow::Result<()> {
        for pid in fs::read_to_string(self.group.join("cgroup.procs"))?.lines() {
            // One that ended is in no group any more.
            let _ = fs::write(Path::new(GROUPS).join("cgroup.procs"), pid);
        }
        Ok(fs::remove_dir(&self.group)?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Each of these may have been undone already.
        let _ = self.speed();
        let _ = run_now(&format!("umount -l {}", self.mounted.display()));
        let _ = fs::remove_file(&self.image);
    }
}
