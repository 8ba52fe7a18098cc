//! What changes a cluster, as HTTP: nodes come and go, and chains grow and shrink.
//!
//! | request | does |
//! |---------|------|
//! | `POST /v1/nodes` `{"peer": "h:p", "client": "h:p"}` | registers a node; the same peer address gives the same node |
//! | `POST /v1/nodes/N/drain` | lets the node leave all chains, as others take its place |
//! | `POST /v1/nodes/N/restore` | lets it be in service again |
//! | `DELETE /v1/nodes/N` | the same as drain, and forgets it when it is in none |
//! | `POST /v1/chains/K/length` `{"length": n}` | lets the chain have so many members |
//!
//! An answer is JSON; a refusal is `{"error": "..."}` with a status that says whose turn it is.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use quorate_model::NodeId;
use quorate_protocols::chain::swami::{Addresses, Answer, Command, Query, Refusal};
use quorate_protocols::paxos::log::{Outcome, Request as Ask};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tonic::body::Body;

use super::pages::{JSON, response};
use super::service::{BODY_PATIENCE, TOO_SLOW};
use super::{CHAINS_PATH, NODES_PATH};
use crate::config::is_address;
use crate::etcd::Gateway;

/// The longest request, in bytes.
const BODY_BYTES_MAX: usize = 16 << 10;

/// A node that wants to be registered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Newcomer {
    /// Where other nodes will find it.
    pub peer: String,
    /// Where clients will find it.
    pub client: String,
}

/// What a node that was registered has to know to start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// Its number.
    pub node: u32,
    /// Whether it was registered now; else a node with this address was, and may have run.
    pub is_new: bool,
    /// The name of the cluster.
    pub cluster: String,
    /// Whether gossip is sealed with a key that is a secret.
    pub keyed: bool,
    /// All nodes, itself among them.
    pub nodes: Vec<NodeAddress>,
    /// The members of the log that decides on members, and of the chain, as far as the node that was asked knows.
    pub system: Vec<u32>,
    /// Head first.
    pub chain: Vec<u32>,
}

/// Where a node is found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeAddress {
    /// Its number.
    pub node: u32,
    /// By other nodes.
    pub peer: String,
    /// By clients.
    pub client: String,
}

/// How many members a chain shall have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// How many.
    pub length: u32,
}

/// Why nothing was done, or why it is not known.
struct Refused(StatusCode, String);

/// What was asked for.
enum Wish {
    Register,
    Drain(NodeId),
    Restore(NodeId),
    Remove(NodeId),
    Lengthen(u32),
}

fn wish_of(method: &Method, path: &str) -> Option<Wish> {
    if let Some(rest) = path.strip_prefix(NODES_PATH) {
        let (number, verb) =
            rest.strip_prefix('/').map_or((rest, ""), |rest| rest.split_once('/').unwrap_or((rest, "")));
        return match (method, number, verb) {
            (&Method::POST, "", "") => Some(Wish::Register),
            (&Method::POST, number, "drain") => Some(Wish::Drain(NodeId(number.parse().ok()?))),
            (&Method::POST, number, "restore") => Some(Wish::Restore(NodeId(number.parse().ok()?))),
            (&Method::DELETE, number, "") => Some(Wish::Remove(NodeId(number.parse().ok()?))),
            _ => None,
        };
    }
    let rest = path.strip_prefix(CHAINS_PATH)?.strip_prefix('/')?;
    let (keyspace, verb) = rest.split_once('/')?;
    (method == Method::POST && verb == "length").then_some(Wish::Lengthen(keyspace.parse().ok()?))
}

/// Answers a request that would change the cluster; nothing if it is none.
pub(super) async fn admin(gateway: &Gateway, request: &mut Request<Incoming>) -> Option<Response<Body>> {
    let wish = wish_of(request.method(), request.uri().path())?;
    let done = grant(gateway, wish, request.body_mut()).await;
    Some(match done {
        Ok(body) => response(StatusCode::OK, JSON, body),
        Err(Refused(status, why)) => response(status, JSON, serde_json::json!({ "error": why }).to_string()),
    })
}

