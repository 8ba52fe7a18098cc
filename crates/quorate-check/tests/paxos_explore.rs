//! Paxos in every interleaving of small instances, and each of its rules broken on purpose and seen.

use expect_test::{Expect, expect};
use quorate_check::casts::paxos_register::{self, RegisterRole};
use quorate_check::{Alarms, Explorer, Faults, space_time_diagram};

/// How wide a counterexample is printed.
const DIAGRAM_WIDTH: usize = 160;

fn faults() -> Faults {
    Faults::none().alarms(Alarms::WhenQuiet)
}

#[test]
fn t1() {
    let shape = paxos_register::Shape::new(3, vec![vec![1], vec![2]]);
    for f in [
        faults(),
        faults().losses(1),
        faults().copies(1),
        faults().crashes(1).crash_only([quorate_model::Pid::acceptor(1, 0)]),
        faults().crashes(1).crash_only([quorate_model::Pid::proposer(1, 0)]),
    ] {
        let cast = paxos_register::cast(&shape);
        let run = Explorer::new(&cast).faults(f.clone()).threads(2).states_max(10_000_000).run();
        println!("{f:?} {run}\n{}", space_time_diagram::text(&run.trace, DIAGRAM_WIDTH));
    }
}
