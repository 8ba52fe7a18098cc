//! Layout: where in the one ordered table each thing of the store stands.
//!
//! | first byte | then                     | holds                                             |
//! |------------|--------------------------|---------------------------------------------------|
//! | `c`        | user key                 | the present version of a key that is there        |
//! | `d`        | user key                 | the tombstone of a key that is gone               |
//! | `r`        | revision, place, user key| what one change made: a version or a tombstone    |
//! | `h`        | length, user key, revision | a milestone of the key's history: the place     |
//! | `l`        | lease                    | the lease's term                                  |
//! | `k`        | lease, user key          | nothing: the key dies with the lease              |
//! | `a`        | kind, member             | nothing: the alarm is raised                      |
//! | `m`        |                          | the counters, only while a checkpoint is taken    |
//!
//! The present stands apart from the past, so a read of the present never steps over old versions, and the keys of `c`
//! keep their order, so a range is one scan. `r` is written at its end alone: it serves watchers by a scan, and
//! compaction takes it from its front.
//!
//! A version stands in `c` and in `r` as the same shared bytes. Rejected: the value in `r` alone with a pointer from `c`
//! (etcd's way), since every read of a range then jumps about; old versions ordered by key, since each write then
//! touches one more distant place.

use alloc::vec::Vec;

use bytes::Bytes;

use super::command::{Alarm, AlarmKind, LeaseId, Revision, Span};

pub(crate) const CURRENT: u8 = b'c';
pub(crate) const DEAD: u8 = b'd';
pub(crate) const CHANGE: u8 = b'r';
pub(crate) const MILESTONE: u8 = b'h';
pub(crate) const LEASE: u8 = b'l';
pub(crate) const LEASED_KEY: u8 = b'k';
pub(crate) const ALARM: u8 = b'a';
pub(crate) const META: &[u8] = b"m";

/// The bytes of a `c`, `d` or `m` key before the user key.
pub(crate) const CURRENT_HEAD_BYTES: usize = 1;
/// The bytes of an `r` key before the user key.
pub(crate) const CHANGE_HEAD_BYTES: usize = 1 + 8 + 4;
/// The bytes of a `k` key before the user key.
pub(crate) const LEASED_HEAD_BYTES: usize = 1 + 8;

/// The bytes of an `h` key beside the user key.
pub(crate) const MILESTONE_BYTES_MIN: usize = 1 + 4 + 8;

/// Where a change stands: its revision, and which change of that revision it was, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Place {
    pub revision: Revision,
    pub index: u32,
}

/// The longest key that is built without asking for memory.
const SHORT_KEY_BYTES: usize = 192;

/// Hands `head` and `key`, joined, to `use_it`; asks for memory only when they are long.
pub(crate) fn joined<R>(head: &[u8], key: &[u8], use_it: impl FnOnce(&[u8]) -> R) -> R {
    let length = head.len() + key.len();
    if length <= SHORT_KEY_BYTES {
        let mut buffer = [0_u8; SHORT_KEY_BYTES];
        buffer[..head.len()].copy_from_slice(head);
        buffer[head.len()..length].copy_from_slice(key);
        use_it(&buffer[..length])
    } else {
        use_it(&owned(head, key))
    }
}

/// `head` and `key`, joined.
pub(crate) fn owned(head: &[u8], key: &[u8]) -> Bytes {
    let mut buffer = Vec::with_capacity(head.len() + key.len());
    buffer.extend_from_slice(head);
    buffer.extend_from_slice(key);
    Bytes::from(buffer)
}

pub(crate) fn change_head(place: Place) -> [u8; CHANGE_HEAD_BYTES] {
    let mut head = [CHANGE; CHANGE_HEAD_BYTES];
    head[1..9].copy_from_slice(&place.revision.0.to_be_bytes());
    head[9..].copy_from_slice(&place.index.to_be_bytes());
    head
}

/// The place and the user key of an `r` key.
pub(crate) fn split_change(key: &Bytes) -> (Place, Bytes) {
    let revision = key[1..9].try_into().expect("eight bytes are eight bytes");
    let index = key[9..CHANGE_HEAD_BYTES].try_into().expect("four bytes are four bytes");
    let place = Place { revision: Revision(u64::from_be_bytes(revision)), index: u32::from_be_bytes(index) };
    (place, key.slice(CHANGE_HEAD_BYTES..))
}

/// The key of a milestone. The length stands first, so that no key's milestones lie between another's.
pub(crate) fn milestone(key: &[u8], revision: Revision) -> Bytes {
    let mut buffer = Vec::with_capacity(MILESTONE_BYTES_MIN + key.len());
    buffer.push(MILESTONE);
    buffer.extend_from_slice(&(key.len() as u32).to_be_bytes());
    buffer.extend_from_slice(key);
    buffer.extend_from_slice(&revision.0.to_be_bytes());
    Bytes::from(buffer)
}

/// The id of a lease such that the order of bytes is the order of ids.
fn lease_bytes(lease: LeaseId) -> [u8; 8] {
    ((lease.0 as u64) ^ (1 << 63)).to_be_bytes()
}

pub(crate) fn lease(lease: LeaseId) -> [u8; 9] {
    let mut key = [LEASE; 9];
    key[1..].copy_from_slice(&lease_bytes(lease));
    key
}

pub(crate) fn split_lease(key: &[u8]) -> LeaseId {
    let bytes = key[1..9].try_into().expect("eight bytes are eight bytes");
    LeaseId((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64)
}

pub(crate) fn leased_head(lease: LeaseId) -> [u8; LEASED_HEAD_BYTES] {
    let mut head = [LEASED_KEY; LEASED_HEAD_BYTES];
    head[1..].copy_from_slice(&lease_bytes(lease));
    head
}

pub(crate) fn alarm(alarm: Alarm) -> [u8; 10] {
    let mut key = [ALARM; 10];
    key[1] = match alarm.kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    };
    key[2..].copy_from_slice(&alarm.member.to_be_bytes());
    key
}

pub(crate) fn split_alarm(key: &[u8]) -> Alarm {
    let kind = if key[1] == 1 { AlarmKind::NoSpace } else { AlarmKind::Corrupt };
    let member = key[2..10].try_into().expect("eight bytes are eight bytes");
    Alarm { member: u64::from_be_bytes(member), kind }
}

/// The first key after all keys that begin with `prefix`; `None` when there is none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The part of the table, under `head`, that holds the keys of `span`.
pub(crate) struct Bounds {
    pub from: Vec<u8>,
    pub end: Vec<u8>,
}

impl Bounds {
    pub fn of(head: u8, span: &Span) -> Self {
        let under = |key: &[u8]| {
            let mut bytes = Vec::with_capacity(1 + key.len());
            bytes.push(head);
            bytes.extend_from_slice(key);
            bytes
        };
        match span {
            Span::Key(key) => {
                let from = under(key);
                let mut end = from.clone();
                end.push(0);
                Self { from, end }
            }
            // A range whose end is not after its start is empty, not an error: that is how clients of etcd know it.
            Span::Range(start, end) => Self { from: under(start), end: under(end.max(start)) },
            Span::From(start) => Self { from: under(start), end: alloc::vec![head + 1] },
        }
    }
}
