//! `quorate check` and `quorate simulate`: anyone can prove the protocols again, with the code that runs.

mod gossip;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use quorate_check::casts::chain::{self, Shape, Wish, cast};
use quorate_check::casts::store;
use quorate_check::simulate::{self, Bounds, Plan, Report};
use quorate_check::{Alarms, Cast, Draw, Explorable, Exploration, Explorer, Faults, Seeds, cost};
use quorate_model::trace::Trace;
use serde::Serialize;

use super::{Output, say};

/// Explores every interleaving of a small instance.
#[derive(clap::Subcommand, Debug)]
pub enum CheckCommand {
    /// The chain: members, clients that append to lists and read them, crashes and restarts.
    #[command(after_help = "Examples:
  quorate check chain                                   two members, one crash: a second
  quorate check chain --nodes 3 --crashes 1             25 million states: a few minutes
  quorate check chain --nodes 2 --losses 1 --copies 1
  quorate check chain --diagram chain.svg               draws one run of it")]
    Chain(CheckArgs),
    /// Gossip: members that probe each other and tell along who is there.
    #[command(after_help = "Examples:
  quorate check gossip                                  three members, two losses: a second
  quorate check gossip --strangers --losses 0           members that meet by their seeds
  quorate check gossip --crashes 1 --losses 1           3.6 million states: a minute or two
  quorate check gossip --silent --losses 1              one falls silent for good")]
    Gossip(gossip::GossipCheckArgs),
}

/// The instance to explore, and which faults may happen in it.
#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// How many members.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=5))]
    nodes: u32,
    /// How many appends the client of the first member asks for, one after the other.
    #[arg(long, default_value_t = 1)]
    appends: u32,
    /// How many reads the client of the second member asks for, one after the other.
    #[arg(long, default_value_t = 1)]
    reads: u32,
    /// How many crashes, of any process at any moment; restarts are free.
    #[arg(long, default_value_t = 1)]
    crashes: u16,
    /// How many messages are lost.
    #[arg(long, default_value_t = 0)]
    losses: u16,
    /// How many messages arrive twice.
    #[arg(long, default_value_t = 0)]
    copies: u16,
    /// Give up after so long, in seconds.
    #[arg(long, default_value_t = 600)]
    time_max_s: u64,
    /// Draw a space-time diagram to this file: of the counterexample, if there is one.
    #[arg(long)]
    diagram: Option<PathBuf>,
}

#[derive(Serialize)]
struct CheckReport {
    verdict: String,
    holds: bool,
    states: u64,
    seconds: f64,
    costs: Vec<CostRow>,
}

#[derive(Serialize)]
struct CostRow {
    operation: String,
    messages_between_nodes: u64,
    delays: u64,
    durable_writes: u64,
    writes_in_sequence: u64,
}

/// Runs `quorate check`.
///
/// # Errors
/// When a claim is refuted, or time runs out.
pub fn check(command: CheckCommand, output: Output) -> anyhow::Result<()> {
    match command {
        CheckCommand::Chain(args) => check_chain(&args, output),
        CheckCommand::Gossip(args) => gossip::check(&args, output),
    }
}

fn check_chain(args: &CheckArgs, output: Output) -> anyhow::Result<()> {
    let wishes = |count: u32, wish: fn(u32) -> Wish| (1..=count).map(wish).collect::<Vec<_>>();
    let reader = 2.min(args.nodes);
    let people =
        vec![(1, wishes(args.appends, |item| Wish::Append(0, item))), (reader, wishes(args.reads, |_| Wish::Read(0)))];
    let cast = cast(&Shape::new(args.nodes, people));
    let faults = Faults::none().alarms(Alarms::WhenQuiet).crashes(args.crashes).losses(args.losses).copies(args.copies);
    let run = explore(&cast, faults, Duration::from_secs(args.time_max_s));
    let operations = (1..=args.appends).map(|_| "append").chain((1..=args.reads).map(|_| "read"));
    let costs = operations.zip(cost(&cast)).map(|(operation, cost)| CostRow {
        operation: operation.to_owned(),
        messages_between_nodes: cost.messages_between_nodes,
        delays: cost.delays,
        durable_writes: cost.durable_writes,
        writes_in_sequence: cost.writes_in_sequence,
    });
    let report = CheckReport::of(&run, costs.collect());
    verdict(&report, &run, args.diagram.as_deref(), || example(args.nodes), output)
}

