//! The store on a real disk: against a plain map, through snapshots and reopenings, and killed while it writes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use quorate_machines::kv::Table;
use quorate_runtime::store::{DiskTable, Store, StoreError, StoreOptions};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

type Plain = BTreeMap<Bytes, Bytes>;

struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quorate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(folder: &TemporaryFolder) -> DiskTable {
    open_path(&folder.0)
}

fn open_path(folder: &Path) -> DiskTable {
    let store = Store::open(folder, &StoreOptions::default()).expect("the store opens");
    store.table("main").expect("the table opens")
}

fn key(rng: &mut ChaCha8Rng) -> Bytes {
    let length = if rng.random_range(0..50) == 0 { rng.random_range(0..1000) } else { 4 };
    let mut key = rng.random_range(0..400_u32).to_be_bytes().to_vec();
    key.resize(length.max(2), 0xff);
    Bytes::from(key)
}

/// Compares everything, or a range from both ends.
fn compare(table: &DiskTable, plain: &Plain, rng: &mut ChaCha8Rng, story: &str) {
    let whole = || plain.iter().map(|(key, value)| (key.clone(), value.clone()));
    assert!(table.range(&[], None).eq(whole()), "{story}: forward");
    assert!(table.range(&[], None).rev().eq(whole().rev()), "{story}: backward");
    let (from, end) = (key(rng), key(rng));
    let inside = |(key, _): &(Bytes, Bytes)| *key >= from && *key < end;
    assert!(table.range(&from, Some(&end)).eq(whole().filter(inside)), "{story}: {from:?}..{end:?}");
    assert!(table.range(&from, Some(&end)).rev().eq(whole().rev().filter(inside)), "{story}: {from:?}..{end:?} back");
    for _ in 0..20 {
        let key = key(rng);
        assert_eq!(table.get(&key), plain.get(&key).cloned(), "{story}: {key:?}");
    }
}

#[test]
fn a_table_is_what_a_plain_map_is_through_checkpoints_snapshots_and_reopenings() {
    let folder = TemporaryFolder::new("store-model");
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut plain = Plain::new();
    let mut at_checkpoint: BTreeMap<u64, Plain> = BTreeMap::from([(0, Plain::new())]);
    let (mut index, mut durable) = (0, 0);
    for reopening in 0..12 {
        let mut table = open(&folder);
        let (recovered, beside) = table.recovered().unwrap_or((0, Bytes::new()));
        assert!(recovered == 0 || beside == recovered.to_string());
        plain = at_checkpoint.get(&recovered).expect("it was a checkpoint").clone();
        assert!(recovered >= durable, "{durable} was durable, {recovered} came back");
        compare(&table, &plain, &mut rng, &format!("reopening {reopening}"));
        let mut snapshots: Vec<(DiskTable, Plain)> = Vec::new();
        for step in 0..400 {
            let story = format!("reopening {reopening}, step {step}");
            match rng.random_range(0..100) {
                0..60 => {
                    let (key, value) = (key(&mut rng), Bytes::from(vec![step as u8; rng.random_range(0..300)]));
                    table.insert(key.clone(), value.clone());
                    plain.insert(key, value);
                }
                60..85 => {
                    let key = key(&mut rng);
                    table.remove(&key);
                    plain.remove(&key);
                }
                85..90 => snapshots.push((table.clone(), plain.clone())),
                90..93 => {
                    index += 1;
                    at_checkpoint.insert(index, plain.clone());
                    table.checkpoint(index, Bytes::from(index.to_string()));
                    if rng.random_bool(0.5) {
                        wait_until_durable(&table, index);
                    }
                }
                93..96 => {
                    for (snapshot, plain) in &snapshots {
                        compare(snapshot, plain, &mut rng, &format!("{story}, snapshot"));
                    }
                    if snapshots.len() > 5 {
                        snapshots.remove(0);
                    }
                }
                _ => compare(&table, &plain, &mut rng, &story),
            }
        }
        // What was changed after the last checkpoint is lost by closing, as by a crash.
        durable = table.stored().unwrap_or(0);
    }
    assert!(at_checkpoint.len() > 50, "{} checkpoints", at_checkpoint.len());
    drop(plain);
}

fn wait_until_durable(table: &DiskTable, index: u64) {
    let began = std::time::Instant::now();
    while table.stored() != Some(index) && began.elapsed() < std::time::Duration::from_secs(10) {
        assert_eq!(table.failure(), None);
        std::thread::yield_now(); // left out if four waited: then this ends in time, and the reopening judges
        if table.checkpoints_waiting() == 0 {
            return;
        }
    }
}

#[test]
fn two_processes_cannot_open_one_store() {
    let folder = TemporaryFolder::new("store-lock");
    let table = open(&folder);
    let again = Store::open(&folder.0, &StoreOptions::default());
    assert!(matches!(again.err(), Some(StoreError::Locked { .. })));
    drop(table);
}

const CHILD_FOLDER: &str = "QUORATE_TEST_STORE_FOLDER";
const CHECKPOINT_EVERY: u64 = 300;

