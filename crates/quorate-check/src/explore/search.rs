//! The search: take a block of states, expand them, keep the new ones.
//!
//! 1. A claim is checked when its state is expanded, once for each state, in the order of numbers. Breadth first, that
//!    is the order of distance, so the first state that refutes a claim is nearest.
//! 2. While a block is expanded, by several threads, what was visited is only read. It is changed between blocks, in
//!    the order of the block. So nothing depends on the threads.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashSet;

use super::graph::{Visited, first_lost};
use super::local::Known;
use super::moves::{Move, Stepper};
use super::state::{State, history_of};
use super::{Explorable, Exploration, Explorer, Progress, Verdict, replay};
use crate::cast::{Claim, Judged, Looked};
use crate::fingerprint::PlainHash;

/// How many states are expanded between two joins. Small when going deep, so that few states wait.
const BLOCK_LEN_MAX: usize = 8192;
const BLOCK_LEN_DEPTH_FIRST: usize = 64;
/// How much is remembered of what a claim was true of; when there is more, all is forgotten and found again.
const CHECKED_LEN_MAX: usize = 1 << 21;
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

struct Waiting<P: Explorable> {
    number: u32,
    depth: u32,
    state: State<P>,
}

/// A state that a move leads to, and that was not visited before this block.
struct Found<P: Explorable> {
    from: u32,
    depth: u32,
    /// Which of the moves of `from` it is, counted from 0; each way to choose counts as one.
    made: u32,
    is_fault: bool,
    print: u128,
    /// Nothing if the same worker found it before.
    state: Option<State<P>>,
}

/// What expanding some states brought.
struct Expanded<P: Explorable> {
    found: Vec<Found<P>>,
    transitions: u64,
    /// Moves without bad luck between states that were visited, if edges are kept.
    edges: Vec<(u32, u32)>,
    /// The first state that refutes a claim, and which claim.
    refuted: Option<(u32, usize, Judged)>,
    /// Which claims were seen to be true, and for those of possible things, where.
    seen: Vec<bool>,
    good: Vec<(usize, u32)>,
}

/// What a thread keeps from block to block.
struct Worker<P: Explorable> {
    known: Known<P>,
    /// Prints of histories that were found good.
    histories: HashSet<u128, PlainHash>,
    /// Prints of durable states that compact well.
    compacted: HashSet<u128, PlainHash>,
    /// For each claim, what it was true of.
    checked: Vec<Checked>,
}

/// What one claim was found true of. A claim gives the same answer wherever all that it looks at is the same.
#[derive(Default)]
struct Checked {
    /// All that it ever looked at.
    looked: Looked,
    /// The sums of the prints of that.
    fine: HashSet<u128, PlainHash>,
}

impl Checked {
    fn key<P: Explorable>(&self, state: &State<P>) -> u128 {
        let mut key = if self.looked.script { state.script.print } else { 0 };
        let mut left = self.looked.processes;
        while left != 0 {
            key = key.wrapping_add(state.actors[left.trailing_zeros() as usize].print);
            left &= left - 1;
        }
        key
    }

    fn is_known<P: Explorable>(&self, state: &State<P>) -> bool {
        !self.fine.is_empty() && self.fine.contains(&self.key(state))
    }

    /// The claim is true of `state`, and looked at so much of it.
    fn remember<P: Explorable>(&mut self, state: &State<P>, looked: Looked) {
        let all = self.looked.and(looked);
        if all != self.looked || self.fine.len() >= CHECKED_LEN_MAX {
            self.looked = all;
            self.fine.clear();
        }
        if !all.rest {
            self.fine.insert(self.key(state));
        }
    }
}

