//! `GET /v1/nodes`: who is there, as far as the node that is asked knows.

use quorate_model::NodeId;
use quorate_runtime::clock;
use serde::{Deserialize, Serialize};

use crate::etcd::Cluster;
use crate::membership::{Known, Membership, Standing};

/// Where the list is.
pub const PATH: &str = "/v1/nodes";

/// What a node knows of all nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeList {
    /// The node that was asked.
    pub asked: u32,
    /// How many signs of bad hearing weigh on it; 0 when it is well.
    pub health_signs: u32,
    /// All nodes, by their numbers.
    pub nodes: Vec<NodeRow>,
}

/// What is known of one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its number.
    pub node: u32,
    /// Its name; empty if it is not configured here.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// Which life of it, and how often it spoke for itself in that life.
    pub incarnation: (u64, u64),
    /// How long ago the last news of it was heard, in milliseconds.
    pub news_ms: u64,
    /// What it said of itself last; nothing if it never did.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileRow>,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProfileRow {
    /// Where clients reach it.
    pub client: String,
    /// Where other nodes reach it.
    pub peer: String,
    /// Where it stands; empty if nobody said.
    pub zone: String,
    /// What it does.
    pub roles: Vec<String>,
    /// Which part of its machine's processors it uses, in thousandths.
    pub load_per_mille: u16,
    /// Which build it runs.
    pub version: String,
}

impl NodeList {
    /// What `membership` knows, with the names of `cluster`.
    #[must_use]
    pub fn of(membership: &Membership, cluster: &Cluster) -> Self {
        let roster = membership.roster();
        let nodes = roster.iter().map(|(node, known)| NodeRow::of(node, known, cluster)).collect();
        Self { asked: membership.me().0, health_signs: membership.health_signs(), nodes }
    }
}

impl NodeRow {
    fn of(node: NodeId, known: &Known, cluster: &Cluster) -> Self {
        let member = cluster.members.iter().find(|member| member.id == u64::from(node.0));
        let profile = known.profile.as_ref().map(|profile| ProfileRow {
            client: profile.addresses.client.to_string(),
            peer: profile.addresses.peer.to_string(),
            zone: profile.zone.clone(),
            roles: profile.roles.names().map(str::to_owned).collect(),
            load_per_mille: profile.load_per_mille,
            version: profile.version.clone(),
        });
        Self {
            node: node.0,
            name: member.map(|member| member.name.clone()).unwrap_or_default(),
            standing: known.standing,
            incarnation: (known.incarnation.life, known.incarnation.count),
            news_ms: clock::now().since(known.news_at).as_millis() as u64,
            profile,
        }
    }
}
