//! The kills: a random node dies, is dead for a random while, and comes back; then a random calm, then the next.

use std::time::Duration;

use anyhow::{Context, bail};
use quorate::bench::connection::Link;
use quorate::etcd::generated::etcdserverpb as pb;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::history::{History, Run, longest_gap};
use crate::load::{Load, LoadArgs};

/// How long a command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(20);
/// How long a node may take until it serves again.
const SERVE_WITHIN: Duration = Duration::from_secs(60);
/// How long one question whether it serves may take.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// Between two such questions.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Kills between two lines about how far the run is.
const REPORT_EVERY: u32 = 20;

/// How long a whole run may take per kill, before it is given up: far more than a node needs to come back.
const ROUND_WITHIN: Duration = Duration::from_secs(90);

/// Kills nodes of a cluster that commands start and end.
#[derive(clap::Args, Clone, Debug)]
pub struct KillArgs {
    /// The nodes' client addresses, in the order of their indexes.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379")]
    endpoints: Vec<String>,
    /// The command that kills node `{node}` (counted from 0) and returns when it is dead.
    #[arg(long)]
    kill: String,
    /// The command that starts node `{node}` again and returns at once.
    #[arg(long)]
    start: String,
    /// How many kills.
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// At most so long between a node's return and the next kill.
    #[arg(long, default_value_t = 600)]
    calm_ms_max: u64,
    /// At most so long between a node's death and its restart.
    #[arg(long, default_value_t = 600)]
    dead_ms_max: u64,
    #[command(flatten)]
    load: LoadArgs,
}

/// Kills, and judges.
///
/// # Errors
/// When the cluster cannot be asked, or the history is not that of a correct store.
pub async fn run(args: KillArgs) -> anyhow::Result<()> {
    println!("seed {}", args.load.seed);
    let load = Load::start(&args.endpoints, args.endpoints.len(), &args.load).await?;
    let faults = inject(load.run(), &args);
    let kills = timeout(ROUND_WITHIN * (args.kills + 1), faults).await.context("the run took too long")??;
    let ended = load.end().await?;
    println!("{}", gaps(&ended.history, &kills));
    ended.print("chaos")
}

/// One kill.
#[derive(Clone, Copy, Debug)]
struct Kill {
    /// When the node was dead, in nanoseconds of the run.
    died: u64,
    /// When it served again.
    served: u64,
    /// When it was started again.
    started: u64,
}

/// Kills and restarts, as often as asked for; between two kills all nodes serve.
async fn inject(run: &Run, args: &KillArgs) -> anyhow::Result<Vec<Kill>> {
    let mut chance = ChaCha8Rng::seed_from_u64(args.load.seed);
    let mut kills = Vec::new();
    for node in 0..run.endpoints.len() {
        serves(run, node).await?;
    }
    for round in 1..=args.kills {
        sleep(Duration::from_millis(chance.random_range(0..=args.calm_ms_max))).await;
        let node = chance.random_range(0..run.endpoints.len());
        command(&args.kill, node).await?;
        let died = run.now();
        sleep(Duration::from_millis(chance.random_range(0..=args.dead_ms_max))).await;
        command(&args.start, node).await?;
        let started = run.now();
        serves(run, node).await?;
        kills.push(Kill { died, started, served: run.now() });
        if round % REPORT_EVERY == 0 || round == args.kills {
            println!("{round} kills, {} operations", run.write().operations.len());
        }
    }
    Ok(kills)
}

async fn command(template: &str, node: usize) -> anyhow::Result<()> {
    let text = template.replace("{node}", &node.to_string());
    let status = Command::new("sh").arg("-c").arg(&text).status();
    let status = timeout(COMMAND_WITHIN, status).await.with_context(|| format!("`{text}` takes too long"))??;
    if !status.success() {
        bail!("`{text}` failed: {status}");
    }
    Ok(())
}

/// Waits until a node answers a linearizable read.
async fn serves(run: &Run, node: usize) -> anyhow::Result<()> {
    let link = Link::new(&run.endpoints[node]);
    let request = pb::RangeRequest { key: "chaos".into(), ..Default::default() };
    let deadline = Instant::now() + SERVE_WITHIN;
    while let Err(error) = link.unary::<pb::RangeResponse>("/etcdserverpb.KV/Range", &request, ASK_WITHIN).await {
        if Instant::now() > deadline {
            bail!("node {node} does not serve {SERVE_WITHIN:?} after its start: {error}");
        }
        sleep(ASK_EVERY).await;
    }
    Ok(())
}

/// For how long no write was acknowledged around each kill, and how soon a node served again.
fn gaps(history: &History, kills: &[Kill]) -> String {
    let acknowledged = history.acknowledged();
    let gap = |kill: &Kill| longest_gap(&acknowledged, kill.died, kill.served);
    let ms = |mut of: Vec<u64>| {
        of.sort_unstable();
        let at = |percent: usize| of.get((of.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0);
        format!("p50 {} ms, p90 {} ms, max {} ms", at(50) / 1_000_000, at(90) / 1_000_000, at(100) / 1_000_000)
    };
    format!(
        "longest time without an acknowledged write around a kill: {}\nfrom start to serving again: {}",
        ms(kills.iter().map(gap).collect()),
        ms(kills.iter().map(|kill| kill.served - kill.started).collect()),
    )
}
