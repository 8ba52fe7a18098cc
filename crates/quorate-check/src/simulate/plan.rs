//! The plan of one run: which faults happen, when, and how strong. Drawn from the seed before the run begins, so that a
//! failing run can be cut down by leaving parts of its plan out.
//!
//! Each run draws which *kinds* of faults it has at all (a swarm): a run with only crashes finds what a run with
//! everything at once hides. Source: Groce et al., "Swarm Testing", 2012.

use std::time::Duration;

use super::{Draw, Drift, Links};

/// One fault. Nodes are counted from 0, in the order of the cast.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The node dies, keeps some of what it had not synced, and starts again later.
    Crash {
        /// Which.
        node: usize,
        /// For how long it is down.
        down: Duration,
        /// Whether its last record may be there in part.
        tears: bool,
    },
    /// The next sync of the node fails: it dies of it, and starts again later.
    SyncFails {
        /// Which.
        node: usize,
        /// For how long it is down.
        down: Duration,
    },
    /// The node stands still and hears everything later. Its clock goes on.
    Pause {
        /// Which.
        node: usize,
        /// For how long.
        lasts: Duration,
    },
    /// Nothing gets through between some nodes and the others.
    Partition {
        /// Which nodes are on one side.
        side: Vec<bool>,
        /// What they send does not get out.
        out: bool,
        /// What is sent to them does not get in.
        back: bool,
        /// For how long.
        lasts: Duration,
    },
    /// The node dies, loses all that it had on disk, and starts again later. Nothing happens where the cast forbids it.
    LoseDisk {
        /// Which.
        node: usize,
        /// For how long it is down.
        down: Duration,
    },
    /// Syncs of the node take so many times as long.
    SlowDisk {
        /// Which.
        node: usize,
        /// How many times.
        factor: u32,
        /// For how long.
        lasts: Duration,
    },
}

/// Everything about a run but the cast and the draws on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// When the faults end and everything is healed.
    pub heals_at: Duration,
    /// The links until then.
    pub links: Links,
    /// How long a sync takes on average.
    pub sync_mean: Duration,
    /// How fast each node's clock runs, for the whole run.
    pub drifts: Vec<Drift>,
    /// The faults, and when they begin.
    pub faults: Vec<(Duration, Fault)>,
    /// For each asker, before when each of his questions is not asked. What is missing is asked at once.
    pub asks_at: Vec<Vec<Duration>>,
}

/// What plans are drawn from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Severity {
    /// The longest time with faults.
    pub faulty_max: Duration,
    /// The most faults of each kind in a run.
    pub faults_max: u64,
    /// The longest that one fault lasts.
    pub lasts_max: Duration,
    /// How far clocks may run wrong at most, in parts of a million.
    pub drift_max: Drift,
    /// The most messages that are lost, of a thousand.
    pub loss_max_per_mille: u32,
    /// The most disks that are lost in a run.
    pub disk_losses_max: u64,
}

impl Default for Severity {
    fn default() -> Self {
        Self {
            faulty_max: Duration::from_secs(30),
            faults_max: 8,
            lasts_max: Duration::from_secs(5),
            drift_max: Drift(10_000),
            loss_max_per_mille: 300,
            disk_losses_max: 0,
        }
    }
}

impl Plan {
    /// A run in which nothing fails.
    #[must_use]
    pub fn calm(node_count: usize) -> Self {
        Self {
            heals_at: Duration::ZERO,
            links: Links::good(),
            sync_mean: Duration::from_millis(1),
            drifts: vec![Drift(0); node_count],
            faults: Vec::new(),
            asks_at: Vec::new(),
        }
    }

    /// Draws a plan for `node_count` nodes and people who ask so many things each.
    pub fn draw(node_count: usize, ask_counts: &[usize], severity: &Severity, draw: &mut Draw) -> Self {
        let heals_at = draw.between(&(severity.faulty_max / 8..severity.faulty_max));
        let sometimes =
            |draw: &mut Draw, most: u32| if draw.per_mille(500) { draw.below(most.into()) as u32 } else { 0 };
        let links = Links {
            loss_per_mille: sometimes(draw, severity.loss_max_per_mille + 1),
            copies_per_mille: sometimes(draw, 200),
            damage_per_mille: sometimes(draw, 50),
            delay_min: draw.between(&(Duration::ZERO..Duration::from_millis(2))),
            delay_mean: *draw.pick(&[100, 1_000, 5_000, 30_000].map(Duration::from_micros)),
        };
        let rates = u64::from(severity.drift_max.0.unsigned_abs()) * 2 + 1;
        let drifts = (0..node_count)
            .map(
                |_| if draw.per_mille(500) { Drift(draw.below(rates) as i32 - severity.drift_max.0) } else { Drift(0) },
            )
            .collect();
        let mut faults = Vec::new();
        for kind in 0..5 {
            if draw.per_mille(500) {
                continue;
            }
            for _ in 0..draw.below(severity.faults_max + 1) {
                let lasts = draw.between(&(Duration::from_millis(1)..severity.lasts_max));
                let fault = one_fault(kind, node_count, lasts, draw);
                faults.push((draw.between(&(Duration::ZERO..heals_at)), fault));
            }
        }
        if severity.disk_losses_max > 0 {
            for _ in 0..draw.below(severity.disk_losses_max + 1) {
                let down = draw.between(&(Duration::from_millis(1)..severity.lasts_max));
                let node = draw.below(node_count as u64) as usize;
                faults.push((draw.between(&(Duration::ZERO..heals_at)), Fault::LoseDisk { node, down }));
            }
        }
        faults.sort_by_key(|(at, _)| *at);
        let sync_mean = *draw.pick(&[100, 1_000, 10_000].map(Duration::from_micros));
        // Mostly people ask for as long as there are faults; sometimes all at once.
        let all_at_once = draw.per_mille(200);
        let asks_at = ask_counts
            .iter()
            .map(|count| {
                let until = if all_at_once { Duration::from_millis(1) } else { heals_at };
                let mut at: Vec<Duration> = (0..*count).map(|_| draw.between(&(Duration::ZERO..until))).collect();
                at.sort_unstable();
                at
            })
            .collect();
        Self { heals_at, links, sync_mean, drifts, faults, asks_at }
    }
}

fn one_fault(kind: u64, node_count: usize, lasts: Duration, draw: &mut Draw) -> Fault {
    let node = draw.below(node_count as u64) as usize;
    match kind {
        0 => Fault::Crash { node, down: lasts, tears: draw.per_mille(500) },
        1 => Fault::SyncFails { node, down: lasts },
        2 => Fault::Pause { node, lasts },
        3 => {
            // Half of the time one node alone, else any split.
            let alone = draw.per_mille(500);
            let side = (0..node_count).map(|other| if alone { other == node } else { draw.per_mille(500) }).collect();
            let (out, back) = *draw.pick(&[(true, true), (true, false), (false, true)]);
            Fault::Partition { side, out, back, lasts }
        }
        _ => Fault::SlowDisk { node, factor: 10 + draw.below(190) as u32, lasts },
    }
}