async fn grant(gateway: &Gateway, wish: Wish, body: &mut Incoming) -> Result<String, Refused> {
    let command = match wish {
        Wish::Register => {
            let Newcomer { peer, client } = read(body).await?;
            for address in [&peer, &client] {
                if !is_address(address) {
                    let why = format!("`{address}` is not an address like 10.0.0.1:2379");
                    return Err(Refused(StatusCode::BAD_REQUEST, why));
                }
            }
            return register(gateway, Addresses { peer, client }).await;
        }
        Wish::Drain(node) => Command::Drain(node),
        Wish::Restore(node) => Command::Restore(node),
        Wish::Remove(node) => Command::Remove(node),
        Wish::Lengthen(chain) => Command::SetLength { chain, len: read::<Length>(body).await?.length },
    };
    match ask(gateway, Ask::Command(command)).await? {
        Answer::Done { revision } => Ok(serde_json::json!({ "revision": revision }).to_string()),
        _ => Ok("{}".to_owned()),
    }
}

async fn register(gateway: &Gateway, addresses: Addresses) -> Result<String, Refused> {
    let Answer::Everything(before) = ask(gateway, Ask::Query(Query::Since(u64::MAX))).await? else {
        return Err(other_answer());
    };
    let is_new = before.nodes.values().all(|node| node.addresses.peer != addresses.peer);
    match ask(gateway, Ask::Command(Command::Register(addresses))).await? {
        Answer::Registered(node) => welcome(gateway, node, is_new).await,
        _ => Err(other_answer()),
    }
}

async fn read<T: DeserializeOwned>(body: &mut Incoming) -> Result<T, Refused> {
    let bad = |why: String| Refused(StatusCode::BAD_REQUEST, why);
    let all = timeout(BODY_PATIENCE, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let all: Bytes = match all {
        Ok(Ok(all)) => all.to_bytes(),
        Ok(Err(error)) => return Err(bad(format!("the request cannot be read: {error}"))),
        Err(_) => return Err(Refused(StatusCode::REQUEST_TIMEOUT, TOO_SLOW.to_owned())),
    };
    serde_json::from_slice(&all).map_err(|error| bad(format!("the request is not understood: {error}")))
}

fn other_answer() -> Refused {
    Refused(StatusCode::INTERNAL_SERVER_ERROR, "an answer to another question".into())
}

/// Has a command decided, or a question answered.
async fn ask(gateway: &Gateway, request: Ask<Command, Query>) -> Result<Answer, Refused> {
    match gateway.keyspace.system(request).await {
        Ok(Outcome::Answer(Answer::Refused(refusal))) => Err(refused(&refusal)),
        Ok(Outcome::Answer(answer)) => Ok(answer),
        Ok(Outcome::Changed) => Err(other_answer()),
        Err(refusal) => Err(Refused(StatusCode::SERVICE_UNAVAILABLE, refusal.to_string())),
    }
}

fn refused(refusal: &Refusal) -> Refused {
    let status = match refusal {
        Refusal::UnknownNode(_) | Refusal::UnknownChain(_) => StatusCode::NOT_FOUND,
        Refusal::Address | Refusal::Length => StatusCode::BAD_REQUEST,
        _ => StatusCode::CONFLICT,
    };
    Refused(status, refusal.to_string())
}

async fn welcome(gateway: &Gateway, node: NodeId, is_new: bool) -> Result<String, Refused> {
    let unavailable = |why: String| Refused(StatusCode::SERVICE_UNAVAILABLE, why);
    let cluster = gateway.keyspace.cluster().await.map_err(|refusal| unavailable(refusal.to_string()))?;
    let nodes = cluster.state.nodes.iter().map(|(node, registered)| NodeAddress {
        node: node.0,
        peer: registered.addresses.peer.clone(),
        client: registered.addresses.client.clone(),
    });
    let welcome = Welcome {
        node: node.0,
        is_new,
        cluster: gateway.cluster.name.clone(),
        keyed: gateway.cluster.keyed,
        nodes: nodes.collect(),
        system: cluster.system.iter().map(|node| node.0).collect(),
        chain: cluster.acts_on.members().iter().map(|node| node.0).collect(),
    };
    Ok(serde_json::to_string(&welcome).expect("plain fields can be written"))
}
