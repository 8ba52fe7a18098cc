//! `quorate chain`: who the members of a chain are and how far each is.

use anyhow::Context;
use http::Method;
use quorate_model::NodeId;
use serde::Serialize;

use super::{Target, emit};
use crate::cli::{Output, place, say};
use crate::http::{CHAINS_PATH, ChainList, ChainRow, Length, OwnRow};

/// Looks at chains, and changes how long they are.
#[derive(clap::Subcommand, Debug)]
pub enum ChainCommand {
    /// Show the members of each chain: what each acts on, how far it is, what is left of its lease.
    #[command(after_help = "Examples:
  quorate chain show
  quorate chain show --output json | jq '.chains[0].members'

`prefix` counts the joins and leaves that led to the members; each member moves to a longer one at its own pace. `lag` is
how many entries a member has not committed that another has. A member serves while its lease lives.")]
    Show,
    /// Let a chain have so many members: nodes join, one at a time, while writes go on, or leave.
    #[command(after_help = "Examples:
  quorate chain resize 5
  quorate chain resize 3 --keyspace 0")]
    Resize {
        /// How many members.
        length: u32,
        /// The number of the chain's keyspace.
        #[arg(long, default_value_t = 0)]
        keyspace: u32,
    },
}

/// A chain as all of its members tell.
#[derive(Debug, Serialize)]
struct Shown {
    keyspace: u32,
    wanted: u32,
    prefix_len: u64,
    swami: Option<u32>,
    members: Vec<Member>,
}

#[derive(Debug, Serialize)]
struct Member {
    node: u32,
    place: &'static str,
    client: String,
    /// Nothing if it did not answer.
    #[serde(flatten)]
    own: Option<OwnRow>,
    lag: Option<u64>,
}

/// Runs `quorate chain`.
///
/// # Errors
/// When no node answers, or what is asked for cannot be.
pub async fn chain(target: &Target, command: ChainCommand) -> anyhow::Result<()> {
    match command {
        ChainCommand::Show => show(target).await,
        ChainCommand::Resize { length, keyspace } => {
            let path = format!("{CHAINS_PATH}/{keyspace}/length");
            let done: serde_json::Value = target.http(Method::POST, &path, Some(&Length { length })).await?;
            match target.output {
                Output::Json => emit(&[done.to_string().into()]),
                Output::Text => {
                    say!(
                        "the chain of keyspace {keyspace} shall have {length} members; `quorate chain show` shows how far it is"
                    );
                    Ok(())
                }
            }
        }
    }
}

async fn show(target: &Target) -> anyhow::Result<()> {
    let list: ChainList = target.http_get(CHAINS_PATH).await?;
    let mut chains = Vec::new();
    for row in &list.chains {
        chains.push(shown(target, &list, row).await);
    }
    if target.output == Output::Json {
        return emit(&[serde_json::to_string(&serde_json::json!({ "chains": chains }))?.into()]);
    }
    for chain in &chains {
        print(chain)?;
    }
    if chains.is_empty() {
        say!("node {} knows of no chain yet", list.asked);
    }
    Ok(())
}

/// Asks each member for itself.
async fn shown(target: &Target, list: &ChainList, row: &ChainRow) -> Shown {
    let count = row.members.len();
    let places = (0..count).map(|at| place(at, count)).chain(["joiner"]);
    let mut members = Vec::new();
    for (node, place) in row.members.iter().map(|member| member.node).chain(row.joiner).zip(places) {
        let registered = list.nodes.iter().find(|registered| registered.node == node);
        let client = registered.map(|registered| registered.client.clone()).unwrap_or_default();
        let own = own_of(target, &client, row.keyspace).await;
        members.push(Member { node, place, client, own, lag: None });
    }
    let committed = members.iter().filter_map(|member| Some(member.own.as_ref()?.committed)).max().unwrap_or(0);
    for member in &mut members {
        member.lag = member.own.as_ref().map(|own| committed - own.committed);
    }
    Shown { keyspace: row.keyspace, wanted: row.wanted, prefix_len: row.prefix_len, swami: row.swami, members }
}

async fn own_of(target: &Target, client: &str, keyspace: u32) -> Option<OwnRow> {
    let one = Target { endpoints: vec![client.to_owned()], ..target.clone() };
    let list: ChainList = one.http_get(CHAINS_PATH).await.ok()?;
    list.chains.into_iter().find(|row| row.keyspace == keyspace).map(|row| row.own)
}

fn print(chain: &Shown) -> anyhow::Result<()> {
    let swami = chain.swami.map_or_else(|| "nobody".to_owned(), |node| format!("node {node}"));
    let count = chain.members.iter().filter(|member| member.place != "joiner").count();
    say!(
        "chain of keyspace {}: {count} of {} members, prefix {}; {swami} decides on members",
        chain.keyspace,
        chain.wanted,
        chain.prefix_len
    );
    say!(
        "{:>4} {:<7} {:<22} {:>6} {:>10} {:>6} {:>9} serving",
        "node",
        "place",
        "clients",
        "prefix",
        "committed",
        "lag",
        "lease"
    );
    for member in &chain.members {
        let head = format!("{:>4} {:<7} {:<22}", member.node, member.place, member.client);
        let Some(own) = &member.own else {
            say!("{head} does not answer");
            continue;
        };
        let serving = if own.serving { "yes" } else { "no" };
        let lag = member.lag.unwrap_or(0);
        say!("{head} {:>6} {:>10} {lag:>6} {:>6} ms {serving}", own.acts_on, own.committed, own.lease_ms);
        if let Some(trouble) = &own.trouble {
            say!("     {trouble}");
        }
    }
    Ok(())
}

/// The number of a node, as it is typed.
///
/// # Errors
/// When it is none.
pub(super) fn node_number(text: &str) -> anyhow::Result<NodeId> {
    let number = text.strip_prefix("node").unwrap_or(text);
    number
        .parse()
        .map(NodeId)
        .ok()
        .filter(|node| node.0 > 0)
        .with_context(|| format!("`{text}` is no node: give its number, which `quorate node list` shows"))
}
