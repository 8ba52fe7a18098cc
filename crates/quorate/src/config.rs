//! The configuration of a node: one TOML file, checked as a whole before anything starts.
//!
//! ```toml
//! cluster = "orders"                 # nodes of another cluster are refused
//! node = 1                           # which of the members below this node is
//! data = "/var/lib/quorate"          # log and store; one folder a node
//!
//! [[member]]                         # in the order of the chain: head first, tail last
//! id = 1
//! client = "10.0.0.1:2379"           # etcd's API, gRPC and JSON
//! peer = "10.0.0.1:2380"             # other nodes
//! ```

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use quorate_model::NodeId;
use quorate_runtime::datagram::KEYS_LEN_MAX;
use serde::{Deserialize, Serialize};

use crate::membership::GossipKey;

/// The longest name of a zone, in bytes: it travels in each node's datagrams.
const ZONE_BYTES_MAX: usize = quorate_protocols::gossip::ZONE_BYTES_MAX;

/// The log that decides on members has at most so many members itself.
const SYSTEM_LEN_MAX: usize = 5;

/// More threads than any machine has use for.
const GATEWAY_THREADS_MAX: usize = 1_024;

/// The configuration of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The cluster's name. Its id is made from it, and nodes of another cluster are refused.
    pub cluster: String,
    /// The id of this node among `members`.
    pub node: u32,
    /// The folder of the log and the store.
    pub data: PathBuf,
    /// Where to listen for clients; by default the member's `client` address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_client: Option<String>,
    /// Where to listen for other nodes; by default the member's `peer` address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_peer: Option<String>,
    /// Where this node stands, such as a rack or a site; other nodes and `quorate node list` show it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// The keys that nodes seal their datagrams with: the first one seals, all of them open. Without any it is
    /// [`GossipKey::PUBLIC`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gossip_keys: Vec<GossipKey>,
    /// Bounds. Each has a default that fits most.
    #[serde(default)]
    pub bounds: Bounds,
    /// The members of the chain, head first, when this node was added; by default all of `members`, which found the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Vec<u32>>,
    /// The members of the log that decides on members, when this node was added; by default the first of `members`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Vec<u32>>,
    /// The nodes, this one among them: at first all of the cluster, later those that it looks for to find the others.
    #[serde(rename = "member")]
    pub members: Vec<MemberConfig>,
}

/// A member of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberConfig {
    /// Its number, from 1.
    pub id: u32,
    /// Its name; by default `node` and its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address where clients reach it, `host:port`.
    pub client: String,
    /// The address where other nodes reach it, `host:port`.
    pub peer: String,
}

impl MemberConfig {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("node{}", self.id))
    }
}

/// Bounds of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// The size of the store from which it takes no more writes, in bytes; 0 is no bound.
    pub quota_bytes: u64,
    /// The size of the log from which it takes no more writes until it freed itself, in bytes.
    pub log_bytes: u64,
    /// The size of the log at which the store is checkpointed, so that the log can be cut, in bytes.
    pub checkpoint_bytes: u64,
    /// Memory that the store's engine may use to keep what it read, in bytes.
    pub cache_bytes: u64,
    /// How long a request may wait for its answer before its outcome is called unknown, in milliseconds.
    pub patience_ms: u64,
    /// How often watchers that asked for it hear how far the store is, in milliseconds.
    pub progress_ms: u64,
    /// Threads that serve clients; 0 is half the cores, at least 1.
    pub gateway_threads: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            quota_bytes: 0,
            log_bytes: 1 << 30,
            checkpoint_bytes: 64 << 20,
            cache_bytes: 128 << 20,
            patience_ms: 7_000,
            progress_ms: 600_000,
            gateway_threads: 0,
        }
    }
}

impl Bounds {
    /// What the log keeps free of new work, so that what is under way goes on while it frees itself.
    #[must_use]
    pub fn log_reserve_bytes(&self) -> u64 {
        self.log_bytes / 4
    }

    /// How long a request may wait.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }

    /// How many threads serve clients.
    #[must_use]
    pub fn gateway_thread_count(&self) -> usize {
        match self.gateway_threads {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            count => count,
        }
    }
}

