//! Checks that need no store: what a gateway refuses before it proposes, and the store again before it applies.
//!
//! A transaction changes each key at most once, or a revision would hold two versions of it: no key is put twice, and
//! none is put and deleted. The two branches of a transaction within may overlap each other, since one of them runs.
//! (etcd lets a put of one inner transaction stand before a delete of a later one; here that is refused as well.)

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::codec::TXN_DEPTH_MAX;
use super::command::{Command, Op, Put, Range, Refused, Span, Txn};

/// How many compares, and operations of a branch, etcd allows a transaction by default (`--max-txn-ops`).
pub const OPS_MAX: usize = 128;

/// Checks a command.
///
/// # Errors
/// The first thing that is wrong, in etcd's order.
pub fn command(command: &Command, ops_max: usize) -> Result<(), Refused> {
    match command {
        Command::Put(own) => put(own),
        Command::Delete(delete) => span(&delete.span),
        Command::Txn(own) => txn(own, ops_max),
        _ => Ok(()),
    }
}

/// Checks a range.
///
/// # Errors
/// When the key is empty.
pub fn range(range: &Range) -> Result<(), Refused> {
    span(&range.span)
}

/// Checks a put.
///
/// # Errors
/// When the key is empty, or what is to be kept is given.
pub fn put(put: &Put) -> Result<(), Refused> {
    if put.key.is_empty() {
        return Err(Refused::EmptyKey);
    }
    if put.ignore_value && !put.value.is_empty() {
        return Err(Refused::ValueProvided);
    }
    if put.ignore_lease && put.lease.0 != 0 {
        return Err(Refused::LeaseProvided);
    }
    Ok(())
}

/// Checks a transaction.
///
/// # Errors
/// When it is too large, an operation is wrong, or a key may be changed twice.
pub fn txn(txn: &Txn, ops_max: usize) -> Result<(), Refused> {
    shape(txn, ops_max, TXN_DEPTH_MAX)?;
    writes(&txn.success)?;
    writes(&txn.failure)?;
    Ok(())
}

fn span(span: &Span) -> Result<(), Refused> {
    match span {
        Span::Key(key) | Span::Range(key, _) if key.is_empty() => Err(Refused::EmptyKey),
        _ => Ok(()),
    }
}

fn shape(txn: &Txn, ops_max: usize, depth_max: usize) -> Result<(), Refused> {
    let ops = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    let left = ops_max.checked_sub(ops).ok_or(Refused::TooManyOps)?;
    let depth_left = depth_max.checked_sub(1).ok_or(Refused::TooManyOps)?;
    txn.compare.iter().try_for_each(|compare| span(&compare.span))?;
    txn.success.iter().chain(&txn.failure).try_for_each(|op| match op {
        Op::Range(own) => range(own),
        Op::Put(own) => put(own),
        Op::Delete(delete) => span(&delete.span),
        Op::Txn(txn) => shape(txn, left, depth_left),
    })
}

/// What the operations of a branch may write.
#[derive(Default)]
struct Writes<'a> {
    puts: Vec<&'a Bytes>,
    deletes: Vec<&'a Span>,
}

fn writes(ops: &[Op]) -> Result<Writes<'_>, Refused> {
    let mut all = Writes::default();
    // Who puts a key, as the index of the operation: what one operation does to itself is its own affair.
    let mut putter: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut deleted: Vec<(&Span, usize)> = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        let own = match op {
            Op::Range(_) => continue,
            Op::Put(put) => Writes { puts: alloc::vec![&put.key], deletes: Vec::new() },
            Op::Delete(delete) => Writes { puts: Vec::new(), deletes: alloc::vec![&delete.span] },
            Op::Txn(txn) => {
                let (mut taken, other) = (writes(&txn.success)?, writes(&txn.failure)?);
                taken.puts.extend(other.puts);
                taken.deletes.extend(other.deletes);
                taken
            }
        };
        for key in &own.puts {
            if *putter.entry(key).or_insert(index) != index {
                return Err(Refused::DuplicateKey);
            }
        }
        deleted.extend(own.deletes.iter().map(|span| (*span, index)));
        all.puts.extend(own.puts);
        all.deletes.extend(own.deletes);
    }
    for (span, index) in deleted {
        let from = span.start();
        let mut within = putter.range(&from[..]..).take_while(|(key, _)| span.contains(key));
        if within.any(|(_, putter)| *putter != index) {
            return Err(Refused::DuplicateKey);
        }
    }
    Ok(all)
}
