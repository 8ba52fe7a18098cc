//! The witness check: each answer carries the revision at which it took effect, so the order is given and only has to be
//! checked. Costs n log n, whatever overlaps.
//!
//! 1. Writes have revisions of their own, and no revision is missing between the first and the last.
//! 2. Each answer is what the spec answers at its revision. Operations that write nothing come after the write of their
//!    revision, in any order.
//! 3. No operation of a smaller revision was asked after one of a greater revision was answered.
//!
//! A witness can lie, so windows of the same history are also given to the search, which does not look at revisions.

use super::{Spec, Timed};

/// An operation and the revision that its answer carries.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Witnessed<O, R> {
    /// The operation. One of unknown outcome that took effect all the same (a replica's log has it) has no `ret`.
    pub timed: Timed<O, R>,
    /// The store's revision after it.
    pub revision: u64,
    /// Whether it made that revision.
    pub wrote: bool,
}

/// What is wrong with a history. Indexes are into it and count from 0.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WitnessError {
    /// Two writes made the same revision.
    #[error("operations {first} and {second} both made revision {revision}")]
    Twice {
        /// The revision.
        revision: u64,
        /// One of them.
        first: usize,
        /// The other.
        second: usize,
    },
    /// Nobody made the revision: a write of unknown outcome took effect and was not given along, or the witness lies.
    #[error("nobody made revision {revision}")]
    Missing {
        /// The revision.
        revision: u64,
    },
    /// The answer is not what the spec answers there.
    #[error("operation {index} has an answer that is wrong at revision {revision}")]
    Answer {
        /// The operation.
        index: usize,
        /// Its revision.
        revision: u64,
    },
    /// The order of revisions contradicts real time.
    #[error("operation {later} was asked after operation {earlier} was answered, and has a smaller revision")]
    Order {
        /// Answered first.
        earlier: usize,
        /// Asked afterwards.
        later: usize,
    },
}

/// Checks a history whose first write made revision `base + 1`.
///
/// # Errors
/// With the first thing that is wrong, in the order of revisions.
pub fn check<S: Spec>(spec: &S, base: u64, calls: &[Witnessed<S::Op, S::Ret>]) -> Result<(), WitnessError> {
    let mut order: Vec<u32> = (0..calls.len() as u32).collect();
    order.sort_unstable_by_key(|&index| {
        let call = &calls[index as usize];
        (call.revision, !call.wrote, call.timed.invoked)
    });
    check_answers(spec, base, calls, &order)?;
    check_real_time(calls, &order)
}

fn check_answers<S: Spec>(
    spec: &S,
    base: u64,
    calls: &[Witnessed<S::Op, S::Ret>],
    order: &[u32],
) -> Result<(), WitnessError> {
    let mut state = spec.initial();
    let (mut made, mut maker) = (base, None);
    for &index in order {
        let index = index as usize;
        let call = &calls[index];
        if call.wrote {
            match maker {
                Some(first) if call.revision == made => {
                    return Err(WitnessError::Twice { revision: made, first, second: index });
                }
                _ if call.revision != made + 1 => return Err(WitnessError::Missing { revision: made + 1 }),
                _ => (made, maker) = (call.revision, Some(index)),
            }
        } else if call.revision > made {
            return Err(WitnessError::Missing { revision: made + 1 });
        }
        match spec.advance(&mut state, &call.timed.op, call.timed.ret.as_ref()) {
            Some(changed) if call.wrote || !changed => {}
            // The answer is wrong, or it changed something and made no revision.
            _ => return Err(WitnessError::Answer { index, revision: call.revision }),
        }
    }
    Ok(())
}

/// Walks from the greatest revision down and keeps the earliest answer seen: whoever was asked after that, and has a
/// smaller revision, is out of order.
fn check_real_time<O, R>(calls: &[Witnessed<O, R>], order: &[u32]) -> Result<(), WitnessError> {
    let mut earliest: Option<(u64, usize)> = None;
    for group in order.chunk_by(|&a, &b| place(&calls[a as usize]) == place(&calls[b as usize])).rev() {
        for &index in group {
            let later = index as usize;
            if let Some((returned, earlier)) = earliest
                && returned < calls[later].timed.invoked
            {
                return Err(WitnessError::Order { earlier, later });
            }
        }
        for &index in group {
            let timed = &calls[index as usize].timed;
            if timed.ret.is_some() && earliest.is_none_or(|(returned, _)| timed.returned < returned) {
                earliest = Some((timed.returned, index as usize));
            }
        }
    }
    Ok(())
}

fn place<O, R>(call: &Witnessed<O, R>) -> (u64, bool) {
    (call.revision, !call.wrote)
}
