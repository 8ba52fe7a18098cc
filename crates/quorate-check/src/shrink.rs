//! Shrinking: a failing run is cut down to the faults and questions that it takes to fail.
//!
//! Parts are left out by halves, then quarters, and so on (delta debugging), while what is left still fails in the same
//! way. Leaving a part out shifts all later draws, so each try may draw a few times anew before it counts as passing.
//! A counterexample of the explorer needs none of this: breadth first, it is a shortest one.
//!
//! Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use quorate_model::Pid;

use crate::cast::Cast;
use crate::simulate::{Draw, Drift, Failure, Links, Plan, Seeds, Simulated, Simulation, run};

/// How often a smaller run is drawn anew before it counts as passing: first few times, and when nothing more can be left
/// out that way, more often.
const DRAWS_MAX: [u64; 2] = [16, 400];

/// The parts of `parts` that it takes for `fails` to be true: leaving out any one of them makes it false. What fails
/// must fail with all of them.
pub fn minimal<T: Clone>(parts: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = parts.to_vec();
    let mut chunk_len = left.len().div_ceil(2).max(1);
    while !left.is_empty() {
        let mut cut_any = false;
        let mut at = 0;
        while at < left.len() {
            let end = (at + chunk_len).min(left.len());
            let fewer: Vec<T> = left[..at].iter().chain(&left[end..]).cloned().collect();
            if fails(&fewer) {
                left = fewer;
                cut_any = true;
            } else {
                at = end;
            }
        }
        if !cut_any {
            if chunk_len == 1 {
                break;
            }
            chunk_len = chunk_len.div_ceil(2);
        }
    }
    left
}

/// A part of a run that may be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Fault(usize),
    Ask { asker: usize, index: usize },
    Loss,
    Copies,
    Damage,
    Drift(usize),
}

/// A failing run, cut down.
#[derive(Clone, Debug)]
pub struct Shrunk<M> {
    /// What is left of the plan.
    pub plan: Plan,
    /// What is left of the scripts.
    pub scripts: Vec<(Pid, Vec<M>)>,
    /// The seed of the draws on the way.
    pub seed: u64,
    /// The run, with its trace.
    pub run: Simulation,
}

impl<M> Shrunk<M> {
    /// How many faults and questions are left.
    #[must_use]
    pub fn part_count(&self) -> usize {
        self.plan.faults.len() + self.scripts.iter().map(|(_, asks)| asks.len()).sum::<usize>()
    }
}

/// Cuts down the run of a failing seed, for `time_max` at most. Nothing if the seed does not fail again as it did.
pub fn shrink<P: Simulated>(
    make: impl Fn(&mut Draw) -> Cast<P>,
    seeds: &Seeds,
    failure: &Failure,
    time_max: Duration,
) -> Option<Shrunk<P::Message>> {
    let begun = Instant::now();
    let whole = make(&mut Draw::seeded(failure.seed, 0));
    // What is tried first is left out first: questions before faults, and the bad links, on which much hangs, last.
    let mut kept = Vec::new();
    for (asker, it) in whole.askers.iter().enumerate() {
        kept.extend((0..it.asks.len()).map(|index| Part::Ask { asker, index }));
    }
    kept.extend((0..failure.plan.faults.len()).map(Part::Fault));
    kept.extend((0..failure.plan.drifts.len()).map(Part::Drift));
    kept.extend([Part::Damage, Part::Copies, Part::Loss]);
    if !fails_alike(&make, seeds, failure, &kept, failure.seed) {
        return None;
    }
    let mut seed = failure.seed;
    for draws_max in DRAWS_MAX {
        kept = minimal(&kept, |parts| {
            let tries = std::iter::once(seed).chain((1..draws_max).map(|draw| failure.seed.wrapping_add(draw)));
            let mut tries = tries.take_while(|_| begun.elapsed() < time_max);
            let failing = tries.find(|tried| fails_alike(&make, seeds, failure, parts, *tried));
            seed = failing.unwrap_or(seed);
            failing.is_some()
        });
    }
    let (cast, plan) = cut(&make, failure, &kept);
    let again = catch_unwind(AssertUnwindSafe(|| run(&cast, &plan, seeds.bounds_ref(), seed, true))).ok()?;
    let scripts = cast.askers.iter().filter(|asker| !asker.asks.is_empty());
    let scripts = scripts.map(|asker| (asker.pid, asker.asks.clone())).collect();
    again.failure.is_some().then_some(Shrunk { plan, scripts, seed, run: again })
}

fn fails_alike<P: Simulated>(
    make: &impl Fn(&mut Draw) -> Cast<P>,
    seeds: &Seeds,
    failure: &Failure,
    parts: &[Part],
    seed: u64,
) -> bool {
    let (cast, plan) = cut(make, failure, parts);
    match catch_unwind(AssertUnwindSafe(|| run(&cast, &plan, seeds.bounds_ref(), seed, false))) {
        Ok(run) => run.failure.as_ref() == Some(&failure.property),
        Err(_) => failure.property.starts_with("panicked"),
    }
}

/// The cast and the plan with only these parts.
fn cut<P: Simulated>(make: &impl Fn(&mut Draw) -> Cast<P>, failure: &Failure, parts: &[Part]) -> (Cast<P>, Plan) {
    let mut cast = make(&mut Draw::seeded(failure.seed, 0));
    let mut plan = Plan { faults: Vec::new(), asks_at: vec![Vec::new(); cast.askers.len()], ..failure.plan.clone() };
    let calm = Links { delay_min: plan.links.delay_min, delay_mean: plan.links.delay_mean, ..Links::good() };
    let links = std::mem::replace(&mut plan.links, calm);
    plan.drifts.fill(Drift(0));
    let mut asks: Vec<Vec<P::Message>> = cast.askers.iter().map(|_| Vec::new()).collect();
    for part in parts {
        match *part {
            Part::Fault(index) => plan.faults.push(failure.plan.faults[index].clone()),
            Part::Ask { asker, index } => {
                asks[asker].push(cast.askers[asker].asks[index].clone());
                plan.asks_at[asker].push(failure.plan.asks_at[asker][index]);
            }
            Part::Loss => plan.links.loss_per_mille = links.loss_per_mille,
            Part::Copies => plan.links.copies_per_mille = links.copies_per_mille,
            Part::Damage => plan.links.damage_per_mille = links.damage_per_mille,
            Part::Drift(node) => plan.drifts[node] = failure.plan.drifts[node],
        }
    }
    for (asker, asks) in cast.askers.iter_mut().zip(asks) {
        asker.asks = asks;
    }
    (cast, plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_it_takes_is_left() {
        let parts: Vec<u32> = (0..100).collect();
        let mut tries = 0;
        let left = minimal(&parts, |parts| {
            tries += 1;
            parts.contains(&13) && parts.contains(&77)
        });
        assert_eq!(left, [13, 77]);
        assert!(tries < 100, "{tries}");
        assert_eq!(minimal(&parts, |_| true), [0; 0]);
    }
}
