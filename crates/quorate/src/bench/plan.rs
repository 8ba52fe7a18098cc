//! The keys, the values and the requests of a workload.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;

use super::connection::{CallError, Link};
use super::{BenchArgs, BenchError};
use crate::etcd::generated::etcdserverpb as pb;

/// etcd takes 128 operations in a transaction.
const FILL_BATCH: u64 = 100;
/// Bytes of one filling transaction at most; etcd takes 1.5 MiB.
const FILL_BATCH_BYTES: u64 = 1 << 20;
/// Filling transactions in flight.
const FILL_WIDTH: usize = 8;

pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
pub(super) const TXN: &str = "/etcdserverpb.KV/Txn";
pub(super) const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// Draws keys and values.
#[derive(Clone)]
pub(super) struct Plan {
    chance: ChaCha8Rng,
    keys: u64,
    key_bytes: usize,
    value_bytes: usize,
    /// Twice a value of noise: a value is a piece of it, so that no two are alike and none is written byte by byte.
    noise: Bytes,
}

impl Plan {
    pub(super) fn new(args: &BenchArgs, client: u32) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(args.seed ^ (u64::from(client) << 32));
        let value_bytes = args.value_bytes as usize;
        let mut noise = BytesMut::zeroed(value_bytes * 2);
        chance.fill_bytes(&mut noise);
        Self { chance, keys: args.keys, key_bytes: args.key_bytes.into(), value_bytes, noise: noise.freeze() }
    }

    /// A plan that shares the noise of this one and draws on its own.
    pub(super) fn for_client(&self, seed: u64, client: u32) -> Self {
        Self { chance: ChaCha8Rng::seed_from_u64(seed ^ (u64::from(client) << 32)), ..self.clone() }
    }

    /// The key with a number: keys sort as their numbers do.
    pub(super) fn key(&self, number: u64) -> Bytes {
        format!("{number:0width$}", width = self.key_bytes).into()
    }

    pub(super) fn some_number(&mut self) -> u64 {
        self.chance.random_range(0..self.keys)
    }

    pub(super) fn some_key(&mut self) -> Bytes {
        let number = self.some_number();
        self.key(number)
    }

    pub(super) fn some_value(&mut self) -> Bytes {
        let at = self.chance.random_range(0..self.value_bytes);
        self.noise.slice(at..at + self.value_bytes)
    }

    /// Whether an event of `percent` in a hundred happens.
    pub(super) fn happens(&mut self, percent: u8) -> bool {
        self.chance.random_range(0..100) < percent
    }

    /// The first and the end of some `length` keys in a row.
    pub(super) fn some_span(&mut self, length: u64) -> (Bytes, Bytes) {
        let from = self.chance.random_range(0..=self.keys - length);
        (self.key(from), self.key(from + length))
    }
}

pub(super) fn put(key: Bytes, value: Bytes) -> pb::PutRequest {
    pb::PutRequest { key, value, ..Default::default() }
}

pub(super) fn get(key: Bytes, serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest { key, serializable, ..Default::default() }
}

/// Put `key` if its last change was at `revision` (0: if it does not exist), else read it.
pub(super) fn compare_and_set(key: Bytes, value: Bytes, revision: i64) -> pb::TxnRequest {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    use pb::request_op::Request;
    pb::TxnRequest {
        compare: vec![pb::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.clone(),
            target_union: Some(TargetUnion::ModRevision(revision)),
            ..Default::default()
        }],
        success: vec![pb::RequestOp { request: Some(Request::RequestPut(put(key.clone(), value))) }],
        failure: vec![pb::RequestOp { request: Some(Request::RequestRange(get(key, false))) }],
    }
}

/// The revision that a compare-and-set left the key at, as far as its answer tells: its own if it was made.
pub(super) fn revision_after(answer: &pb::TxnResponse) -> Option<i64> {
    use pb::response_op::Response;
    if answer.succeeded {
        return answer.header.as_ref().map(|header| header.revision);
    }
    match answer.responses.first()?.response.as_ref()? {
        Response::ResponseRange(range) => Some(range.kvs.first().map_or(0, |kv| kv.mod_revision)),
        _ => None,
    }
}

/// Writes every key once, in transactions of many.
pub(super) async fn fill(args: &BenchArgs) -> Result<(), BenchError> {
    let link = Arc::new(Link::new(&args.endpoints[0]));
    let mut plan = Plan::new(args, u32::MAX);
    let pair_bytes = u64::from(args.key_bytes) + u64::from(args.value_bytes);
    let batch = (FILL_BATCH_BYTES / pair_bytes).clamp(1, FILL_BATCH);
    let mut flying: JoinSet<Result<pb::TxnResponse, CallError>> = JoinSet::new();
    let mut next = 0;
    while next < args.keys || !flying.is_empty() {
        if next < args.keys && flying.len() < FILL_WIDTH {
            let until = (next + batch).min(args.keys);
            let success = (next..until)
                .map(|number| pb::RequestOp {
                    request: Some(pb::request_op::Request::RequestPut(put(plan.key(number), plan.some_value()))),
                })
                .collect();
            let request = pb::TxnRequest { success, ..Default::default() };
            let (link, patience) = (link.clone(), args.patience());
            flying.spawn(async move { link.unary(TXN, &request, patience).await });
            next = until;
        } else if let Some(outcome) = flying.join_next().await {
            outcome.map_err(|_| BenchError::Argument("a filling task stopped".into()))?.map_err(BenchError::Prepare)?;
        }
    }
    Ok(())
}
