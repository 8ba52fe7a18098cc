//! Gossip under every fault that the simulator has. One seed is one history.

use std::time::Duration;

use quorate_check::casts::gossip::{
    Mortal, Shape, all_is_known, bounds, cast, drawn, nobody_is_buried_alive, nobody_is_slandered, severity, simulated,
};
use quorate_check::simulate::{Draw, Drift, Fault, Plan, Report, Severity, run};
use quorate_check::{Cast, Seeds, View, simulate};
use quorate_model::NodeId;
use quorate_protocols::gossip::{Member, Mutant, Options, Standing};

/// How many seeds of each kind a test run plays.
const SEEDS: u64 = 1_000;

fn seeds(count: u64) -> Seeds {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Seeds::new(0..count).threads(threads).severity(severity()).bounds(bounds())
}

fn holds(report: &Report) {
    println!("{report}");
    assert!(report.holds(), "{report}");
}

fn converging(shape: &Shape) -> Cast<Mortal> {
    cast(shape).finally("all is known in the end", all_is_known)
}

#[test]
fn members_come_to_hold_what_is_so_after_every_fault() {
    let converging = |draw: &mut Draw| {
        simulated(&drawn(draw))
            .sometimes("someone is called dead who is up", |view| !nobody_is_buried_alive(view))
            .sometimes("someone comes back in a later life", in_a_later_life)
    };
    holds(&simulate(converging, &seeds(SEEDS)));
}

fn in_a_later_life(view: &View<'_, Mortal>) -> bool {
    view.processes().filter_map(|(_, it)| it.member()).any(|member| {
        member.facts().any(|fact| fact.node != member.node() && fact.is_alive() && fact.incarnation.life > 1)
    })
}

/// Slow and paused members, and clocks that run wrong: nothing of that loses a message, so nobody may be called dead for
/// it who is up for longer than a suspicion of it lasts.
#[test]
fn pauses_shorter_than_a_suspicion_bury_nobody_alive() {
    let members = |draw: &mut Draw| {
        let shape = Shape { acquainted: true, options: Options::default(), ..Shape::new(3 + draw.below(5) as u32) };
        converging(&shape).always("nobody who is up is called dead", nobody_is_buried_alive)
    };
    for seed in 0..50 {
        let mut draw = Draw::seeded(seed, 7);
        let cast = members(&mut draw);
        let node_count = 3 + Draw::seeded(seed, 7).below(5) as usize;
        let mut plan = Plan::calm(node_count);
        plan.heals_at = Duration::from_secs(60);
        plan.drifts = (0..node_count).map(|_| Drift(draw.below(200_001) as i32 - 100_000)).collect();
        plan.faults = (0..12).map(|_| pause(node_count, &mut draw)).collect();
        plan.faults.sort_by_key(|(at, _)| *at);
        let came = run(&cast, &plan, &bounds(), seed, false);
        assert_eq!(came.failure, None, "seed {seed}");
    }
}

fn pause(node_count: usize, draw: &mut Draw) -> (Duration, Fault) {
    let lasts = draw.between(&(Duration::from_millis(100)..Duration::from_millis(3_000)));
    let at = draw.between(&(Duration::ZERO..Duration::from_secs(55)));
    (at, Fault::Pause { node: draw.below(node_count as u64) as usize, lasts })
}

/// Where the deaf one stands in the cast, and for how long it hears nothing.
const DEAF: usize = 2;
const DEAF_FOR: Duration = Duration::from_secs(40);

/// One member hears nothing, and all hear it: a wall one way. It gets no answer from anyone, and says so.
fn with_one_deaf(alter: fn(Member) -> Member, seed: u64) -> Option<String> {
    let shape = Shape { options: Options::default(), ..Shape::new(5) }.altered(alter);
    let cast = converging(&shape).always("nobody is called dead but the one that is deaf", |view| {
        view.processes().filter_map(|(_, it)| it.member()).all(|member| {
            member.facts().all(|fact| fact.node == NodeId(DEAF as u32 + 1) || fact.standing != Standing::Dead)
        })
    });
    let mut plan = Plan::calm(5);
    plan.heals_at = Duration::from_secs(60);
    let side = (0..5).map(|node| node == DEAF).collect();
    plan.faults = vec![(Duration::from_secs(5), Fault::Partition { side, out: false, back: true, lasts: DEAF_FOR })];
    run(&cast, &plan, &bounds(), seed, false).failure
}

#[test]
fn a_deaf_member_does_not_bury_the_others() {
    for seed in 0..20 {
        assert_eq!(with_one_deaf(|member| member, seed), None, "seed {seed}");
    }
}

#[test]
fn a_deaf_member_that_ignores_its_health_buries_the_others() {
    let ignores = |member: Member| member.breaking(Mutant::IgnoresHealth);
    let buried = (0..20).filter(|seed| with_one_deaf(ignores, *seed).is_some()).count();
    assert!(buried > 15, "{buried} of 20");
}

#[test]
fn without_faults_nobody_is_ever_suspected() {
    let severity = Severity { faults_max: 0, loss_max_per_mille: 0, ..severity() };
    let calm = |draw: &mut Draw| converging(&drawn(draw)).always("nobody who is up is suspected", nobody_is_slandered);
    holds(&simulate(calm, &seeds(SEEDS / 10).severity(severity)));
}

type Alter = fn(Member) -> Member;

/// The simulator must find what the explorer finds.
#[test]
fn broken_members_are_found_by_seeds_too() {
    let mutants: [(&str, Alter); 4] = [
        ("NeverRefutes", |member| member.breaking(Mutant::NeverRefutes)),
        ("RefutesWithoutRaising", |member| member.breaking(Mutant::RefutesWithoutRaising)),
        ("NeverCompares", |member| member.breaking(Mutant::NeverCompares)),
        ("ForgetsLife", |member| member.breaking(Mutant::ForgetsLife)),
    ];
    for (name, alter) in mutants {
        let broken = |draw: &mut Draw| converging(&drawn(draw).altered(alter));
        let report = simulate(broken, &seeds(1_000));
        let failure = report.failure.unwrap_or_else(|| panic!("{name} was not found in {} runs", report.runs));
        println!("{name}: seed {}: {}", failure.seed, failure.property);
    }
}

/// All that was compared was compared with the living, so two halves that hold each other dead stay apart.
#[test]
fn members_that_leave_the_lost_alone_stay_apart_after_a_partition() {
    let apart = |alter: Alter| {
        let shape = Shape {
            options: Options { exchange_after: Duration::from_secs(10), ..Options::default() },
            ..Shape::new(4)
        };
        let cast = converging(&shape.altered(alter));
        let mut plan = Plan::calm(4);
        plan.heals_at = Duration::from_secs(90);
        let side = vec![true, true, false, false];
        let wall = Fault::Partition { side, out: true, back: true, lasts: Duration::from_secs(80) };
        plan.faults = vec![(Duration::from_secs(5), wall)];
        run(&cast, &plan, &bounds(), 1, false).failure
    };
    assert_eq!(apart(|member| member), None);
    assert_eq!(apart(|member| member.breaking(Mutant::LeavesTheLost)).as_deref(), Some("all is known in the end"));
}
