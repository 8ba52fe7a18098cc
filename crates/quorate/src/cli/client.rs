//! The commands that talk to a cluster as any etcd client would.

mod chain;
mod http;
mod lease;
mod node;
mod status;
mod txn;

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use serde::Serialize;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::Output;
use crate::etcd::generated::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;

pub use chain::{ChainCommand, chain};
pub use lease::{LeaseCommand, lease};
pub use node::{NodeCommand, node};
pub use status::status;
pub use txn::{TxnArgs, txn};

/// How long a node may take to be connected to.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// What to do when no node answers.
const START: &str = "Start a cluster with `quorate dev`, or name one with --endpoints";

/// Whom to ask, and how to print.
#[derive(clap::Args, Clone, Debug)]
pub struct Target {
    /// Addresses of nodes; the first that answers is asked.
    #[arg(
        long,
        env = "QUORATE_ENDPOINTS",
        value_delimiter = ',',
        global = true,
        default_value = "127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379"
    )]
    pub endpoints: Vec<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub output: Output,
    /// How long to wait for an answer, in seconds.
    #[arg(long, default_value_t = 10, global = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_s: u64,
}

impl Target {
    /// A connection to the first node that answers.
    ///
    /// # Errors
    /// When none does; the error says what to do.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let mut why = Vec::new();
        for address in &self.endpoints {
            match self.connect_to(address).await {
                Ok(channel) => return Ok(channel),
                Err(why_not) => why.push(format!("{address}: {why_not:#}")),
            }
        }
        bail!("no node answers ({}). {START}", why.join("; "))
    }

    async fn connect_to(&self, address: &str) -> anyhow::Result<Channel> {
        let host = address.strip_prefix("http://").unwrap_or(address);
        if host.starts_with("https://") {
            bail!("there is no TLS yet: say http://");
        }
        let Ok(endpoint) = Endpoint::from_shared(format!("http://{host}")) else {
            bail!("`{address}` is not an address like 127.0.0.1:2379");
        };
        let endpoint = endpoint.connect_timeout(CONNECT_PATIENCE).tcp_nodelay(true);
        endpoint.connect().await.map_err(|error| anyhow!("{}", first_cause(&error)))
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(Duration::from_secs(self.timeout_s));
        request
    }
}

/// A request that was refused, or that got no answer, in a line: what the node said with its code, or what is known.
#[must_use]
pub fn refusal(status: &Status) -> String {
    const UNKNOWN: &str = "whether a write took effect is not known";
    match status.source().map(first_cause) {
        Some(cause) if cause.is::<tonic::TimeoutExpired>() => format!("no answer within --timeout-s; {UNKNOWN}"),
        Some(cause) => format!("the connection broke ({cause}); {UNKNOWN}. Is this an address for clients?"),
        None => {
            let text = status.message();
            let text = text.strip_prefix("etcdserver: ").unwrap_or(text); // clients of etcd look for that, people do not
            format!("{} ({:?})", text.strip_prefix("mvcc: ").unwrap_or(text), status.code())
        }
    }
}

/// What an error that was wrapped and wrapped began with.
fn first_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// Which keys.
#[derive(clap::Args, Clone, Debug)]
pub struct KeyArgs {
    /// The key.
    key: String,
    /// All keys from `key` on, before this one.
    range_end: Option<String>,
    /// All keys that begin with `key`.
    #[arg(long, conflicts_with = "range_end")]
    prefix: bool,
    /// All keys from `key` on.
    #[arg(long, conflicts_with_all = ["range_end", "prefix"])]
    from_key: bool,
}

impl KeyArgs {
    fn range(&self) -> (Bytes, Bytes) {
        let key = Bytes::from(self.key.clone().into_bytes());
        let end = match (&self.range_end, self.prefix, self.from_key) {
            (Some(end), _, _) => Bytes::from(end.clone().into_bytes()),
            (None, true, _) => prefix_end(&key),
            (None, _, true) => Bytes::from_static(b"\0"),
            _ => Bytes::new(),
        };
        // The empty key names no key; with an end it means from the first.
        (if key.is_empty() && !end.is_empty() { Bytes::from_static(b"\0") } else { key }, end)
    }
}

