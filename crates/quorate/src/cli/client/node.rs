//! `quorate node`: which nodes there are, as any one of them tells.

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Bytes, CONNECT_PATIENCE, START, Target, emit};
use crate::cli::{Output, say};
use crate::http::{NODES_PATH, NodeList, NodeRow};

/// The longest list that is read: of as many nodes as gossip knows.
const LIST_BYTES_MAX: usize = 16 << 20;

/// Looks at the nodes of a cluster.
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
}

/// Runs `quorate node`.
///
/// # Errors
/// When no node answers.
pub async fn node(target: &Target, command: NodeCommand) -> anyhow::Result<()> {
    let NodeCommand::List = command;
    let mut why = Vec::new();
    for endpoint in &target.endpoints {
        match ask(endpoint, Duration::from_secs(target.timeout_s)).await {
            Ok(list) => return print(&list, target.output),
            Err(why_not) => why.push(format!("{endpoint}: {why_not:#}")),
        }
    }
    bail!("no node answers ({}). {START}", why.join("; "))
}

async fn ask(endpoint: &str, patience: Duration) -> anyhow::Result<NodeList> {
    let host = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    if host.starts_with("https://") {
        bail!("there is no TLS yet: say http://");
    }
    let connected = timeout(CONNECT_PATIENCE, TcpStream::connect(host)).await.context("it does not answer")?;
    let socket = connected.context("cannot connect")?;
    timeout(patience, get(host, socket)).await.context("no answer within --timeout-s")?
}

async fn get(host: &str, socket: TcpStream) -> anyhow::Result<NodeList> {
    let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let request = http::Request::get(NODES_PATH).header(http::header::HOST, host).body(Empty::<Bytes>::new())?;
    let answered = async {
        let response = requests.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LIST_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
        Ok::<_, anyhow::Error>((status, body))
    };
    let (status, body) = tokio::select! {
        answered = answered => answered?,
        Err(error) = connection => bail!("the connection broke ({error})"),
    };
    if !status.is_success() {
        bail!("it answers {status}: is it a node of Quorate that gossips?");
    }
    serde_json::from_slice(&body).context("it answers what is no list of nodes")
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