/// Why a configuration was refused. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not such a configuration.
    #[error("the configuration {path} is not valid: line {line}: {why}. See `quorate serve --help` for an example")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// In which line, from 1.
        line: usize,
        /// Why.
        why: String,
    },
    /// Its parts do not fit together.
    #[error("the configuration {path} is not valid: {why}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let config: Self = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let line = 1 + text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
            ConfigError::Parse { path: path.into(), line, why: error.message().replace('\n', " ") }
        })?;
        config.check().map_err(|why| ConfigError::Invalid { path: path.into(), why })?;
        Ok(config)
    }

    /// Writes it to `path`, for this user alone: it may hold keys.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("cannot write a configuration")?;
        write_secret(path, &text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The cluster's id, made from its name.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.cluster.as_bytes()).max(1)
    }

    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(self.node)
    }

    /// This node as a member.
    ///
    /// # Panics
    /// Never: a configuration that was checked names its node among the members.
    #[must_use]
    pub fn me(&self) -> &MemberConfig {
        self.members.iter().find(|member| member.id == self.node).expect("a checked configuration has its node")
    }

    /// Where to listen for clients.
    #[must_use]
    pub fn client_address(&self) -> &str {
        self.listen_client.as_deref().unwrap_or(&self.me().client)
    }

    /// Where to listen for other nodes.
    #[must_use]
    pub fn peer_address(&self) -> &str {
        self.listen_peer.as_deref().unwrap_or(&self.me().peer)
    }

    /// The members that the chain was founded with, head first, as far as this node was told.
    #[must_use]
    pub fn chain(&self) -> Vec<NodeId> {
        let all = || self.members.iter().map(|member| member.id).collect();
        self.chain.clone().unwrap_or_else(all).into_iter().map(NodeId).collect()
    }

    /// The members that the log which decides on members was founded with, as far as this node was told.
    #[must_use]
    pub fn system(&self) -> Vec<NodeId> {
        let first = || {
            // An even number of members survives no more than the odd one below it.
            let count = self.members.len().min(SYSTEM_LEN_MAX);
            let count = if count.is_multiple_of(2) { count - 1 } else { count };
            self.members[..count].iter().map(|member| member.id).collect()
        };
        self.system.clone().unwrap_or_else(first).into_iter().map(NodeId).collect()
    }

    fn check(&self) -> Result<(), String> {
        for (name, nodes) in [("chain", &self.chain), ("system", &self.system)] {
            let Some(nodes) = nodes else { continue };
            if nodes.is_empty() || (1..nodes.len()).any(|at| nodes[..at].contains(&nodes[at])) {
                return Err(format!("`{name}` is empty or names a node twice: leave it out, or list its members"));
            }
        }
        if self.cluster.is_empty() {
            return Err("`cluster` is empty: give the cluster a name, the same on all of its nodes".into());
        }
        if self.members.is_empty() {
            return Err("no [[member]]: list all nodes of the chain, this one too, head first".into());
        }
        if !self.members.iter().any(|member| member.id == self.node) {
            let known: Vec<_> = self.members.iter().map(|member| member.id.to_string()).collect();
            return Err(format!("`node` is {}, but the members are {}", self.node, known.join(", ")));
        }
        for (at, member) in self.members.iter().enumerate() {
            if member.id == 0 {
                return Err("a member has id 0: ids begin at 1".into());
            }
            for other in &self.members[..at] {
                if other.id == member.id {
                    return Err(format!("two members have id {}", member.id));
                }
                if other.client == member.client || other.peer == member.peer {
                    return Err(format!("members {} and {} have the same address", other.id, member.id));
                }
            }
            for address in [&member.client, &member.peer] {
                if !is_address(address) {
                    return Err(format!("member {}: `{address}` is not an address like 10.0.0.1:2379", member.id));
                }
            }
        }
        for address in [&self.listen_client, &self.listen_peer].into_iter().flatten() {
            if !is_address(address) {
                return Err(format!("`{address}` is not an address to listen on, like 0.0.0.0:2379"));
            }
        }
        if self.data.as_os_str().is_empty() {
            return Err("`data` is empty: name the folder of the log and the store".into());
        }
        if self.zone.len() > ZONE_BYTES_MAX {
            return Err(format!("`zone` is longer than {ZONE_BYTES_MAX} bytes: it travels in each datagram"));
        }
        if self.gossip_keys.len() > KEYS_LEN_MAX {
            return Err(format!(
                "`gossip_keys` has more than {KEYS_LEN_MAX} keys: take out those that no node seals with"
            ));
        }
        if self.bounds.patience_ms == 0 {
            return Err("`patience_ms` is 0: no request could be answered in time".into());
        }
        if self.bounds.gateway_threads > GATEWAY_THREADS_MAX {
            return Err(format!("`gateway_threads` must be at most {GATEWAY_THREADS_MAX}"));
        }
        let room = self.bounds.log_bytes - self.bounds.log_reserve_bytes();
        if self.bounds.checkpoint_bytes.saturating_mul(2) > room {
            return Err(
                "`checkpoint_bytes` must be at most three eighths of `log_bytes`, or the log fills before it is cut"
                    .into(),
            );
        }
        Ok(())
    }
}

/// Writes a file that only this user may read.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?; // it may have been there already
    file.write_all(text.as_bytes())
}

/// Whether it is a host and a port.
pub(crate) fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(), String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check()
    }

    const MEMBER: &str = "[[member]]\nid = 1\nclient = \"h:1\"\npeer = \"h:2\"\n";

    #[test]
    fn a_wrong_configuration_says_what_is_wrong() {
        let head = "cluster = \"c\"\nnode = 1\ndata = \"d\"\n";
        assert_eq!(parse(&format!("{head}{MEMBER}")), Ok(()));
        let wrong = [
            (format!("cluster = \"c\"\nnode = 2\ndata = \"d\"\n{MEMBER}"), "`node` is 2, but the members are 1"),
            (format!("{head}{MEMBER}{MEMBER}"), "two members have id 1"),
            (format!("{head}nodee = 1\n{MEMBER}"), "unknown field `nodee`"),
            (format!("{head}[[member]]\nid = 1\nclient = \"h\"\npeer = \"h:2\"\n"), "is not an address"),
            (head.to_owned(), "missing field `member`"),
            (format!("zone = \"{}\"\n{head}{MEMBER}", "z".repeat(33)), "`zone` is longer than 32 bytes"),
            (format!("gossip_keys = [\"12\"]\n{head}{MEMBER}"), "64 hexadecimal digits"),
            (
                format!("gossip_keys = [{}]\n{head}{MEMBER}", format!("\"{}\",", "0".repeat(64)).repeat(5)),
                "more than 4",
            ),
            (format!("{head}{MEMBER}[bounds]\npatience_ms = 0\n"), "`patience_ms` is 0"),
            (format!("{head}{MEMBER}[bounds]\ngateway_threads = 1025\n"), "at most 1024"),
        ];
        for (text, why) in wrong {
            let error = parse(&text).expect_err("it is wrong");
            assert!(error.contains(why), "{error}");
        }
    }
}
