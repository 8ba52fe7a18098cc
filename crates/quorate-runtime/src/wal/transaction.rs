//! Transactions on the log, as the notes draw them: each one starts, changes things and commits; they are interleaved;
//! after a crash the changes of those that committed come back, in the order of their commits, and the others are as if
//! they had never been.
//!
//! ```text
//! A start -> A change -> B start -> C commit -> A commit -> B change -> B commit
//! ```
//!
//! All open transactions are in memory, and each pins the log behind its start: the notes' two warnings. Hence both
//! bounds, [`Bounds`], and a transaction that meets one is aborted rather than everyone blocked.
//!
//! Source: notes "Write Ahead Logging".

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::codec::{DecodeError, Reader, Wire};

/// The number of a transaction, never used twice in one log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TransactionId(pub u64);

/// What the log holds of transactions: the payload of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// The transaction begins.
    Start(TransactionId),
    /// It changes something.
    Change(TransactionId, Bytes),
    /// All its changes hold.
    Commit(TransactionId),
    /// None of its changes holds.
    Abort(TransactionId),
}

/// How much may be open at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many transactions may be open.
    pub open_count_max: usize,
    /// How many bytes of changes all open ones together may hold.
    pub open_bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { open_count_max: 1024, open_bytes_max: 64 << 20 }
    }
}

/// Why something was not done. The transaction that asked, if it was open, still is, except where it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// There is no such open transaction: it never began, or it has ended.
    #[error("transaction {} is not open", .0.0)]
    NotOpen(TransactionId),
    /// Too many are open. Nothing began; commit or abort one first.
    #[error("{0} transactions are open, and no more may be: commit or abort one")]
    TooMany(usize),
    /// The open transactions hold too many bytes. This one has been aborted: write its abort to the log.
    #[error("open transactions hold more than {0} bytes: this one was aborted")]
    TooLarge(usize),
}

/// The transactions of one stream. It writes nothing itself: what it gives back is to be appended, and a commit holds
/// when its record is durable.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    bounds: Bounds,
    open: BTreeMap<TransactionId, Vec<Bytes>>,
    open_bytes: usize,
    next: u64,
}

impl Transactions {
    /// No transactions, with `bounds`.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// If too many are open.
    pub fn start(&mut self) -> Result<(TransactionId, Entry), TransactionError> {
        if self.open.len() >= self.bounds.open_count_max {
            return Err(TransactionError::TooMany(self.bounds.open_count_max));
        }
        let id = TransactionId(self.next);
        self.next += 1;
        self.open.insert(id, Vec::new());
        Ok((id, Entry::Start(id)))
    }

    /// Adds a change.
    ///
    /// # Errors
    /// If the transaction is not open, or too much is open; in that case it is aborted.
    pub fn change(&mut self, id: TransactionId, change: Bytes) -> Result<Entry, TransactionError> {
        let changes = self.open.get_mut(&id).ok_or(TransactionError::NotOpen(id))?;
        if self.open_bytes + change.len() > self.bounds.open_bytes_max {
            self.end(id);
            return Err(TransactionError::TooLarge(self.bounds.open_bytes_max));
        }
        self.open_bytes += change.len();
        changes.push(change.clone());
        Ok(Entry::Change(id, change))
    }

    /// Commits, and gives the changes, which hold when the entry is durable.
    ///
    /// # Errors
    /// If the transaction is not open.
    pub fn commit(&mut self, id: TransactionId) -> Result<(Entry, Vec<Bytes>), TransactionError> {
        let changes = self.end(id).ok_or(TransactionError::NotOpen(id))?;
        Ok((Entry::Commit(id), changes))
    }

    /// Aborts.
    ///
    /// # Errors
    /// If the transaction is not open.
    pub fn abort(&mut self, id: TransactionId) -> Result<Entry, TransactionError> {
        self.end(id).ok_or(TransactionError::NotOpen(id))?;
        Ok(Entry::Abort(id))
    }

    /// Takes back an entry that the log kept. Gives the changes of a transaction when its commit comes.
    pub fn replay(&mut self, entry: Entry) -> Vec<Bytes> {
        match entry {
            Entry::Start(id) => {
                self.next = self.next.max(id.0 + 1);
                self.open.insert(id, Vec::new());
            }
            Entry::Change(id, change) => {
                if let Some(changes) = self.open.get_mut(&id) {
                    self.open_bytes += change.len();
                    changes.push(change);
                }
            }
            Entry::Commit(id) => return self.end(id).unwrap_or_default(),
            Entry::Abort(id) => {
                self.end(id);
            }
        }
        Vec::new()
    }

    /// Ends the recovery: gives the aborts of all transactions that never ended, to be appended.
    pub fn recovered(&mut self) -> Vec<Entry> {
        self.open_bytes = 0;
        std::mem::take(&mut self.open).into_keys().map(Entry::Abort).collect()
    }

    /// The entries that stand for what is open, for a compaction.
    pub fn compact(&self) -> impl Iterator<Item = Entry> + '_ {
        self.open.iter().flat_map(|(&id, changes)| {
            let changes = changes.iter().map(move |change| Entry::Change(id, change.clone()));
            std::iter::once(Entry::Start(id)).chain(changes)
        })
    }

    /// How many transactions are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    fn end(&mut self, id: TransactionId) -> Option<Vec<Bytes>> {
        let changes = self.open.remove(&id)?;
        self.open_bytes -= changes.iter().map(Bytes::len).sum::<usize>();
        Some(changes)
    }
}

impl Wire for Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        let (kind, id) = match self {
            Self::Start(id) => (1, id),
            Self::Change(id, _) => (2, id),
            Self::Commit(id) => (3, id),
            Self::Abort(id) => (4, id),
        };
        out.push(kind);
        id.0.encode(out);
        if let Self::Change(_, change) = self {
            change.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let kind = input.byte()?;
        let id = TransactionId(u64::decode(input)?);
        Ok(match kind {
            1 => Self::Start(id),
            2 => Self::Change(id, Bytes::decode(input)?),
            3 => Self::Commit(id),
            4 => Self::Abort(id),
            other => return Err(DecodeError::Unknown { what: "transaction entry", value: other.into() }),
        })
    }
}
