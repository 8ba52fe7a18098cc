//! The log on a real disk: its lock, its identity, its thread, its transactions.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate_model::{NodeId, Wire};
use quorate_runtime::wal::memory::{Fault, MemoryDisk};
use quorate_runtime::wal::transaction::{Bounds, Entry, TransactionError, Transactions};
use quorate_runtime::wal::{Folder, Identity, OpenError, Options, Recovered, Wal, inspect};

struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quorate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn disk(&self) -> Folder {
        Folder::open(&self.0).expect("a folder can be made")
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn identity(cluster: &str, node: u32) -> Identity {
    Identity { cluster: cluster.to_owned(), node: NodeId(node) }
}

type Records = Vec<(u64, Bytes)>;

fn open_as(folder: &TemporaryFolder, identity: &Identity) -> Result<(Wal, Recovered, Records), OpenError> {
    let options = Options { segment_bytes: 256 << 10, ..Options::default() };
    let mut records = Vec::new();
    let replay = |stream, payload| records.push((stream, payload));
    let (wal, recovered) = Wal::open(Arc::new(folder.disk()), identity, options, replay, || {})?;
    Ok((wal, recovered, records))
}

fn open(folder: &TemporaryFolder) -> (Wal, Recovered, Records) {
    open_as(folder, &identity("test", 1)).expect("the log opens")
}

#[test]
fn a_folder_is_held_by_one_process_and_belongs_to_one_node_of_one_cluster() {
    let folder = TemporaryFolder::new("wal-identity");
    let (wal, recovered, _) = open(&folder);
    assert!(recovered.is_new);
    let refused = |cluster, node| open_as(&folder, &identity(cluster, node)).err().expect("it is refused");
    assert!(matches!(refused("test", 1), OpenError::Locked { .. }));
    drop(wal);
    assert!(matches!(refused("other", 1), OpenError::OtherCluster { found, .. } if found == "test"));
    assert!(matches!(refused("test", 2), OpenError::OtherNode { found: 1, wanted: 2, .. }));
    let (mut wal, again, _) = open(&folder);
    assert_eq!((again.is_new, again.folder), (false, recovered.folder));
    wal.append(1, b"something").expect("the log works");
    wal.close().expect("the log works");
    std::fs::remove_file(folder.0.join("identity")).expect("it is there");
    assert!(matches!(refused("test", 1), OpenError::Identity { .. }));
}

#[test]
fn many_streams_share_syncs_and_come_back_in_order() {
    let folder = TemporaryFolder::new("wal-group");
    let (mut wal, _, _) = open(&folder);
    let mut expected = Records::new();
    for number in 0..20_000_u64 {
        let payload = Bytes::from(format!("record {number}").repeat(number as usize % 5 + 1));
        assert_eq!(wal.append(number % 7, &payload).expect("the log works"), number + 1);
        wal.submit().expect("the log works");
        expected.push((number % 7, payload));
    }
    while wal.durable().expect("the log works") < 20_000 {
        std::thread::yield_now();
    }
    let syncs = wal.metrics().syncs.load(Ordering::Relaxed);
    assert!(syncs < 10_000, "{syncs} syncs for 20000 records");
    assert_eq!(wal.backlog_bytes(), 0);
    wal.close().expect("the log works");
    let (_, recovered, records) = open(&folder);
    assert_eq!((recovered.record_count, recovered.torn), (20_000, None));
    assert_eq!(records, expected);
}

#[test]
fn a_record_larger_than_a_segment_has_one_of_its_own() {
    let folder = TemporaryFolder::new("wal-large");
    let (mut wal, _, _) = open(&folder);
    let large = vec![3; 5 << 20];
    for payload in [&b"before"[..], &large, b"after"] {
        wal.append(1, payload).expect("the log works");
        wal.submit().expect("the log works");
    }
    wal.close().expect("the log works");
    let (_, _, records) = open(&folder);
    let lengths: Vec<usize> = records.iter().map(|(_, payload)| payload.len()).collect();
    assert_eq!(lengths, [6, 5 << 20, 5]);
}

#[test]
fn a_compaction_goes_on_beside_appends_and_frees_the_old_segments() {
    let folder = TemporaryFolder::new("wal-compact");
    let (mut wal, _, _) = open(&folder);
    let mut compactions = 0;
    for number in 0..60_000_u64 {
        wal.append(1, &number.to_le_bytes().repeat(8)).expect("the log works");
        if number % 100 == 0 {
            wal.submit().expect("the log works");
            while wal.backlog_bytes() > 64 << 10 {
                std::thread::yield_now();
            }
        }
        if wal.bytes() > 1 << 20 && !wal.is_compacting() {
            // The state is the last number.
            let base = [(1, Bytes::copy_from_slice(&number.to_le_bytes().repeat(8)))];
            wal.compact(base).expect("the log works");
            compactions += 1;
        }
    }
    wal.close().expect("the log works");
    assert!(compactions > 2, "{compactions}");
    let on_disk: u64 = std::fs::read_dir(&folder.0)
        .expect("it is there")
        .map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len())
        .sum();
    assert!(on_disk < 16 << 20, "{on_disk} bytes");
    let verdict = inspect::verify(&folder.disk()).expect("it can be read");
    assert_eq!((verdict.damage, verdict.torn), (None, None));
    let (_, _, records) = open(&folder);
    let numbers: Vec<u64> =
        records.iter().map(|(_, payload)| u64::from_le_bytes(*payload.first_chunk().expect("eight bytes"))).collect();
    assert_eq!(numbers.last(), Some(&59_999));
    assert!(numbers.is_sorted_by(|early, late| late - early == 1), "from the base on, nothing is missing");
}

