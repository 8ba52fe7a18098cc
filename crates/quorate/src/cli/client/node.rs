//! `quorate node`: which nodes there are, as any one of them tells, and who comes and goes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use quorate_model::NodeId;

use super::chain::node_number;
use super::{Target, emit};
use crate::beginning::note_new;
use crate::cli::{Output, say};
use crate::config::{Bounds, Config, MemberConfig};
use crate::http::{NODES_PATH, Newcomer, NodeList, NodeRow, Welcome};

/// Looks at the nodes of a cluster, and changes which there are.
#[derive(clap::Subcommand, Debug)]
pub enum NodeCommand {
    /// Show who is there, as far as the node that is asked knows.
    #[command(after_help = "Examples:
  quorate node list                               asks the first endpoint that answers
  quorate node list --endpoints 127.0.0.1:22379   what that node knows
  quorate node list --output json | jq '.nodes[] | select(.standing != \"alive\") | .name'

A node is alive, suspected (it did not answer, and has time to), dead, left (it was stopped in good order), or unknown
(configured and never heard of). `life` grows with each start of a node; `news` is how long ago it last had any.")]
    List,
    /// Add a node: registers it with any node of the cluster, and writes the configuration that it starts with.
    #[command(after_help = "Examples:
  quorate node join --endpoints 10.0.0.1:2379 --data /var/lib/quorate --client 10.0.0.4:2379 --peer 10.0.0.4:2380
  quorate serve --config /var/lib/quorate/quorate.toml
  quorate chain resize 4                            lets it join the chain at once

A cluster that seals its gossip with a key (`quorate dev` does) needs --gossip-keys-from: the configuration of a node,
copied here. The same --peer gives the same node again, so this can be run again.")]
    Join(JoinArgs),
    /// Let a node leave all chains, each as another node takes its place; `restore` takes that back.
    Drain {
        /// Its number.
        node: String,
    },
    /// Let a node that drains be in service again.
    Restore {
        /// Its number.
        node: String,
    },
    /// Let a node leave all chains and forget it. It can be stopped when it is in no chain.
    #[command(after_help = "Examples:
  quorate node remove 3
  quorate node list; quorate chain show             when it is gone

With as many nodes as a chain wants members nobody can take its place: add a node first, or `quorate chain resize`.
A node that is down leaves by itself.")]
    Remove {
        /// Its number.
        node: String,
    },
}

/// Where a new node will be.
#[derive(clap::Args, Debug)]
pub struct JoinArgs {
    /// The folder for its configuration, its log and its store.
    #[arg(long)]
    data: PathBuf,
    /// Where clients will reach it, and where it listens for them.
    #[arg(long)]
    client: String,
    /// Where other nodes will reach it, and where it listens for them: TCP and UDP.
    #[arg(long)]
    peer: String,
    /// Where it stands, for others to see.
    #[arg(long, default_value = "")]
    zone: String,
    /// A configuration of a node of this cluster, whose keys of gossip are taken.
    #[arg(long)]
    gossip_keys_from: Option<PathBuf>,
}

/// Runs `quorate node`.
///
/// # Errors
/// When no node answers, or what is asked for cannot be.
pub async fn node(target: &Target, command: NodeCommand) -> anyhow::Result<()> {
    match command {
        NodeCommand::List => print(&target.http_get(NODES_PATH).await?, target.output),
        NodeCommand::Join(args) => join(target, args).await,
        NodeCommand::Drain { node } => {
            let node = node_number(&node)?;
            change(target, Method::POST, node, "/drain", "leaves its chains as others take its place").await
        }
        NodeCommand::Restore { node } => {
            change(target, Method::POST, node_number(&node)?, "/restore", "is in service").await
        }
        NodeCommand::Remove { node } => {
            let node = node_number(&node)?;
            change(target, Method::DELETE, node, "", "leaves its chains, is forgotten, and can be stopped then").await
        }
    }
}

async fn change(target: &Target, method: Method, node: NodeId, verb: &str, done: &str) -> anyhow::Result<()> {
    let path = format!("{NODES_PATH}/{}{verb}", node.0);
    let answer: serde_json::Value = target.http(method, &path, None::<&()>).await?;
    match target.output {
        Output::Json => emit(&[answer.to_string().into()]),
        Output::Text => {
            say!("node {} {done}; `quorate chain show` shows how far it is", node.0);
            Ok(())
        }
    }
}

