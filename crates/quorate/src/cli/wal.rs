//! `quorate wal`: looks at a log without running a node on it.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use quorate_runtime::wal::inspect::{Row, Verdict, inspect, verify};
use quorate_runtime::wal::{Folder, segment_name};

use super::{Output, say};

/// Looks at a write-ahead log. Nothing is changed.
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Examples:
  quorate wal verify /var/lib/quorate/log
  quorate wal inspect /var/lib/quorate/log --output json | head")]
pub enum WalCommand {
    /// Prints every segment, batch and record.
    Inspect {
        /// The folder of the log: `log` in a node's data folder.
        folder: PathBuf,
    },
    /// Checks everything, and says whether a node would start from it.
    Verify {
        /// The folder of the log: `log` in a node's data folder.
        folder: PathBuf,
    },
}

/// Runs `quorate wal`.
///
/// # Errors
/// When the folder is no log, cannot be read, or is damaged.
pub fn run(command: &WalCommand, output: Output) -> anyhow::Result<()> {
    match command {
        WalCommand::Inspect { folder } => {
            let disk = open(folder)?;
            let mut out = std::io::stdout().lock();
            let verdict = inspect(&disk, &mut |row, _| match print_row(&mut out, &row, output) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()), // whoever read along has gone
            })?;
            print_verdict(&verdict, output)
        }
        WalCommand::Verify { folder } => {
            let disk = open(folder)?;
            print_verdict(&verify(&disk)?, output)
        }
    }
}

/// The folder, which must be there: looking makes nothing.
fn open(folder: &Path) -> anyhow::Result<Folder> {
    if !folder.is_dir() {
        bail!("{} is not a folder: name the `log` folder in a node's data folder", folder.display());
    }
    let log = folder.join("log");
    if log.is_dir() {
        bail!("{} is a node's data folder: its log is {}", folder.display(), log.display());
    }
    Folder::open(folder).with_context(|| format!("cannot open {}", folder.display()))
}

fn print_row(out: &mut impl std::io::Write, row: &Row, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        serde_json::to_writer(&mut *out, row)?;
        out.write_all(b"\n")?;
        return Ok(());
    }
    match row {
        Row::Segment { file, generation, is_base, .. } => {
            writeln!(
                out,
                "segment {file}, generation {generation}{}",
                if *is_base { ", compacted start" } else { "" }
            )?;
        }
        Row::Batch { place, batch, record_count, body_bytes, .. } => {
            writeln!(
                out,
                "  batch {batch} at {}: {record_count} records, {body_bytes} bytes",
                at(place.segment, place.offset)
            )?;
        }
        Row::Record { place, sequence, stream, payload_bytes } => {
            writeln!(
                out,
                "    record {sequence} of {stream:#x} at {}: {payload_bytes} bytes",
                at(place.segment, place.offset)
            )?;
        }
    }
    Ok(())
}

fn at(segment: u64, offset: u64) -> String {
    format!("{}:{offset}", segment_name(segment))
}

fn print_verdict(verdict: &Verdict, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        say!("{}", serde_json::to_string(verdict)?);
    } else {
        say!(
            "log of node {} of cluster {}: {} segments, {} batches, {} records, {} bytes",
            verdict.node,
            verdict.cluster,
            verdict.segment_count,
            verdict.batch_count,
            verdict.record_count,
            verdict.payload_bytes
        );
        if let Some(torn) = &verdict.torn {
            say!(
                "torn end, never acknowledged; a node cuts it when it starts: {} bytes at {}:{}",
                torn.bytes,
                torn.file,
                torn.offset
            );
        }
    }
    std::io::stdout().flush()?;
    match &verdict.damage {
        Some(damage) => bail!("damaged: {damage}"),
        None => Ok(()),
    }
}
