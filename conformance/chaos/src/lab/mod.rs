//! A whole cluster to which everything happens: five nodes, each in a network namespace and on a disk of its own, under load.
//!
//! | file      | what                                                          |
//! |-----------|---------------------------------------------------------------|
//! | `faults`  | what happens, in which order, and how it is brought about      |
//! | `cluster` | the nodes: started, looked after, replaced, waited for         |
//! | `node`    | one of them                                                    |
//! | `network` | namespaces and a bridge, and links that are cut                |
//! | `disk`    | disks that are full or slow                                    |
//! | `report`  | what came of it                                                |
//! | `shell`   | tools of the system                                            |
//!
//! One fault after the other: it begins when the cluster is whole, lasts, is healed, and the cluster has to become whole
//! again by itself. A node that ends by itself is started again, as a machine's supervisor does. When all kinds have had
//! their turn, each of the first five nodes is replaced by a new one, and then all begins anew with those.
//!
//! Who is not root gets a cluster on loopback, without what needs namespaces and mounts, and is told so.

mod cluster;
mod disk;
mod faults;
mod network;
mod node;
mod report;
mod shell;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use cluster::Lab;
use faults::Plan;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use report::Report;
use tokio::time::Instant;

use crate::etcdctl;
use crate::load::{Load, LoadArgs};

/// A run that is at least so long holds each fault as long as it is meant to last; a shorter one holds it shorter.
const FULL: Duration = Duration::from_secs(300);
/// Processes of etcdctl at a time.
const ETCDCTL_COUNT: u32 = 2;

/// Lets everything happen to a cluster of five nodes.
#[derive(clap::Args, Clone, Debug)]
pub struct LabArgs {
    /// For how long, in minutes. The fault under way is seen through, and all of the first five nodes are replaced.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Print the report as JSON; what happens meanwhile goes to standard error.
    #[arg(long)]
    json: bool,
    /// The program; by default the `quorate` beside this one.
    #[arg(long)]
    program: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
}

/// Runs it and judges.
///
/// # Errors
/// When the cluster cannot be built, does not become whole, or its history is not that of a correct store.
pub async fn run(args: LabArgs) -> anyhow::Result<()> {
    // Everything that was built goes with this future, however it ends.
    tokio::select! {
        outcome = work(args) => outcome,
        () = interrupted() => anyhow::bail!("interrupted: the cluster was taken down"),
    }
}

async fn work(args: LabArgs) -> anyhow::Result<()> {
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("quorate"));
    let program = args.program.clone().map_or_else(beside, Ok)?;
    let program = program.canonicalize().with_context(|| format!("{} is not there: build it", program.display()))?;
    let lasts = Duration::from_secs_f64((args.minutes * 60.0).clamp(0.0, 1e6));
    let chance = ChaCha8Rng::seed_from_u64(args.load.seed);
    let mut lab = Lab::build(program, chance).await?;
    let mut left_out = lab.left_out();
    lab.found().await?;
    let mut load = Load::start(&lab.endpoints(), cluster::NODE_COUNT as usize, &args.load).await?;
    match etcdctl::is_here().await {
        true => load.with_etcdctl(ETCDCTL_COUNT),
        false => left_out.push("requests by etcdctl: it is not installed".into()),
    }
    lab.takes(load.run().clone());
    eprintln!("seed {}, {}", args.load.seed, lab.place());

    let share = (lasts.as_secs_f64() / FULL.as_secs_f64()).min(1.0);
    let mut plan = Plan::new(lab.possible());
    let mut occurrences = Vec::new();
    let mut trouble = None;
    let until = Instant::now() + lasts;
    while Instant::now() < until || !plan.has_replaced() {
        let fault = if Instant::now() < until { plan.next(&mut lab.chance) } else { plan.replace() };
        match lab.suffer(fault, share).await {
            Ok(mut suffered) => occurrences.append(&mut suffered),
            Err(error) => {
                trouble = Some(format!("{}: {error:#}", fault.name()));
                lab.take_down_pages().await;
                break;
            }
        }
    }
    let words = lab.last_words();
    let ended = match load.end().await {
        Ok(ended) => ended,
        Err(error) => {
            let kept = lab.keep();
            return Err(error).with_context(|| format!("{trouble:?}; the nodes' messages are in {}", kept.display()));
        }
    };
    let report = Report::new(&args, &lab, left_out, &occurrences, trouble, &ended);
    if report.failed() > 0 {
        let history = ended.keep()?;
        eprintln!("the nodes' messages are in {}, the history in {history:?}\n{words}", lab.keep().display());
    } else {
        ended.keep()?;
    }
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print!("{report}"),
    }
    anyhow::ensure!(report.failed() == 0, "{} checks failed", report.failed());
    Ok(())
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
