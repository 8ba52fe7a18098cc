//! A disk that is full. Needs root, to mount a small one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tonic::Code;

use crate::cluster::{Cluster, Node, PATIENCE};

/// A file system in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// A disk of `mebibytes` at `path`; nothing if this user may not mount.
    fn mount(path: &Path, mebibytes: usize) -> Option<Self> {
        std::fs::create_dir(path).expect("a folder");
        mount(&["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"], path).then(|| Self(path.to_owned()))
    }

    fn grow(&self, mebibytes: usize) {
        assert!(mount(&["-o", &format!("remount,size={mebibytes}m")], &self.0), "it can be mounted again");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nodes that still use it are killed later; it goes with the last of them.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(options: &[&str], path: &Path) -> bool {
    Command::new("mount").args(options).arg(path).output().is_ok_and(|output| output.status.success())
}

/// The node ended for want of room, says so, and starts when there is some.
fn starts_again_with_room(node: &mut Node, disk: &SmallDisk) {
    let why = node.fails();
    assert!(why.contains("the disk is full") && why.contains("make room and start again"), "{why}");
    disk.grow(1_000);
    node.start();
}

/// For each member in turn: its disk fills, then grows.
#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    for at in 0..3 {
        let mut cluster = Cluster::new("full", 3, "patience_ms = 3000");
        let Some(disk) = SmallDisk::mount(&cluster.folder.path().join("small"), 140) else {
            eprintln!("not checked: only root may mount a small disk");
            return;
        };
        cluster.nodes[at].settings.data = disk.0.join("data");
        for node in &mut cluster.nodes {
            node.start();
        }
        for node in &mut cluster.nodes {
            node.serves().await;
        }
        let through = &cluster.nodes[0];
        let (mut acknowledged, mut unknown) = (Vec::new(), Vec::new());
        let refused = loop {
            let key = format!("k{:04}", acknowledged.len());
            match through.put(&key, vec![b'x'; 1 << 20]).await {
                Ok(_) => acknowledged.push(key),
                Err(status) => {
                    unknown.push(key);
                    break status;
                }
            }
            assert!(acknowledged.len() < 1_000, "the disk is never full");
        };
        assert!(acknowledged.len() > 20, "{refused:?}");
        let full = &mut cluster.nodes[at];
        let went_down = at == 0 && refused.code() == Code::Unknown; // with the call
        let is_clear = matches!(refused.code(), Code::ResourceExhausted | Code::Unavailable) || went_down;
        assert!(is_clear, "{refused:?}");
        if full.runs() && !went_down {
            disk.grow(1_000);
        } else {
            starts_again_with_room(full, &disk);
        }
        let ended = Instant::now() + PATIENCE;
        for of in 0..3 {
            // Its log may have refused the call a moment before its store found no room.
            let keys = loop {
                let node = &mut cluster.nodes[of];
                if node.serves_or_ends().await
                    && let Ok(everything) = node.everything(0, false).await
                {
                    break everything.into_iter().map(|(key, _)| key).filter(|key| !unknown.contains(key));
                }
                assert!(Instant::now() < ended, "node {} does not answer: {}", of + 1, cluster.nodes[of].said());
                if !cluster.nodes[at].runs() {
                    starts_again_with_room(&mut cluster.nodes[at], &disk);
                }
            };
            assert!(keys.eq(acknowledged.iter().cloned()), "node {} after node {}'s disk was full", of + 1, at + 1);
        }
        let ended = Instant::now() + PATIENCE;
        while let Err(status) = cluster.nodes[0].put("after", "1").await {
            assert!(Instant::now() < ended, "puts do not go on: {status}");
        }
        drop(cluster);
        drop(disk);
    }
}
