//! `quorate check` and `quorate simulate`: anyone can prove the protocols again, with the code that runs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use quorate_check::casts::chain::{Shape, Wish, cast};
use quorate_check::{Alarms, Explorer, Faults, cost};
use serde::Serialize;

use super::Output;

/// Explores every interleaving of a small instance.
#[derive(clap::Subcommand, Debug)]
pub enum CheckCommand {
    /// The chain: members, clients that append to lists and read them, crashes and restarts.
    #[command(after_help = "Examples:
  quorate check chain                                   two members, one crash: a second
  quorate check chain --nodes 3 --crashes 1             a minute or two
  quorate check chain --nodes 2 --losses 1 --copies 1
  quorate check chain --diagram chain.svg               draws one run of it")]
    Chain(CheckArgs),
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
    let CheckCommand::Chain(args) = command;
    let wishes = |count: u32, wish: fn(u32) -> Wish| (1..=count).map(wish).collect::<Vec<_>>();
    let reader = 2.min(args.nodes);
    let people = vec![(1, wishes(args.appends, |item| Wish::Append(0, item))), (reader, wishes(args.reads, |_| Wish::Read(0)))];
    let cast = cast(&Shape::new(args.nodes, people));
    let faults = Faults::none()
        .alarms(Alarms::WhenQuiet)
        .crashes(args.crashes)
        .losses(args.losses)
        .copies(args.copies);
    let bar = progress_bar();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let run = Explorer::new(&cast)
        .faults(faults)
        .threads(threads)
        .time_max(Duration::from_secs(args.time_max_s))
        .progress(|progress| {
            bar.set_position(progress.states);
            bar.set_message(format!("depth {}, {} waiting", progress.depth, progress.frontier));
        })
        .run();
    bar.finish_and_clear();
    let operations = (1..=args.appends).map(|_| "append").chain((1..=args.reads).map(|_| "read"));
    let costs = operations.zip(cost(&cast)).map(|(operation, cost)| CostRow {
        operation: operation.to_owned(),
        messages_between_nodes: cost.messages_between_nodes,
        delays: cost.delays,
        durable_writes: cost.durable_writes,
        writes_in_sequence: cost.writes_in_sequence,
    });
    let report = CheckReport {
        verdict: run.verdict.to_string(),
        holds: run.verdict.holds(),
        states: run.states,
        seconds: run.elapsed.as_secs_f64(),
        costs: costs.collect(),
    };
    print_check(&report, output)?;
    if let Some(path) = &args.diagram {
        let trace = if run.trace.is_empty() { quorate_check::explore::example(&cast) } else { run.trace.clone() };
        let svg = quorate_check::space_time_diagram::svg(&trace);
        std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !report.holds {
        if output == Output::Text && !run.trace.is_empty() {
            println!("\n{}", quorate_check::space_time_diagram::text(&run.trace));
        }
        bail!("{}", report.verdict);
    }
    Ok(())
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed} {human_pos} states, {per_sec}, {msg}");
    ProgressBar::new_spinner().with_style(style.expect("the template is a constant that was tried"))
}

fn print_check(report: &CheckReport, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    let rate = report.states as f64 / report.seconds.max(1e-9);
    println!("{} ({:.1} s, {rate:.0} states/s)\n", report.verdict, report.seconds);
    println!("{:<10} {:>10} {:>8} {:>16} {:>20}", "alone", "messages", "delays", "durable writes", "writes in sequence");
    for row in &report.costs {
        println!(
            "{:<10} {:>10} {:>8} {:>16} {:>20}",
            row.operation, row.messages_between_nodes, row.delays, row.durable_writes, row.writes_in_sequence
        );
    }
    Ok(())
}
