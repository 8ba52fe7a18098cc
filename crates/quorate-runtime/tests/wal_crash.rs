//! The log against a disk that crashes in every way a disk may: no acknowledged record is lost, none comes back that was
//! not written, and the state is always that of some moment, never a mix.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_model::NodeId;
use quorate_runtime::wal::memory::{Fault, MemoryDisk};
use quorate_runtime::wal::{Disk, Gathered, Identity, Log, OpenError, Options, Recovered, WalError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What the records fold to: the last payload of each stream.
type State = BTreeMap<u64, Bytes>;

fn identity() -> Identity {
    Identity { cluster: "test".to_owned(), node: NodeId(1) }
}

fn options() -> Options {
    Options {
        segment_bytes: 4096,
        batch_bytes_max: 1500,
        prepare_ahead: false,
        folder: Some(0x5eed),
        ..Options::default()
    }
}

fn open(disk: &MemoryDisk) -> Result<(Log, Recovered, State), OpenError> {
    let mut state = State::new();
    let (log, recovered) = Log::open(Arc::new(disk.clone()), &identity(), options(), |stream, payload| {
        state.insert(stream, payload);
    })?;
    Ok((log, recovered, state))
}

/// A run of a log, and what it promised when.
struct Run {
    /// The state after so many records.
    states: Vec<State>,
    /// After so many disk operations, so many records were acknowledged.
    acknowledged: Vec<(usize, usize)>,
}

impl Run {
    fn of_a_new_log() -> Self {
        Self { states: vec![State::new()], acknowledged: Vec::new() }
    }

    fn record_count(&self) -> usize {
        self.states.len() - 1
    }

    fn acknowledged_at(&self, operation_count: usize) -> usize {
        let until = self.acknowledged.partition_point(|&(operations, _)| operations <= operation_count);
        if until == 0 { 0 } else { self.acknowledged[until - 1].1 }
    }

    fn write(&mut self, log: &mut Log, disk: &MemoryDisk, rng: &mut ChaCha8Rng) -> Result<(), WalError> {
        let first = self.record_count();
        let payloads: Vec<(u64, Bytes)> = (first..first + rng.random_range(1..5))
            .map(|number| (rng.random_range(0..3), payload(number, rng)))
            .collect();
        self.write_these(log, disk, payloads)
    }

    fn write_these(
        &mut self,
        log: &mut Log,
        disk: &MemoryDisk,
        payloads: impl IntoIterator<Item = (u64, Bytes)>,
    ) -> Result<(), WalError> {
        let mut gathered = Gathered::default();
        for (stream, payload) in payloads {
            gathered.put(stream, |out| out.extend_from_slice(&payload));
            let mut state = self.states.last().cloned().unwrap_or_default();
            state.insert(stream, payload);
            self.states.push(state);
        }
        log.write(&mut gathered)?;
        self.acknowledged.push((disk.operation_count(), self.record_count()));
        Ok(())
    }

    fn compact(&mut self, log: &mut Log) -> Result<(), WalError> {
        let mut base = Gathered::default();
        for (&stream, payload) in self.states.last().into_iter().flatten() {
            base.put(stream, |out| out.extend_from_slice(payload));
        }
        log.compact(&mut base)
    }

    fn step(&mut self, log: &mut Log, disk: &MemoryDisk, rng: &mut ChaCha8Rng) -> Result<(), WalError> {
        match rng.random_range(0..10) {
            0 => self.compact(log),
            1 => log.vouch(),
            _ => self.write(log, disk, rng),
        }
    }

    /// How many records the recovered state stands for; refutes a state that never was, or is too old.
    fn judge(&self, recovered: &Recovered, state: &State, acknowledged: usize, story: &str) -> usize {
        let count = recovered.next_sequence as usize - 1;
        assert!(count >= acknowledged, "{story}: {acknowledged} records were acknowledged, {count} came back");
        assert!(
            count <= self.record_count(),
            "{story}: {count} records came back, {} were written",
            self.record_count()
        );
        assert_eq!(*state, self.states[count], "{story}: a state that never was after {count} records");
        count
    }
}

/// Unique, of any length, and sometimes full of zeros, which is what unwritten sectors look like.
fn payload(number: usize, rng: &mut ChaCha8Rng) -> Bytes {
    let length = if rng.random_range(0..10) == 0 { rng.random_range(0..3000) } else { rng.random_range(0..200) };
    let filler = [0_u8, 0xff, 7][rng.random_range(0..3)];
    let mut bytes = (number as u32).to_le_bytes().to_vec();
    bytes.resize(4 + length, filler);
    Bytes::from(bytes)
}

/// Crashes `seeds` runs at every operation, `images` times each; gives the number of images.
fn crash_everywhere(seeds: std::ops::Range<u64>, images: usize) -> usize {
    let mut image_count = 0;
    for seed in seeds {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let disk = MemoryDisk::recording();
        let (mut log, _, _) = open(&disk).expect("an empty disk takes a log");
        let made_at = disk.operation_count();
        let mut run = Run::of_a_new_log();
        for _ in 0..12 {
            run.step(&mut log, &disk, &mut rng).expect("no fault was injected");
        }
        drop(log);
        for at in 0..=disk.operation_count() {
            let acknowledged = run.acknowledged_at(at);
            for image in 0..images {
                let story = format!("seed {seed}, crash after operation {at}, image {image}");
                let crashed = disk.crash(at, &mut rng).copy_recording();
                let opened_at = crashed.operation_count();
                let (log, recovered, state) = open(&crashed).unwrap_or_else(|error| panic!("{story}: {error}"));
                assert!(at < made_at || !recovered.is_new, "{story}: the log was made anew");
                let kept = run.judge(&recovered, &state, acknowledged, &story);
                image_count += 1;
                if image == 0 {
                    image_count += crash_again(&run, log, (&crashed, opened_at), kept, &mut rng, &story);
                }
            }
        }
    }
    image_count
}

/// Goes on after a recovery and crashes again: during the recovery, and after more was written.
fn crash_again(
    run: &Run,
    mut log: Log,
    (disk, opened_at): (&MemoryDisk, usize),
    kept: usize,
    rng: &mut ChaCha8Rng,
    story: &str,
) -> usize {
    let mut onward = Run { states: run.states[..=kept].to_vec(), acknowledged: vec![(opened_at, kept)] };
    onward.write(&mut log, disk, rng).expect("no fault was injected");
    drop(log);
    let mut image_count = 0;
    for at in opened_at..=disk.operation_count() {
        let story = format!("{story}, again after operation {at}");
        let crashed = disk.crash(at, rng);
        let (_, recovered, state) = open(&crashed).unwrap_or_else(|error| panic!("{story}: {error}"));
        onward.judge(&recovered, &state, onward.acknowledged_at(at), &story);
        image_count += 1;
    }
    image_count
}

#[test]
fn no_crash_loses_an_acknowledged_record_part_one() {
    let count = crash_everywhere(0..75, 8);
    println!("{count} crash images");
    assert!(count > 50_000, "{count} images");
}

#[test]
fn no_crash_loses_an_acknowledged_record_part_two() {
    let count = crash_everywhere(1000..1075, 8);
    println!("{count} crash images");
    assert!(count > 50_000, "{count} images");
}

#[test]
fn a_failed_write_or_sync_or_a_full_disk_is_final_and_loses_nothing_acknowledged() {
    let mut failure_count = 0;
    for seed in 0..600 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let disk = MemoryDisk::recording();
        let (mut log, _, _) = open(&disk).expect("an empty disk takes a log");
        let mut run = Run::of_a_new_log();
        let fault = [Fault::Write, Fault::Sync, Fault::Full][seed as usize % 3];
        disk.fail_after(rng.random_range(0..40), fault);
        let failure = (0..30).find_map(|_| run.step(&mut log, &disk, &mut rng).err());
        drop(log);
        let Some(failure) = failure else { continue };
        failure_count += 1;
        assert_eq!(matches!(failure, WalError::Full { .. }), fault == Fault::Full, "{failure}");
        let acknowledged = run.acknowledged_at(disk.operation_count());
        for image in 0..4 {
            let story = format!("seed {seed}, {fault:?}, image {image}");
            let crashed = disk.crash(disk.operation_count(), &mut rng);
            let (_, recovered, state) = open(&crashed).unwrap_or_else(|error| panic!("{story}: {error}"));
            run.judge(&recovered, &state, acknowledged, &story);
        }
    }
    assert!(failure_count > 300, "only {failure_count} runs met their fault");
}