/// What happens at `index`, the same in every process.
fn change_at(index: u64) -> (Bytes, Option<Bytes>) {
    let mut rng = ChaCha8Rng::seed_from_u64(index);
    let key = Bytes::from(format!("key {}", rng.random_range(0..2_000)));
    let value = rng.random_bool(0.8).then(|| Bytes::from(vec![index as u8; rng.random_range(0..400)]));
    (key, value)
}

/// Runs in a process of its own until it is killed: changes, checkpoints, and says what is durable.
#[test]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let mut table = open_path(Path::new(&folder));
    let mut index = table.recovered().map_or(0, |(index, _)| index);
    let mut said = None;
    loop {
        index += 1;
        match change_at(index) {
            (key, Some(value)) => table.insert(key, value),
            (key, None) => table.remove(&key),
        }
        if index.is_multiple_of(CHECKPOINT_EVERY) {
            table.checkpoint(index, Bytes::from_static(b"beside"));
        }
        if table.stored() != said {
            said = table.stored();
            let said = said.expect("it was some before");
            writeln!(std::io::stderr(), "durable {said}").expect("the parent listens");
        }
    }
}

#[test]
fn a_killed_process_keeps_the_last_checkpoint_it_called_durable_or_a_later_one() {
    let folder = TemporaryFolder::new("store-kill");
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (mut plain, mut applied) = (Plain::new(), 0);
    for round in 0..15 {
        let mut child = Command::new(std::env::current_exe().expect("we run"))
            .args(["child_that_is_killed", "--exact", "--nocapture"])
            .env(CHILD_FOLDER, &folder.0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process can be started");
        let mut durable = 0;
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let until = rng.random_range(1..12);
        for line in lines.map_while(Result::ok).filter(|line| line.starts_with("durable ")).take(until) {
            durable = line["durable ".len()..].parse().expect("a number");
        }
        child.kill().expect("it runs until it is killed");
        child.wait().expect("it was ours");
        let table = open(&folder);
        let (recovered, beside) = table.recovered().expect("a checkpoint was durable");
        assert!(recovered >= durable, "round {round}: {durable} was durable, {recovered} came back");
        assert_eq!((recovered % CHECKPOINT_EVERY, &beside[..]), (0, &b"beside"[..]));
        while applied < recovered {
            applied += 1;
            match change_at(applied) {
                (key, Some(value)) => drop(plain.insert(key, value)),
                (key, None) => drop(plain.remove(&key)),
            }
        }
        compare(&table, &plain, &mut rng, &format!("round {round}"));
    }
    assert!(applied > 5_000, "{applied} changes");
}

/// A copy larger than what is gathered in memory, so that parts of it are on disk before it is whole.
const COPY_ENTRIES: u64 = 5_000;
const COPY_VALUE_BYTES: usize = 10_000;

fn copy_into(table: &DiskTable) -> DiskTable {
    let mut copy = table.blank();
    for entry in 0..COPY_ENTRIES {
        while copy.is_busy() {
            std::thread::yield_now(); // its thread writes
        }
        copy.insert(Bytes::from(format!("key{entry:06}")), Bytes::from(vec![entry as u8; COPY_VALUE_BYTES]));
    }
    copy
}

fn written_through(table: &DiskTable, index: u64) {
    while table.stored() != Some(index) {
        assert_eq!(table.failure(), None);
        std::thread::yield_now();
    }
}

#[test]
fn a_copy_replaces_a_table_when_it_is_whole_and_durable_and_not_before() {
    let folder = TemporaryFolder::new("store-copy");
    let count = |table: &DiskTable| table.count(&[], None);
    {
        let mut table = open(&folder);
        table.insert(Bytes::from_static(b"old"), Bytes::from_static(b"1"));
        table.checkpoint(3, Bytes::from_static(b"beside"));
        written_through(&table, 3);
        let copy = copy_into(&table);
        let is_handed_over = copy.change_count() < COPY_ENTRIES as usize || copy.checkpoints_waiting() > 0;
        assert!(is_handed_over, "parts of it go to disk before it is whole");
        assert_eq!((copy.stored(), copy.recovered()), (Some(0), None));
        assert_eq!((count(&copy), count(&table)), (COPY_ENTRIES, 1));
    }
    {
        let table = open(&folder); // a crash in the middle of the copy
        assert_eq!((count(&table), table.stored()), (1, Some(3)));
        drop(copy_into(&table)); // begun anew, and once more
        let mut copy = copy_into(&table);
        copy.checkpoint(9, Bytes::from_static(b"copied"));
        written_through(&copy, 9);
        assert_eq!(copy.recovered(), Some((9, Bytes::from_static(b"copied"))));
        copy.insert(Bytes::from_static(b"new"), Bytes::from_static(b"1"));
        copy.checkpoint(10, Bytes::from_static(b"later"));
        written_through(&copy, 10);
    }
    let table = open(&folder);
    assert_eq!((count(&table), table.recovered()), (COPY_ENTRIES + 1, Some((10, Bytes::from_static(b"later")))));
    assert_eq!(table.get(b"old"), None);
}
