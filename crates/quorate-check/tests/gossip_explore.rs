//! Gossip in every interleaving of small instances, and each of its rules broken on purpose and seen.

use expect_test::{Expect, expect};
use quorate_check::casts::gossip::{Mortal, Shape, all_is_known, cast, nobody_is_buried_alive, nobody_is_slandered};
use quorate_check::{Alarms, Cast, Exploration, Explorer, Faults, space_time_diagram};
use quorate_protocols::gossip::{Member, Mutant};

const DIAGRAM_WIDTH: usize = 160;

fn faults() -> Faults {
    Faults::none().alarms(Alarms::WhenQuiet)
}

fn explore(cast: &Cast<Mortal>, faults: Faults) -> Exploration {
    Explorer::new(cast).faults(faults).threads(2).time_max(std::time::Duration::from_secs(200)).run()
}

fn holds(cast: &Cast<Mortal>, faults: Faults, expected: Expect) {
    let run = explore(cast, faults);
    println!("{run}");
    assert!(run.verdict.holds(), "{run}\n{}", space_time_diagram::text(&run.trace, DIAGRAM_WIDTH));
    expected.assert_eq(&run.verdict.to_string());
}

#[test]
fn a() {
    let cast =
        cast(&Shape::new(3)).always("nobody slandered", nobody_is_slandered).possible("all is known", all_is_known);
    holds(&cast, faults(), expect![""]);
}
#[test]
fn b() {
    let cast =
        cast(&Shape::new(3)).always("nobody slandered", nobody_is_slandered).possible("all is known", all_is_known);
    holds(&cast, faults().losses(1), expect![""]);
}
#[test]
fn c() {
    let cast = cast(&Shape::new(2)).possible("all is known", all_is_known);
    holds(&cast, faults().losses(2), expect![""]);
}
#[test]
fn d() {
    let cast = cast(&Shape::new(2).mortal(2)).possible("all is known", all_is_known);
    holds(&cast, faults(), expect![""]);
}
#[test]
fn e() {
    let cast = cast(&Shape::new(2)).possible("all is known", all_is_known);
    holds(&cast, faults().crashes(1), expect![""]);
}
#[test]
fn f() {
    let cast = cast(&Shape::new(3).mortal(3)).possible("all is known", all_is_known);
    holds(&cast, faults(), expect![""]);
}
