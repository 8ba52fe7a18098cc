//! The `quorate` program: see `quorate --help`.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use quorate::bench;
use quorate::cli::{Output, client, dev, prove, serve, wal};

// The system's allocator spends twice as long on the small, short-lived buffers of requests.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A coordination server: an etcd-compatible store that is replicated along a chain, and the tools that prove it.
#[derive(Parser, Debug)]
#[command(name = "quorate", version, about, long_about = None)]
#[command(after_help = "Start here:
  quorate dev                  three nodes on this machine
  quorate put greeting hello   and in another terminal: quorate get greeting
  quorate <COMMAND> --help     has examples")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Start a cluster on this machine, to try things out.
    Dev(dev::DevArgs),
    /// Run one node.
    Serve(serve::ServeArgs),
    /// Read keys.
    Get {
        #[command(flatten)]
        target: client::Target,
        #[command(flatten)]
        args: client::GetArgs,
    },
    /// Write a key.
    Put {
        #[command(flatten)]
        target: client::Target,
        #[command(flatten)]
        args: client::PutArgs,
    },
    /// Delete keys.
    Del {
        #[command(flatten)]
        target: client::Target,
        #[command(flatten)]
        args: client::DelArgs,
    },
    /// Print changes as they come.
    Watch {
        #[command(flatten)]
        target: client::Target,
        #[command(flatten)]
        args: client::WatchArgs,
    },
    /// Read and write several keys at one revision, if all conditions hold.
    Txn {
        #[command(flatten)]
        target: client::Target,
        #[command(flatten)]
        args: client::TxnArgs,
    },
    /// Forget old versions.
    Compact {
        #[command(flatten)]
        target: client::Target,
        #[command(flatten)]
        args: client::CompactArgs,
    },
    /// Work with leases: keys that die with whoever stops renewing.
    Lease {
        #[command(flatten)]
        target: client::Target,
        #[command(subcommand)]
        command: client::LeaseCommand,
    },
    /// Show the members of chains, and let them be more or fewer.
    Chain {
        #[command(flatten)]
        target: client::Target,
        #[command(subcommand)]
        command: client::ChainCommand,
    },
    /// Show which nodes there are; add, drain and remove nodes.
    Node {
        #[command(flatten)]
        target: client::Target,
        #[command(subcommand)]
        command: client::NodeCommand,
    },
    /// Show how each node is.
    Status {
        #[command(flatten)]
        target: client::Target,
    },
    /// Look at a write-ahead log.
    Wal {
        #[command(subcommand)]
        command: wal::WalCommand,
        /// How to print.
        #[arg(long, value_enum, default_value_t, global = true)]
        output: Output,
    },
    /// Explore every interleaving of a small instance of a protocol.
    Check {
        #[command(subcommand)]
        command: prove::CheckCommand,
        /// How to print.
        #[arg(long, value_enum, default_value_t, global = true)]
        output: Output,
    },
    /// Run random histories of a protocol with every fault.
    Simulate {
        #[command(subcommand)]
        command: prove::SimulateCommand,
        /// How to print.
        #[arg(long, value_enum, default_value_t, global = true)]
        output: Output,
    },
    /// Load a cluster and measure.
    Bench(bench::BenchArgs),
    /// Print the completion script of a shell.
    #[command(after_help = "Example:
  quorate completion bash > /etc/bash_completion.d/quorate")]
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(colors)
        .with_writer(std::io::stderr)
        .log_internal_errors(false) // it would say so on standard error, and panic when nobody reads that
        .init();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_output(&error) => ExitCode::SUCCESS, // whoever read along has read enough
        Err(error) => {
            eprintln!("quorate: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Dev(args) => asynchronously(dev::run(args)),
        Command::Serve(args) => serve::run(&args),
        Command::Get { target, args } => asynchronously(client::get(&target, args)),
        Command::Put { target, args } => asynchronously(client::put(&target, args)),
        Command::Del { target, args } => asynchronously(client::del(&target, args)),
        Command::Watch { target, args } => asynchronously(client::watch(&target, args)),
        Command::Txn { target, args } => asynchronously(client::txn(&target, args)),
        Command::Compact { target, args } => asynchronously(client::compact(&target, args)),
        Command::Lease { target, command } => asynchronously(client::lease(&target, command)),
        Command::Chain { target, command } => asynchronously(client::chain(&target, command)),
        Command::Node { target, command } => asynchronously(client::node(&target, command)),
        Command::Status { target } => asynchronously(client::status(&target)),
        Command::Wal { command, output } => wal::run(&command, output),
        Command::Check { command, output } => prove::check(command, output),
        Command::Simulate { command, output } => prove::simulate_command(command, output),
        Command::Bench(args) => asynchronously(async { Ok(bench::run_and_print(args).await?) }),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "quorate", &mut script);
            Ok(std::io::Write::write_all(&mut std::io::stdout(), &script)?)
        }
    }
}

fn asynchronously(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn is_closed_output(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The error in one line; of a refused request only what the node said, with its code.
fn explain(error: &anyhow::Error) -> String {
    if let Some(status) = error.downcast_ref::<tonic::Status>() {
        return client::refusal(status);
    }
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.ends_with(&cause) {
            line = line + ": " + &cause; // some errors say their cause themselves
        }
    }
    line
}
