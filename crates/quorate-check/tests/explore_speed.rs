//! How fast the explorer is. Run with `cargo test --release -p quorate-check --test explore_speed -- --ignored --nocapture`.

mod support;

use quorate_check::Explorer;
use support::abd::{Message, Role, cast};

#[test]
#[ignore = "a measurement"]
fn abd_with_one_writer_and_a_reader_that_reads_twice() {
    for threads in [1, 2] {
        let cast = cast(3, Role::storage, Role::client, [vec![Message::Write(7)], vec![Message::Read, Message::Read]]);
        println!("{threads} threads: {}", Explorer::new(&cast).threads(threads).states_max(1_000_000).run());
    }
}
