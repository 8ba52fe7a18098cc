//! The search for a linear order: Wing and Gong's, with Lowe's memory of dead ends.
//!
//! Calls and returns stand in one list, in the order of time. Walk it: a call whose answer fits the present state is
//! taken out together with its return, and the walk begins again at the front. Meeting a return means that its call
//! should have been taken and could not be: the last decision is taken back. A pair (operations taken, state) that was
//! met before is a dead end.
//!
//! The memory holds 128-bit fingerprints of such pairs, so that a step costs the same in a long history as in a short
//! one. Two different pairs share a fingerprint, and a good order could be missed, with odds of n^2 / 2^129 for n pairs:
//! below 1e-23 for a billion.

use std::hash::Hash;

use hashbrown::HashSet;

use super::{Spec, Timed, Verdict};
use crate::fingerprint::{Fingerprinter, PlainHash, fingerprint};

const NONE: u32 = u32::MAX;

struct Entry {
    call: u32,
    is_return: bool,
    /// Where the return of this call stands; none when the outcome is not known.
    mate: u32,
    previous: u32,
    next: u32,
}

/// Judges a history.
pub fn check<S: Spec>(spec: &S, calls: &[Timed<S::Op, S::Ret>]) -> Verdict {
    check_within(spec, calls, usize::MAX)
}

/// Judges a history, and gives up after `states_max` steps of the search.
pub fn check_within<S: Spec>(spec: &S, calls: &[Timed<S::Op, S::Ret>], states_max: usize) -> Verdict {
    Search::new(calls).run(spec, calls, states_max)
}

/// The list; entry 0 is its head.
struct Search {
    entries: Vec<Entry>,
    /// Calls with a known outcome that are not taken yet.
    left: usize,
}

impl Search {
    fn new<O, R>(calls: &[Timed<O, R>]) -> Self {
        assert!(calls.len() < (NONE / 2) as usize, "a history has fewer than two thousand million operations");
        // At the same time, calls stand before returns: then they overlap.
        let mut order: Vec<(u64, bool, u32)> = Vec::with_capacity(calls.len() * 2);
        for (index, call) in calls.iter().enumerate() {
            order.push((call.invoked, false, index as u32));
            if call.ret.is_some() {
                order.push((call.returned.max(call.invoked), true, index as u32));
            }
        }
        order.sort_unstable();
        let mut entries = vec![Entry { call: NONE, is_return: false, mate: NONE, previous: NONE, next: NONE }];
        let mut called_at = vec![NONE; calls.len()];
        let mut left = 0;
        for (_, is_return, call) in order {
            let at = entries.len() as u32;
            entries.push(Entry { call, is_return, mate: NONE, previous: at - 1, next: NONE });
            entries[at as usize - 1].next = at;
            if is_return {
                entries[called_at[call as usize] as usize].mate = at;
                left += 1;
            } else {
                called_at[call as usize] = at;
            }
        }
        Self { entries, left }
    }

    fn unlink(&mut self, at: u32) {
        let Entry { previous, next, .. } = self.entries[at as usize];
        self.entries[previous as usize].next = next;
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
    }

    fn relink(&mut self, at: u32) {
        let Entry { previous, next, .. } = self.entries[at as usize];
        self.entries[previous as usize].next = at;
        if next != NONE {
            self.entries[next as usize].previous = at;
        }
    }

    fn take(&mut self, at: u32) {
        self.unlink(at);
        let mate = self.entries[at as usize].mate;
        if mate != NONE {
            self.unlink(mate);
            self.left -= 1;
        }
    }

    fn put_back(&mut self, at: u32) {
        let mate = self.entries[at as usize].mate;
        if mate != NONE {
            self.relink(mate);
            self.left += 1;
        }
        self.relink(at);
    }

    fn run<S: Spec>(mut self, spec: &S, calls: &[Timed<S::Op, S::Ret>], states_max: usize) -> Verdict {
        let mut seen: HashSet<u128, PlainHash> = HashSet::default();
        let mut state = spec.initial();
        let mut taken: Vec<(u32, S::State)> = Vec::new();
        let mut taken_print = 0_u128;
        let mut longest: Vec<usize> = Vec::new();
        let mut stuck = 0;
        let mut steps = 0_usize;
        let mut at = self.entries[0].next;
        while self.left > 0 {
            assert!(at != NONE, "a return is met before the list ends while one is left");
            let Entry { call, is_return, mate, next, .. } = self.entries[at as usize];
            if is_return {
                if taken.len() >= longest.len() {
                    longest = taken.iter().map(|(at, _)| self.entries[*at as usize].call as usize).collect();
                    stuck = call as usize;
                }
                let Some((back, earlier)) = taken.pop() else {
                    return Verdict::Not { longest, stuck };
                };
                taken_print ^= print_of(self.entries[back as usize].call);
                state = earlier;
                self.put_back(back);
                at = self.entries[back as usize].next;
                continue;
            }
            steps += 1;
            if steps > states_max {
                return Verdict::Unfinished;
            }
            let timed = &calls[call as usize];
            let after = spec.step(&state, &timed.op, timed.ret.as_ref());
            // An unknown outcome that changes nothing here may as well have had none: taking it cannot help.
            if let Some(after) = after.filter(|after| mate != NONE || *after != state) {
                let print = taken_print ^ print_of(call);
                if seen.insert(print ^ state_print(&after)) {
                    taken_print = print;
                    taken.push((at, std::mem::replace(&mut state, after)));
                    self.take(at);
                    at = self.entries[0].next;
                    continue;
                }
            }
            at = next;
        }
        Verdict::Linearizable(taken.iter().map(|(at, _)| self.entries[*at as usize].call as usize).collect())
    }
}

fn print_of(call: u32) -> u128 {
    let mut hasher = Fingerprinter::seeded(0x6361_6c6c);
    call.hash(&mut hasher);
    hasher.print()
}

fn state_print(state: &impl Hash) -> u128 {
    fingerprint(state)
}
