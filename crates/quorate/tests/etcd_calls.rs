//! Calls, as a client sees them: what they answer, and what they are refused with.

mod support;

use quorate::etcd::generated::etcdserverpb as pb;
use quorate::etcd::{Limits, snapshot};
use quorate_machines::kv::MemoryTable;
use support::{Server, soon, start, start_with};
use tonic::{Code, Status};

fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() }
}

fn put_op(key: &'static str) -> pb::RequestOp {
    op(pb::request_op::Request::RequestPut(put(key)))
}

fn get(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), ..Default::default() }
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest { range_end: bytes::Bytes::from_static(b"\0"), ..get("\0") }
}

fn is<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.expect_err(text);
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test]
async fn a_fresh_store_is_at_one_and_each_write_adds_one() {
    let server = start().await;
    let answer = soon(server.kv().range(get("a"))).await.expect("a range").into_inner();
    let header = answer.header.expect("a header");
    assert_eq!((header.revision, header.cluster_id, header.member_id, header.raft_term), (1, 9, 7, 1));
    assert_eq!(server.put("a", "v").await, 2);
    assert_eq!(server.delete("none").await, 2, "a delete of nothing is no write");
    assert_eq!(server.delete("a").await, 3);
}

#[tokio::test]
async fn each_refusal_has_the_code_and_the_text_that_clients_match() {
    let server = start().await;
    let mut kv = server.kv();
    let mut lease = server.lease();
    server.put("a", "v").await;
    server.put("a", "v").await;
    soon(kv.compact(pb::CompactionRequest { revision: 3, physical: false })).await.expect("a compaction");

    let text = "etcdserver: key is not provided";
    is(soon(kv.range(get(""))).await, Code::InvalidArgument, text);
    is(soon(kv.put(put(""))).await, Code::InvalidArgument, text);
    is(soon(kv.delete_range(pb::DeleteRangeRequest::default())).await, Code::InvalidArgument, text);
    let ignore = pb::PutRequest { ignore_value: true, ..put("a") };
    is(soon(kv.put(ignore)).await, Code::InvalidArgument, "etcdserver: value is provided");
    let ignore = pb::PutRequest { ignore_value: true, key: "no".into(), ..Default::default() };
    is(soon(kv.put(ignore)).await, Code::InvalidArgument, "etcdserver: key not found");
    let ignore = pb::PutRequest { ignore_lease: true, lease: 1, ..put("a") };
    is(soon(kv.put(ignore)).await, Code::InvalidArgument, "etcdserver: lease is provided");
    let leased = pb::PutRequest { lease: 1, ..put("a") };
    is(soon(kv.put(leased)).await, Code::NotFound, "etcdserver: requested lease not found");
    let sort = pb::RangeRequest { sort_order: 9, ..get("a") };
    is(soon(kv.range(sort)).await, Code::InvalidArgument, "etcdserver: invalid sort option");
    let at = |revision| pb::RangeRequest { revision, ..get("a") };
    let (old, new) = (
        "etcdserver: mvcc: required revision has been compacted",
        "etcdserver: mvcc: required revision is a future revision",
    );
    is(soon(kv.range(at(2))).await, Code::OutOfRange, old);
    is(soon(kv.range(at(99))).await, Code::OutOfRange, new);
    let compact = |revision| pb::CompactionRequest { revision, physical: false };
    is(soon(kv.compact(compact(3))).await, Code::OutOfRange, old);
    is(soon(kv.compact(compact(99))).await, Code::OutOfRange, new);
    let twice = pb::TxnRequest { success: vec![put_op("b"), put_op("b")], ..Default::default() };
    is(soon(kv.txn(twice)).await, Code::InvalidArgument, "etcdserver: duplicate key given in txn request");
    let many = pb::TxnRequest {
        success: vec![op(pb::request_op::Request::RequestRange(get("a"))); 129],
        ..Default::default()
    };
    is(soon(kv.txn(many)).await, Code::InvalidArgument, "etcdserver: too many operations in txn request");
    let large = pb::PutRequest { value: vec![0; 3 << 19].into(), ..put("a") };
    is(soon(kv.put(large)).await, Code::InvalidArgument, "etcdserver: request is too large");

    let grant = |id, ttl| pb::LeaseGrantRequest { id, ttl };
    soon(lease.lease_grant(grant(5, 60))).await.expect("a lease");
    is(soon(lease.lease_grant(grant(5, 60))).await, Code::FailedPrecondition, "etcdserver: lease already exists");
    is(soon(lease.lease_grant(grant(6, 9_000_000_001))).await, Code::OutOfRange, "etcdserver: too large lease TTL");
    let revoke = pb::LeaseRevokeRequest { id: 77 };
    is(soon(lease.lease_revoke(revoke)).await, Code::NotFound, "etcdserver: requested lease not found");
    let move_to = pb::MoveLeaderRequest { target_id: 1 };
    is(
        soon(server.maintenance().move_leader(move_to)).await,
        Code::FailedPrecondition,
        "etcdserver: bad leader transferee",
    );
    let add = pb::MemberAddRequest::default();
    is(
        soon(server.cluster().member_add(add)).await,
        Code::FailedPrecondition,
        "quorate: a node registers itself: run `quorate node join` on its machine with the address of any member",
    );
}

