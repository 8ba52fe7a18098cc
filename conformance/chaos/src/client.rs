//! A client: asks one thing at a time and writes down when it asked, when it was answered, and what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate::bench::connection::{CallError, Link};
use quorate::etcd::generated::etcdserverpb as pb;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::sleep;

use crate::history::{Ask, Final, Key, Operation, PREFIX, PREFIX_END, Run, SLOTS, Seen, Told, Value};

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";
/// How long the reads before and after a run may take.
const CALM_PATIENCE: Duration = Duration::from_secs(10);
/// How often they are tried.
const CALM_TRIES: u32 = 20;
/// A client that was refused does not ask again at once.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);

/// A client with a connection of its own to each node; it uses one until that fails, then the next.
pub struct Client {
    run: Arc<Run>,
    number: u32,
    links: Vec<Link>,
    at: usize,
    patience: Duration,
    chance: ChaCha8Rng,
    /// What it saw last of each group, for its compare-and-sets.
    seen: Vec<Seen>,
}

impl Client {
    /// A client whose chance and whose first node follow from its number.
    pub fn new(run: Arc<Run>, number: u32, patience: Duration) -> Self {
        let links: Vec<_> = run.endpoints.iter().map(|endpoint| Link::new(endpoint)).collect();
        let chance = ChaCha8Rng::seed_from_u64(run.seed.wrapping_mul(1_000_003) + u64::from(number) + 1);
        let seen = vec![Seen::default(); run.groups as usize];
        let at = number as usize % run.here().count().max(1);
        Self { run, number, links, at, patience, chance, seen }
    }

    /// Asks `rate` times a second until the run stops.
    pub async fn run(mut self, rate: f64) {
        let interval = Duration::from_secs_f64(1.0 / rate);
        while !self.run.is_stopped() {
            let began = Instant::now();
            self.ask_something().await;
            // Spread, so that clients do not ask in step.
            sleep(interval.mul_f64(self.chance.random_range(0.5..1.5)).saturating_sub(began.elapsed())).await;
        }
    }

    async fn ask_something(&mut self) {
        let group = self.chance.random_range(0..self.run.groups);
        let key = Key { group, slot: self.chance.random_range(0..SLOTS) };
        let ask = match self.chance.random_range(0..10) {
            0..=2 => Ask::Put(key),
            3..=5 => Ask::Get(group),
            6..=8 => Ask::Cas(key, self.seen[group as usize][key.slot as usize]),
            _ => Ask::Swap(group),
        };
        self.at = self.run.here_from(self.at);
        let number = self.run.number();
        let invoked = self.run.now();
        let outcome = self.ask(ask, number).await;
        let returned = self.run.now();
        let told = match outcome {
            Ok(told) => told,
            Err(error) => {
                self.at += 1;
                sleep(AFTER_REFUSAL).await;
                match error.is_surely_without_effect() {
                    true => Told::Refused(error.kind()),
                    false => Told::Unknown(error.kind()),
                }
            }
        };
        if let Told::Done { seen: Some(seen), .. } = &told {
            self.seen[group as usize] = *seen;
        }
        self.run.write().operations.push(Operation { number, client: self.number, ask, invoked, returned, told });
    }

    async fn ask(&self, ask: Ask, number: Value) -> Result<Told, CallError> {
        let link = &self.links[self.at];
        match ask {
            Ask::Put(key) => {
                let answer: pb::PutResponse = link.unary(PUT, &put(key, number), self.patience).await?;
                Ok(Told::Done { revision: revision_of(answer.header.as_ref())?, held: true, seen: None })
            }
            Ask::Get(group) => {
                let answer: pb::RangeResponse = link.unary(RANGE, &range(group), self.patience).await?;
                let seen = seen(group, &answer.kvs)?;
                Ok(Told::Done { revision: revision_of(answer.header.as_ref())?, held: true, seen: Some(seen) })
            }
            Ask::Cas(..) | Ask::Swap(_) => {
                let answer: pb::TxnResponse = link.unary(TXN, &txn(ask, number), self.patience).await?;
                let first = answer.responses.first().and_then(|response| response.response.as_ref());
                let Some(pb::response_op::Response::ResponseRange(range)) = first else {
                    return Err(CallError::Malformed("a transaction without the answer of its read"));
                };
                let seen = Some(seen(ask.group(), &range.kvs)?);
                Ok(Told::Done { revision: revision_of(answer.header.as_ref())?, held: answer.succeeded, seen })
            }
        }
    }
}

