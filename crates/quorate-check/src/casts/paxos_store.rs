//! Instances of the log that is decided by consensus over the real key-value machine, for the simulator: transactions over
//! a few keys, judged as a store of several keys.

use quorate_machines::kv::{Command, Query, Reply};
use quorate_model::{NodeId, Pid, Process as _};
use quorate_protocols::chain;
use quorate_protocols::paxos::log::{
    Client, ClientBounds, Members, Message, Node, NodeOptions, Outcome, Request, Role,
};

use super::store::{Machine, op_of, request, ret_of, wish};
use crate::cast::{Call, Cast, Status};
use crate::linearizable::Store;
use crate::simulate::Draw;

/// A log's process over the store.
pub type StoreRole = Role<Machine>;

/// The bounds of what a seed draws.
const NODE_COUNT_MAX: u64 = 5;
const PEOPLE_COUNT_MAX: u64 = 5;
const WISHES_COUNT_MAX: u64 = 12;

/// An instance that a seed draws: one to five members, people who read, write and compare a few keys.
#[must_use]
pub fn drawn(draw: &mut Draw) -> Cast<StoreRole> {
    let nodes: Vec<_> = (1..=draw.below(NODE_COUNT_MAX) + 1).map(|node| NodeId(node as u32)).collect();
    let members = Members::first(nodes.clone()).expect("a cluster has at least one node");
    let options = NodeOptions {
        batch_weight_max: *draw.pick(&[1, 100, 1 << 20]),
        window_len_max: draw.below(4) as usize + 1,
        kept_weight_max: *draw.pick(&[0, 200, 1 << 20]),
        ..NodeOptions::default()
    };
    let mut cast = Cast::new();
    for &node in &nodes {
        let mut member = Node::new(node, members.clone(), options.clone(), Machine::default());
        member.replay(Node::nothing_to_recall());
        cast = cast
            .process(Pid::consensus(node.0, 0), Role::Node(Box::new(member)))
            .process(Pid::client(node.0, 0), Role::Client(Client::new(ClientBounds::default())));
    }
    let mut value = 0;
    for person in 0..=draw.below(PEOPLE_COUNT_MAX) {
        let node = draw.pick(&nodes).0;
        let count = draw.below(WISHES_COUNT_MAX) + 1;
        let asks: Vec<_> = (1..=count)
            .map(|token| Message::Ask { token, request: ordered(request(&wish(draw, &mut value))) })
            .collect();
        cast = cast.asks(Pid::outside(node, person as u32), Pid::client(node, 0), asks);
    }
    claims(cast)
}

fn ordered(request: chain::Request<Command, Query>) -> Request<Command, Query> {
    match request {
        chain::Request::Command(command) => Request::Command(command),
        chain::Request::Query(query) => Request::Query(query),
        chain::Request::Peek(query) => Request::Peek(query),
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
        let digests: Vec<_> = view
            .processes()
            .filter_map(|(_, role)| role.node())
            .map(|node| (node.status().applied, node.machine().view().digest()))
            .collect();
        digests.windows(2).all(|pair| pair[0] == pair[1])
    })
    .sometimes("a write is answered", |view| {
        view.asked().any(|asked| {
            let Status::Answered(Message::Answered { outcome, .. }) = asked.status else { return false };
            matches!(outcome, Outcome::Answer(Reply::Done(_)))
        })
    })
    .linearizable("the store is linearizable", Store::<u8, u64>::new(), |ask, answer| {
        let Message::Ask { request, .. } = ask else { return None };
        let op = match request {
            Request::Command(command) => op_of(&chain::Request::Command(command.clone())),
            Request::Query(query) | Request::Peek(query) => op_of(&chain::Request::Query(query.clone())),
            Request::Members(_) => return None,
        };
        match answer {
            Some(Message::Busy { .. }) => None,
            Some(Message::Answered { outcome: Outcome::Answer(answer), .. }) => {
                let ret = Some(ret_of(&op, answer));
                Some(Call { op, ret })
            }
            _ => Some(Call { op, ret: None }),
        }
    })
}