impl CheckReport {
    fn of(run: &Exploration, costs: Vec<CostRow>) -> Self {
        Self {
            verdict: run.verdict.to_string(),
            holds: run.verdict.holds(),
            states: run.states,
            seconds: run.elapsed.as_secs_f64(),
            costs,
        }
    }
}

/// Explores on all processors, and shows how far it is.
fn explore<P: Explorable>(cast: &Cast<P>, faults: Faults, time_max: Duration) -> Exploration {
    let bar = progress_bar();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let run = Explorer::new(cast)
        .faults(faults)
        .threads(threads)
        .time_max(time_max)
        .progress(|progress| {
            bar.set_position(progress.states);
            bar.set_message(format!("depth {}, {} waiting", progress.depth, progress.frontier));
        })
        .run();
    bar.finish_and_clear();
    run
}

/// Prints what was found, and draws the counterexample, or `example` if there is none, where a diagram is wanted.
fn verdict(
    report: &CheckReport,
    run: &Exploration,
    diagram: Option<&Path>,
    example: impl FnOnce() -> Trace,
    output: Output,
) -> anyhow::Result<()> {
    print_check(report, output)?;
    if let Some(path) = diagram {
        let trace = if run.trace.is_empty() { example() } else { run.trace.clone() };
        draw_to(path, &trace)?;
    }
    if !report.holds {
        if output == Output::Text && !run.trace.is_empty() {
            say!("\n{}", quorate_check::space_time_diagram::text(&run.trace, DIAGRAM_WIDTH));
        }
        bail!("{}", report.verdict);
    }
    Ok(())
}

/// One run without faults, to look at: an append at the head and a read at the tail.
fn example(node_count: u32) -> Trace {
    let shape = Shape::new(node_count, vec![(1, vec![Wish::Append(0, 1)]), (node_count, vec![Wish::Read(0)])]);
    let ask_counts = [1, 1];
    let mut plan = Plan::calm(node_count as usize);
    plan.asks_at = ask_counts.map(|count| vec![Duration::from_millis(50); count]).to_vec();
    simulate::run(&cast(&shape), &plan, &Bounds::default(), 0, true).trace
}

/// Runs many random histories with every fault.
#[derive(clap::Subcommand, Debug)]
pub enum SimulateCommand {
    /// The chain, over lists and over the real key-value store.
    #[command(after_help = "Examples:
  quorate simulate chain --seeds 1000
  quorate simulate chain --for-s 60
  quorate simulate chain --seed 4711 --diagram failure.svg    one history again")]
    Chain(SimulateArgs),
    /// Gossip: two to seven members that come to hold what is so after every fault.
    #[command(after_help = "Examples:
  quorate simulate gossip --seeds 1000
  quorate simulate gossip --for-s 60
  quorate simulate gossip --seed 4711 --diagram failure.svg    one history again")]
    Gossip(SimulateArgs),
}

/// Which histories.
#[derive(clap::Args, Debug)]
pub struct SimulateArgs {
    /// How many seeds; each is one history, of the chain one over lists and one over the store.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Go on for so many seconds, whatever the number of seeds.
    #[arg(long, conflicts_with = "seeds")]
    for_s: Option<u64>,
    /// Run this one seed only.
    #[arg(long, conflicts_with_all = ["seeds", "first", "for_s"])]
    seed: Option<u64>,
    /// Draw the failing history, or that of `--seed`, to this file.
    #[arg(long)]
    diagram: Option<PathBuf>,
}