#[tokio::test]
async fn a_transaction_within_answers_with_the_revision_that_each_step_saw() {
    use pb::response_op::Response;
    let server = start().await;
    server.put("a", "v").await;
    let inner = pb::TxnRequest { success: vec![put_op("b")], ..Default::default() };
    let range = || op(pb::request_op::Request::RequestRange(all()));
    let txn = pb::TxnRequest {
        success: vec![range(), op(pb::request_op::Request::RequestTxn(inner)), range()],
        ..Default::default()
    };
    let answer = soon(server.kv().txn(txn)).await.expect("a transaction").into_inner();
    let counts = answer.responses.iter().filter_map(|response| match response.response.as_ref() {
        Some(Response::ResponseRange(range)) => Some((range.count, range.header.as_ref()?.revision)),
        _ => None,
    });
    let counts: Vec<_> = counts.collect();
    assert_eq!(counts, [(1, 2), (2, 3)]);
    assert_eq!(answer.header.expect("a header").revision, 3);
}

#[tokio::test]
async fn a_streamed_range_is_the_range_in_pieces() {
    let server = start().await;
    for n in 0..1_100 {
        server.put(format!("k{n:04}"), "v").await;
    }
    for limit in [0, 1, 512, 1_000, 1_099, 1_100, 5_000] {
        let request = pb::RangeRequest { limit, ..all() };
        let whole = soon(server.kv().range(request.clone())).await.expect("a range").into_inner();
        let mut pieces = soon(server.kv().range_stream(request)).await.expect("a stream").into_inner();
        let mut joined = pb::RangeResponse::default();
        while let Some(piece) = soon(pieces.message()).await.expect("no error") {
            let piece = piece.range_response.expect("a range");
            assert!(joined.header.is_none(), "the header comes with the last piece");
            joined.kvs.extend(piece.kvs);
            (joined.header, joined.count, joined.more) = (piece.header, piece.count, piece.more);
        }
        assert_eq!(joined, whole, "with the limit {limit}");
    }
}

#[tokio::test]
async fn a_lease_ends_by_itself_and_takes_its_keys() {
    let server = start_with(1, Limits { lease_ttl_min_s: 1, ..Limits::default() }).await;
    let mut lease = server.lease();
    let granted = soon(lease.lease_grant(pb::LeaseGrantRequest { ttl: 1, id: 0 })).await.expect("a lease").into_inner();
    assert!(granted.id > 0 && granted.ttl == 1);
    for key in ["b", "a"] {
        soon(server.kv().put(pb::PutRequest { lease: granted.id, ..put(key) })).await.expect("a put");
    }
    let ask = pb::LeaseTimeToLiveRequest { id: granted.id, keys: true };
    let time = soon(lease.lease_time_to_live(ask)).await.expect("a time").into_inner();
    assert_eq!((time.granted_ttl, time.keys), (1, vec!["a".into(), "b".into()]));
    let mut watching = server.watch().await;
    watching.create(support::of_all(4)).await;
    watching.created().await;
    let ended = watching.next().await;
    let keys: Vec<_> = ended.events.iter().filter_map(|event| Some(event.kv.as_ref()?.key.clone())).collect();
    assert_eq!(keys, ["a", "b"], "in their order, at one revision");
    let time = soon(lease.lease_time_to_live(ask)).await.expect("a time").into_inner();
    assert_eq!(time.ttl, -1);
    let alive = tokio_stream::once(pb::LeaseKeepAliveRequest { id: granted.id });
    let mut alive = soon(lease.lease_keep_alive(alive)).await.expect("a stream").into_inner();
    let answer = soon(alive.message()).await.expect("no error").expect("an answer");
    assert_eq!(answer.ttl, 0, "a lease that is gone is an answer, not an error");
}

#[tokio::test]
async fn a_lease_is_renewed_and_short_ones_are_raised() {
    let server = start().await;
    let mut lease = server.lease();
    let granted = soon(lease.lease_grant(pb::LeaseGrantRequest { ttl: 1, id: 4 })).await.expect("a lease").into_inner();
    assert_eq!((granted.id, granted.ttl), (4, 2));
    let asks = tokio_stream::iter([4, 4, 9].map(|id| pb::LeaseKeepAliveRequest { id }));
    let mut answers = soon(lease.lease_keep_alive(asks)).await.expect("a stream").into_inner();
    let mut ttls = Vec::new();
    while let Some(answer) = soon(answers.message()).await.expect("no error") {
        ttls.push((answer.id, answer.ttl));
    }
    assert_eq!(ttls, [(4, 2), (4, 2), (9, 0)]);
    let leases = soon(lease.lease_leases(pb::LeaseLeasesRequest {})).await.expect("leases").into_inner().leases;
    assert_eq!(leases, [pb::LeaseStatus { id: 4 }]);
}

