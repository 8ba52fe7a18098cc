//! Kills nodes of a real cluster under load and judges everything that its clients saw.
//!
//! | file      | what                                                                                |
//! |-----------|-------------------------------------------------------------------------------------|
//! | `faults`  | kills a random node, starts it again, waits until it serves; many times               |
//! | `client`  | asks one thing at a time, and writes down when it asked and what it was told            |
//! | `watcher` | hears every change from the first one on, over all breaks of its connection             |
//! | `history` | what they wrote down                                                                |
//! | `judge`   | whether a correct store could have answered so                                      |
//!
//! The nodes are started and killed by commands given as arguments, with `{node}` for the node's index, so that the same run
//! judges real etcd, which shows that the judge does not accuse the innocent. That it does accuse the guilty, its own
//! tests show.

mod client;
mod faults;
mod history;
mod judge;
mod watcher;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use history::Run;

/// How long a whole run may take per kill, before it is given up: far more than a node needs to come back.
const ROUND_WITHIN: Duration = Duration::from_secs(90);

/// Kills nodes of a real cluster under load and judges everything that its clients saw.
#[derive(Clone, Debug, Parser)]
pub struct Args {
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
    /// Clients that read and write.
    #[arg(long, default_value_t = 12)]
    clients: u32,
    /// Requests a second of each client.
    #[arg(long, default_value_t = 40.0)]
    rate: f64,
    /// Groups of two keys that they read and write.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    groups: u32,
    /// How long a client waits for an answer before it calls the outcome unknown.
    #[arg(long, default_value_t = 3.0)]
    patience_s: f64,
    /// At most so long between a node's return and the next kill.
    #[arg(long, default_value_t = 600)]
    calm_ms_max: u64,
    /// At most so long between a node's death and its restart.
    #[arg(long, default_value_t = 600)]
    dead_ms_max: u64,
    /// Where chance begins. The kills come in the same order with the same seed; the threads do not.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write the history, one JSON object a line; by default only when it is refused.
    #[arg(long)]
    history: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("no runtime").and_then(|runtime| runtime.block_on(run(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    println!("seed {}", args.seed);
    let run = Arc::new(Run::new(&args.endpoints, args.seed, args.groups));
    let base =
        client::revision(&args.endpoints[0]).await.context("the cluster does not answer before the first kill")?;
    let watchers: Vec<_> =
        (0..=args.endpoints.len()).map(|number| tokio::spawn(watcher::watch(run.clone(), number, base + 1))).collect();
    let clients: Vec<_> = (0..args.clients)
        .map(|number| tokio::spawn(client::Client::new(run.clone(), number, &args).run(args.rate)))
        .collect();

    let faults = faults::inject(&run, &args);
    let outcome = tokio::time::timeout(ROUND_WITHIN * (args.kills + 1), faults).await;
    run.stop();
    for client in clients {
        client.await.context("a client stopped")?;
    }
    let kills = outcome.context("the run took too long")??;

    let finals = client::finals(&run).await?;
    let last = finals.iter().map(|state| state.revision).max().unwrap_or(base);
    run.finish(last);
    for watcher in watchers {
        watcher.await.context("a watcher stopped")?;
    }

    let history = run.take();
    let verdict = judge::judge(&history, &finals, base);
    println!("{}", faults::gaps(&history, &kills));
    println!("{}", verdict.summary);
    if let Some(path) = args.history.clone().or_else(|| (!verdict.is_good()).then(|| "chaos-history.jsonl".into())) {
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        for line in history.lines() {
            writeln!(file, "{}", line?)?;
        }
        file.flush()?;
        println!("history: {}", path.display());
    }
    let checks = judge::CHECKS.len();
    for accusation in &verdict.accusations {
        println!("  REFUSED: {accusation}");
    }
    println!("chaos: {} passed, {} failed", checks - verdict.failed_checks(), verdict.failed_checks());
    if !verdict.is_good() {
        bail!("the history is not that of a correct store");
    }
    Ok(())
}
