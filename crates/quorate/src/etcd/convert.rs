//! From the wire's words to the store's and back.
//!
//! Bytes are shared, never copied. What the wire can say and the store has no word for (an empty operation, an enum value
//! of the future) is refused here, with etcd's error.

use bytes::Bytes;
use quorate_machines::kv;
use quorate_machines::kv::{LeaseId, Revision, Span};

use super::errors::EtcdError;
use super::generated::{etcdserverpb as pb, mvccpb};

/// The key set of `key` and `range_end`, as etcd spells it: no end is one key, the end `\0` is no end, and from the key
/// `\0` to no end is everything.
///
/// # Errors
/// [`EtcdError::EmptyKey`].
pub fn span(key: Bytes, range_end: Bytes) -> Result<Span, EtcdError> {
    if key.is_empty() { Err(EtcdError::EmptyKey) } else { Ok(Span::of(key, range_end)) }
}

/// A revision as asked for: below 1 is none.
#[must_use]
pub fn revision(wire: i64) -> Revision {
    Revision(u64::try_from(wire).unwrap_or(0))
}

/// A counter as the wire has it. Counters of this store stay far below 2^63.
#[must_use]
pub fn wire(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A range.
///
/// # Errors
/// An empty key, or a sort order or target that is not known.
pub fn range(request: pb::RangeRequest) -> Result<kv::Range, EtcdError> {
    use pb::range_request::{SortOrder, SortTarget};
    let sort_target = match SortTarget::try_from(request.sort_target).map_err(|_| EtcdError::InvalidSort)? {
        SortTarget::Key => kv::SortTarget::Key,
        SortTarget::Version => kv::SortTarget::Version,
        SortTarget::Create => kv::SortTarget::Create,
        SortTarget::Mod => kv::SortTarget::Mod,
        SortTarget::Value => kv::SortTarget::Value,
    };
    let sort_order = match SortOrder::try_from(request.sort_order).map_err(|_| EtcdError::InvalidSort)? {
        SortOrder::None => kv::SortOrder::None,
        SortOrder::Ascend => kv::SortOrder::Ascend,
        SortOrder::Descend => kv::SortOrder::Descend,
    };
    Ok(kv::Range {
        span: span(request.key, request.range_end)?,
        revision: revision(request.revision),
        limit: u64::try_from(request.limit).unwrap_or(0),
        sort_order,
        sort_target,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: revision(request.min_mod_revision),
        max_mod_revision: revision(request.max_mod_revision),
        min_create_revision: revision(request.min_create_revision),
        max_create_revision: revision(request.max_create_revision),
    })
}

/// A put.
///
/// # Errors
/// An empty key, or a value or a lease beside the flag that ignores it.
pub fn put(request: pb::PutRequest) -> Result<kv::Put, EtcdError> {
    let put = kv::Put {
        key: request.key,
        value: request.value,
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    };
    kv::check::put(&put)?;
    Ok(put)
}

/// A deletion.
///
/// # Errors
/// An empty key.
pub fn delete(request: pb::DeleteRangeRequest) -> Result<kv::Delete, EtcdError> {
    Ok(kv::Delete { span: span(request.key, request.range_end)?, prev_kv: request.prev_kv })
}

/// A transaction. `ops_max` bounds each of its three lists; what a nested transaction may have is what is left.
///
/// # Errors
/// Whatever its parts are refused for, too many of them, and a key that is written twice.
pub fn txn(request: pb::TxnRequest, ops_max: usize) -> Result<kv::Txn, EtcdError> {
    let txn = txn_unchecked(request)?;
    kv::check::txn(&txn, ops_max)?;
    Ok(txn)
}

fn txn_unchecked(request: pb::TxnRequest) -> Result<kv::Txn, EtcdError> {
    let branch = |ops: Vec<pb::RequestOp>| ops.into_iter().map(op).collect::<Result<_, _>>();
    Ok(kv::Txn {
        compare: request.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: branch(request.success)?,
        failure: branch(request.failure)?,
    })
}

fn op(op: pb::RequestOp) -> Result<kv::Op, EtcdError> {
    use pb::request_op::Request;
    Ok(match op.request.ok_or(EtcdError::KeyNotFound)? {
        Request::RequestRange(request) => kv::Op::Range(range(request)?),
        Request::RequestPut(request) => kv::Op::Put(put(request)?),
        Request::RequestDeleteRange(request) => kv::Op::Delete(delete(request)?),
        Request::RequestTxn(request) => kv::Op::Txn(txn_unchecked(request)?),
    })
}

fn compare(compare: pb::Compare) -> Result<kv::Compare, EtcdError> {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let result = match CompareResult::try_from(compare.result).map_err(|_| EtcdError::InvalidSort)? {
        CompareResult::Equal => kv::Comparison::Equal,
        CompareResult::Greater => kv::Comparison::Greater,
        CompareResult::Less => kv::Comparison::Less,
        CompareResult::NotEqual => kv::Comparison::NotEqual,
    };
    // The target says what is compared. An operand of another kind counts as missing, and a missing one as zero.
    let target = CompareTarget::try_from(compare.target).map_err(|_| EtcdError::InvalidSort)?;
    let operand = match (target, compare.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(version))) => kv::Operand::Version(version),
        (CompareTarget::Version, _) => kv::Operand::Version(0),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(revision))) => kv::Operand::Create(revision),
        (CompareTarget::Create, _) => kv::Operand::Create(0),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(revision))) => kv::Operand::Mod(revision),
        (CompareTarget::Mod, _) => kv::Operand::Mod(0),
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => kv::Operand::Value(value),
        (CompareTarget::Value, _) => kv::Operand::Value(Bytes::new()),
        (CompareTarget::Lease, Some(TargetUnion::Lease(lease))) => kv::Operand::Lease(lease),
        (CompareTarget::Lease, _) => kv::Operand::Lease(0),
    };
    Ok(kv::Compare { span: span(compare.key, compare.range_end)?, result, operand })
}

