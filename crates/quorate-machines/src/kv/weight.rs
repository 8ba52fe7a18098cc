//! How large a command is: its weight, about how many bytes it takes in a log or a message, which batches are bounded
//! by; and its longest key, which storage engines bound.

use super::command::{Command, Op, Operand, Txn};

/// About how many bytes a command takes in a log: what is in it that can be large, and something for the rest.
pub(super) fn weight(command: &Command) -> usize {
    const REST_BYTES: usize = 48;
    REST_BYTES
        + match command {
            Command::Put(put) => put.key.len() + put.value.len(),
            Command::Txn(txn) => txn_weight(txn),
            _ => 0,
        }
}

fn txn_weight(txn: &Txn) -> usize {
    let compares = txn.compare.iter().map(|compare| match &compare.operand {
        Operand::Value(value) => value.len(),
        _ => 0,
    });
    let ops = txn.success.iter().chain(&txn.failure).map(|op| match op {
        Op::Put(put) => put.key.len() + put.value.len(),
        Op::Txn(txn) => txn_weight(txn),
        Op::Range(_) | Op::Delete(_) => 0,
    });
    let count = txn.compare.len() + txn.success.len() + txn.failure.len();
    compares.sum::<usize>() + ops.sum::<usize>() + count * 32
}

impl Command {
    /// The length of the longest key that the command could write, in bytes.
    #[must_use]
    pub fn longest_key_bytes(&self) -> usize {
        match self {
            Self::Put(put) => put.key.len(),
            Self::Txn(txn) => longest_key_bytes(txn),
            _ => 0, // writes no key that is not there
        }
    }
}

fn longest_key_bytes(txn: &Txn) -> usize {
    let ops = txn.success.iter().chain(&txn.failure).map(|op| match op {
        Op::Put(put) => put.key.len(),
        Op::Txn(txn) => longest_key_bytes(txn),
        Op::Range(_) | Op::Delete(_) => 0,
    });
    ops.max().unwrap_or(0)
}
