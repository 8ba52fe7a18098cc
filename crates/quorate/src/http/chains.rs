//! `GET /v1/chains`: who the members of each chain are, as the node that is asked knows it, and how that node stands.

use quorate_model::NodeId;
use quorate_protocols::chain::swami::Wanted;
use quorate_protocols::chain::{Configuration, Place};
use serde::{Deserialize, Serialize};

use crate::keyspace::Cluster;

/// Where the list is.
pub const PATH: &str = "/v1/chains";

/// The cluster, as one node knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChainList {
    /// The node that was asked.
    pub asked: u32,
    /// How many changes of the cluster it knows of.
    pub revision: u64,
    /// The members of the log that decides on the members of chains.
    pub system: Vec<u32>,
    /// All nodes that are registered.
    pub nodes: Vec<RegisteredRow>,
    /// All chains.
    pub chains: Vec<ChainRow>,
}

/// A node that is registered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegisteredRow {
    /// Its number.
    pub node: u32,
    /// Where other nodes find it.
    pub peer: String,
    /// Where clients find it.
    pub client: String,
    /// What it is there for: `in service`, `draining` or `leaving`.
    pub wanted: String,
}

/// A chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChainRow {
    /// The number of its keyspace.
    pub keyspace: u32,
    /// How many members it shall have.
    pub wanted: u32,
    /// How many joins and leaves led to its members.
    pub prefix_len: u64,
    /// Its members, head first.
    pub members: Vec<MemberRow>,
    /// The node that is copied to.
    pub joiner: Option<u32>,
    /// Who decides on its members, as far as was heard.
    pub swami: Option<u32>,
    /// How the node that was asked stands in it.
    pub own: OwnRow,
}

/// A member of a chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberRow {
    /// Its number.
    pub node: u32,
}

/// How the node that was asked stands in a chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwnRow {
    /// The length of the prefix that it acts on.
    pub acts_on: u64,
    /// What it is there: `member`, `joiner` or `none`.
    pub place: String,
    /// Whether it knows its place and its neighbours.
    pub serving: bool,
    /// What is left of its lease, in milliseconds.
    pub lease_ms: u64,
    /// The last index of its log.
    pub last: u64,
    /// The last index that it knows to be committed.
    pub committed: u64,
    /// What keeps it from its place, if anything does.
    pub trouble: Option<String>,
}

impl ChainList {
    /// What `asked` knows.
    #[must_use]
    pub fn of(asked: NodeId, cluster: &Cluster) -> Self {
        let nodes = cluster.state.nodes.iter().map(|(node, registered)| RegisteredRow {
            node: node.0,
            peer: registered.addresses.peer.clone(),
            client: registered.addresses.client.clone(),
            wanted: wanted(registered.wanted).to_owned(),
        });
        let chains = cluster.state.chains.iter().map(|(keyspace, chain)| ChainRow {
            keyspace: *keyspace,
            wanted: chain.wanted_len,
            prefix_len: chain.configuration.prefix_len(),
            members: members(&chain.configuration),
            joiner: chain.configuration.joiner().map(|node| node.0),
            swami: cluster.swami.map(|node| node.0),
            own: own(cluster),
        });
        Self {
            asked: asked.0,
            revision: cluster.state.revision,
            system: cluster.system.iter().map(|node| node.0).collect(),
            nodes: nodes.collect(),
            chains: chains.collect(),
        }
    }
}

fn members(configuration: &Configuration) -> Vec<MemberRow> {
    configuration.members().iter().map(|node| MemberRow { node: node.0 }).collect()
}

fn wanted(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::InService => "in service",
        Wanted::Draining => "draining",
        Wanted::Leaving => "leaving",
    }
}

fn own(cluster: &Cluster) -> OwnRow {
    let own = &cluster.own;
    let place = match own.place {
        Place::Member => "member",
        Place::Joiner => "joiner",
        Place::None => "none",
    };
    OwnRow {
        acts_on: cluster.acts_on.prefix_len(),
        place: place.to_owned(),
        serving: own.joined && own.linked && own.trouble.is_none() && own.place == Place::Member,
        lease_ms: cluster.right_left.as_millis() as u64,
        last: own.last,
        committed: own.committed,
        trouble: own.trouble.map(|trouble| trouble.to_string()),
    }
}