#[tokio::test]
async fn an_alarm_stops_writes_until_it_is_lowered() {
    use pb::alarm_request::AlarmAction;
    let server = start().await;
    let turn = |action: AlarmAction| pb::AlarmRequest {
        action: action as i32,
        member_id: 7,
        alarm: pb::AlarmType::Nospace as i32,
    };
    let raised = pb::AlarmMember { member_id: 7, alarm: pb::AlarmType::Nospace as i32 };
    soon(server.maintenance().alarm(turn(AlarmAction::Activate))).await.expect("raised");
    is(soon(server.kv().put(put("a"))).await, Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
    let status = soon(server.maintenance().status(pb::StatusRequest {})).await.expect("a status").into_inner();
    assert_eq!(status.errors, ["memberID:7 alarm:NOSPACE "]);
    let alarms =
        soon(server.maintenance().alarm(pb::AlarmRequest::default())).await.expect("alarms").into_inner().alarms;
    assert_eq!(alarms, [raised]);
    soon(server.maintenance().alarm(turn(AlarmAction::Deactivate))).await.expect("lowered");
    soon(server.kv().put(put("a"))).await.expect("a put");
}

#[tokio::test]
async fn a_snapshot_is_the_store_and_damage_to_it_is_seen() {
    let server = start().await;
    for n in 0..500 {
        server.put(format!("k{}", n % 90), vec![7; 900]).await;
    }
    let bytes = download(&server).await;
    assert_eq!(bytes.len() % 512, 32, "etcdctl takes only such a length for whole");
    let view = snapshot::read(&bytes[..], MemoryTable::default()).expect("a whole snapshot");
    let here = server.keyspace.peek().await.expect("the store answers");
    assert_eq!((view.revision(), view.keys(), view.digest()), (here.revision(), here.keys(), here.digest()));
    assert!(view.entries().eq(here.entries()));
    for (at, why) in [(0, "the magic"), (700, "an entry"), (bytes.len() - 1, "the checksum")] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(snapshot::read(&damaged[..], MemoryTable::default()).is_err(), "{why} is damaged");
    }
    assert!(snapshot::read(&bytes[..bytes.len() / 2], MemoryTable::default()).is_err(), "half of it is missing");
}

async fn download(server: &Server) -> Vec<u8> {
    let mut pieces = soon(server.maintenance().snapshot(pb::SnapshotRequest {})).await.expect("a stream").into_inner();
    let (mut bytes, mut left) = (Vec::new(), None);
    while let Some(piece) = soon(pieces.message()).await.expect("no error") {
        bytes.extend_from_slice(&piece.blob);
        if let Some(left) = left {
            assert_eq!(piece.remaining_bytes + piece.blob.len() as u64, left);
        }
        left = Some(piece.remaining_bytes);
    }
    assert_eq!(left, Some(0));
    bytes
}

#[tokio::test]
async fn who_requires_a_leader_is_refused_without_one() {
    let server = start_with(0, Limits::default()).await;
    let mut request = tonic::Request::new(get("a"));
    request.metadata_mut().insert("hasleader", "true".parse().expect("text"));
    is(soon(server.kv().range(request)).await, Code::Unavailable, "etcdserver: no leader");
    soon(server.kv().range(get("a"))).await.expect("who does not is served");
}

#[tokio::test]
async fn overload_is_refused_at_once() {
    let server = start_with(1, Limits { calls_max: 0, ..Limits::default() }).await;
    is(soon(server.kv().put(put("a"))).await, Code::ResourceExhausted, "etcdserver: too many requests");
    let mut watching = server.watch().await;
    watching.create(support::of_key("a", 0)).await;
    watching.created().await; // what streams takes only memory, and is not counted
}

#[tokio::test]
async fn hashes_agree_for_the_same_history_and_tell_others_apart() {
    let (one, two) = (start().await, start().await);
    let hash = async |server: &Server| {
        let request = pb::HashKvRequest { revision: 0 };
        soon(server.maintenance().hash_kv(request)).await.expect("a hash").into_inner()
    };
    one.put("a", "v").await;
    two.put("a", "v").await;
    let (first, second) = (hash(&one).await, hash(&two).await);
    assert_eq!((first.hash, first.compact_revision, first.hash_revision), (second.hash, -1, 2));
    two.put("a", "w").await;
    assert_ne!(hash(&two).await.hash, first.hash);
}
