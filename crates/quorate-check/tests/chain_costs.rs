//! What a put and a read on a chain cost, counted: the figures of `specs/chain.md`.
//!
//! | operation, on n members | between nodes | delays | durable writes | in sequence |
//! |-------------------------|---------------|--------|----------------|-------------|
//! | put at the head | 3(n-1) | 2n | n | 1 |
//! | put at member m, counted from 1 | 3(n-1) + 1 | 2n + 2 - m | n | 1 |
//! | read that nothing uncommitted touches | 0 | 2 | 0 | 0 |
//! | reads that something does touch | 2 for all that wait | 4 | 0 | 0 |
//!
//! Delays are those from the client's question to its answer, the two steps between client and member included.

use std::cell::Cell;

use quorate_check::casts::chain::{Shape, Wish, cast};
use quorate_check::casts::{Append, Lists, Read};
use quorate_check::cost;
use quorate_check::explore::Cost;
use quorate_check::scenario::play;
use quorate_protocols::chain::{Message, Request};

/// The lengths that are tried.
const LENGTHS: [u32; 4] = [1, 2, 3, 5];

/// The costs of a put and then a read, asked at member `at`.
fn put_and_read(node_count: u32, at: u32) -> (Cost, Cost) {
    let costs = cost(&cast(&Shape::new(node_count, vec![(at, vec![Wish::Append(0, 1), Wish::Read(0)])])));
    (costs[0], costs[1])
}

#[test]
fn a_put_is_one_write_of_time_on_all_disks_at_once() {
    for n in LENGTHS {
        for at in 1..=n {
            let (put, _) = put_and_read(n, at);
            assert!(put.answered, "{n} members, asked at {at}");
            assert_eq!((put.durable_writes, put.writes_in_sequence), (n.into(), 1), "{n} members, asked at {at}");
        }
    }
}

#[test]
fn a_put_is_three_messages_for_each_link_and_one_to_the_head() {
    for n in LENGTHS {
        for at in 1..=n {
            let (put, _) = put_and_read(n, at);
            let propose = u32::from(at > 1);
            let delays = if at == 1 { 2 * n } else { 2 * n + 2 - at };
            let counted = (put.messages_between_nodes, put.delays);
            assert_eq!(counted, ((3 * (n - 1) + propose).into(), delays.into()), "{n} members, asked at {at}");
        }
    }
}

#[test]
fn a_clean_read_costs_nothing_between_nodes() {
    let expected = Cost {
        messages: 2,
        messages_between_nodes: 0,
        delays: 2,
        durable_writes: 0,
        writes_in_sequence: 0,
        answered: true,
    };
    for n in LENGTHS {
        for at in 1..=n {
            assert_eq!(put_and_read(n, at).1, expected, "{n} members, asked at {at}");
        }
    }
}

/// Three reads come while an append is under way. The first asks the tail; the others share the next question.
#[test]
fn a_dirty_read_is_a_question_and_an_answer_and_those_that_wait_share_them() {
    let people = [(1, vec![]), (1, vec![]), (1, vec![]), (1, vec![])].to_vec();
    let token = Cell::new(0);
    let script = "\
> deliver all quietly
> outside1 asks client1: append
> deliver client1 -> node1
> sync node1
> outside1.1 asks client1: read
> deliver client1 -> node1
> outside1.2 asks client1: read
> deliver client1 -> node1
> outside1.3 asks client1: read
> deliver client1 -> node1
> deliver newest node1 -> node3
> deliver all
";
    let played = play(&cast(&Shape::new(3, people)), |words| ask(words, &token), script).expect("it can be played");
    let count = |words: &str| played.lines().filter(|line| line.contains(words)).count();
    assert_eq!((count("node1 -> node3: Question"), count("node3 -> node1: CommittedAt")), (2, 2), "{played}");
    assert_eq!(count("client1 -> outside1"), 4, "all are answered\n{played}");
}

fn ask(words: &str, token: &Cell<u64>) -> Option<Message<Lists>> {
    token.set(token.get() + 1);
    let request = match words {
        "append" => Request::Command(Append { key: 0, item: 1 }),
        "read" => Request::Query(Read { key: 0 }),
        _ => return None,
    };
    Some(Message::Ask { token: token.get(), request })
}
