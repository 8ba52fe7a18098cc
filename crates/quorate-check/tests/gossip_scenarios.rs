//! Gossip as stories: each script shows one thing that it does, step by step.

use quorate_check::casts::gossip::{Shape, cast};
use quorate_check::scenario::check_file;
use quorate_model::Pid;
use quorate_protocols::gossip::Message;

/// Plays a script over an instance with one person at each member. Words: `leave`, `members`.
fn play(name: &str, shape: &Shape) {
    let people = 1..=shape.member_count;
    let cast = people.fold(cast(shape), |cast, node| cast.asks(Pid::outside(node, 0), Pid::gossip(node), []));
    check_file(&format!("gossip/{name}.txt"), &cast, |words| match words {
        "leave" => Some(Message::Leave),
        "members" => Some(Message::Members),
        _ => None,
    });
}

#[test]
fn a_helper_reaches_whom_a_member_does_not_reach() {
    play("indirect_probe", &Shape::new(3));
}

#[test]
fn a_helper_that_gets_no_answer_says_so() {
    play("nack", &Shape::new(3));
}

#[test]
fn whoever_is_suspected_hears_so_and_refutes() {
    play("refute", &Shape::new(2));
}

#[test]
fn whoever_is_held_dead_hears_so_and_comes_back() {
    play("buried_alive", &Shape::new(2));
}

#[test]
fn whoever_is_started_again_comes_back_in_a_later_life() {
    play("later_life", &Shape::new(2).altered(|member| member.observed_by(Pid::outside(1, 0))));
}

#[test]
fn whoever_lost_its_disk_goes_on_above_what_others_heard_of_it() {
    play("lost_disk", &Shape::new(2));
}

#[test]
fn whoever_leaves_says_so() {
    play("leave", &Shape::new(2));
}

#[test]
fn strangers_meet_by_their_seeds() {
    play("meet", &Shape::new(3).strangers());
}

#[test]
fn whoever_slept_says_nothing_of_others() {
    play("slept", &Shape::new(3));
}