/// Flips every bit of a log of six batches, whose last was vouched for, and gives how many were harmless, refused, cut.
fn flip_every_bit(mut payload: impl FnMut(usize) -> Bytes) -> (usize, usize, usize) {
    let disk = MemoryDisk::recording();
    let (mut log, _, _) = open(&disk).expect("an empty disk takes a log");
    let mut run = Run::of_a_new_log();
    for batch in 0..6 {
        let payloads = (0..2).map(|record| (record, payload(2 * batch + record as usize)));
        run.write_these(&mut log, &disk, payloads).expect("no fault was injected");
    }
    log.vouch().expect("no fault was injected");
    drop(log);
    let (mut harmless, mut refused, mut cut) = (0, 0, 0);
    for name in ["0000000000000001.wal", "0000000000000002.wal", "0000000000000003.wal", "identity"] {
        let Some(content) = disk.content(name) else { continue };
        for bit in 0..content.len() * 8 {
            let damaged = disk.copy();
            let mut bytes = content.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            damaged.set_content(name, bytes);
            match open(&damaged) {
                Ok((_, recovered, state)) => {
                    let story = format!("bit {bit} of {name}");
                    // The batch that vouches is all that nothing vouches for; it holds no record.
                    run.judge(&recovered, &state, run.record_count(), &story);
                    if recovered.torn.is_some() { cut += 1 } else { harmless += 1 }
                }
                Err(OpenError::Damaged(_) | OpenError::Identity { .. }) => refused += 1,
                Err(other) => panic!("bit {bit} of {name}: {other}"),
            }
        }
    }
    println!("{harmless} flips harmless, {refused} refused, {cut} cut as not synced");
    (harmless, refused, cut)
}

