//! Diagrams of a real counterexample. With `QUORATE_DIAGRAM=FILE` in the environment the picture is written there.

mod support;

use quorate_check::{Faults, explore, space_time_diagram};
use support::abd::{Message, Role, cast, storage_pids};

#[test]
fn a_counterexample_can_be_looked_at() {
    let faults = Faults::none().crashes(1).crash_only(storage_pids(3));
    let run =
        explore(&cast(3, Role::forgetful_storage, Role::client, [vec![Message::Write(7), Message::Read]]), faults);
    let text = space_time_diagram::text(&run.trace, 140);
    println!("{run}\n{text}");
    assert!(text.contains("node1 dies") || text.contains("node2 dies") || text.contains("node3 dies"));
    assert!(text.lines().skip(1).all(|line| line.chars().count() <= 140), "no line is wider than asked for");
    let picture = space_time_diagram::svg(&run.trace);
    assert_eq!(picture.matches("url(#head)").count(), text.matches(['▶', '◀']).count(), "as many arrows");
    if let Some(path) = std::env::var_os("QUORATE_DIAGRAM") {
        std::fs::write(path, picture).expect("the picture can be written where it was asked for");
    }
}
