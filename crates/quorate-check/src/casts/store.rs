//! Instances of the chain over the real key-value machine, for the simulator: transactions over a few keys, judged as a
//! store of several keys.

use bytes::Bytes;
use quorate_machines::kv::{
    Command, Compare, Comparison, Done, Found, Kv, LeaseId, MemoryTable, Op, OpDone, Operand, Put, Query, Range, Reply,
    Revision, SortOrder, SortTarget, Span, Txn,
};
use quorate_model::{NodeId, Pid};
use quorate_protocols::chain::{Client, ClientBounds, Configuration, Message, Node, NodeOptions, Request, Role};

use crate::cast::{Call, Cast, Status};
use crate::linearizable::{Condition, Store, StoreOp, StoreRet, Write};
use crate::simulate::Draw;

pub(super) type Machine = Kv<MemoryTable>;
/// A chain's process over the store.
pub type StoreRole = Role<Machine>;
pub(super) type StoreWish = StoreOp<u8, u64>;

/// The bounds of what a seed draws.
const NODE_COUNT_MAX: u64 = 5;
const PEOPLE_COUNT_MAX: u64 = 5;
const WISHES_COUNT_MAX: u64 = 12;
const KEY_COUNT: u64 = 3;

/// An instance that a seed draws: one to five members, people who read, write and compare a few keys.
#[must_use]
pub fn drawn(draw: &mut Draw) -> Cast<StoreRole> {
    let members: Vec<_> = (1..=draw.below(NODE_COUNT_MAX) + 1).map(|node| NodeId(node as u32)).collect();
    let batching = draw.per_mille(700);
    let mut cast = Cast::new();
    for &node in &members {
        let options = NodeOptions { batching, ..NodeOptions::default() };
        let member = Node::new(node, Configuration::new(1, members.clone()), options, Machine::default());
        cast = cast
            .process(Pid::chain(node.0, 0), Role::Node(Box::new(member)))
            .process(Pid::client(node.0, 0), Role::Client(Client::new(ClientBounds::default())));
    }
    let mut value = 0;
    for person in 0..=draw.below(PEOPLE_COUNT_MAX) {
        let node = draw.pick(&members).0;
        let count = draw.below(WISHES_COUNT_MAX) + 1;
        let asks: Vec<_> =
            (1..=count).map(|token| Message::Ask { token, request: request(&wish(draw, &mut value)) }).collect();
        cast = cast.asks(Pid::outside(node, person as u32), Pid::client(node, 0), asks);
    }
    claims(cast)
}

/// A random operation; every value is written once, so that each read names its writer.
pub(super) fn wish(draw: &mut Draw, value: &mut u64) -> StoreWish {
    let mut key = || draw.below(KEY_COUNT) as u8;
    let (first, second) = (key(), key());
    *value += 1;
    match draw.below(10) {
        0..4 => StoreOp::get([first, second]),
        4..7 => StoreOp { looks: vec![first], ..StoreOp::put(first, *value) },
        7 => StoreOp { looks: vec![first], ..StoreOp::delete(first) },
        _ => StoreOp {
            conditions: vec![Condition {
                key: first,
                holds: (*value > 4 && draw.per_mille(800)).then(|| *value - 1 - draw.below(3)),
            }],
            then: vec![Write { key: second, value: Some(*value) }],
            otherwise: Vec::new(),
            looks: vec![first, second],
        },
    }
}

fn key_of(key: u8) -> Bytes {
    Bytes::copy_from_slice(&[b'k', key])
}

fn value_of(value: u64) -> Bytes {
    Bytes::from(value.to_string())
}

pub(super) fn request(wish: &StoreWish) -> Request<Command, Query> {
    if wish.conditions.is_empty() && wish.then.is_empty() {
        return Request::Query(Query(wish.looks.iter().map(|key| Span::Key(key_of(*key))).collect()));
    }
    let looks = wish.looks.iter().map(|key| Op::Range(look(*key)));
    let branch = |writes: &[Write<u8, u64>]| looks.clone().chain(writes.iter().map(write)).collect();
    Request::Command(Command::Txn(Txn {
        compare: wish.conditions.iter().map(compare).collect(),
        success: branch(&wish.then),
        failure: branch(&wish.otherwise),
    }))
}

fn compare(condition: &Condition<u8, u64>) -> Compare {
    let operand = match condition.holds {
        Some(value) => Operand::Value(value_of(value)),
        None => Operand::Create(0),
    };
    Compare { span: Span::Key(key_of(condition.key)), result: Comparison::Equal, operand }
}

