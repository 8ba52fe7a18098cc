//! The simulator: long runs of a whole cluster in virtual time, in which one seed decides everything.
//!
//! | what a seed draws | |
//! |---|---|
//! | network | loss, copies, damaged frames, delays that reorder, walls around any set of nodes, one way or both |
//! | processes | crashes at any point, restarts, pauses |
//! | disks | unsynced writes lost from any point on, the last record torn, a sync that fails, slow syncs, snapshots |
//! | clocks | rates that differ |
//!
//! After the faults everything is healed, and then all that was asked must be answered in bounded time. A run that fails
//! prints its seed, and the same seed fails in the same way: the run is repeated to write down its trace.
//!
//! ```ignore
//! let report = simulate(|draw| cast(draw), &Seeds::new(0..1000));
//! assert!(report.failure.is_none(), "{report}");
//! ```

mod clock;
mod disk;
mod draw;
mod network;
mod plan;
mod world;

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use clock::Drift;
pub use draw::Draw;
pub use network::Links;
pub use plan::{Fault, Plan, Severity};
use quorate_model::trace::Trace;
use quorate_model::{Process, Wire};
use world::{World, node_ids};

use crate::cast::{Cast, Claim};

/// A process that can be simulated: what it says and writes goes over the wire and to disk as bytes.
pub trait Simulated: Process<Message: Wire, Record: Wire> + Clone {}

impl<P: Process<Message: Wire, Record: Wire> + Clone> Simulated for P {}

/// What a run is held to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// How long after everything is healed all must be answered.
    pub answers_within: Duration,
    /// How long after the last answer everything has come to rest.
    pub settles_for: Duration,
    /// Claims about every state are checked each so many events.
    pub check_every: u64,
    /// A run in which more happens than this is taken to have no end, which is a failure.
    pub events_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            answers_within: Duration::from_secs(60),
            settles_for: Duration::from_secs(5),
            check_every: 16,
            events_max: 1_000_000,
        }
    }
}

/// Which seeds to run, and how.
#[derive(Clone, Debug)]
pub struct Seeds {
    range: Range<u64>,
    threads: usize,
    time_max: Duration,
    severity: Severity,
    bounds: Bounds,
}

impl Seeds {
    /// These seeds, with one thread.
    #[must_use]
    pub fn new(range: Range<u64>) -> Self {
        let (severity, bounds) = (Severity::default(), Bounds::default());
        Self { range, threads: 1, time_max: Duration::MAX, severity, bounds }
    }

    /// With so many threads. Changes nothing but the time it takes.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// Begins no seed after so long.
    #[must_use]
    pub fn time_max(self, time_max: Duration) -> Self {
        Self { time_max, ..self }
    }

    /// How bad it may get.
    #[must_use]
    pub fn severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    pub(crate) fn bounds_ref(&self) -> &Bounds {
        &self.bounds
    }

    /// What runs are held to.
    #[must_use]
    pub fn bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }
}

/// How many faults of each kind happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultCounts {
    /// Messages lost on a link.
    pub lost: u64,
    /// Messages stopped by a wall.
    pub walled: u64,
    /// Messages that arrived twice.
    pub copied: u64,
    /// Damaged frames that were refused.
    pub damaged: u64,
    /// Crashes of a node, without those of failed syncs.
    pub crashes: u64,
    /// Logs that ended in a part of a record.
    pub torn: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Pauses of a node.
    pub pauses: u64,
    /// Walls put up.
    pub partitions: u64,
    /// Disks that turned slow.
    pub slow_disks: u64,
    /// Disks that were lost.
    pub lost_disks: u64,
}

impl FaultCounts {
    fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.walled += other.walled;
        self.copied += other.copied;
        self.damaged += other.damaged;
        self.crashes += other.crashes;
        self.torn += other.torn;
        self.failed_syncs += other.failed_syncs;
        self.pauses += other.pauses;
        self.partitions += other.partitions;
        self.slow_disks += other.slow_disks;
        self.lost_disks += other.lost_disks;
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let messages = self.lost + self.walled + self.copied + self.damaged;
        let nodes = self.crashes + self.pauses + self.partitions;
        messages + nodes + self.torn + self.failed_syncs + self.slow_disks + self.lost_disks
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lost, {} walled, {} copied, {} damaged, {} crashes, {} torn, {} failed syncs, {} pauses, {} partitions, \
             {} slow disks, {} lost disks",
            self.lost,
            self.walled,
            self.copied,
            self.damaged,
            self.crashes,
            self.torn,
            self.failed_syncs,
            self.pauses,
            self.partitions,
            self.slow_disks,
            self.lost_disks
        )
    }
}

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The claim that does not hold, if one does not.
    pub failure: Option<String>,
    /// How many things happened.
    pub events: u64,
    /// How much virtual time went by.
    pub simulated: Duration,
    /// How many operations were asked.
    pub operations: u64,
    /// The faults.
    pub counts: FaultCounts,
    /// A fingerprint of all that happened, in its order.
    pub print: u128,
    /// All that happened, if that was wanted.
    pub trace: Trace,
    pub(crate) seen: Vec<bool>,
}

