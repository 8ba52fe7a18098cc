//! Gossip: members that know each other or meet by their seeds, what is lost between them, and who falls silent for good.

use std::path::PathBuf;
use std::time::Duration;

use quorate_check::casts::gossip::{Shape, bounds, drawn, explored, nobody_is_slandered, severity, simulated};
use quorate_check::simulate::{self, Plan};
use quorate_check::{Alarms, Draw, Faults, Seeds};
use quorate_model::trace::Trace;

use super::{CheckReport, SimulateArgs, draw_to, explore, report, verdict};
use crate::cli::Output;

/// The instance to explore, and which faults may happen in it.
#[derive(clap::Args, Debug)]
pub struct GossipCheckArgs {
    /// How many members.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=5))]
    nodes: u32,
    /// Let members know only the first two at first, and meet the others by them.
    #[arg(long)]
    strangers: bool,
    /// Let the last member fall silent for good, at any moment.
    #[arg(long)]
    silent: bool,
    /// How many crashes, of any member at any moment; restarts are free.
    #[arg(long, default_value_t = 0)]
    crashes: u16,
    /// How many messages are lost.
    #[arg(long, default_value_t = 2)]
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

/// Two losses are not a missed probe where there is a third member to help: so many suspect nobody.
const LOSSES_WITHOUT_SUSPICION: u16 = 2;

pub(super) fn check(args: &GossipCheckArgs, output: Output) -> anyhow::Result<()> {
    let mut shape = Shape::new(args.nodes);
    if args.strangers {
        shape = shape.strangers();
    }
    if args.silent {
        shape = shape.mortal(args.nodes);
        shape.options.health_worst = 0; // without clocks, how long one waits makes no difference
    }
    let mut cast = explored(&shape);
    let is_disturbed = args.silent || args.crashes > 0 || (args.nodes < 3 && args.losses > 0);
    if !is_disturbed && args.losses <= LOSSES_WITHOUT_SUSPICION && args.copies == 0 {
        cast = cast.always("nobody who is up is suspected", nobody_is_slandered);
    }
    let faults = Faults::none().alarms(Alarms::WhenQuiet).crashes(args.crashes).losses(args.losses).copies(args.copies);
    let run = explore(&cast, faults, Duration::from_secs(args.time_max_s));
    let report = CheckReport::of(&run, Vec::new());
    verdict(&report, &run, args.diagram.as_deref(), || example(&shape), output)
}

/// Some rounds without faults, to look at.
fn example(shape: &Shape) -> Trace {
    let mut plan = Plan::calm(shape.member_count as usize);
    plan.heals_at = Duration::from_secs(3);
    let bounds = simulate::Bounds { settles_for: Duration::from_secs(2), ..simulate::Bounds::default() };
    simulate::run(&explored(shape), &plan, &bounds, 0, true).trace
}

pub(super) fn simulate_members(args: &SimulateArgs, output: Output) -> anyhow::Result<()> {
    let make = |draw: &mut Draw| simulated(&drawn(draw));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut seeds = Seeds::new(args.range()).threads(threads).severity(severity()).bounds(bounds());
    if let Some(for_s) = args.for_s {
        seeds = seeds.time_max(Duration::from_secs(for_s));
    }
    let ran = simulate::simulate(make, &seeds);
    if let (Some(seed), Some(path)) = (args.seed, &args.diagram) {
        draw_to(path, &simulate::run_seed(&make, &seeds, seed, true).0.trace)?;
    }
    report("members", &ran, args, output)
}