/// The first key after all that begin with `prefix`; of the empty prefix, the sign for no end.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bytes::from(end);
        }
    }
    Bytes::from_static(b"\0")
}

/// Reads keys.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  quorate get greeting
  quorate get --prefix /orders/ --limit 10
  quorate get greeting --rev 5          as it was at revision 5")]
pub struct GetArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// As it was at this revision; 0 is now.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..), allow_negative_numbers = true)]
    rev: i64,
    /// At most so many keys; 0 is all.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..), allow_negative_numbers = true)]
    limit: i64,
    /// Print keys without values.
    #[arg(long)]
    keys_only: bool,
    /// Print only how many keys there are.
    #[arg(long)]
    count_only: bool,
    /// What the node asked has, perhaps behind others; never waits.
    #[arg(long)]
    serializable: bool,
}

/// Runs `quorate get`.
///
/// # Errors
/// When no node answers or the request is refused.
pub async fn get(target: &Target, args: GetArgs) -> anyhow::Result<()> {
    let (key, range_end) = args.keys.range();
    let request = pb::RangeRequest {
        key,
        range_end,
        revision: args.rev,
        limit: args.limit,
        keys_only: args.keys_only,
        count_only: args.count_only,
        serializable: args.serializable,
        ..Default::default()
    };
    let answer = KvClient::new(target.connect().await?).range(target.request(request)).await?.into_inner();
    print(target, &answer, |answer| {
        if args.count_only {
            return vec![answer.count.to_string().into()];
        }
        answer.kvs.iter().flat_map(|kv| lines(&kv.key, (!args.keys_only).then_some(&kv.value))).collect()
    })
}

fn lines(key: &Bytes, value: Option<&Bytes>) -> Vec<Bytes> {
    [Some(key), value].into_iter().flatten().cloned().collect()
}

/// Writes a key.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  quorate put greeting hello
  quorate put greeting hello --lease 694d7550 --prev-kv
  echo -n hello | quorate put greeting -")]
pub struct PutArgs {
    /// The key.
    key: String,
    /// The value; `-` reads it from standard input.
    value: String,
    /// The lease that the key dies with, in hexadecimal.
    #[arg(long, default_value = "0", value_parser = parse_lease)]
    lease: i64,
    /// Print what was there.
    #[arg(long)]
    prev_kv: bool,
}

fn parse_lease(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    i64::from_str_radix(digits, 16).map_err(|_| format!("`{text}` is not a lease: leases are hexadecimal numbers"))
}

/// Runs `quorate put`.
///
/// # Errors
/// When no node answers or the request is refused.
pub async fn put(target: &Target, args: PutArgs) -> anyhow::Result<()> {
    let value = if args.value == "-" {
        let mut value = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut value).context("cannot read the value")?;
        value
    } else {
        args.value.into_bytes()
    };
    let request = pb::PutRequest {
        key: args.key.into(),
        value: value.into(),
        lease: args.lease,
        prev_kv: args.prev_kv,
        ..Default::default()
    };
    let answer = KvClient::new(target.connect().await?).put(target.request(request)).await?.into_inner();
    print(target, &answer, |answer| {
        let mut out = vec![Bytes::from_static(b"OK")];
        out.extend(answer.prev_kv.iter().flat_map(|kv| lines(&kv.key, Some(&kv.value))));
        out
    })
}

/// Deletes keys.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  quorate del greeting
  quorate del --prefix /orders/")]
pub struct DelArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// Print what was there.
    #[arg(long)]
    prev_kv: bool,
}

/// Runs `quorate del`.
///
/// # Errors
/// When no node answers or the request is refused.
pub async fn del(target: &Target, args: DelArgs) -> anyhow::Result<()> {
    let (key, range_end) = args.keys.range();
    let request = pb::DeleteRangeRequest { key, range_end, prev_kv: args.prev_kv };
    let answer = KvClient::new(target.connect().await?).delete_range(target.request(request)).await?.into_inner();
    print(target, &answer, |answer| {
        let mut out = vec![answer.deleted.to_string().into()];
        out.extend(answer.prev_kvs.iter().flat_map(|kv| lines(&kv.key, Some(&kv.value))));
        out
    })
}

