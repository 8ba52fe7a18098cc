//! How news spread in crowds of members: in a number of rounds that grows with the logarithm of their number.

use std::time::Duration;

use quorate_check::casts::gossip_crowd::{Crowd, CrowdShape, Spread, spread};
use quorate_model::{NodeId, Pid};
use quorate_protocols::gossip::{Member, Message, Mutant, Options, Standing};

/// Rounds in which all know, at most, for each doubling of the members. One that knows tells about two a round, so that
/// a doubling takes about two thirds of a round; the last few members and losses take the rest.
const ROUNDS_A_DOUBLING_MAX: f64 = 2.0;

/// Seeds of each size.
const SEEDS: u64 = 5;

fn doublings(member_count: u32) -> f64 {
    f64::from(member_count).log2()
}

#[test]
fn all_know_after_a_number_of_rounds_that_grows_with_the_logarithm() {
    for loss_per_mille in [0, 100] {
        for member_count in [10, 100, 1_000] {
            for seed in 0..SEEDS {
                let Spread { all, traffic, .. } =
                    spread(CrowdShape::new(member_count, loss_per_mille), 100, seed).expect("all come to know");
                let bound = ROUNDS_A_DOUBLING_MAX * doublings(member_count);
                println!("{member_count} members, {loss_per_mille} per mille lost, seed {seed}: {all:.1} rounds");
                assert!(all <= bound, "{member_count} members, seed {seed}: {all:.1} rounds, more than {bound:.1}");
                assert!(traffic.largest <= 1400, "{} bytes do not fit a datagram", traffic.largest);
            }
        }
    }
}

/// The sum of all members' rumours is nothing again.
#[test]
fn news_stop_being_told() {
    let mut crowd = Crowd::new(CrowdShape::new(100, 0), 1);
    crowd.run_for(Duration::from_secs(2), |_, _| {});
    crowd.tell(NodeId(1), Message::Leave);
    crowd.run_for(Duration::from_secs(1), |_, _| {});
    assert!(crowd.members().any(|member| member.rumours_len() > 0), "it is told");
    crowd.run_for(Duration::from_secs(59), |_, _| {});
    assert!(crowd.members().all(|member| member.rumours_len() == 0), "it is not told any more");
    let knows = |member: &Member| member.fact(NodeId(1)).is_some_and(|held| held.standing == Standing::Left);
    assert!(crowd.members().all(knows), "and all know");
    assert!(crowd.told().contains(&(NodeId(1), Message::Done)), "whoever asked to leave was answered");
}

/// Only comparing is left to it, which takes its own long time.
#[test]
fn members_that_tell_no_rumours_are_refuted() {
    let shape = CrowdShape { alter: |member| member.breaking(Mutant::TellsNothing), ..CrowdShape::new(100, 0) };
    let bound = (ROUNDS_A_DOUBLING_MAX * doublings(100)).ceil() as u32;
    assert_eq!(spread(shape, bound, 1), None);
}

#[test]
fn a_newcomer_learns_a_large_roster_by_datagrams_and_soon_all_know_it() {
    for loss_per_mille in [0, 100] {
        let mut crowd = Crowd::new(CrowdShape::new(1_000, loss_per_mille), 3);
        crowd.run_for(Duration::from_secs(3), |_, _| {});
        let newcomer = crowd.join(vec![NodeId(7), NodeId(8)]);
        let mut knows_all_after = None;
        let begun = crowd.elapsed();
        crowd.run_for(Duration::from_secs(40), |crowd, _| {
            let complete = crowd.member(newcomer).is_some_and(|member| member.up_len() == 1_001);
            if complete && knows_all_after.is_none() {
                knows_all_after = Some(crowd.elapsed() - begun);
            }
        });
        println!("{loss_per_mille} per mille lost: after {knows_all_after:?}");
        let bound = if loss_per_mille == 0 { Duration::from_secs(1) } else { Duration::from_secs(20) };
        assert!(knows_all_after.is_some_and(|after| after < bound), "{knows_all_after:?}");
        assert!(crowd.members().all(|member| member.fact(newcomer).is_some()), "all know it");
        assert!(crowd.traffic().largest <= 1400);
    }
}

#[test]
fn one_that_crashed_is_soon_held_dead_by_all_and_nobody_else_is() {
    for loss_per_mille in [0, 100, 300] {
        let mut crowd = Crowd::new(CrowdShape::new(50, loss_per_mille), 4);
        crowd.run_for(Duration::from_secs(3), |_, _| {});
        crowd.crash(NodeId(9));
        crowd.run_for(Duration::from_secs(60), |_, _| {});
        for member in crowd.members() {
            let dead = member.facts().filter(|fact| fact.standing == Standing::Dead).map(|fact| fact.node.0);
            let dead: Vec<_> = dead.collect();
            assert_eq!(dead, [9], "as member {} holds it, with {loss_per_mille} per mille lost", member.node().0);
        }
    }
}

