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
    /// For programs: one JSON value, or one a line for streams.
    Json,
}