fn put(key: Key, value: Value) -> pb::PutRequest {
    pb::PutRequest { key: key.name().into(), value: value.to_string().into(), ..Default::default() }
}

fn range(group: u32) -> pb::RangeRequest {
    let (key, range_end) = (Key { group, slot: 0 }.name(), Key { group, slot: SLOTS }.name());
    pb::RangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
}

/// A read of the group, then the writes; a condition that does not hold leaves the read alone.
fn txn(ask: Ask, number: Value) -> pb::TxnRequest {
    use pb::request_op::Request;
    let op = |request| pb::RequestOp { request: Some(request) };
    let look = || op(Request::RequestRange(range(ask.group())));
    let writes = ask.writes().into_iter().map(|key| op(Request::RequestPut(put(key, number))));
    let compare = match ask {
        Ask::Cas(key, expected) => vec![compare(key, expected)],
        _ => Vec::new(),
    };
    pb::TxnRequest { compare, success: [look()].into_iter().chain(writes).collect(), failure: vec![look()] }
}

fn compare(key: Key, expected: Option<Value>) -> pb::Compare {
    let (target, union) = match expected {
        Some(value) => (CompareTarget::Value, TargetUnion::Value(value.to_string().into())),
        None => (CompareTarget::Version, TargetUnion::Version(0)),
    };
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.name().into(),
        target_union: Some(union),
        ..Default::default()
    }
}

fn revision_of(header: Option<&pb::ResponseHeader>) -> Result<i64, CallError> {
    header.map(|header| header.revision).ok_or(CallError::Malformed("no header"))
}

fn seen(group: u32, kvs: &[quorate::etcd::generated::mvccpb::KeyValue]) -> Result<Seen, CallError> {
    let mut seen = Seen::default();
    for kv in kvs {
        match (Key::parse(&kv.key), parse_value(&kv.value)) {
            (Some(key), Some(value)) if key.group == group && key.slot < SLOTS => seen[key.slot as usize] = Some(value),
            _ => return Err(CallError::Malformed("a key or value that was never written")),
        }
    }
    Ok(seen)
}

/// A value as the store has it.
pub fn parse_value(value: &Bytes) -> Option<Value> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The cluster's revision.
pub async fn revision(endpoint: &str) -> anyhow::Result<i64> {
    Ok(everything(&Link::new(endpoint)).await?.revision)
}

/// What each node's store holds, when all is over.
pub async fn finals(run: &Run) -> anyhow::Result<Vec<Final>> {
    let mut finals = Vec::new();
    for endpoint in run.here() {
        finals.push(everything(&Link::new(endpoint)).await.with_context(|| format!("after the run, {endpoint}"))?);
    }
    Ok(finals)
}

async fn everything(link: &Link) -> anyhow::Result<Final> {
    let request = pb::RangeRequest { key: PREFIX.into(), range_end: PREFIX_END.into(), ..Default::default() };
    let mut tries = 0;
    let answer: pb::RangeResponse = loop {
        match link.unary(RANGE, &request, CALM_PATIENCE).await {
            Ok(answer) => break answer,
            Err(error) if tries == CALM_TRIES => bail!("{error}"),
            Err(_) => sleep(Duration::from_millis(250)).await,
        }
        tries += 1;
    };
    let keys = answer.kvs.iter().map(|kv| Some((Key::parse(&kv.key)?, parse_value(&kv.value)?, kv.mod_revision)));
    let keys = keys.collect::<Option<Vec<_>>>().context("a key or value that was never written")?;
    Ok(Final { endpoint: link.endpoint().into(), revision: revision_of(answer.header.as_ref())?, keys })
}
