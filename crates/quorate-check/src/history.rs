//! What people outside asked and what they were answered.
//!
//! Real time enters only as an order: `a` was answered before `b` was asked. Times here are places in one observer's
//! sequence of events. What was never answered is *unknown*: it may have taken effect, now or later, or never.

use quorate_model::Pid;

/// One thing that was asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Operation<M> {
    /// Who asked.
    pub asker: Pid,
    /// What.
    pub ask: M,
    /// When it was asked.
    pub invoked: u64,
    /// When it was answered and with what; nothing if it was not.
    pub answer: Option<(u64, M)>,
}

/// Everything that was asked, in no particular order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct History<M> {
    /// The operations.
    pub operations: Vec<Operation<M>>,
}

/// The most operations that the scripts of an explored cast may hold: their order is kept as a set in one word.
pub const EXPLORED_OPERATIONS_MAX: usize = 64;

/// The times at which operations were invoked and returned, made up from their order alone: for each operation the set
/// of operations that returned before it was invoked. Such sets are always nested, so their sizes are times.
pub(crate) fn times_of(before: &[Option<u64>]) -> Vec<Option<(u64, u64)>> {
    before
        .iter()
        .enumerate()
        .map(|(index, set)| {
            let set = (*set)?;
            let returned = before
                .iter()
                .flatten()
                .filter(|later| **later & (1 << index) != 0)
                .map(|later| u64::from(later.count_ones()) * 2 - 1)
                .min();
            Some((u64::from(set.count_ones()) * 2, returned.unwrap_or(u64::MAX)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_say_what_the_sets_said() {
        // 0 alone, then 1 and 2 at once, then 3 after 1 only, then 4 after all.
        let before = [Some(0), Some(0b1), Some(0b1), Some(0b11), Some(0b1111), None];
        let times = times_of(&before);
        for (later, set) in before.iter().enumerate() {
            for earlier in 0..before.len() {
                let (Some(set), Some((_, returned)), Some((invoked, _))) = (set, times[earlier], times[later]) else {
                    continue;
                };
                assert_eq!(returned < invoked, set & (1 << earlier) != 0, "{earlier} before {later}");
            }
        }
    }
}
