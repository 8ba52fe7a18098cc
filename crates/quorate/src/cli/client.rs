//! The commands that talk to a cluster as any etcd client would.

mod lease;
mod txn;

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use serde::Serialize;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::{Output, say};
use crate::etcd::generated::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;

pub use lease::{LeaseCommand, lease};
pub use txn::{TxnArgs, txn};

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
    #[arg(long, default_value_t = 10, global = true)]
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
                Err(error) => why.push(format!("{address}: {error:#}")),
            }
        }
        bail!("no node answers ({}). Start a cluster with `quorate dev`, or name one with --endpoints", why.join("; "))
    }

    async fn connect_to(&self, address: &str) -> anyhow::Result<Channel> {
        let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(url)
            .context("not an address")?
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true);
        endpoint.connect().await.context("cannot connect")
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(Duration::from_secs(self.timeout_s));
        request
    }
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
    /// As it was at this revision.
    #[arg(long, default_value_t = 0)]
    rev: i64,
    /// At most so many keys.
    #[arg(long, default_value_t = 0)]
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
    i64::from_str_radix(text, 16).map_err(|_| format!("`{text}` is not a lease: leases are hexadecimal numbers"))
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
    #[arg(long, default_value_t = 0)]
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
pub struct CompactArgs {
    /// Versions that were superseded at or before this revision are forgotten.
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

#[derive(Serialize)]
struct StatusRow {
    endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<pb::StatusResponse>,
}

/// Runs `quorate status`: every endpoint, side by side.
///
/// # Errors
/// When none answers.
pub async fn status(target: &Target) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for endpoint in &target.endpoints {
        let asked = async {
            let channel = target.connect_to(endpoint).await?;
            let answer = MaintenanceClient::new(channel).status(target.request(pb::StatusRequest {})).await?;
            anyhow::Ok(answer.into_inner())
        };
        let (status, error) = match asked.await {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        rows.push(StatusRow { endpoint: endpoint.clone(), error, status });
    }
    if target.output == Output::Json {
        emit(&[serde_json::to_string(&rows)?.into()])?;
    } else {
        say!("{:<24} {:>6} {:>6} {:>10} {:>10} {:>12}", "endpoint", "member", "head", "revision", "applied", "bytes");
        for row in &rows {
            match (&row.status, &row.error) {
                (Some(status), _) => {
                    let header = status.header.unwrap_or_default();
                    say!(
                        "{:<24} {:>6x} {:>6x} {:>10} {:>10} {:>12}",
                        row.endpoint,
                        header.member_id,
                        status.leader,
                        header.revision,
                        status.raft_applied_index,
                        status.db_size
                    );
                }
                (None, error) => {
                    say!("{:<24} {}", row.endpoint, error.as_deref().unwrap_or("does not answer"));
                }
            }
        }
    }
    if rows.iter().all(|row| row.status.is_none()) {
        bail!("no node answers. Start a cluster with `quorate dev`, or name one with --endpoints");
    }
    Ok(())
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