pub(super) fn run<P: Explorable>(mut explorer: Explorer<'_, P>) -> Exploration {
    let begun = Instant::now();
    let cast = explorer.cast;
    let stepper = Stepper::new(cast, &explorer.faults, explorer.clocks.as_ref(), explorer.mutation);
    let mut progress = explorer.progress.take();
    let mut told = begun;
    let keeps_edges = cast.properties.iter().any(|property| matches!(property.claim, Claim::Possible(_)));
    let mut workers: Vec<Worker<P>> = (0..explorer.threads)
        .map(|_| Worker {
            known: Known::new(),
            histories: HashSet::default(),
            compacted: HashSet::default(),
            checked: cast.properties.iter().map(|_| Checked::default()).collect(),
        })
        .collect();

    let mut visited = Visited::new();
    let mut waiting: VecDeque<Waiting<P>> = VecDeque::new();
    let mut initial_numbers = Vec::new();
    for state in initial_states(&stepper, &mut workers[0].known) {
        let (number, is_new) = visited.find_or_add(state.print, None, 0);
        if is_new {
            waiting.push_back(Waiting { number, depth: 0, state });
        }
        initial_numbers.push(number);
    }

    let (mut transitions, mut depth) = (0_u64, 0_u32);
    let mut edges: Vec<(u32, u32)> = Vec::new();
    let mut good: Vec<Vec<u32>> = vec![Vec::new(); cast.properties.len()];
    let mut seen = vec![false; cast.properties.len()];
    let finish = |verdict: Verdict, visited: &Visited, bad: Option<u32>| {
        let trace = bad.map(|number| replay::trace(&stepper, visited, &initial_numbers, number)).unwrap_or_default();
        Exploration { verdict, trace, states: visited.len() as u64, elapsed: begun.elapsed() }
    };

    while !waiting.is_empty() {
        if visited.len() as u64 >= explorer.states_max || begun.elapsed() >= explorer.time_max {
            return finish(Verdict::Unfinished { states: visited.len() as u64, depth }, &visited, None);
        }
        let block: Vec<Waiting<P>> = if explorer.depth_first {
            let from = waiting.len().saturating_sub(BLOCK_LEN_DEPTH_FIRST);
            waiting.drain(from..).collect()
        } else {
            let until = waiting.len().min(BLOCK_LEN_MAX);
            waiting.drain(..until).collect()
        };
        let ground = Ground { stepper: &stepper, visited: &visited, seen: &seen, keeps_edges };
        for expanded in expand_block(&ground, block, &mut workers) {
            if let Some((number, property, judged)) = expanded.refuted {
                let steps = visited.path(number).1.len() as u32;
                let property = match cast.properties.get(property) {
                    Some(property) => property.broken(judged),
                    None => "compaction is faithful".to_owned(),
                };
                return finish(Verdict::Refuted { property, steps }, &visited, Some(number));
            }
            for (at, it) in expanded.seen.iter().enumerate() {
                seen[at] |= it;
            }
            for (at, number) in expanded.good {
                good[at].push(number);
            }
            transitions += expanded.transitions;
            edges.extend(expanded.edges);
            for found in expanded.found {
                let (number, is_new) = visited.find_or_add(found.print, Some(found.from), found.made);
                if is_new {
                    depth = depth.max(found.depth);
                    let state = found.state.expect("what a worker finds once more, it found with its state before");
                    waiting.push_back(Waiting { number, depth: found.depth, state });
                }
                if keeps_edges && !found.is_fault {
                    edges.push((found.from, number));
                }
            }
        }
        if let Some(progress) = &mut progress
            && told.elapsed() >= PROGRESS_EVERY
        {
            told = Instant::now();
            progress(Progress { states: visited.len() as u64, frontier: waiting.len() as u64, depth });
        }
    }

    for (at, property) in cast.properties.iter().enumerate() {
        let property_name = || property.name.clone();
        match property.claim {
            Claim::Sometimes(_) if !seen[at] => {
                let verdict = Verdict::NeverHappens { property: property_name(), states: visited.len() as u64 };
                return finish(verdict, &visited, None);
            }
            Claim::Possible(_) => {
                if let Some(number) = first_lost(visited.len(), &edges, &good[at]) {
                    let steps = visited.path(number).1.len() as u32;
                    let verdict = Verdict::Refuted { property: property_name(), steps };
                    return finish(verdict, &visited, Some(number));
                }
            }
            _ => {}
        }
    }
    finish(Verdict::Holds { states: visited.len() as u64, transitions, depth }, &visited, None)
}

/// All processes have started, in their order, in each way to choose.
pub(super) fn initial_states<P: Explorable>(stepper: &Stepper<'_, P>, known: &mut Known<P>) -> Vec<State<P>> {
    let mut states = stepper.unstarted();
    for actor in 0..stepper.cast.seats.len() {
        let mut started = Vec::new();
        for state in &states {
            stepper.changes(state, Move::Start { actor }, known, |change| started.push(stepper.apply(state, change)));
        }
        states = started;
    }
    states
}

/// What all workers read while a block is expanded.
struct Ground<'a, P: Explorable> {
    stepper: &'a Stepper<'a, P>,
    visited: &'a Visited,
    /// Which claims about what happens sometimes are settled.
    seen: &'a [bool],
    keeps_edges: bool,
}

