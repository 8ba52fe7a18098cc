//! The generations of a table: a copy from another node is written beside the table that it is to replace.
//!
//! Each generation is a keyspace of the engine. It counts once it has a marker, which is written with the last of a copy.
//! *A crash leaves the old table or the whole copy.* The argument: (1) the newest generation with a marker is the table,
//! and all others go when it is opened; (2) a copy has no marker before all of it is written, and the marker is durable
//! with it or not at all, as that of any checkpoint; (3) nothing is written to the old table meanwhile that a marker in the
//! copy would not cover, since the copy is of more than the old table may come to hold.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable};

use super::MARKER_KEY;

/// All generations of one table.
pub(super) struct Family {
    database: Database,
    name: String,
    newest: Mutex<Newest>,
}

struct Newest {
    generation: u64,
    /// All generations that are there.
    kept: Vec<(u64, Keyspace)>,
}

impl Family {
    /// The table `name`: its family, which generation it is, and its keyspace. Other generations are deleted.
    pub(super) fn open(database: Database, name: &str) -> Result<(Self, u64, Keyspace), fjall::Error> {
        let names = database.list_keyspace_names();
        let mut generations: Vec<u64> = names.iter().filter_map(|found| generation_of(found, name)).collect();
        generations.sort_unstable();
        let newest = generations.last().copied().unwrap_or(0);
        let (mut table, snapshot) = (None, database.snapshot());
        for generation in generations.into_iter().rev() {
            let keyspace = database.keyspace(&keyspace_name(name, generation), KeyspaceCreateOptions::default)?;
            let counts = table.is_none() && (generation == 0 || snapshot.get(&keyspace, MARKER_KEY)?.is_some());
            if counts {
                table = Some((generation, keyspace));
            } else {
                database.delete_keyspace(keyspace)?;
            }
        }
        let (generation, keyspace) = match table {
            Some(table) => table,
            None => (0, database.keyspace(name, KeyspaceCreateOptions::default)?),
        };
        let newest = Mutex::new(Newest { generation: newest, kept: vec![(generation, keyspace.clone())] });
        Ok((Self { database, name: name.to_owned(), newest }, generation, keyspace))
    }

    /// A new generation beside `present`, empty. All others are deleted: copying begins only when it is durable that nothing
    /// of them counts.
    pub(super) fn draft(&self, present: u64) -> Result<(u64, Keyspace), fjall::Error> {
        let mut newest = self.newest();
        for (generation, keyspace) in std::mem::take(&mut newest.kept) {
            if generation == present {
                newest.kept.push((generation, keyspace));
            } else {
                self.database.delete_keyspace(keyspace)?;
            }
        }
        newest.generation += 1;
        let name = keyspace_name(&self.name, newest.generation);
        let keyspace = self.database.keyspace(&name, KeyspaceCreateOptions::default)?;
        let made = newest.generation;
        newest.kept.push((made, keyspace.clone()));
        Ok((newest.generation, keyspace))
    }

    pub(super) fn snapshot(&self) -> fjall::Snapshot {
        self.database.snapshot()
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        // The number grows before the keyspace is made, so a panic elsewhere leaves a number that is not used again.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keyspace_name(name: &str, generation: u64) -> String {
    if generation == 0 { name.to_owned() } else { format!("{name}@{generation}") }
}

fn generation_of(found: &str, name: &str) -> Option<u64> {
    let rest = found.strip_prefix(name)?;
    if rest.is_empty() { Some(0) } else { rest.strip_prefix('@')?.parse().ok() }
}
