//! What the store costs: inserts with a checkpoint now and then, reads of what is on disk, reads of nothing, a scan. CPU
//! time is that of all threads, so the flushes and merges in the background are in it.
//!
//! `cargo run --release -p quorate-runtime --example store_bench [ENTRIES] [FOLDER]`
//!
//! Measured once with 1,000,000 entries (five times the block cache) on 2 virtual cores of an EPYC with other work on both
//! (load 8), so wall times are upper bounds:
//!
//! | what | a second | CPU us each |
//! |---|---|---|
//! | insert, until durable | 173,543 | 2.8 |
//! | get | 38,585 | 12.7 |
//! | get of nothing | 340,928 | 1.5 |
//! | scan | 765,772 | 0.65 |
//! | snapshot | 4,405,183 | 0.10 |

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_machines::kv::Table;
use quorate_runtime::store::{Store, StoreOptions};
use rustix::time::{ClockId, clock_gettime};

type Failure = Box<dyn std::error::Error>;

const CHECKPOINT_EVERY: u64 = 100_000;
const READS: u64 = 200_000;

fn main() -> Result<(), Failure> {
    let entries: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let folder =
        std::env::args().nth(2).map_or_else(|| std::env::temp_dir().join("quorate-store-bench"), PathBuf::from);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let store = Store::open(&folder, &StoreOptions::default())?;
    let mut table = store.table("bench")?;
    let value = Bytes::from(vec![7; 256]);
    println!("{entries} entries of 64 + 256 bytes, a checkpoint each {CHECKPOINT_EVERY}");
    println!("| what | a second | wall us each | CPU us each |");
    println!("|---|---|---|---|");
    report("insert, until durable", entries, || {
        for number in 0..entries {
            table.insert(key(number), value.clone());
            if (number + 1) % CHECKPOINT_EVERY == 0 {
                table.checkpoint(number + 1, Bytes::new());
            }
        }
        while table.checkpoints_waiting() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Lets go of what is in the engine by now, so that reads go there.
        table.insert(key(0), value.clone());
    });
    println!("durable up to {:?}, {} changes in memory", table.durable_index(), table.change_count());
    report("get", READS, || {
        for number in 0..READS {
            assert!(table.get(&key(number.wrapping_mul(0x5851_f42d_4c95_7f2d) % entries)).is_some());
        }
    });
    report("get of nothing", READS, || {
        for number in 0..READS {
            assert!(table.get(&key(entries + number)).is_none());
        }
    });
    report("scan", entries, || {
        assert_eq!(table.range(&[], None).count() as u64, entries);
    });
    report("snapshot", READS, || {
        for _ in 0..READS {
            drop(table.clone());
        }
    });
    let bytes: u64 = walk(&folder)?;
    println!("{} MB on disk for {} MB of keys and values", bytes >> 20, (entries * 320) >> 20);
    drop((table, store));
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn report(what: &str, count: u64, work: impl FnOnce()) {
    let (began, cpu) = (Instant::now(), cpu());
    work();
    let (wall_us, cpu_us) = (began.elapsed().as_secs_f64() * 1e6, (self::cpu() - cpu).as_secs_f64() * 1e6);
    let count = count as f64;
    println!("| {what} | {:.0} | {:.2} | {:.2} |", count / wall_us * 1e6, wall_us / count, cpu_us / count);
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Keys that come in no order.
fn key(number: u64) -> Bytes {
    let mut key = vec![b'k'; 56];
    key.extend_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Bytes::from(key)
}

fn walk(folder: &std::path::Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { walk(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
