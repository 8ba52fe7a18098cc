//! The command line.

pub mod client;
pub mod dev;
pub mod prove;
pub mod serve;
pub mod wal;

/// Set for a node that is to die with the process that started it.
pub const DIE_WITH_PARENT: &str = "QUORATE_DIE_WITH_PARENT";

/// How to print.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON value, or one a line for streams. An answer is as etcd's JSON gateway has it: keys and values
    /// are base64, and what is zero or empty is left out.
    Json,
}

/// What a member of a chain is called that has `at` before it.
fn place(at: usize, member_count: usize) -> &'static str {
    match at {
        _ if member_count == 1 => "alone",
        0 => "head",
        at if at + 1 == member_count => "tail",
        _ => "middle",
    }
}

/// Writes to standard output, like `println!`, but an output that is closed is an error and not a panic: `quorate wal
/// inspect | head` ends quietly.
macro_rules! say {
    ($($words:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($words)*)))?
    };
}
pub(crate) use say;
