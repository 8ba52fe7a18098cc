//! The log's group commit against a bare write and fdatasync of the same bytes to a prepared file of the same disk,
//! taken in turns, so that both see the same machine.
//!
//! `cargo run --release -p quorate-runtime --example wal_bench [FOLDER]`
//!
//! *closed*: append so many records, submit, wait until they are durable, again: all that the log adds is in the way.
//! *open*: the next records are appended while the disk turns, as a host does.
//!
//! Measured on 2 virtual cores of an EPYC, ext4, with other work on both cores and on the disk (load 8 to 10), median of
//! 40 rounds of 50 syncs each, taken in turns. Compare the ratios, not the figures:
//!
//! | record | records a sync | bare, records/s | closed : bare | open : bare |
//! |---|---|---|---|---|
//! | 256 B | 1 | 422 | 1.02 | 2.17 |
//! | 256 B | 64 | 47,425 | 0.89 | 1.35 |
//! | 4096 B | 1 | 845 | 0.84 | 1.48 |
//! | 4096 B | 16 | 8,891 | 0.91 | 1.39 |
//! | 4096 B | 64 | 15,906 | 0.96 | 1.36 |
//! | 4096 B | 256 | 33,253 | 0.92 | 0.98 |

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use quorate_model::NodeId;
use quorate_runtime::wal::{Folder, Identity, Options, Wal};

type Failure = Box<dyn std::error::Error>;

const ROUNDS: usize = 40;
const SYNCS_A_ROUND: usize = 50;
const SEGMENT_BYTES: u64 = 64 << 20;

struct Bell {
    rung: Mutex<u64>,
    changed: Condvar,
}

fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("quorate-wal-bench"), PathBuf::from);
    println!(
        "| record | records a sync | bare, records/s | closed, records/s | closed : bare | open, records/s | open : bare |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (record_bytes, count) in [(256, 1), (256, 64), (4096, 1), (4096, 16), (4096, 64), (4096, 256)] {
        let line = compare(&folder, record_bytes, count)?;
        println!("{line}");
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn compare(folder: &Path, record_bytes: usize, count: usize) -> Result<String, Failure> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let bell = Arc::new(Bell { rung: Mutex::new(0), changed: Condvar::new() });
    let ring = Arc::clone(&bell);
    let notify = move || {
        if let Ok(mut rung) = ring.rung.lock() {
            *rung += 1;
        }
        ring.changed.notify_one();
    };
    let identity = Identity { cluster: "bench".to_owned(), node: NodeId(1) };
    let options = Options { bytes_max: 8 << 30, segment_bytes: SEGMENT_BYTES, ..Options::default() };
    let disk = Arc::new(Folder::open(folder.join("wal"))?);
    let (mut wal, _) = Wal::open(disk, &identity, options, |_, _| {}, notify)?;
    let bare = prepared(&folder.join("bare"))?;
    let payload = vec![7; record_bytes];
    let bytes = vec![7; record_bytes * count];
    let (mut offset, mut bare_s, mut closed_s, mut open_s) = (0, Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..SYNCS_A_ROUND {
            if offset + bytes.len() as u64 > SEGMENT_BYTES {
                offset = 0;
            }
            bare.write_all_at(&bytes, offset)?;
            bare.sync_data()?;
            offset += bytes.len() as u64;
        }
        bare_s.push(began.elapsed());

        let began = Instant::now();
        for _ in 0..SYNCS_A_ROUND {
            let last = append(&mut wal, &payload, count)?;
            wait(&wal, &bell, last)?;
        }
        closed_s.push(began.elapsed());

        let began = Instant::now();
        let mut last = 0;
        for _ in 0..SYNCS_A_ROUND {
            let before = last;
            last = append(&mut wal, &payload, count)?;
            wait(&wal, &bell, before)?;
        }
        wait(&wal, &bell, last)?;
        open_s.push(began.elapsed());
    }
    wal.close()?;
    let [bare, closed, open] = [bare_s, closed_s, open_s].map(|mut times| {
        times.sort();
        (SYNCS_A_ROUND * count) as f64 / times[ROUNDS / 2].as_secs_f64()
    });
    let (closed_ratio, open_ratio) = (closed / bare, open / bare);
    Ok(format!(
        "| {record_bytes} B | {count} | {bare:.0} | {closed:.0} | {closed_ratio:.2} | {open:.0} | {open_ratio:.2} |"
    ))
}

fn append(wal: &mut Wal, payload: &[u8], count: usize) -> Result<u64, Failure> {
    let mut last = 0;
    for _ in 0..count {
        last = wal.append(1, payload)?;
    }
    wal.submit()?;
    Ok(last)
}

fn wait(wal: &Wal, bell: &Bell, sequence: u64) -> Result<(), Failure> {
    let mut rung = bell.rung.lock().map_err(|_| "the log's thread panicked")?;
    while wal.durable()? < sequence {
        rung = bell.changed.wait_timeout(rung, Duration::from_secs(1)).map_err(|_| "the log's thread panicked")?.0;
    }
    Ok(())
}

/// A file full of zeros, as the log's segments are.
fn prepared(path: &Path) -> Result<File, Failure> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    for at in 0..SEGMENT_BYTES >> 20 {
        file.write_all_at(&zeros, at << 20)?;
    }
    file.sync_all()?;
    Ok(file)
}
