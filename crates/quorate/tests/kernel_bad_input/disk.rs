//! A disk that is full. Needs root, to mount a small one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use quorate::etcd::generated::etcdserverpb::{PutRequest, kv_client::KvClient};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use crate::cluster::{Cluster, Node, PATIENCE};

/// The store is not checkpointed before the disk is full: a store that finds no room ends its node.
const SETTINGS: &str = "patience_ms = 2000\ncheckpoint_bytes = 268435456";
/// Room for two segments of the log and not for three.
const SMALL_MEBIBYTES: usize = 150;
/// How many put at once, so much each: less than the head takes beyond what is committed, so that it refuses only when
/// puts have become unknown for want of a commit. What it takes is no whole number of them.
const WRITER_COUNT: usize = 40;
const VALUE_BYTES: usize = 256 << 10;
const PUT_COUNT_MAX: usize = 4_000;

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

/// What came of the puts that were not refused.
#[derive(Default)]
struct Puts {
    acknowledged: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

/// Puts until anybody's put is refused for want of room.
async fn put_until_refused(mut kv: KvClient<Channel>, next: Arc<AtomicUsize>, refused: Arc<AtomicBool>) -> Puts {
    let mut puts = Puts::default();
    while !refused.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        assert!(number < PUT_COUNT_MAX, "the disk is never full");
        let key = format!("k{number:04}");
        let value = vec![b'x'; VALUE_BYTES].into();
        let put = PutRequest { key: key.clone().into(), value, ..PutRequest::default() };
        match kv.put(put).await {
            Ok(_) => drop(puts.acknowledged.insert(key)),
            Err(status) if status.code() == Code::ResourceExhausted => refused.store(true, Ordering::Relaxed),
            Err(status) if status.code() == Code::Unavailable => drop(puts.unknown.insert(key)),
            Err(status) => panic!("neither done nor refused nor unknown: {status}"),
        }
    }
    puts
}

/// Many put through one node until it refuses.
async fn fill(through: &Node) -> Puts {
    let (next, refused) = (Arc::default(), Arc::default());
    let mut writers = JoinSet::new();
    for _ in 0..WRITER_COUNT {
        writers.spawn(put_until_refused(through.kv().await, Arc::clone(&next), Arc::clone(&refused)));
    }
    let mut all = Puts::default();
    for puts in writers.join_all().await {
        all.acknowledged.extend(puts.acknowledged);
        all.unknown.extend(puts.unknown);
    }
    all
}

/// What was acknowledged is there, and nothing that was refused.
async fn has(node: &Node, puts: &Puts) {
    let keys: BTreeSet<_> = node.keys().await.into_iter().filter(|key| key.starts_with('k')).collect();
    let lost: Vec<_> = puts.acknowledged.difference(&keys).collect();
    assert!(lost.is_empty(), "node {} lost {lost:?}", node.id);
    let made_up: Vec<_> = keys.iter().filter(|key| !puts.acknowledged.contains(*key)).collect();
    assert!(made_up.iter().all(|key| puts.unknown.contains(*key)), "node {} has {made_up:?}", node.id);
}

/// Waits until the head says that it is crowded (1), or is not (0).
fn crowded(head: &Node, expected: u64) {
    let ended = Instant::now() + PATIENCE;
    while head.counter("quorate_chain_crowded") != expected {
        assert!(Instant::now() < ended, "the head is not crowded, or still is: not {expected}");
        std::thread::yield_now();
    }
}

/// For each member in turn: its disk fills, and the head refuses, with a follower's disk as with its own. Nobody ends,
/// reads go on, and when the disk grows so do writes.
#[tokio::test]
async fn a_full_disk_stops_writes_until_it_has_room_and_ends_no_node() {
    for at in 0..3 {
        let mut cluster = Cluster::new("full", 3, SETTINGS);
        let Some(disk) = SmallDisk::mount(&cluster.folder.path().join("small"), SMALL_MEBIBYTES) else {
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
        let puts = fill(&cluster.nodes[0]).await;
        assert!(puts.acknowledged.len() > 100, "{} were acknowledged", puts.acknowledged.len());
        cluster.nodes[at].says("the log has no room");
        if at > 0 {
            crowded(&cluster.nodes[0], 1);
            cluster.nodes[0].says("node 2 or one after it is behind");
        }
        for node in &mut cluster.nodes {
            assert!(node.runs(), "node {} ended while the disk of node {} was full: {}", node.id, at + 1, node.said());
        }
        has(&cluster.nodes[at], &puts).await;

        disk.grow(1_000);
        let ended = Instant::now() + PATIENCE;
        while let Err(status) = cluster.nodes[0].put("after", "1").await {
            assert!(Instant::now() < ended, "puts do not go on: {status}");
        }
        crowded(&cluster.nodes[0], 0);
        for node in &mut cluster.nodes {
            assert!(node.runs(), "node {} ended: {}", node.id, node.said());
            has(node, &puts).await;
        }
        drop(cluster);
        drop(disk);
    }
}