/// Registers a node and writes what it starts with.
async fn join(target: &Target, args: JoinArgs) -> anyhow::Result<()> {
    let path = args.data.join("quorate.toml");
    if path.exists() {
        bail!("{} is there already: start the node with it, or name another folder with --data", path.display());
    }
    let gossip_keys = match &args.gossip_keys_from {
        Some(other) => Config::read(other)?.gossip_keys,
        None => Vec::new(),
    };
    let newcomer = Newcomer { peer: args.peer.clone(), client: args.client.clone() };
    let welcome: Welcome = target.http(Method::POST, NODES_PATH, Some(&newcomer)).await?;
    if welcome.keyed && gossip_keys.is_empty() {
        bail!(
            "node {} is registered, but this cluster seals its gossip with a key, which no node tells: copy the configuration of a \
             node here and name it with --gossip-keys-from, and run this again",
            welcome.node
        );
    }
    let members = welcome.nodes.iter().map(|node| MemberConfig {
        id: node.node,
        name: None,
        client: node.client.clone(),
        peer: node.peer.clone(),
    });
    let config = Config {
        cluster: welcome.cluster.clone(),
        node: welcome.node,
        data: args.data.clone(),
        listen_client: None,
        listen_peer: None,
        zone: args.zone.clone(),
        gossip_keys,
        bounds: Bounds::default(),
        chain: Some(welcome.chain.clone()),
        system: Some(welcome.system.clone()),
        members: members.collect(),
    };
    std::fs::create_dir_all(&args.data).with_context(|| format!("cannot make the folder {}", args.data.display()))?;
    if welcome.is_new {
        note_new(&args.data)?; // before the configuration, without which it cannot start
    }
    config.write(&path)?;
    if target.output == Output::Json {
        return emit(&[serde_json::json!({ "node": welcome.node, "config": path }).to_string().into()]);
    }
    say!("node {} of cluster {} is registered. Start it:", welcome.node, welcome.cluster);
    say!("  quorate serve --config {}", path.display());
    say!("It takes the place of a member that fails or is removed; `quorate chain resize` lets it join at once.");
    Ok(())
}

fn print(list: &NodeList, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return emit(&[serde_json::to_string(list)?.into()]);
    }
    say!(
        "{:>4} {:<12} {:<10} {:>8} {:<22} {:<22} {:<10} {:>5} {:<8} {:>13} roles",
        "node",
        "name",
        "standing",
        "news",
        "clients",
        "nodes",
        "zone",
        "load",
        "version",
        "life"
    );
    for row in &list.nodes {
        say_row(row)?;
    }
    if list.health_signs > 0 {
        say!("node {} hears badly ({} signs), so it may be wrong about others", list.asked, list.health_signs);
    }
    Ok(())
}

fn say_row(row: &NodeRow) -> anyhow::Result<()> {
    let (life, count) = row.incarnation;
    let news = age(Duration::from_millis(row.news_ms));
    let head = format!("{:>4} {:<12} {:<10} {news:>8}", row.node, plain(&row.name), row.standing.name());
    let Some(profile) = &row.profile else {
        say!("{head}");
        return Ok(());
    };
    say!(
        "{head} {:<22} {:<22} {:<10} {:>4}% {:<8} {:>13} {}",
        plain(&profile.client),
        plain(&profile.peer),
        plain(&profile.zone),
        profile.load_per_mille / 10,
        plain(&profile.version),
        format!("{life}.{count}"),
        plain(&profile.roles.join(","))
    );
    Ok(())
}

/// What a node said of itself, without anything that a terminal would obey.
fn plain(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.escape_debug().to_string() }
}

/// A duration in its two largest units.
fn age(lasted: Duration) -> String {
    let seconds = lasted.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", lasted.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_its_two_largest_units() {
        let ages = [900, 9_999, 12_000, 61_000, 3_720_000, 90_000_000].map(|ms| age(Duration::from_millis(ms)));
        assert_eq!(ages, ["0.9s", "10.0s", "12s", "1m1s", "1h2m", "1d1h"]);
    }

    #[test]
    fn nothing_that_a_node_says_of_itself_reaches_the_terminal_as_an_order() {
        assert_eq!(plain("rack\u{1b}[2J\n"), "rack\\u{1b}[2J\\n");
        assert_eq!(plain(""), "-");
    }
}
