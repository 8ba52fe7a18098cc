//! One bit of one file of a stopped node is flipped: the node refuses and names the file, or it ends when it meets the
//! damage, or what it serves is exactly right.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cluster::{Cluster, Node};

/// How many bits are flipped, over all files in turn.
const FLIP_COUNT: usize = 72;

/// Small, so that the store is on disk and the log was cut.
const BOUNDS: &str = "checkpoint_bytes = 20000";

type Everything = Vec<(String, Vec<u8>)>;

/// What is right: everything now, and at an older revision.
struct Wanted {
    now: Everything,
    revision: i64,
    then: Everything,
}

async fn fill(node: &Node) -> Wanted {
    for number in 0..200 {
        node.put(&format!("a{:03}", number % 120), format!("{number}-{}", "x".repeat(400))).await.expect("a put");
    }
    let revision = node.put("middle", "1").await.expect("a put");
    let then = node.everything(revision, false).await.expect("it is not compacted");
    for number in 0..60 {
        node.put(&format!("b{number:03}"), format!("{number}")).await.expect("a put");
    }
    Wanted { now: node.everything(0, false).await.expect("it serves"), revision, then }
}

/// All files below `folder`, each with the length up to the last byte that is not zero.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
            found.push((path, if used == 0 { bytes.len() as u64 } else { used }));
        }
    }
    found.retain(|(_, bytes)| *bytes > 0);
    found.sort();
    found
}

/// Copies a folder without its zeros, which are most of it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("it has a name"));
        if path.is_dir() {
            copy(&path, &target);
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        let file = File::create(&target).expect("a file");
        file.set_len(bytes.len() as u64).expect("room");
        for (at, part) in bytes.chunks(4096).enumerate().filter(|(_, part)| part.iter().any(|&byte| byte != 0)) {
            file.write_all_at(part, at as u64 * 4096).expect("room");
        }
    }
}

fn flip(path: &Path, offset: u64, bit: u32) {
    let file = File::options().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("within the file");
    file.write_all_at(&[byte[0] ^ (1 << bit)], offset).expect("within the file");
}

/// What a node with a flipped bit may do; `name` is the damaged file's.
async fn judge(node: &mut Node, wanted: &Wanted, name: &str, what: &str) -> &'static str {
    let refuses = |why: String| {
        let names = why.contains(name) || (name == "identity" && why.contains("identity file"));
        assert!(names || why.contains("`current`") || why.contains("damaged log"), "{what}: does not name it: {why}");
        assert!(why.contains("ut back") || why.contains("ut the file back"), "{what}: what to do? {why}");
    };
    if !node.serves_or_ends().await {
        refuses(node.fails());
        return "refused";
    }
    for (revision, right) in [(wanted.revision, &wanted.then), (0, &wanted.now)] {
        match node.everything(revision, false).await {
            Ok(all) => assert!(all == *right, "{what}: wrong data at revision {revision}: {} keys", all.len()),
            Err(_) => {
                refuses(node.fails());
                return "ended";
            }
        }
    }
    node.stop();
    "right"
}

#[tokio::test]
async fn a_flipped_bit_is_never_served() {
    let mut cluster = Cluster::started("damage", 1, BOUNDS).await;
    let base = cluster.folder.path().to_owned();
    let node = &mut cluster.nodes[0];
    let wanted = fill(node).await;
    node.stop();
    let whole = node.settings.data.clone();
    let files = files(&whole);
    assert!(files.len() > 8, "{files:?}");
    node.settings.data = base.join("flipped");
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut outcomes = std::collections::BTreeMap::<_, usize>::new();
    let mut flips: Vec<(PathBuf, u64)> = (0..FLIP_COUNT)
        .map(|at| &files[at % files.len()])
        .map(|(path, bytes)| (path.clone(), rng.random_range(0..*bytes)))
        .collect();
    // Where the lists of tables say how many levels, runs and tables there are: seen once as a store that lacked most keys,
    // and as one that asked for 35 GB.
    let is_list = |path: &Path| path.parent().is_some_and(|folder| folder.join("current").exists());
    let lists = files.iter().filter(|(path, bytes)| is_list(path) && *bytes > 100);
    flips.extend(lists.flat_map(|(path, _)| [10, 11, 12, 99].map(|at| (path.clone(), at))));
    for (path, offset) in flips {
        let bit = rng.random_range(0..8);
        let inner = path.strip_prefix(&whole).expect("it is in the folder");
        let name = inner.file_name().expect("it has a name").to_string_lossy().into_owned();
        let what = format!("bit {bit} of byte {offset} of {}", inner.display());
        drop(std::fs::remove_dir_all(&node.settings.data)); // none before the first
        copy(&whole, &node.settings.data);
        flip(&node.settings.data.join(inner), offset, bit);
        node.start();
        *outcomes.entry(judge(node, &wanted, &name, &what).await).or_default() += 1;
    }
    eprintln!("{outcomes:?}");
    assert!(outcomes["refused"] > 5 && outcomes["right"] > 5, "{outcomes:?}");
}

#[tokio::test]
async fn a_flipped_bit_at_the_end_of_the_log_of_one_of_three_loses_nothing() {
    let mut cluster = Cluster::started("damaged-end", 3, "").await;
    let mut wanted = Vec::new();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for round in 0..6 {
        for number in 0..4 {
            let key = format!("k{round}-{number}");
            cluster.nodes[number % 3].put(&key, "1").await.expect("a put");
            wanted.push(key);
        }
        let at = round % 3;
        let base = cluster.folder.path().join("whole");
        let node = &mut cluster.nodes[at];
        node.kill();
        let log = node.settings.data.join("log");
        std::fs::create_dir(&base).expect("a folder");
        let whole = base.join("data");
        copy(&node.settings.data, &whole);
        let (segment, bytes) = files(&log)
            .into_iter()
            .filter(|(path, _)| path.extension().is_some())
            .max_by_key(|(_, used)| *used % (1 << 26))
            .expect("a segment");
        flip(&segment, rng.random_range(bytes.saturating_sub(1536)..bytes), rng.random_range(0..8));
        node.start();
        if !node.serves_or_ends().await {
            let why = node.fails();
            assert!(why.contains("damaged log") && why.contains("Put back a copy"), "{why}");
            std::fs::remove_dir_all(&node.settings.data).expect("it is there");
            std::fs::rename(&whole, &node.settings.data).expect("it is there");
            node.start();
        }
        std::fs::remove_dir_all(&base).expect("it is there");
        for node in &mut cluster.nodes {
            node.serves().await;
            assert_eq!(node.keys().await, wanted, "round {round}, node {}", node.id);
        }
    }
}
