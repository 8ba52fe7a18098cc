//! Paxos as stories: each script shows one thing that it does, step by step.

use std::cell::Cell;
use std::time::Duration;

use quorate_check::casts::Lists;
use quorate_check::casts::paxos_log::{self, Shape, Wish, request};
use quorate_check::casts::paxos_register;
use quorate_check::scenario::check_file;
use quorate_protocols::paxos::log::{Lease, Message, Mutant};
use quorate_protocols::paxos::register;

/// Plays a script over a register with three acceptors and two proposers. Words: `write VALUE`.
fn play_register(name: &str) {
    let token = Cell::new(0);
    let cast = paxos_register::cast(&paxos_register::Shape::new(3, vec![vec![], vec![]]));
    check_file(&format!("paxos/{name}.txt"), &cast, |words| {
        token.set(token.get() + 1);
        let value = words.strip_prefix("write ")?.parse().ok()?;
        Some(register::Message::Ask { token: token.get(), value })
    });
}

/// Plays a script over a log of three nodes with one person at each. Words: `append KEY ITEM`, `read KEY`,
/// `members NODE...`.
fn play_log(name: &str, alter: impl Fn(Shape) -> Shape) {
    play_log_of(3, name, alter);
}

fn play_log_of(node_count: u32, name: &str, alter: impl Fn(Shape) -> Shape) {
    let token = Cell::new(0);
    let shape = alter(Shape::new(node_count, (1..=node_count).map(|node| (node, vec![])).collect()));
    check_file(&format!("paxos/{name}.txt"), &paxos_log::cast(&shape), |words| {
        token.set(token.get() + 1);
        Some(Message::<Lists>::Ask { token: token.get(), request: request(&wish(words)?) })
    });
}

fn wish(words: &str) -> Option<Wish> {
    match words.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["append", key, item] => Some(Wish::Append(key.parse().ok()?, item.parse().ok()?)),
        ["read", key] => Some(Wish::Read(key.parse().ok()?)),
        ["members", nodes @ ..] => {
            Some(Wish::Members(nodes.iter().map(|node| node.parse().ok()).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

#[test]
fn a_register_is_written_in_two_phases() {
    play_register("write_once");
}

#[test]
fn a_second_proposer_brings_what_it_finds_and_not_its_own() {
    play_register("second_proposer");
}

#[test]
fn proposers_that_refuse_each_other_wait_longer_each_time() {
    play_register("duel");
}

#[test]
fn the_first_command_takes_two_phases_and_the_next_takes_one() {
    play_log("first_command", |shape| shape);
}

#[test]
fn a_read_asks_a_quorum_whether_the_leader_still_leads() {
    play_log("read_round", |shape| shape);
}

#[test]
fn a_new_leader_orders_again_what_an_earlier_one_may_have_had_chosen() {
    play_log("leader_crash", |shape| shape);
}

#[test]
fn a_leader_that_was_deposed_hears_it_and_follows() {
    play_log("deposed", |shape| shape);
}

#[test]
fn commands_that_come_while_the_window_is_full_travel_together() {
    play_log("window", |mut shape| {
        (shape.options.window_len_max, shape.options.batch_weight_max) = (1, 100);
        shape
    });
}

#[test]
fn a_member_that_lags_behind_the_logs_start_gets_a_snapshot() {
    play_log("snapshot", |shape| shape.keeping(0));
}

#[test]
fn a_change_of_members_is_chosen_by_the_old_and_followed_by_phase_one_with_the_new() {
    play_log("members", |shape| shape.begun_by(2));
}

#[test]
fn a_member_that_lost_its_disk_decides_nothing_before_all_others_have_answered() {
    play_log("recall", Shape::losing);
}

/// The answers that a member recalls from are those to its present life: since the others gave the old ones it has voted.
#[test]
fn old_answers_do_not_count() {
    play_log("recall_old_answers", Shape::losing);
    play_log("mutant_counts_old_answers", |shape| {
        shape.losing().altered(|member| member.breaking(Mutant::CountsOldAnswers))
    });
}

/// Of five, three others have answered, which is somebody of each quorum that the member was part of. The one who had its
/// promise is not among them, and one who answered promises him later.
#[test]
fn to_recall_from_some_of_each_quorum_is_not_enough() {
    play_log_of(5, "mutant_recalls_from_few", |shape| {
        shape.losing().altered(|member| member.breaking(Mutant::RecallsFromFew))
    });
}

const LEASE: Lease = Lease { term: Duration::from_secs(2), drift_per_million: 1_000 };

#[test]
fn members_that_start_anew_wait_for_the_leases_that_they_may_have_granted() {
    play_log("lease_after_restart", |shape| shape.leasing(LEASE));
}

/// No seed is sure to find this: both who granted the lease have to start anew while it lives.
#[test]
fn members_that_forget_over_a_restart_what_they_granted_are_refuted() {
    play_log("mutant_forgets_grant", |shape| {
        shape.leasing(LEASE).altered(|member| member.breaking(Mutant::ForgetsGrant))
    });
}