/// How often others had to refute, and whether anyone was called dead, while one member hears all so late.
fn slandered_by_one_that_hears_late(lag: Duration, alter: fn(Member) -> Member) -> (u64, bool) {
    let shape = CrowdShape { alter, ..CrowdShape::new(30, 0) };
    let mut crowd = Crowd::new(shape, 5);
    crowd.run_for(Duration::from_secs(2), |_, _| {});
    let slow = NodeId(5);
    crowd.lag(slow, lag);
    let mut buried = false;
    crowd.run_for(Duration::from_secs(120), |crowd, node| {
        buried |= crowd.member(node).is_some_and(|member| member.facts().any(|fact| fact.standing == Standing::Dead));
    });
    let others = crowd.members().filter(|member| member.node() != slow);
    let refuted = others.filter_map(|member| member.fact(member.node())).map(|own| own.incarnation.count).sum();
    (refuted, buried)
}

/// It hears after 1.5 s what it should have heard within 1 s. By its own word, nobody answers it.
#[test]
fn one_that_hears_late_does_not_slander_the_others_unless_it_ignores_its_health() {
    let lag = Duration::from_millis(1_500);
    let (refuted, buried) = slandered_by_one_that_hears_late(lag, |member| member);
    let ignores = |member: Member| member.breaking(Mutant::IgnoresHealth);
    let (refuted_without, _) = slandered_by_one_that_hears_late(lag, ignores);
    println!("refuted {refuted} times with health, {refuted_without} times without");
    assert!(!buried, "nobody is called dead");
    assert!(refuted * 5 <= refuted_without, "{refuted} with health, {refuted_without} without");
}

/// Without a suspicion each probe that fails ends in a death.
#[test]
fn members_that_do_not_suspect_are_refuted() {
    let buried = |alter| {
        let shape = CrowdShape { alter, ..CrowdShape::new(30, 300) };
        let mut crowd = Crowd::new(shape, 6);
        let mut count = 0_u32;
        crowd.run_for(Duration::from_secs(120), |crowd, node| {
            let dead = |member: &Member| member.facts().any(|fact| fact.standing == Standing::Dead);
            count += u32::from(crowd.member(node).is_some_and(dead));
        });
        count
    };
    assert_eq!(buried(|member| member), 0, "with three of ten messages lost nobody is called dead");
    assert!(buried(|member| member.breaking(Mutant::DoesNotSuspect)) > 0);
}

/// The dead are remembered for as long as is promised, and then forgotten by all.
#[test]
fn the_dead_are_forgotten_in_time() {
    let options = Options { fallen_for: Duration::from_secs(60), ..Options::default() };
    let mut crowd = Crowd::new(CrowdShape { options, ..CrowdShape::new(10, 0) }, 7);
    crowd.run_for(Duration::from_secs(3), |_, _| {});
    crowd.crash(NodeId(9));
    crowd.run_for(Duration::from_secs(50), |_, _| {});
    assert!(crowd.members().all(|member| member.fact(NodeId(9)).is_some()), "remembered");
    crowd.run_for(Duration::from_secs(100), |_, _| {});
    assert!(crowd.members().all(|member| member.fact(NodeId(9)).is_none()), "forgotten");
}

/// The alteration is one for all, so all of them tell what they hold to the same observer.
#[test]
fn an_observer_hears_how_a_member_fell_and_that_it_was_forgotten() {
    let options = Options { fallen_for: Duration::from_secs(20), ..Options::default() };
    let observed = |member: Member| member.observed_by(Pid::outside(1, 0));
    let mut crowd = Crowd::new(CrowdShape { options, alter: observed, ..CrowdShape::new(3, 0) }, 1);
    crowd.run_for(Duration::from_secs(5), |_, _| {});
    crowd.crash(NodeId(3));
    crowd.run_for(Duration::from_secs(60), |_, _| {});
    for node in [1, 2].map(NodeId) {
        let told: Vec<_> = crowd.told().iter().filter(|(by, _)| *by == node).map(|(_, message)| message).collect();
        let fell = told.iter().position(|message| {
            matches!(message, Message::Changed(fact) if fact.node == NodeId(3) && fact.standing == Standing::Dead)
        });
        let forgotten = told.iter().position(|message| **message == Message::Forgotten(NodeId(3)));
        assert!(fell.is_some() && fell < forgotten, "node {}: {fell:?}, {forgotten:?}", node.0);
        assert!(crowd.member(node).is_some_and(|member| member.fact(NodeId(3)).is_none()));
    }
}