#[test]
fn every_flipped_bit_is_harmless_or_seen_and_never_served() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (_, refused, _) = flip_every_bit(|number| payload(number, &mut rng));
    assert!(refused > 8_000, "{refused}");
}

#[test]
fn a_flipped_bit_among_zeros_is_no_torn_end_when_a_later_batch_vouches() {
    // Payloads of zeros look as unwritten sectors do: only the vouching tells damage from a tear here.
    let (_, refused, _) = flip_every_bit(|number| {
        let mut bytes = vec![0; 600];
        bytes[0] = number as u8;
        Bytes::from(bytes)
    });
    assert!(refused > 40_000, "{refused}");
}

#[test]
fn a_base_that_was_damaged_in_a_crash_is_not_answered_with_an_older_state() {
    let mut judged_count = 0;
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let disk = MemoryDisk::recording();
        let (mut log, _, _) = open(&disk).expect("an empty disk takes a log");
        let mut run = Run::of_a_new_log();
        while disk.content("0000000000000003.wal").is_none() {
            run.write(&mut log, &disk, &mut rng).expect("no fault was injected");
        }
        let began_at = disk.operation_count();
        run.compact(&mut log).expect("no fault was injected");
        drop(log);
        let segments = disk.names().expect("memory does not fail");
        let name = segments.iter().find(|name| name.ends_with(".wal")).expect("the base is there");
        for at in began_at..=disk.operation_count() {
            for image in 0..8 {
                let crashed = disk.crash(at, &mut rng);
                let Some(mut bytes) = crashed.content(name).filter(|bytes| bytes.len() > 1024) else { continue };
                bytes[512 + rng.random_range(0..60)] ^= 1; // the head of the base's first batch
                crashed.set_content(name, bytes);
                match open(&crashed) {
                    Ok((_, recovered, state)) => {
                        let story = format!("seed {seed}, crash after operation {at}, image {image}");
                        run.judge(&recovered, &state, run.record_count(), &story);
                        judged_count += 1;
                    }
                    Err(OpenError::Damaged(_)) => {}
                    Err(other) => panic!("seed {seed}, crash after operation {at}: {other}"),
                }
            }
        }
    }
    assert!(judged_count > 100, "{judged_count}");
}

#[test]
fn damage_names_the_file_and_the_byte_and_changes_nothing() {
    let disk = MemoryDisk::recording();
    let (mut log, _, _) = open(&disk).expect("an empty disk takes a log");
    for text in ["first", "second"] {
        let mut gathered = Gathered::default();
        gathered.put(1, |out| out.extend_from_slice(text.as_bytes()));
        log.write(&mut gathered).expect("no fault was injected");
    }
    drop(log);
    let name = "0000000000000001.wal";
    let mut bytes = disk.content(name).expect("the first segment");
    let at = bytes.windows(5).position(|window| window == b"first").expect("the record is there");
    bytes[at] ^= 1;
    disk.set_content(name, bytes.clone());
    let Err(error) = open(&disk) else { panic!("a damaged log was opened") };
    let text = error.to_string();
    let record_at = at - 16;
    assert!(text.contains(&format!("{name} at byte {record_at}: the record's checksum")), "{text}");
    assert_eq!(disk.content(name), Some(bytes));
}

#[test]
fn what_stands_at_a_wrong_place_is_never_served() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let disk = MemoryDisk::recording();
    let (mut log, _, _) = open(&disk).expect("an empty disk takes a log");
    let mut run = Run::of_a_new_log();
    while disk.content("0000000000000004.wal").is_none() {
        run.write(&mut log, &disk, &mut rng).expect("no fault was injected");
    }
    drop(log);
    let names = ["0000000000000001.wal", "0000000000000002.wal", "0000000000000003.wal"];
    let mut refused = 0;
    for from in names {
        for to in names {
            let source = disk.content(from).expect("it was written");
            for (from_sector, to_sector) in (0..8).flat_map(|a| (0..8).map(move |b| (a, b))) {
                let misdirected = disk.copy();
                let mut content = disk.content(to).expect("it was written");
                let (a, b) = (from_sector * 512, to_sector * 512);
                if source[a..a + 512] == content[b..b + 512] {
                    continue;
                }
                content[b..b + 512].copy_from_slice(&source[a..a + 512]);
                misdirected.set_content(to, content);
                let story = format!("sector {from_sector} of {from} over sector {to_sector} of {to}");
                match open(&misdirected) {
                    // Over what was never written: seen as torn, or not needed.
                    Ok((_, recovered, state)) => {
                        run.judge(&recovered, &state, run.record_count(), &story);
                    }
                    Err(OpenError::Damaged(_)) => refused += 1,
                    Err(other) => panic!("{story}: {other}"),
                }
            }
        }
    }
    println!("{refused} misdirected sectors refused");
    assert!(refused > 200, "{refused}");
}
