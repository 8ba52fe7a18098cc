//! The store's words as bytes, for logs and messages.
//!
//! Structs are their fields in order; enums are a tag and what the variant holds. A tag that is not known is refused by
//! name. Tags are never given a new meaning: what is in a log today is read by every later build.
//!
//! A transaction holds transactions: how deep is bounded, or a few hostile megabytes would exhaust the stack.

use alloc::vec::Vec;

use bytes::Bytes;
use quorate_model::{DecodeError, Reader, Wire};

use super::command::{
    Alarm, AlarmKind, Answer, Command, Compare, Comparison, Delete, Done, Found, KeyValue, LeaseId, Op, OpDone,
    Operand, Put, Range, Refused, Revision, SortOrder, SortTarget, Span, Txn, TxnDone,
};
use super::snapshot::{Chunk, check_entry};
use super::{Query, Reply, Table, View};

/// How deep transactions may stand within each other on the wire: as deep as 128 operations can make them.
pub const TXN_DEPTH_MAX: usize = 128;

/// A struct is its fields, in order.
macro_rules! fields {
    ($($name:ident { $($field:ident),* })*) => { $(
        impl Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
            }

            fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
                Ok(Self { $($field: Wire::decode(input)?),* })
            }
        }
    )* };
}

/// An enum of plain names is its tag.
macro_rules! names {
    ($($name:ident $what:literal { $($variant:ident = $tag:literal),* })*) => { $(
        impl Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.push(match self { $(Self::$variant => $tag),* });
            }

            fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
                match input.byte()? {
                    $($tag => Ok(Self::$variant),)*
                    tag => Err(unknown($what, tag)),
                }
            }
        }
    )* };
}

fields! {
    KeyValue { key, create_revision, mod_revision, version, value, lease }
    Put { key, value, lease, prev_kv, ignore_value, ignore_lease }
    Delete { span, prev_kv }
    Range {
        span, revision, limit, sort_order, sort_target, keys_only, count_only, min_mod_revision, max_mod_revision,
        min_create_revision, max_create_revision
    }
    Found { kvs, more, count }
    Compare { span, result, operand }
    Alarm { member, kind }
    Chunk { entries, last }
}

names! {
    SortTarget "sort target" { Key = 0, Version = 1, Create = 2, Mod = 3, Value = 4 }
    SortOrder "sort order" { None = 0, Ascend = 1, Descend = 2 }
    Comparison "comparison" { Equal = 0, Greater = 1, Less = 2, NotEqual = 3 }
    AlarmKind "alarm" { NoSpace = 1, Corrupt = 2 }
    Refused "refusal" {
        EmptyKey = 1, KeyNotFound = 2, ValueProvided = 3, LeaseProvided = 4, TooManyOps = 5, DuplicateKey = 6,
        Compacted = 7, FutureRevision = 8, LeaseNotFound = 9, LeaseExists = 10, NoSpace = 11, Corrupt = 12
    }
}

fn unknown(what: &'static str, tag: u8) -> DecodeError {
    DecodeError::Unknown { what, value: tag.into() }
}

impl Wire for Revision {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self)
    }
}

impl Wire for LeaseId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        i64::decode(input).map(Self)
    }
}

impl Wire for Query {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Vec::decode(input).map(Self)
    }
}

impl Wire for Span {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Key(key) => tagged(1, key, out),
            Self::Range(start, end) => {
                tagged(2, start, out);
                end.encode(out);
            }
            Self::From(start) => tagged(3, start, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.byte()? {
            1 => Bytes::decode(input).map(Self::Key),
            2 => Ok(Self::Range(Wire::decode(input)?, Wire::decode(input)?)),
            3 => Bytes::decode(input).map(Self::From),
            tag => Err(unknown("span", tag)),
        }
    }
}

impl Wire for Operand {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Version(operand) => tagged(1, operand, out),
            Self::Create(operand) => tagged(2, operand, out),
            Self::Mod(operand) => tagged(3, operand, out),
            Self::Value(operand) => tagged(4, operand, out),
            Self::Lease(operand) => tagged(5, operand, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.byte()? {
            1 => i64::decode(input).map(Self::Version),
            2 => i64::decode(input).map(Self::Create),
            3 => i64::decode(input).map(Self::Mod),
            4 => Bytes::decode(input).map(Self::Value),
            5 => i64::decode(input).map(Self::Lease),
            tag => Err(unknown("operand", tag)),
        }
    }
}