fn expand_block<P: Explorable>(
    ground: &Ground<'_, P>,
    mut block: Vec<Waiting<P>>,
    workers: &mut [Worker<P>],
) -> Vec<Expanded<P>> {
    if workers.len() == 1 || block.len() < workers.len() * 16 {
        return vec![expand(ground, block, &mut workers[0])];
    }
    // Cut off from the end, so that each worker owns its part, and frees it.
    let mut parts: Vec<Vec<Waiting<P>>> =
        (0..workers.len()).rev().map(|at| block.split_off(block.len() * at / (at + 1))).collect();
    parts.reverse();
    std::thread::scope(|scope| {
        let handles: Vec<_> =
            parts.into_iter().zip(workers).map(|(part, worker)| scope.spawn(|| expand(ground, part, worker))).collect();
        handles
            .into_iter()
            .map(|handle| match handle.join() {
                Ok(expanded) => expanded,
                // A process or a claim panicked: that is the test's own failure, passed on.
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

fn expand<P: Explorable>(ground: &Ground<'_, P>, block: Vec<Waiting<P>>, worker: &mut Worker<P>) -> Expanded<P> {
    let mut expanded = Expanded {
        found: Vec::with_capacity(block.len() * 2),
        transitions: 0,
        edges: Vec::new(),
        refuted: None,
        seen: ground.seen.to_vec(),
        good: Vec::new(),
    };
    let mut moves: Vec<Move<P::Timer>> = Vec::new();
    // States that this block found already need not be kept twice.
    let mut here: HashSet<u128, PlainHash> = HashSet::default();
    for waiting in block {
        ground.stepper.moves(&waiting.state, &mut moves);
        let at_rest = moves.iter().all(Move::is_fault);
        if let Some((property, judged)) = claims(ground.stepper, &waiting, at_rest, worker, &mut expanded) {
            expanded.refuted = Some((waiting.number, property, judged));
            return expanded;
        }
        let mut ordinal = 0;
        for &made in &moves {
            let is_fault = made.is_fault();
            ground.stepper.changes(&waiting.state, made, &mut worker.known, |change| {
                let print = change.print;
                match ground.visited.find(print) {
                    Some(number) if ground.keeps_edges && !is_fault => expanded.edges.push((waiting.number, number)),
                    Some(_) => {}
                    None => {
                        let state = here.insert(print).then(|| ground.stepper.apply(&waiting.state, change));
                        let (from, depth) = (waiting.number, waiting.depth + 1);
                        expanded.found.push(Found { from, depth, made: ordinal, is_fault, print, state });
                    }
                }
                ordinal += 1;
            });
        }
        expanded.transitions += u64::from(ordinal);
    }
    expanded
}

/// Checks all claims in one state. The number of one that does not hold, and why not.
fn claims<P: Explorable>(
    stepper: &Stepper<'_, P>,
    waiting: &Waiting<P>,
    at_rest: bool,
    worker: &mut Worker<P>,
    expanded: &mut Expanded<P>,
) -> Option<(usize, Judged)> {
    let (state, cast) = (&waiting.state, stepper.cast);
    if let Some(faithful) = cast.faithful {
        for (seat, actor) in state.actors.iter().enumerate() {
            // Which of them it began as, nobody notes.
            let mut began = (0..=stepper.faults.disk_losses).map(|losses| cast.begins(seat, losses.into()));
            if worker.compacted.insert(actor.durable_print) && !began.any(|began| faithful(&began, &actor.durable)) {
                return Some((cast.properties.len(), Judged::Fails));
            }
        }
    }
    let new_history = worker.histories.insert(state.script.print);
    stepper.view(state, |view| {
        for (at, property) in cast.properties.iter().enumerate() {
            let fine = match &property.claim {
                Claim::Always(check) => {
                    let checked = &mut worker.checked[at];
                    checked.is_known(state) || {
                        view.take_looked();
                        let fine = check(view);
                        if fine {
                            checked.remember(state, view.take_looked());
                        }
                        fine
                    }
                }
                Claim::Finally(check) => !at_rest || check(view),
                Claim::StepsUntil(check) => !at_rest || check(view),
                Claim::Sometimes(check) => {
                    expanded.seen[at] = expanded.seen[at] || check(view);
                    true
                }
                Claim::Possible(check) => {
                    if check(view) {
                        expanded.good.push((at, waiting.number));
                    }
                    true
                }
                Claim::History(check) if new_history => match check(&history_of(cast, state)) {
                    Judged::Holds => true,
                    judged => return Some((at, judged)),
                },
                Claim::History(_) => true,
            };
            if !fine {
                return Some((at, Judged::Fails));
            }
        }
        None
    })
}
