//! What consensus costs, counted: the figures of `specs/consensus.md`.
//!
//! | operation, on n members | between nodes | delays | durable writes | in sequence |
//! |-------------------------|---------------|--------|----------------|-------------|
//! | write-once register, first write, n acceptors | 4(n-1) | 6 | 2n + 1 | 3 |
//! | the same, once it is known | 0 | 0 | 0 | 0 |
//! | first command, nobody leads | 6(n-1) | 6 | 2n | 3 |
//! | command at the leader | 3(n-1) | 4 | n | 1 |
//! | command at another member | 3(n-1) + 1 | 6 | n | 1 |
//! | read at the leader, by a round | 2(n-1) | 4 | 0 | 0 |
//! | read at another member, by a round | 2(n-1) + 2 | 6 | 0 | 0 |
//! | read at the leader, by its lease | 0 | 2 | 0 | 0 |
//! | read at another member, by the lease | 2 | 4 | 0 | 0 |
//!
//! Delays are those from the client's question to its answer, the two steps between client and member included. The
//! register's proposer, learner and client share a node with one of its acceptors.

use std::time::Duration;

use quorate_check::casts::paxos_log::{self, Shape, Wish};
use quorate_check::casts::paxos_register;
use quorate_check::cost;
use quorate_check::explore::Cost;
use quorate_protocols::paxos::log::Lease;

use Wish::{Append, Read};

/// How many members are tried.
const COUNTS: [u32; 2] = [3, 5];

/// What is told of a cost in the tables.
fn figures(cost: &Cost) -> (u64, u64, u64, u64) {
    assert!(cost.answered);
    (cost.messages_between_nodes, cost.delays, cost.durable_writes, cost.writes_in_sequence)
}

/// The costs of what people ask, one after the other.
fn costs(shape: &Shape) -> Vec<(u64, u64, u64, u64)> {
    cost(&paxos_log::cast(shape)).iter().map(figures).collect()
}

#[test]
fn a_write_once_register_is_written_by_two_phases() {
    for n in COUNTS {
        let costs = cost(&paxos_register::cast(&paxos_register::Shape::new(n, vec![vec![1, 2]])));
        assert_eq!(figures(&costs[0]), (4 * u64::from(n - 1), 6, 2 * u64::from(n) + 1, 3), "{n} acceptors");
        assert_eq!(figures(&costs[1]), (0, 0, 0, 0), "the client remembers");
    }
}

#[test]
fn the_first_command_pays_for_phase_one_and_the_next_do_not() {
    for n in COUNTS {
        let costs = costs(&Shape::new(n, vec![(1, vec![Append(0, 1), Append(0, 2), Append(0, 3)])]));
        let n = u64::from(n);
        assert_eq!(costs[0], (6 * (n - 1), 6, 2 * n, 3), "{n} members");
        assert_eq!(costs[1], (3 * (n - 1), 4, n, 1), "{n} members");
        assert_eq!(costs[2], costs[1], "{n} members");
    }
}

#[test]
fn a_command_at_another_member_is_one_message_and_two_delays_more() {
    for n in COUNTS {
        let costs = costs(&Shape::new(n, vec![(1, vec![Append(0, 1)]), (2, vec![Append(0, 2)])]));
        let n = u64::from(n);
        assert_eq!(costs[1], (3 * (n - 1) + 1, 6, n, 1), "{n} members");
    }
}

#[test]
fn a_read_is_a_round_without_disks() {
    for n in COUNTS {
        let costs = costs(&Shape::new(n, vec![(1, vec![Append(0, 1), Read(0)]), (2, vec![Read(0)])]));
        let n = u64::from(n);
        assert_eq!(costs[1], (2 * (n - 1), 4, 0, 0), "{n} members");
        assert_eq!(costs[2], (2 * (n - 1) + 2, 6, 0, 0), "{n} members");
    }
}

#[test]
fn a_read_by_a_lease_asks_nobody_but_the_leader() {
    for n in COUNTS {
        let shape = Shape::new(n, vec![(1, vec![Append(0, 1), Read(0), Read(0)]), (2, vec![Read(0)])]);
        let lease = Lease { term: Duration::from_secs(1), drift_per_million: 1_000 };
        let costs = costs(&shape.leasing(lease));
        assert_eq!(costs[1], (2 * u64::from(n - 1), 4, 0, 0), "the round that proves it, {n} members");
        assert_eq!(costs[2], (0, 2, 0, 0), "{n} members");
        assert_eq!(costs[3], (2, 4, 0, 0), "{n} members");
    }
}