impl Wire for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put(put) => tagged(1, put, out),
            Self::Delete(delete) => tagged(2, delete, out),
            Self::Txn(txn) => tagged(3, txn, out),
            Self::Compact(revision) => tagged(4, revision, out),
            Self::LeaseGrant { id, ttl_s } => {
                tagged(5, id, out);
                ttl_s.encode(out);
            }
            Self::LeaseRevoke(id) => tagged(6, id, out),
            Self::AlarmRaise(alarm) => tagged(7, alarm, out),
            Self::AlarmLower(alarm) => tagged(8, alarm, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.byte()? {
            1 => Put::decode(input).map(Self::Put),
            2 => Delete::decode(input).map(Self::Delete),
            3 => Txn::decode(input).map(Self::Txn),
            4 => Revision::decode(input).map(Self::Compact),
            5 => Ok(Self::LeaseGrant { id: Wire::decode(input)?, ttl_s: Wire::decode(input)? }),
            6 => LeaseId::decode(input).map(Self::LeaseRevoke),
            7 => Alarm::decode(input).map(Self::AlarmRaise),
            8 => Alarm::decode(input).map(Self::AlarmLower),
            tag => Err(unknown("command", tag)),
        }
    }
}

impl Wire for Txn {
    fn encode(&self, out: &mut Vec<u8>) {
        self.compare.encode(out);
        self.success.encode(out);
        self.failure.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        txn(input, TXN_DEPTH_MAX)
    }
}

fn txn(input: &mut Reader, depth_left: usize) -> Result<Txn, DecodeError> {
    let depth_left = deeper(depth_left)?;
    Ok(Txn {
        compare: Vec::decode(input)?,
        success: list(input, |input| op(input, depth_left))?,
        failure: list(input, |input| op(input, depth_left))?,
    })
}

fn op(input: &mut Reader, depth_left: usize) -> Result<Op, DecodeError> {
    match input.byte()? {
        1 => Range::decode(input).map(Op::Range),
        2 => Put::decode(input).map(Op::Put),
        3 => Delete::decode(input).map(Op::Delete),
        4 => txn(input, depth_left).map(Op::Txn),
        tag => Err(unknown("operation", tag)),
    }
}

impl Wire for Op {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Range(range) => tagged(1, range, out),
            Self::Put(put) => tagged(2, put, out),
            Self::Delete(delete) => tagged(3, delete, out),
            Self::Txn(txn) => tagged(4, txn, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        op(input, TXN_DEPTH_MAX)
    }
}

impl Wire for TxnDone {
    fn encode(&self, out: &mut Vec<u8>) {
        self.succeeded.encode(out);
        self.answers.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        txn_done(input, TXN_DEPTH_MAX)
    }
}

fn txn_done(input: &mut Reader, depth_left: usize) -> Result<TxnDone, DecodeError> {
    let depth_left = deeper(depth_left)?;
    Ok(TxnDone { succeeded: Wire::decode(input)?, answers: list(input, |input| op_done(input, depth_left))? })
}

fn op_done(input: &mut Reader, depth_left: usize) -> Result<OpDone, DecodeError> {
    match input.byte()? {
        1 => Found::decode(input).map(OpDone::Range),
        2 => Wire::decode(input).map(OpDone::Put),
        3 => Ok(OpDone::Delete(Wire::decode(input)?, Wire::decode(input)?)),
        4 => txn_done(input, depth_left).map(OpDone::Txn),
        tag => Err(unknown("operation's answer", tag)),
    }
}

impl Wire for OpDone {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Range(found) => tagged(1, found, out),
            Self::Put(previous) => tagged(2, previous, out),
            Self::Delete(count, kvs) => {
                tagged(3, count, out);
                kvs.encode(out);
            }
            Self::Txn(done) => tagged(4, done, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        op_done(input, TXN_DEPTH_MAX)
    }
}