#[derive(Serialize)]
struct SimulateRow {
    machine: &'static str,
    holds: bool,
    runs: u64,
    operations: u64,
    events: u64,
    simulated_h: f64,
    faults: u64,
    seconds: f64,
    failure: Option<(u64, String)>,
}

/// Runs `quorate simulate`.
///
/// # Errors
/// When a history breaks a claim; the error names the seed.
pub fn simulate_command(command: SimulateCommand, output: Output) -> anyhow::Result<()> {
    match command {
        SimulateCommand::Chain(args) => simulate_chain(&args, output),
        SimulateCommand::Gossip(args) => gossip::simulate_members(&args, output),
    }
}

impl SimulateArgs {
    fn range(&self) -> Range<u64> {
        match (self.seed, self.for_s) {
            (Some(seed), _) => seed..seed + 1,
            (None, Some(_)) => self.first..u64::MAX,
            (None, None) => self.first..self.first.saturating_add(self.seeds),
        }
    }
}

fn simulate_chain(args: &SimulateArgs, output: Output) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut seeds = Seeds::new(args.range()).threads(threads);
    if let Some(for_s) = args.for_s {
        seeds = seeds.time_max(Duration::from_secs(for_s.div_ceil(2)));
    }
    let lists = simulate::simulate(|draw: &mut Draw| cast(&chain::drawn(draw)), &seeds);
    report("lists", &lists, args, output)?;
    if let (Some(seed), Some(path)) = (args.seed, &args.diagram) {
        let (run, _) = simulate::run_seed(&|draw: &mut Draw| cast(&chain::drawn(draw)), &seeds, seed, true);
        draw_to(path, &run.trace)?;
    }
    report("store", &simulate::simulate(store::drawn, &seeds), args, output)
}

fn report(machine: &'static str, report: &Report, args: &SimulateArgs, output: Output) -> anyhow::Result<()> {
    let failure = report.failure.as_ref().map(|failure| (failure.seed, failure.property.clone()));
    if output == Output::Json {
        let row = SimulateRow {
            machine,
            holds: report.failure.is_none(),
            runs: report.runs,
            operations: report.operations,
            events: report.events,
            simulated_h: report.simulated.as_secs_f64() / 3600.0,
            faults: report.counts.total(),
            seconds: report.elapsed.as_secs_f64(),
            failure,
        };
        say!("{}", serde_json::to_string(&row)?);
    } else {
        say!("{machine}: {report}");
    }
    if let Some(failure) = &report.failure {
        if let Some(path) = &args.diagram {
            draw_to(path, &failure.trace)?;
        }
        bail!("seed {} breaks a claim over {machine}: {}", failure.seed, failure.property);
    }
    Ok(())
}

fn draw_to(path: &Path, trace: &Trace) -> anyhow::Result<()> {
    let svg = quorate_check::space_time_diagram::svg(trace);
    std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))
}

/// How wide a diagram in the terminal is, in characters.
const DIAGRAM_WIDTH: usize = 120;

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed} {human_pos} states, {per_sec}, {msg}");
    ProgressBar::new_spinner().with_style(style.expect("the template is a constant that was tried"))
}

fn print_check(report: &CheckReport, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        say!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    let rate = report.states as f64 / report.seconds.max(1e-9);
    say!("{} ({:.1} s, {rate:.0} states/s)", report.verdict, report.seconds);
    if report.costs.is_empty() {
        return Ok(());
    }
    say!("");
    say!("{:<10} {:>10} {:>8} {:>16} {:>20}", "alone", "messages", "delays", "durable writes", "writes in sequence");
    for row in &report.costs {
        say!(
            "{:<10} {:>10} {:>8} {:>16} {:>20}",
            row.operation,
            row.messages_between_nodes,
            row.delays,
            row.durable_writes,
            row.writes_in_sequence
        );
    }
    Ok(())
}
