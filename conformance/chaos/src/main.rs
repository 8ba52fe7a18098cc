//! Breaks a real cluster under load and judges everything that its clients saw.
//!
//! | file      | what                                                                                |
//! |-----------|-------------------------------------------------------------------------------------|
//! | `kill`    | kills a random node, starts it again, waits until it serves; many times               |
//! | `lab`     | a whole cluster with networks and disks of its own, and every fault                     |
//! | `load`    | starts clients and watchers, and ends them                                              |
//! | `client`  | asks one thing at a time, and writes down when it asked and what it was told            |
//! | `etcdctl` | the same, by etcd's own client                                                          |
//! | `watcher` | hears every change from the first one on, over all breaks of its connection             |
//! | `history` | what they wrote down                                                                |
//! | `judge`   | whether a correct store could have answered so                                      |
//!
//! In `kill` the nodes are started and killed by commands given as arguments, with `{node}` for the node's index, so that the
//! same run judges real etcd, which shows that the judge does not accuse the innocent. That it does accuse the guilty, its own
//! tests show.

mod client;
mod etcdctl;
mod history;
mod judge;
mod kill;
mod lab;
mod load;
mod watcher;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Breaks a real cluster under load and judges everything that its clients saw.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kill nodes that commands start and end: of our own, or of etcd.
    Kill(kill::KillArgs),
    /// Start a cluster of our own in network namespaces, and let everything happen to it.
    Lab(lab::LabArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime");
    let outcome = runtime.and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                Command::Kill(args) => kill::run(args).await,
                Command::Lab(args) => lab::run(args).await,
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}