fn write(write: &Write<u8, u64>) -> Op {
    let key = key_of(write.key);
    match write.value {
        Some(value) => Op::Put(Put { key, value: value_of(value), lease: LeaseId(0), ..Put::default() }),
        None => Op::Delete(quorate_machines::kv::Delete { span: Span::Key(key), prev_kv: false }),
    }
}

fn look(key: u8) -> Range {
    Range {
        span: Span::Key(key_of(key)),
        revision: Revision(0),
        limit: 0,
        sort_order: SortOrder::None,
        sort_target: SortTarget::Key,
        keys_only: false,
        count_only: false,
        min_mod_revision: Revision(0),
        max_mod_revision: Revision(0),
        min_create_revision: Revision(0),
        max_create_revision: Revision(0),
    }
}

fn claims(cast: Cast<StoreRole>) -> Cast<StoreRole> {
    cast.answers(|ask, said| match (ask, said) {
        (Message::Ask { token, .. }, Message::Answered { token: answered, .. } | Message::Busy { token: answered }) => {
            token == answered
        }
        _ => false,
    })
    .finally("all replicas are equal", |view| {
        let members: Vec<_> = view.processes().filter_map(|(_, role)| role.node()).collect();
        members.windows(2).all(|pair| {
            let [one, other] = pair else { return false };
            one.status().committed == other.status().committed
                && one.machine().view().digest() == other.machine().view().digest()
                && one.sessions().know_the_same(other.sessions())
        })
    })
    .sometimes("a write is answered", |view| {
        view.asked()
            .any(|asked| matches!(asked.status, Status::Answered(Message::Answered { answer: Reply::Done(_), .. })))
    })
    .linearizable("the store is linearizable", Store::<u8, u64>::new(), |ask, answer| {
        let Message::Ask { request, .. } = ask else { return None };
        let op = op_of(request);
        match answer {
            Some(Message::Busy { .. }) => None,
            Some(Message::Answered { answer, .. }) => {
                let ret = Some(ret_of(&op, answer));
                Some(Call { op, ret })
            }
            _ => Some(Call { op, ret: None }),
        }
    })
}

/// The operation that a request is: the way back of [`request`].
pub(super) fn op_of(request: &Request<Command, Query>) -> StoreWish {
    let key = |span: &Span| match span {
        Span::Key(key) => key[1],
        _ => panic!("the cast asks for single keys"),
    };
    match request {
        Request::Query(Query(spans)) | Request::Peek(Query(spans)) => StoreOp::get(spans.iter().map(key)),
        Request::Command(Command::Txn(txn)) => StoreOp {
            conditions: txn
                .compare
                .iter()
                .map(|compare| Condition {
                    key: key(&compare.span),
                    holds: match &compare.operand {
                        Operand::Value(value) => Some(number(value)),
                        _ => None,
                    },
                })
                .collect(),
            then: writes(&txn.success, key),
            otherwise: writes(&txn.failure, key),
            looks: txn
                .success
                .iter()
                .filter_map(|op| match op {
                    Op::Range(range) => Some(key(&range.span)),
                    _ => None,
                })
                .collect(),
        },
        Request::Command(_) => panic!("the cast asks for transactions only"),
    }
}

fn writes(ops: &[Op], key: impl Fn(&Span) -> u8) -> Vec<Write<u8, u64>> {
    ops.iter()
        .filter_map(|op| match op {
            Op::Put(put) => Some(Write { key: put.key[1], value: Some(number(&put.value)) }),
            Op::Delete(delete) => Some(Write { key: key(&delete.span), value: None }),
            _ => None,
        })
        .collect()
}

pub(super) fn ret_of(op: &StoreWish, answer: &Reply<MemoryTable>) -> StoreRet<u64> {
    match answer {
        Reply::View(view) => {
            let seen = op.looks.iter().map(|key| view.get(&key_of(*key)).map(|kv| number(&kv.value))).collect();
            StoreRet { held: true, seen }
        }
        Reply::Done(answer) => match &answer.outcome {
            Ok(Done::Txn(done)) => StoreRet {
                held: done.succeeded,
                seen: done
                    .answers
                    .iter()
                    .filter_map(|answer| match answer {
                        OpDone::Range(found) => Some(seen(found)),
                        _ => None,
                    })
                    .collect(),
            },
            other => panic!("a transaction is answered as one, not with {other:?}"),
        },
    }
}

fn seen(found: &Found) -> Option<u64> {
    found.kvs.first().map(|kv| number(&kv.value))
}

fn number(bytes: &Bytes) -> u64 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).expect("the cast writes numbers")
}
