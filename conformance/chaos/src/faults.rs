//! The kills: a random node dies, is dead for a random while, and comes back; then a random calm, then the next.

use std::time::Duration;

use anyhow::{Context, bail};
use quorate::bench::connection::Link;
use quorate::etcd::generated::etcdserverpb as pb;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::Args;
use crate::history::{History, Run, Told};

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

/// One kill.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// When the node was dead, in nanoseconds of the run.
    pub died: u64,
    /// When it served again.
    pub served: u64,
    /// When it was started again.
    pub started: u64,
}

/// Kills and restarts, as often as asked for; between two kills all nodes serve.
pub async fn inject(run: &Run, args: &Args) -> anyhow::Result<Vec<Kill>> {
    let mut chance = ChaCha8Rng::seed_from_u64(args.seed);
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
pub fn gaps(history: &History, kills: &[Kill]) -> String {
    let mut acknowledged: Vec<u64> = history
        .operations
        .iter()
        .filter(|operation| {
            matches!(operation.told, Told::Done { held: true, .. }) && !operation.ask.writes().is_empty()
        })
        .map(|operation| operation.returned)
        .collect();
    acknowledged.sort_unstable();
    let gap = |kill: &Kill| {
        let from = acknowledged.partition_point(|&at| at <= kill.died).saturating_sub(1);
        let until = acknowledged.partition_point(|&at| at <= kill.served).min(acknowledged.len().saturating_sub(1));
        acknowledged
            .get(from..=until)
            .map_or(0, |part| part.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
    };
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
