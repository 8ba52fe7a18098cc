//! What the engine takes on trust when it opens, checked first: a list of tables with one bit flipped opens well and has
//! fewer tables, and a length with one bit flipped asks for more memory than there is.
//!
//! | file of a keyspace | says | checked by |
//! |--------------------|------|------------|
//! | `current` | which version counts, and its checksum | its form, and the version that it names |
//! | `v7` | the tables, each with its checksum | the checksum in `current`, over the whole file |
//! | `tables/6` | entries in blocks | before opening: its end, which says where things are; each block when it is read |
//!
//! All this reads little. Whole tables are summed up only when the engine met damage, to tell which file it is in.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::StoreError;

/// A file is summed up in parts of this size.
const PART_BYTES: usize = 1 << 20;

/// The largest list of tables, and the largest directory at the end of a file.
const LIST_BYTES_MAX: u64 = 256 << 20;

/// Checks what the engine reads when it opens the store in `folder`. There may be none yet.
///
/// # Errors
/// If another process has it open, or a file is damaged.
pub(super) fn check(folder: &Path) -> Result<(), StoreError> {
    if is_locked(folder) {
        return Err(StoreError::Locked { folder: folder.display().to_string() });
    }
    for keyspace in keyspaces(folder) {
        for (table, _) in tables(folder, &keyspace)? {
            // A table that is gone is for the engine to report.
            let Ok(file) = File::open(&table) else { continue };
            if directory(&file).is_none() {
                return Err(damaged(folder, &table, "its end does not pass its checksum"));
            }
        }
    }
    Ok(())
}

/// The first file whose bytes are not what was written, if there is one.
pub(super) fn damaged_file(folder: &Path) -> Option<StoreError> {
    for keyspace in keyspaces(folder) {
        let tables = match tables(folder, &keyspace) {
            Ok(tables) => tables,
            Err(error) => return Some(error),
        };
        for (table, wanted) in tables {
            if sum(&table).is_ok_and(|found| found != wanted) {
                return Some(damaged(folder, &table, "it does not pass its checksum"));
            }
        }
    }
    None
}

fn damaged(folder: &Path, file: &Path, what: &str) -> StoreError {
    let name = file.strip_prefix(folder).unwrap_or(file).display().to_string();
    StoreError::Damaged { folder: folder.display().to_string(), file: name, what: what.to_owned() }
}

fn is_locked(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join("lock")) else { return false };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

fn keyspaces(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder.join("keyspaces")) else { return Vec::new() };
    let mut found: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// The tables of a keyspace, each with its checksum.
fn tables(folder: &Path, keyspace: &Path) -> Result<Vec<(PathBuf, u128)>, StoreError> {
    let current = keyspace.join("current");
    let Ok(pointer) = std::fs::read(&current) else {
        return Ok(Vec::new()); // a crash while the keyspace was made; the engine knows what to do
    };
    let Some((version, wanted)) = pointer_of(&pointer) else {
        return Err(damaged(folder, &current, "it names no version"));
    };
    let version = keyspace.join(format!("v{version}"));
    let bytes = match std::fs::read(&version) {
        Ok(bytes) => bytes,
        Err(error) => return Err(damaged(folder, &current, &format!("cannot read {}: {error}", version.display()))),
    };
    if xxh3_128(&bytes) != wanted {
        return Err(damaged(folder, &version, "it does not pass the checksum in `current`"));
    }
    let tables = File::open(&version).ok().and_then(|file| directory(&file)).and_then(|directory| {
        let (from, bytes_len) = section_of(&directory, b"tables")?;
        tables_of(bytes.get(from..from.checked_add(bytes_len)?)?)
    });
    let Some(tables) = tables else {
        return Err(damaged(folder, &version, "it lists no tables"));
    };
    let path_of = |id: u64| keyspace.join("tables").join(id.to_string());
    Ok(tables.into_iter().map(|(id, sum)| (path_of(id), sum)).collect())
}

/// `current`: the number of the version, its checksum, and 0 for the kind of checksum.
fn pointer_of(bytes: &[u8]) -> Option<(u64, u128)> {
    let (version, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    (rest == [0]).then(|| (u64::from_le_bytes(*version), u128::from_le_bytes(*checksum)))
}

/// The directory of an engine's file: it lies before the end, which has its checksum and its place.
fn directory(file: &File) -> Option<Vec<u8>> {
    const END_BYTES: u64 = 4 + 1 + 1 + 16 + 8 + 8;
    let file_bytes = file.metadata().ok()?.len();
    let end_at = file_bytes.checked_sub(END_BYTES)?;
    let mut end = [0; END_BYTES as usize];
    file.read_exact_at(&mut end, end_at).ok()?;
    let rest = end.strip_prefix(b"SFA!\x01\x00")?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let (at, rest) = rest.split_first_chunk()?;
    let (at, bytes) = (u64::from_le_bytes(*at), u64::from_le_bytes(*rest.first_chunk()?));
    if bytes > LIST_BYTES_MAX || at.checked_add(bytes)? > end_at {
        return None;
    }
    let mut directory = vec![0; bytes as usize];
    file.read_exact_at(&mut directory, at).ok()?;
    (xxh3_128(&directory) == u128::from_le_bytes(*checksum)).then_some(directory)
}

/// Where the section `name` is, and how long.
fn section_of(directory: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let mut rest = directory.strip_prefix(b"TOC!")?.split_at_checked(4)?.1;
    loop {
        let (at, after) = rest.split_first_chunk()?;
        let (bytes, after) = after.split_first_chunk()?;
        let (name_bytes, after) = after.split_first_chunk()?;
        let (found, after) = after.split_at_checked(u16::from_le_bytes(*name_bytes).into())?;
        if found == name {
            return Some((u64::from_le_bytes(*at) as usize, u64::from_le_bytes(*bytes) as usize));
        }
        rest = after;
    }
}

/// The list of tables: levels of runs of tables, each with number, kind and value of its checksum, and sequence number.
fn tables_of(mut rest: &[u8]) -> Option<Vec<(u64, u128)>> {
    let mut tables = Vec::new();
    let level_count = take::<1>(&mut rest)?[0];
    for _ in 0..level_count {
        let run_count = take::<1>(&mut rest)?[0];
        for _ in 0..run_count {
            let table_count = u32::from_le_bytes(take(&mut rest)?);
            for _ in 0..table_count {
                let id = u64::from_le_bytes(take(&mut rest)?);
                let [0] = take(&mut rest)? else { return None };
                let checksum = u128::from_le_bytes(take(&mut rest)?);
                let _sequence: [u8; 8] = take(&mut rest)?;
                tables.push((id, checksum));
            }
        }
    }
    rest.is_empty().then_some(tables)
}

fn take<const LEN: usize>(rest: &mut &[u8]) -> Option<[u8; LEN]> {
    let (head, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*head)
}

fn sum(path: &Path) -> io::Result<u128> {
    let file = File::open(path)?;
    let mut sum = Xxh3Default::new();
    let mut part = vec![0; PART_BYTES];
    let mut at = 0;
    loop {
        match file.read_at(&mut part, at)? {
            0 => return Ok(sum.digest128()),
            count => {
                sum.update(&part[..count]);
                at += count as u64;
            }
        }
    }
}
