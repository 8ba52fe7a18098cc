//! The chain as stories: each script shows one thing that it does, step by step.

use std::cell::Cell;

use quorate_check::casts::chain::{Shape, cast};
use quorate_check::casts::{Append, Lists, Read};
use quorate_check::scenario::check_file;
use quorate_protocols::chain::{Message, Request};

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
fn a_member_whose_disk_is_full_stops_writes_until_there_is_room() {
    play("full_disk", 3);
}