/// A seed whose run failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The claim that does not hold, or how the run panicked.
    pub property: String,
    /// The plan of the run.
    pub plan: Plan,
    /// All that happened; empty if the run panicked.
    pub trace: Trace,
}

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The failing run with the smallest seed.
    pub failure: Option<Failure>,
    /// Things that were claimed to happen sometimes and happened in no run.
    pub never_happened: Vec<String>,
    /// How many runs, each with a history that was judged.
    pub runs: u64,
    /// How many things happened.
    pub events: u64,
    /// How much virtual time went by.
    pub simulated: Duration,
    /// How many operations were asked.
    pub operations: u64,
    /// The faults.
    pub counts: FaultCounts,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// Whether no run failed and everything that should happen sometimes did.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failure.is_none() && self.never_happened.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            writeln!(f, "seed {} fails: {}", failure.seed, failure.property)?;
        }
        for name in &self.never_happened {
            writeln!(f, "never happens: {name}")?;
        }
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        write!(
            f,
            "{} runs, {} operations, {} events, {:.1} h simulated, {} faults ({}), {seconds:.1} s ({:.0} events/s)",
            self.runs,
            self.operations,
            self.events,
            self.simulated.as_secs_f64() / 3600.0,
            self.counts.total(),
            self.counts,
            self.events as f64 / seconds
        )
    }
}

/// Runs one cast with one plan and one seed.
#[must_use]
pub fn run<P: Simulated>(cast: &Cast<P>, plan: &Plan, bounds: &Bounds, seed: u64, traced: bool) -> Simulation {
    World::new(cast, plan, bounds, seed, traced).run()
}

/// Runs the seed again as [`simulate`] does, and says what came of it.
pub fn run_seed<P: Simulated>(
    make: &impl Fn(&mut Draw) -> Cast<P>,
    seeds: &Seeds,
    seed: u64,
    traced: bool,
) -> (Simulation, Plan) {
    let mut draw = Draw::seeded(seed, 0);
    let cast = make(&mut draw);
    let plan = plan_for(&cast, seeds, &mut draw);
    (run(&cast, &plan, &seeds.bounds, seed, traced), plan)
}

fn plan_for<P: Simulated>(cast: &Cast<P>, seeds: &Seeds, draw: &mut Draw) -> Plan {
    let ask_counts: Vec<usize> = cast.askers.iter().map(|asker| asker.asks.len()).collect();
    Plan::draw(node_ids(cast).len(), &ask_counts, &seeds.severity, draw)
}

/// Runs all seeds. `make` makes the cast of a run, and may draw from its seed. Stops at the first run that fails: the
/// one with the smallest seed, however many threads there are.
pub fn simulate<P: Simulated>(make: impl Fn(&mut Draw) -> Cast<P> + Sync, seeds: &Seeds) -> Report {
    let begun = Instant::now();
    let next = AtomicU64::new(seeds.range.start);
    let until = AtomicU64::new(seeds.range.end);
    let report = Mutex::new((Report::default(), Vec::<bool>::new()));
    let work = || {
        while begun.elapsed() < seeds.time_max {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= until.load(Ordering::Relaxed) {
                break;
            }
            let run = catch_unwind(AssertUnwindSafe(|| run_seed(&make, seeds, seed, false).0));
            let failed = run.as_ref().map_or(true, |run| run.failure.is_some());
            if failed {
                // Smaller seeds are still run by the other threads; greater ones are not begun.
                until.fetch_min(seed, Ordering::Relaxed);
            }
            let mut report = report.lock().expect("a thread that holds the report does not panic");
            if let Ok(run) = run {
                report.0.runs += 1;
                report.0.events += run.events;
                report.0.simulated += run.simulated;
                report.0.operations += run.operations;
                report.0.counts.add(&run.counts);
                let seen = &mut report.1;
                seen.resize(run.seen.len().max(seen.len()), false);
                for (at, it) in run.seen.iter().enumerate() {
                    seen[at] |= it;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..seeds.threads {
            scope.spawn(work);
        }
        work();
    });
    let (mut report, seen) = report.into_inner().expect("a thread that holds the report does not panic");
    let first_failing = until.into_inner();
    if first_failing < seeds.range.end {
        report.failure = Some(failure(&make, seeds, first_failing));
    } else if report.runs > 0 {
        let cast = make(&mut Draw::seeded(seeds.range.start, 0));
        for (property, seen) in cast.properties.iter().zip(seen) {
            if matches!(property.claim, Claim::Sometimes(_)) && !seen {
                report.never_happened.push(property.name.clone());
            }
        }
    }
    report.elapsed = begun.elapsed();
    report
}

/// Runs a failing seed once more, with its trace.
fn failure<P: Simulated>(make: &impl Fn(&mut Draw) -> Cast<P>, seeds: &Seeds, seed: u64) -> Failure {
    match catch_unwind(AssertUnwindSafe(|| run_seed(make, seeds, seed, true))) {
        Ok((run, plan)) => {
            let property = run.failure.unwrap_or_else(|| "a seed that failed once fails again".to_owned());
            Failure { seed, property, plan, trace: run.trace }
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let mut draw = Draw::seeded(seed, 0);
            let cast = make(&mut draw);
            let plan = plan_for(&cast, seeds, &mut draw);
            let property = format!("panicked: {}", text.unwrap_or_else(|| "without words".to_owned()));
            Failure { seed, property, plan, trace: Trace::new() }
        }
    }
}