/// A version of a key.
#[must_use]
pub fn key_value(kv: kv::KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: wire(kv.create_revision.0),
        mod_revision: wire(kv.mod_revision.0),
        version: wire(kv.version),
        value: kv.value,
        lease: kv.lease.0,
    }
}

/// A change.
#[must_use]
pub fn event(event: kv::Event) -> mvccpb::Event {
    let kind = match event.kind {
        kv::EventKind::Put => mvccpb::event::EventType::Put,
        kv::EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event { r#type: kind as i32, kv: Some(key_value(event.kv)), prev_kv: event.prev_kv.map(key_value) }
}

/// What a range found.
#[must_use]
pub fn found(header: Option<pb::ResponseHeader>, found: kv::Found) -> pb::RangeResponse {
    pb::RangeResponse {
        header,
        kvs: found.kvs.into_iter().map(key_value).collect(),
        more: found.more,
        count: wire(found.count),
    }
}

/// What a put answered.
#[must_use]
pub fn put_done(header: Option<pb::ResponseHeader>, prev_kv: Option<kv::KeyValue>) -> pb::PutResponse {
    pb::PutResponse { header, prev_kv: prev_kv.map(key_value) }
}

/// What a deletion answered.
#[must_use]
pub fn delete_done(
    header: Option<pb::ResponseHeader>,
    deleted: u64,
    prev_kvs: Vec<kv::KeyValue>,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse { header, deleted: wire(deleted), prev_kvs: prev_kvs.into_iter().map(key_value).collect() }
}

/// What a transaction answered. The answers within carry a header with a revision alone: for those ahead of the first
/// write, the one before the transaction.
#[must_use]
pub fn txn_done(header: pb::ResponseHeader, done: kv::TxnDone) -> pb::TxnResponse {
    let before = if writes(&done) { header.revision - 1 } else { header.revision };
    let mut seen = before;
    answers(header, &mut seen, header.revision, done)
}

fn answers(header: pb::ResponseHeader, seen: &mut i64, after: i64, done: kv::TxnDone) -> pb::TxnResponse {
    use pb::response_op::Response;
    let mut responses = Vec::with_capacity(done.answers.len());
    for answer in done.answers {
        if matches!(answer, kv::OpDone::Put(_)) || matches!(answer, kv::OpDone::Delete(1.., _)) {
            *seen = after;
        }
        let inner = pb::ResponseHeader { revision: *seen, ..Default::default() };
        let response = match answer {
            kv::OpDone::Range(range) => Response::ResponseRange(found(Some(inner), range)),
            kv::OpDone::Put(prev_kv) => Response::ResponsePut(put_done(Some(inner), prev_kv)),
            kv::OpDone::Delete(deleted, prev) => Response::ResponseDeleteRange(delete_done(Some(inner), deleted, prev)),
            kv::OpDone::Txn(done) => Response::ResponseTxn(answers(inner, seen, after, done)),
        };
        responses.push(pb::ResponseOp { response: Some(response) });
    }
    pb::TxnResponse { header: Some(header), succeeded: done.succeeded, responses }
}

fn writes(done: &kv::TxnDone) -> bool {
    done.answers.iter().any(|answer| match answer {
        kv::OpDone::Range(_) => false,
        kv::OpDone::Put(_) => true,
        kv::OpDone::Delete(deleted, _) => *deleted > 0,
        kv::OpDone::Txn(done) => writes(done),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_counts_against_what_is_left() {
        let nested = |ops: usize| pb::TxnRequest {
            success: vec![pb::RequestOp {
                request: Some(pb::request_op::Request::RequestTxn(pb::TxnRequest {
                    success: vec![
                        pb::RequestOp {
                            request: Some(pb::request_op::Request::RequestRange(pb::RangeRequest {
                                key: "k".into(),
                                ..Default::default()
                            })),
                        };
                        ops
                    ],
                    ..Default::default()
                })),
            }],
            ..Default::default()
        };
        assert!(txn(nested(127), 128).is_ok());
        assert_eq!(txn(nested(128), 128), Err(EtcdError::TooManyOps));
    }

    #[test]
    fn an_operation_of_nothing_is_refused_as_etcd_does() {
        let request = pb::TxnRequest { success: vec![pb::RequestOp { request: None }], ..Default::default() };
        assert_eq!(txn(request, 128), Err(EtcdError::KeyNotFound));
    }
}
