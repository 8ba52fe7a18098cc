//! Chores of the repository: `cargo xtask gate | tidy | lab | codegen`.

#[cfg(feature = "codegen")]
mod codegen;
mod tidy;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Chores of the repository")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must be green before a commit: formatting, clippy, tidy, tests, a minute of seeds.
    Gate {
        /// How long to simulate, in seconds.
        #[arg(long, default_value_t = 60)]
        seeds_s: u32,
    },
    /// Layering, file lengths, glossary, bans, reasons.
    Tidy,
    /// Real clusters to which real faults happen.
    Lab {
        #[command(subcommand)]
        lab: Lab,
    },
    /// Writes the code of the wire formats. Needs `--features codegen`.
    Codegen,
}

#[derive(Subcommand)]
enum Lab {
    /// Five nodes in network namespaces of their own, under load, and every fault. Root; on loopback otherwise, with less.
    Cluster {
        /// For how long, in minutes.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        /// Where chance begins.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    match Cli::parse().chore {
        Chore::Tidy => tidy::tidy(root),
        Chore::Gate { seeds_s } => gate(root, seeds_s),
        Chore::Lab { lab: Lab::Cluster { minutes, seed, json } } => cluster(root, minutes, seed, json),
        Chore::Codegen => codegen(root),
    }
}

/// Builds what it takes and becomes it, so that Ctrl-C meets the lab itself, which cleans up.
fn cluster(root: &Path, minutes: f64, seed: u64, json: bool) -> anyhow::Result<()> {
    cargo(root, "build", &["build", "--release", "-q", "-p", "quorate", "-p", "quorate-chaos"])?;
    let mut lab = Command::new(env!("CARGO"));
    lab.args(["run", "--release", "-q", "-p", "quorate-chaos", "--", "lab"]);
    lab.args(["--minutes", &minutes.to_string(), "--seed", &seed.to_string()]).args(json.then_some("--json"));
    Err(lab.current_dir(root).exec()).context("cannot run cargo")
}

fn cargo(root: &Path, name: &str, words: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(env!("CARGO")).args(words).current_dir(root).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("{name} failed: cargo {}", words.join(" "));
    }
    Ok(())
}

#[cfg(feature = "codegen")]
fn codegen(_: &Path) -> anyhow::Result<()> {
    codegen::run().map_err(|error| anyhow::anyhow!("{error}"))
}

#[cfg(not(feature = "codegen"))]
fn codegen(_: &Path) -> anyhow::Result<()> {
    bail!("run it as `cargo run -p xtask --features codegen -- codegen`")
}

fn gate(root: &Path, seeds_s: u32) -> anyhow::Result<()> {
    let seeds = format!("{seeds_s}");
    let steps: &[(&str, &[&str])] = &[
        ("formatting", &["fmt", "--all", "--check"]),
        ("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        ("tidy", &["run", "-q", "-p", "xtask", "--", "tidy"]),
        ("tests", &["test", "--workspace", "-q"]),
        ("seeds", &["run", "--release", "-q", "-p", "quorate", "--", "simulate", "chain", "--for-s", &seeds]),
    ];
    for (name, words) in steps {
        let begun = Instant::now();
        cargo(root, name, words)?;
        println!("{name}: good, {:.0} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}