#[test]
fn only_committed_transactions_come_back_and_in_the_order_of_their_commits() {
    let folder = TemporaryFolder::new("wal-transactions");
    let (mut wal, _, _) = open(&folder);
    let mut transactions = Transactions::new(Bounds::default());
    let append = |wal: &mut Wal, entry: Entry| wal.append(1, &entry.to_bytes()).expect("the log works");
    let begin = |wal: &mut Wal, transactions: &mut Transactions| {
        let (id, entry) = transactions.start().expect("few are open");
        append(wal, entry);
        id
    };
    // A start, A change, B start, C commit, A commit, B change, B commit: the notes' own example, and one that never ends.
    let c = begin(&mut wal, &mut transactions);
    append(&mut wal, transactions.change(c, Bytes::from_static(b"c")).expect("it is open"));
    let a = begin(&mut wal, &mut transactions);
    append(&mut wal, transactions.change(a, Bytes::from_static(b"a")).expect("it is open"));
    let b = begin(&mut wal, &mut transactions);
    let never = begin(&mut wal, &mut transactions);
    append(&mut wal, transactions.change(never, Bytes::from_static(b"never")).expect("it is open"));
    append(&mut wal, transactions.commit(c).expect("it is open").0);
    append(&mut wal, transactions.commit(a).expect("it is open").0);
    append(&mut wal, transactions.change(b, Bytes::from_static(b"b")).expect("it is open"));
    append(&mut wal, transactions.commit(b).expect("it is open").0);
    let aborted = begin(&mut wal, &mut transactions);
    append(&mut wal, transactions.change(aborted, Bytes::from_static(b"aborted")).expect("it is open"));
    append(&mut wal, transactions.abort(aborted).expect("it is open"));
    wal.close().expect("the log works");

    let (_, _, records) = open(&folder);
    let mut transactions = Transactions::new(Bounds::default());
    let mut holds = Vec::new();
    for (_, payload) in records {
        holds.extend(transactions.replay(Entry::from_bytes(payload).expect("it is one of ours")));
    }
    assert_eq!(holds, ["c", "a", "b"]);
    assert_eq!(transactions.recovered(), [Entry::Abort(never)]);
    assert_eq!(transactions.change(never, Bytes::new()), Err(TransactionError::NotOpen(never)));
    let (next, _) = transactions.start().expect("none is open");
    assert!(next > aborted, "numbers are not used twice");
}

#[test]
fn a_full_log_says_so_before_it_is_too_late() {
    let folder = TemporaryFolder::new("wal-full");
    let options =
        Options { segment_bytes: 64 << 10, bytes_max: 1 << 20, reserve_bytes: 512 << 10, ..Options::default() };
    let rung = Arc::new(AtomicU64::new(0));
    let ring = Arc::clone(&rung);
    let notify = move || {
        ring.fetch_add(1, Ordering::Relaxed);
    };
    let disk = Arc::new(folder.disk());
    let (mut wal, _) = Wal::open(disk, &identity("test", 1), options, |_, _| {}, notify).expect("the log opens");
    let mut count = 0;
    while !wal.is_full() {
        wal.append(1, &[1; 1000]).expect("the log works");
        wal.submit().expect("the log works");
        count += 1;
        assert!(count < 2_000, "it is never full");
    }
    wal.compact([]).expect("the log works");
    while wal.is_compacting() {
        std::thread::yield_now();
    }
    assert!(!wal.is_full() && wal.bytes() < 128 << 10, "{}", wal.bytes());
    assert!(rung.load(Ordering::Relaxed) > 0);
    wal.close().expect("the log works");
}

/// Waits until `condition` holds.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "{what} never came");
        std::thread::yield_now();
    }
}

#[test]
fn a_full_disk_refuses_new_work_and_takes_it_again_when_there_is_room() {
    let disk = MemoryDisk::default();
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let open =
        |disk: &MemoryDisk| Wal::open(Arc::new(disk.clone()), &identity("test", 1), options.clone(), |_, _| {}, || {});
    drop(open(&disk).expect("the log opens"));
    // Opening writes nothing but the next segment.
    disk.fail_after(0, Fault::Full);
    let (mut wal, _) = open(&disk).expect("the log opens");
    until("the full disk", || wal.is_full());
    wal.append(1, b"refused").expect("the log has not failed");
    assert!(!wal.compact([]).expect("the log works"), "a compaction without room is left out");
    assert!(!wal.is_compacting());
    disk.heal();
    until("room", || !wal.is_full());
    wal.append(1, b"taken").expect("the log works");
    wal.submit().expect("the log works");
    until("durability", || wal.durable() == Ok(2));
    wal.close().expect("the log works");
}