/// Prints changes as they come.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  quorate watch greeting
  quorate watch --prefix /orders/ --rev 1     everything since revision 1, then what comes")]
pub struct WatchArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// From this revision on; 0 is from now on.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..), allow_negative_numbers = true)]
    rev: i64,
    /// Print what was there before each change.
    #[arg(long)]
    prev_kv: bool,
}

/// Runs `quorate watch` until it is interrupted or the watch is cancelled.
///
/// # Errors
/// When no node answers, or the revision was compacted.
pub async fn watch(target: &Target, args: WatchArgs) -> anyhow::Result<()> {
    let (key, range_end) = args.keys.range();
    let create = pb::WatchCreateRequest {
        key,
        range_end,
        start_revision: args.rev,
        prev_kv: args.prev_kv,
        ..Default::default()
    };
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    let request = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    requests.send(request).await.context("the stream ended")?;
    let mut client = WatchClient::new(target.connect().await?);
    let mut answers = client.watch(ReceiverStream::new(receiver)).await?.into_inner();
    loop {
        let answer = tokio::select! {
            answer = answers.message() => answer?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(answer) = answer else { bail!("the node ended the watch; start it again, perhaps at another node") };
        if answer.canceled {
            match answer.compact_revision {
                0 => bail!("the watch was cancelled: {}", answer.cancel_reason),
                first => bail!("revision {} was compacted: watch from --rev {first} on", args.rev),
            }
        }
        if answer.events.is_empty() {
            continue;
        }
        print(target, &answer, |answer| answer.events.iter().flat_map(event_lines).collect())?;
    }
}

fn event_lines(event: &crate::etcd::generated::mvccpb::Event) -> Vec<Bytes> {
    let kind = if event.r#type == 0 { "PUT" } else { "DELETE" };
    let mut out = vec![Bytes::from_static(kind.as_bytes())];
    if let Some(kv) = &event.prev_kv {
        out.extend(lines(&kv.key, Some(&kv.value)));
    }
    if let Some(kv) = &event.kv {
        out.extend(lines(&kv.key, Some(&kv.value)));
    }
    out
}

/// Forgets old versions.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  quorate compact 4000      `quorate status` says which revision there is")]
pub struct CompactArgs {
    /// Versions that were superseded at or before this revision are forgotten.
    #[arg(value_parser = clap::value_parser!(i64).range(1..), allow_negative_numbers = true)]
    revision: i64,
}

/// Runs `quorate compact`.
///
/// # Errors
/// When no node answers or the request is refused.
pub async fn compact(target: &Target, args: CompactArgs) -> anyhow::Result<()> {
    let request = pb::CompactionRequest { revision: args.revision, physical: false };
    let answer = KvClient::new(target.connect().await?).compact(target.request(request)).await?.into_inner();
    print(target, &answer, |_| vec![format!("compacted revision {}", args.revision).into()])
}

/// Prints one answer: as JSON, or as the lines that `text` makes of it.
fn print<T: Serialize>(target: &Target, answer: &T, text: impl FnOnce(&T) -> Vec<Bytes>) -> anyhow::Result<()> {
    match target.output {
        Output::Json => emit(&[serde_json::to_string(answer)?.into()]),
        Output::Text => emit(&text(answer)),
    }
}

/// Writes lines to standard output, bytes as they are.
fn emit(lines: &[Bytes]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        out.write_all(line)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_that_does_not_begin_with_it() {
        assert_eq!(prefix_end(b"a"), Bytes::from_static(b"b"));
        assert_eq!(prefix_end(b"a\xff"), Bytes::from_static(b"b"));
        assert_eq!(prefix_end(b"\xff"), Bytes::from_static(b"\0"));
        assert_eq!(prefix_end(b""), Bytes::from_static(b"\0"));
    }
}
