//! Quorums: sets of members of which any two share one. Here, majorities.
//!
//! What a majority has promised or voted is known to at least one member of every other majority: that is all that
//! consensus rests on. Source: notes "Quorums and Chains"; Lamport, "Paxos Made Simple", section 2.2 (P2c).

use alloc::vec::Vec;

/// How many of `member_count` members are a majority: the fewest of whom any two sets share a member.
#[must_use]
pub const fn majority(member_count: usize) -> usize {
    member_count / 2 + 1
}

/// The greatest mark that at least `quorum` of the members have reached, given how far each is; 0 if there are fewer.
#[must_use]
pub fn reached(marks: impl IntoIterator<Item = u64>, quorum: usize) -> u64 {
    let mut marks: Vec<u64> = marks.into_iter().collect();
    marks.sort_unstable_by(|a, b| b.cmp(a));
    quorum.checked_sub(1).and_then(|at| marks.get(at).copied()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_majorities_share_a_member() {
        for count in 1..100 {
            assert!(2 * majority(count) > count && majority(count) <= count);
        }
    }

    #[test]
    fn what_a_quorum_reached_is_the_mark_of_its_last_member() {
        assert_eq!(reached([7, 3, 5], 2), 5);
        assert_eq!(reached([7, 3, 5], 3), 3);
        assert_eq!(reached([7], 2), 0);
        assert_eq!(reached([], 0), 0);
    }
}
