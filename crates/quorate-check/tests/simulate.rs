//! The simulator on protocols that are known.

mod support;

use std::time::Duration;

use expect_test::expect;
use quorate_check::linearizable::Spec;
use quorate_check::shrink::shrink;
use quorate_check::simulate::{Draw, Report, Seeds, run_seed, simulate};
use quorate_check::{Call, Cast, Explorer, Status};
use quorate_model::Pid;
use support::abd::{self, Message, Phase, Role};
use support::counter::{self, Counter};

fn abd_cast(draw: &mut Draw, storage: fn() -> Role, client: fn(&[Pid]) -> Role) -> Cast<Role> {
    let mut next = 0;
    let scripts: Vec<Vec<Message>> = (0..3)
        .map(|_| {
            let ask = |_| {
                next += 1;
                if draw.per_mille(500) { Message::Write(next) } else { Message::Read }
            };
            (0..40).map(ask).collect()
        })
        .collect();
    abd::cast(3, storage, client, scripts)
        .finally("nobody waits for a storage", |view| {
            view.processes().all(|(_, role)| !matches!(role, Role::Client(client) if client.phase != Phase::Idle))
        })
        .sometimes("a read sees a write", |view| {
            view.asked().any(|asked| matches!(asked.status, Status::Answered(Message::Value(1..))))
        })
}

fn abd(storage: fn() -> Role, client: fn(&[Pid]) -> Role, count: u64) -> Report {
    simulate(|draw| abd_cast(draw, storage, client), &Seeds::new(0..count).threads(2))
}

#[test]
fn abd_survives_its_seeds() {
    let report = abd(Role::storage, Role::patient_client, 300);
    println!("{report}");
    assert!(report.holds(), "{report}");
}

#[test]
fn without_the_write_back_a_seed_fails() {
    let report = abd(Role::storage, Role::hasty_patient_client, 300);
    assert_eq!(report.failure.expect("a seed fails").property, "the register is atomic");
}

#[test]
fn storages_without_a_log_fail_a_seed() {
    let report = abd(Role::forgetful_storage, Role::patient_client, 300);
    let failure = report.failure.expect("a seed fails");
    assert_eq!(failure.property, "the register is atomic");
    assert!(!failure.trace.is_empty());
}

#[test]
fn one_seed_is_one_run() {
    let make = |draw: &mut Draw| abd_cast(draw, Role::storage, Role::patient_client);
    let mut prints = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let seeds = Seeds::new(0..50);
        let first = run_seed(&make, &seeds, seed, false).0;
        let second = run_seed(&make, &seeds, seed, true).0;
        assert_eq!((first.print, first.events), (second.print, second.events), "seed {seed}");
        prints.insert(first.print);
    }
    assert_eq!(prints.len(), 50, "different seeds are different runs");
    // The same in debug and release builds, and on every machine.
    let seventh = run_seed(&make, &Seeds::new(0..50), 7, false).0;
    expect!["bf7db6575ba727e0307ad7ba87450c75, 2057 events"]
        .assert_eq(&format!("{:032x}, {} events", seventh.print, seventh.events));
}

#[test]
fn a_counter_says_no_number_twice_whatever_the_disk_does() {
    let report = simulate(|_| counter::cast(Counter::default(), 4, 25), &Seeds::new(0..300).threads(2));
    println!("{report}");
    assert!(report.holds(), "{report}");
    assert!(report.counts.torn > 0 && report.counts.failed_syncs > 0, "{report}");
}

#[test]
fn a_snapshot_that_is_one_short_fails_a_seed() {
    let bad = || Counter { compacts_badly: true, ..Counter::default() };
    let report = simulate(|_| counter::cast(bad(), 4, 25), &Seeds::new(0..300));
    assert_eq!(report.failure.expect("a seed fails").property, "no number is said twice");
}

#[test]
fn a_failing_run_is_cut_down_to_what_it_takes() {
    let make = |draw: &mut Draw| abd_cast(draw, Role::forgetful_storage, Role::patient_client);
    let seeds = Seeds::new(0..300);
    let failure = simulate(make, &seeds).failure.expect("a seed fails");
    let whole = failure.plan.faults.len() + 120;
    let shrunk = shrink(make, &seeds, &failure, Duration::from_secs(20)).expect("it fails again");
    println!("{whole} parts, {} left: {:?} {:?}", shrunk.part_count(), shrunk.plan.faults, shrunk.scripts);
    println!("{} events, {} steps", shrunk.run.events, shrunk.run.trace.len());
    assert_eq!(shrunk.run.failure.as_ref(), Some(&failure.property));
    // A write, a crash that forgets it, and a read that misses it; some runs need a little more to get there.
    assert!(shrunk.part_count() <= 20, "{} of {whole} parts are left", shrunk.part_count());
}

/// Sets of numbers, each added by an operation whose outcome is not known; then one answer that is never right.
struct Sets;

impl Spec for Sets {
    type State = u64;
    type Op = u64;
    type Ret = ();

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, set: &u64, number: &u64, ret: Option<&()>) -> Option<u64> {
        ret.is_none().then_some(set | 1 << number)
    }
}

/// Every subset of what may have happened has to be looked at, so no judge is fast here. It used to run for ever.
#[test]
fn a_judge_that_gives_up_fails_the_run_and_says_so() {
    let cast = || {
        counter::cast(Counter::default(), 40, 1).linearizable("sets are sets", Sets, |_, answer| match answer {
            Some(counter::Message::Number(number)) => Some(Call { op: *number, ret: (*number == 30).then_some(()) }),
            _ => None,
        })
    };
    let failure = simulate(|_| cast(), &Seeds::new(0..1)).failure.expect("it is not passed over in silence");
    assert_eq!(failure.property, "sets are sets: not judged, since the judge gave up");
    let run = Explorer::new(&cast()).depth_first().run();
    expect!["refuted in 30 steps: sets are sets: not judged, since the judge gave up"]
        .assert_eq(&run.verdict.to_string());
}
