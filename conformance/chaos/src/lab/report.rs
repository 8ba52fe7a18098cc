//! What came of a run, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::LabArgs;
use super::cluster::Lab;
use super::faults::{Fault, Occurrence};
use crate::history::{History, Told, longest_gap};
use crate::load::Ended;

/// The check that is the lab's own.
const WHOLE: &str = "the cluster is whole again after each fault";

/// All that is told of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    seed: u64,
    place: &'static str,
    minutes: f64,
    /// What could not happen here, and why.
    left_out: Vec<String>,
    faults: Vec<Row>,
    /// The longest time without an acknowledged write while nothing happened.
    longest_calm_ms: u64,
    summary: String,
    checks: Vec<Check>,
    accusations: Vec<String>,
}

/// A fault that was.
#[derive(Debug, Serialize)]
struct Row {
    fault: &'static str,
    target: String,
    began_s: f64,
    lasted_s: f64,
    /// From when its cause was gone until the cluster was whole.
    whole_after_s: f64,
    /// The longest time without an acknowledged write from its begin until the cluster was whole.
    longest_without_write_ms: u64,
    /// Requests that were refused or got no answer meanwhile.
    unanswered: usize,
    /// Nodes that ended by themselves.
    ended: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    passed: bool,
}

impl Report {
    /// What came of it.
    pub fn new(
        args: &LabArgs,
        lab: &Lab,
        left_out: Vec<String>,
        occurrences: &[Occurrence],
        trouble: Option<String>,
        ended: &Ended,
    ) -> Self {
        let acknowledged = ended.history.acknowledged();
        let faults = occurrences.iter().map(|one| Row::of(one, &ended.history, &acknowledged)).collect();
        let calm = occurrences.windows(2).map(|pair| longest_gap(&acknowledged, pair[0].whole, pair[1].began));
        let checks = ended.verdict.checks().chain([(WHOLE, trouble.is_none())]);
        Self {
            seed: args.load.seed,
            place: lab.place(),
            minutes: args.minutes,
            left_out,
            faults,
            longest_calm_ms: calm.max().unwrap_or(0) / 1_000_000,
            summary: ended.verdict.summary.clone(),
            checks: checks.map(|(check, passed)| Check { check, passed }).collect(),
            accusations: ended.verdict.accusations.iter().cloned().chain(trouble).collect(),
        }
    }

    /// How many checks failed.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.passed).count()
    }
}

impl Row {
    fn of(one: &Occurrence, history: &History, acknowledged: &[u64]) -> Self {
        let unanswered = history.operations.iter().filter(|operation| {
            !matches!(operation.told, Told::Done { .. }) && (one.began..=one.whole).contains(&operation.returned)
        });
        let seconds = |ns: u64| ns as f64 / 1e9;
        Self {
            fault: one.fault.name(),
            target: one.target.clone(),
            began_s: seconds(one.began),
            lasted_s: seconds(one.healed - one.began),
            whole_after_s: seconds(one.whole - one.healed),
            longest_without_write_ms: longest_gap(acknowledged, one.began, one.whole) / 1_000_000,
            unanswered: unanswered.count(),
            ended: one.ended.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "seed {}, {}, {} minutes\n", self.seed, self.place, self.minutes)?;
        writeln!(
            out,
            "| fault | times | longest without a write, ms | whole after, s | unanswered | nodes that ended |"
        )?;
        writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
        for fault in Fault::ALL {
            let rows: Vec<_> = self.faults.iter().filter(|row| row.fault == fault.name()).collect();
            if rows.is_empty() {
                continue;
            }
            let gap = rows.iter().map(|row| row.longest_without_write_ms).max().unwrap_or(0);
            let whole = rows.iter().map(|row| row.whole_after_s).fold(0.0, f64::max);
            let unanswered: usize = rows.iter().map(|row| row.unanswered).sum();
            let ended: usize = rows.iter().map(|row| row.ended.len()).sum();
            writeln!(out, "| {} | {} | {gap} | {whole:.1} | {unanswered} | {ended} |", fault.name(), rows.len())?;
        }
        writeln!(out, "\nlongest time without a write between faults: {} ms", self.longest_calm_ms)?;
        for what in &self.left_out {
            writeln!(out, "left out: {what}")?;
        }
        writeln!(out, "{}", self.summary)?;
        for accusation in &self.accusations {
            writeln!(out, "  REFUSED: {accusation}")?;
        }
        for check in &self.checks {
            writeln!(out, "{} {}", if check.passed { "good:" } else { "BAD: " }, check.check)?;
        }
        writeln!(out, "lab: {} passed, {} failed", self.checks.len() - self.failed(), self.failed())
    }
}
