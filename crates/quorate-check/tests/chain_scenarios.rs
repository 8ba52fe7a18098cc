//! The chain as stories: each script shows one thing that it does, step by step.

use std::cell::Cell;

use quorate_check::casts::chain::{Shape, cast};
use quorate_check::casts::{Append, Lists, Read};
use quorate_check::scenario::check_file;
use quorate_model::{Choose, Context, Event, Instant, NodeId, Outbox, Pid, Process};
use quorate_protocols::chain::{Configuration, Message, Node, NodeOptions, Request, Stamp, Trouble};

/// Plays a script over a chain of `node_count` members with one person at each. Words: `append KEY ITEM`, `read KEY`;
/// `no room`, `room again`, which a member is told.
fn play(name: &str, node_count: u32) {
    let people = (1..=node_count).map(|node| (node, vec![])).collect();
    let token = Cell::new(0);
    check_file(&format!("chain/{name}.txt"), &cast(&Shape::new(node_count, people)), |words| {
        match words {
            "no room" => return Some(Message::<Lists>::NoRoom),
            "room again" => return Some(Message::RoomAgain),
            _ => {}
        }
        let request = question(words)?;
        token.set(token.get() + 1);
        Some(Message::Ask { token: token.get(), request })
    });
}

fn question(words: &str) -> Option<Request<Append, Read>> {
    match words.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["append", key, item] => Some(Request::Command(Append { key: key.parse().ok()?, item: item.parse().ok()? })),
        ["read", key] => Some(Request::Query(Read { key: key.parse().ok()? })),
        _ => None,
    }
}

#[test]
fn a_put_runs_down_while_the_disks_turn_and_its_commit_runs_up() {
    play("put", 3);
}

#[test]
fn a_read_that_something_uncommitted_touches_asks_the_tail() {
    play("dirty_read", 2);
}

#[test]
fn a_head_that_restarts_gets_back_what_it_lost() {
    play("head_crash", 3);
}

#[test]
fn a_middle_member_that_restarts_is_sent_what_it_lost() {
    play("middle_crash", 3);
}

#[test]
fn a_tail_that_restarts_holds_reads_until_it_has_committed_again() {
    play("tail_crash", 2);
}

#[test]
fn a_proposal_that_comes_twice_is_applied_once() {
    play("proposed_twice", 2);
}

#[test]
fn an_entry_that_an_earlier_life_sent_is_dropped() {
    play("stale_forward", 2);
}

#[test]
fn a_member_with_an_empty_disk_refuses_to_serve() {
    play("lost_disk", 2);
}

#[test]
fn a_tail_with_an_empty_disk_answers_nothing() {
    play("lost_tail", 2);
}

struct First;

impl Choose for First {
    fn choose(&mut self, _: usize) -> usize {
        0
    }
}

/// What the script of the lost tail cannot show: how the member stands, and that it says nothing more to anyone.
#[test]
fn a_tail_with_an_empty_disk_says_what_it_lacks() {
    let members = vec![NodeId(1), NodeId(2)];
    let mut tail = Node::new(NodeId(2), Configuration::new(1, members), NodeOptions::default(), Lists::default());
    let (mut outbox, mut chance) = (Outbox::new(), First);
    let mut hear = |tail: &mut Node<Lists>, event| {
        tail.on(event, &mut Context::new(Pid::chain(2, 0), Instant::default(), &mut outbox, &mut chance));
        let count = std::iter::from_fn(|| outbox.take_record().map(drop)).count();
        outbox.synced(count);
        std::iter::from_fn(|| outbox.release()).count()
    };
    let said = |message| Event::Message { from: Pid::chain(1, 0), message };
    assert_eq!(hear(&mut tail, Event::Start), 1, "a nudge");
    let stamp = |peer_boot| Stamp { configuration: 1, boot: 1, peer_boot };
    let hello = Message::Hello { last: 1, committed: 1, stamp: stamp(0) };
    assert_eq!(hear(&mut tail, said(hello)), 0, "no welcome");
    assert_eq!(tail.status().trouble, Some(Trouble::LostOwn { last: 0, committed: 1 }));
    assert_eq!(hear(&mut tail, said(Message::Question { nonce: 1, stamp: stamp(1) })), 0, "no word of commits");
    assert_eq!(hear(&mut tail, said(Message::Durable { index: 1, stamp: stamp(1) })), 0, "no commit");
    assert_eq!(tail.status().committed, 0);
}

#[test]
fn a_member_whose_disk_is_full_stops_writes_until_there_is_room() {
    play("full_disk", 3);
}
