//! What was measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::BenchArgs;

/// Latencies are kept to three digits, from 1 us to an hour.
const DIGITS: u8 = 3;
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// The kinds of answers that are timed apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The store was read.
    Read,
    /// The store was changed, or a compare-and-set lost its race.
    Write,
    /// A watcher heard.
    Event,
}

const KINDS: [(Kind, &str); 3] = [(Kind::Read, "read"), (Kind::Write, "write"), (Kind::Event, "event")];

/// What one thread counted.
pub(super) struct Tally {
    latencies: [Histogram<u64>; KINDS.len()],
    /// Compare-and-sets that lost their race.
    pub(super) races_lost: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let empty =
            || Histogram::new_with_max(LATENCY_US_MAX, DIGITS).expect("the bounds of a histogram are constants");
        Self { latencies: [empty(), empty(), empty()], races_lost: 0, errors: BTreeMap::new() }
    }

    pub(super) fn took(&mut self, kind: Kind, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
        self.latencies[kind as usize].saturating_record(us.max(1));
    }

    pub(super) fn failed(&mut self, kind: String, count: u64) {
        *self.errors.entry(kind).or_default() += count;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.latencies.iter_mut().zip(&other.latencies) {
            mine.add(theirs).expect("all histograms have the same bounds");
        }
        self.races_lost += other.races_lost;
        for (kind, count) in &other.errors {
            self.failed(kind.clone(), *count);
        }
    }

    pub(super) fn answered(&self) -> u64 {
        self.latencies.iter().map(Histogram::len).sum()
    }
}

/// Percentiles of one kind of answer, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// How many answers.
    pub count: u64,
    /// Half of them were as fast.
    pub p50_ms: f64,
    /// Nine of ten.
    pub p90_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// 999 of 1,000.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// The result of a workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What the clients did.
    pub workload: String,
    /// How many clients there were.
    pub clients: u32,
    /// How many connections they shared.
    pub connections: u32,
    /// How long it took.
    pub seconds: f64,
    /// Answers without an error.
    pub operations: u64,
    /// The same, a second.
    pub per_second: f64,
    /// Requests without an answer, or with an error, by what was said.
    pub errors: BTreeMap<String, u64>,
    /// Compare-and-sets that lost their race; they are answers, not errors.
    pub races_lost: u64,
    /// Latency by kind of answer: read, write, event.
    pub latency: BTreeMap<String, Latency>,
    /// CPU that the load generator itself used for an answer, in microseconds.
    pub client_cpu_us_per_operation: f64,
    /// How much of one core it used.
    pub client_cores: f64,
}

impl Report {
    pub(super) fn new(args: &BenchArgs, tally: &Tally, took: Duration, cpu: Duration) -> Self {
        let (operations, seconds) = (tally.answered(), took.as_secs_f64());
        let latency = KINDS
            .iter()
            .map(|&(kind, name)| (name, &tally.latencies[kind as usize]))
            .filter(|(_, latencies)| !latencies.is_empty())
            .map(|(name, latencies)| {
                let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
                let (count, max_ms) = (latencies.len(), latencies.max() as f64 / 1e3);
                let (p50_ms, p90_ms, p99_ms, p999_ms) = (ms(0.5), ms(0.9), ms(0.99), ms(0.999));
                (name.to_string(), Latency { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms })
            })
            .collect();
        Self {
            workload: format!("{:?}", args.workload).to_lowercase(),
            clients: args.clients,
            connections: args.connection_count(),
            seconds,
            operations,
            per_second: operations as f64 / seconds,
            errors: tally.errors.clone(),
            races_lost: tally.races_lost,
            latency,
            client_cpu_us_per_operation: cpu.as_secs_f64() * 1e6 / operations.max(1) as f64,
            client_cores: cpu.as_secs_f64() / seconds,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{}: {} clients on {} connections, {:.1} s\n\n  {:.0}/s  ({} answers)",
            self.workload, self.clients, self.connections, self.seconds, self.per_second, self.operations
        )?;
        for (kind, latency) in &self.latency {
            writeln!(
                out,
                "  {kind:<6} p50 {:.2} ms   p90 {:.2}   p99 {:.2}   p99.9 {:.2}   max {:.2}",
                latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms
            )?;
        }
        if self.races_lost > 0 {
            writeln!(out, "  {} compare-and-sets lost their race", self.races_lost)?;
        }
        for (kind, count) in &self.errors {
            writeln!(out, "  {count} errors: {kind}")?;
        }
        writeln!(
            out,
            "  the load itself: {:.1} us of CPU an answer, {:.2} cores",
            self.client_cpu_us_per_operation, self.client_cores
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        one.took(Kind::Read, Duration::from_millis(2));
        other.took(Kind::Read, Duration::from_millis(4));
        other.took(Kind::Write, Duration::ZERO);
        other.failed("busy".into(), 3);
        one.failed("busy".into(), 1);
        one.add(&other);
        assert_eq!(one.answered(), 3);
        assert_eq!(one.errors["busy"], 4);
        assert_eq!(one.latencies[Kind::Read as usize].max() / 1000, 4);
    }
}