impl Wire for Done {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put(previous) => tagged(1, previous, out),
            Self::Delete(count, kvs) => {
                tagged(2, count, out);
                kvs.encode(out);
            }
            Self::Txn(done) => tagged(3, done, out),
            Self::Compacted => out.push(4),
            Self::LeaseGranted(granted_s) => tagged(5, granted_s, out),
            Self::LeaseRevoked => out.push(6),
            Self::Alarms(alarms) => tagged(7, alarms, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.byte()? {
            1 => Wire::decode(input).map(Self::Put),
            2 => Ok(Self::Delete(Wire::decode(input)?, Wire::decode(input)?)),
            3 => TxnDone::decode(input).map(Self::Txn),
            4 => Ok(Self::Compacted),
            5 => i64::decode(input).map(Self::LeaseGranted),
            6 => Ok(Self::LeaseRevoked),
            7 => Vec::decode(input).map(Self::Alarms),
            tag => Err(unknown("command's answer", tag)),
        }
    }
}

/// Only answers to commands are kept, so only they have bytes.
impl<T: Table> Wire for Reply<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done(answer) => answer.encode(out),
            Self::View(_) => panic!("a view is an answer to a query, and those are not kept"),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Answer::decode(input).map(Self::Done)
    }
}

/// The whole store, where it has no storage of its own: the counters, then every entry of the table in order.
impl<T: Table> Wire for View<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.meta.encode(out);
        self.table.count(&[], None).encode(out);
        for (key, value) in self.table.range(&[], None) {
            key.encode(out);
            value.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let meta = Wire::decode(input)?;
        let mut table = T::fresh().ok_or(DecodeError::Malformed("store: its storage is its own"))?;
        for _ in 0..u64::decode(input)? {
            let (key, value) = <(Bytes, Bytes)>::decode(input)?;
            check_entry(&key, &value)?;
            table.insert(key, value);
        }
        Ok(Self { table, meta })
    }
}

impl Wire for Answer {
    fn encode(&self, out: &mut Vec<u8>) {
        self.revision.encode(out);
        match &self.outcome {
            Ok(done) => tagged(1, done, out),
            Err(refused) => tagged(2, refused, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let revision = Revision::decode(input)?;
        let outcome = match input.byte()? {
            1 => Ok(Done::decode(input)?),
            2 => Err(Refused::decode(input)?),
            tag => return Err(unknown("outcome", tag)),
        };
        Ok(Self { revision, outcome })
    }
}

fn tagged(tag: u8, value: &impl Wire, out: &mut Vec<u8>) {
    out.push(tag);
    value.encode(out);
}

fn deeper(depth_left: usize) -> Result<usize, DecodeError> {
    depth_left
        .checked_sub(1)
        .ok_or(DecodeError::TooLong { length: TXN_DEPTH_MAX as u64 + 1, bound: TXN_DEPTH_MAX as u64 })
}

/// A count and so many items: the same bytes as a `Vec`, for items that need to be told how deep they are.
fn list<I>(
    input: &mut Reader,
    mut item: impl FnMut(&mut Reader) -> Result<I, DecodeError>,
) -> Result<Vec<I>, DecodeError> {
    let count = input.varint()?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(input)?); // each takes at least one byte, so a lying count ends with the input
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use quorate_model::codec::put_varint;

    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        let mut out = alloc::vec![3_u8];
        for _ in 0..depth {
            put_varint(0, &mut out); // no compares
            put_varint(1, &mut out); // one operation:
            out.push(4); // a transaction
        }
        put_varint(0, &mut out);
        put_varint(0, &mut out);
        put_varint(0, &mut out);
        out.extend(core::iter::repeat_n(0, depth)); // no failure branches
        out
    }

    #[test]
    fn transactions_within_each_other_are_read_to_the_bound_and_no_deeper() {
        assert!(Command::from_bytes(Bytes::from(nested(TXN_DEPTH_MAX - 1))).is_ok());
        for depth in [TXN_DEPTH_MAX, 1_000_000] {
            let read = Command::from_bytes(Bytes::from(nested(depth)));
            assert!(matches!(read, Err(DecodeError::TooLong { .. })), "{depth} deep");
        }
    }

    #[test]
    fn an_unknown_tag_is_refused_by_name() {
        let unknown = |what, value| Some(DecodeError::Unknown { what, value });
        assert_eq!(Command::from_bytes(Bytes::from_static(&[9])).err(), unknown("command", 9));
        assert_eq!(Span::from_bytes(Bytes::from_static(&[0])).err(), unknown("span", 0));
        assert_eq!(Refused::from_bytes(Bytes::from_static(&[200])).err(), unknown("refusal", 200));
    }
}
