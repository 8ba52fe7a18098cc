//! What a user meets who gives a node wrong bytes, wrong folders, wrong settings or a broken disk: a line that says what is
//! wrong and what to do, no panic, and nothing lost.
//!
//! Needs real processes, ports and folders; the full disk and one of the wrong folders need root, and say so without it.

#[path = "../support/cluster.rs"]
mod cluster;

mod bytes;
mod damage;
mod disk;
mod folders;
mod peers;
mod requests;
mod settings;

/// Asserts that `line` has all of `parts`.
fn says_all(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part:?} in: {line}");
    }
    assert!(!line.contains('\n'), "more than a line: {line}");
}
