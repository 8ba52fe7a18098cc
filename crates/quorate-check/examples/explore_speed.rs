//! How fast the explorer is: `cargo run --release -p quorate-check --example explore_speed`.
//!
//! Members of a chain that append and read, one crash of any process, one thread and then as many as there are cores.

use quorate_check::casts::chain::{Shape, Wish, cast};
use quorate_check::{Alarms, Explorer, Faults};

/// How many states are visited at each try.
const STATES_MAX: u64 = 1_000_000;

fn main() {
    let cast = cast(&Shape::new(3, vec![(1, vec![Wish::Append(0, 1)]), (2, vec![Wish::Read(0)])]));
    let faults = Faults::none().alarms(Alarms::WhenQuiet).crashes(1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores] {
        let run = Explorer::new(&cast).faults(faults.clone()).threads(threads).states_max(STATES_MAX).run();
        println!("{threads} threads: {run}");
    }
}
