//! The load of a run, and its end: clients and watchers are started, stopped, and judged.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::JoinHandle;

use crate::history::{History, Run};
use crate::judge::{self, Verdict};
use crate::{client, etcdctl, watcher};

/// What clients do.
#[derive(clap::Args, Clone, Debug)]
pub struct LoadArgs {
    /// Clients that read and write.
    #[arg(long, default_value_t = 12)]
    pub clients: u32,
    /// Requests a second of each client.
    #[arg(long, default_value_t = 40.0)]
    pub rate: f64,
    /// Groups of two keys that they read and write.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub groups: u32,
    /// How long a client waits for an answer before it calls the outcome unknown.
    #[arg(long, default_value_t = 3.0)]
    pub patience_s: f64,
    /// Where chance begins. The faults come in the same order with the same seed; the threads do not.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where to write the history, one JSON object a line; by default only when it is refused.
    #[arg(long)]
    pub history: Option<PathBuf>,
}

impl LoadArgs {
    fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.patience_s)
    }
}

/// Clients and watchers at work.
pub struct Load {
    run: Arc<Run>,
    args: LoadArgs,
    /// The revision that the cluster was at before.
    base: i64,
    clients: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<()>>,
}

/// What is left when all is over.
pub struct Ended {
    /// What they wrote down.
    pub history: History,
    /// What the judge says of it.
    pub verdict: Verdict,
    args: LoadArgs,
}

impl Load {
    /// Starts it against the first `here_count` of `endpoints`. Nodes may come to the others later.
    ///
    /// # Errors
    /// When the first one does not answer.
    pub async fn start(endpoints: &[String], here_count: usize, args: &LoadArgs) -> anyhow::Result<Self> {
        let run = Arc::new(Run::new(endpoints, here_count, args.seed, args.groups));
        let base =
            client::revision(&endpoints[0]).await.context("the cluster does not answer before the first fault")?;
        let watchers =
            (0..=here_count).map(|number| tokio::spawn(watcher::watch(run.clone(), number, base + 1))).collect();
        let clients = (0..args.clients)
            .map(|number| tokio::spawn(client::Client::new(run.clone(), number, args.patience()).run(args.rate)))
            .collect();
        Ok(Self { run, args: args.clone(), base, clients, watchers })
    }

    /// Lets `etcdctl` ask too, `count` at a time.
    pub fn with_etcdctl(&mut self, count: u32) {
        let numbers = self.args.clients..self.args.clients + count;
        self.clients.extend(
            numbers.map(|number| tokio::spawn(etcdctl::ask_on(self.run.clone(), number, self.args.patience()))),
        );
    }

    /// What all of them share.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Ends it, and judges all that was seen.
    ///
    /// # Errors
    /// When a node does not say what it holds, which it is asked for long enough.
    pub async fn end(self) -> anyhow::Result<Ended> {
        self.run.stop();
        for client in self.clients {
            client.await.context("a client stopped")?;
        }
        let finals = client::finals(&self.run).await?;
        let last = finals.iter().map(|state| state.revision).max().unwrap_or(self.base);
        self.run.finish(last);
        for watcher in self.watchers {
            watcher.await.context("a watcher stopped")?;
        }
        let history = self.run.take();
        let verdict = judge::judge(&history, &finals, self.base);
        Ok(Ended { history, verdict, args: self.args })
    }
}

impl Ended {
    /// Prints what the judge says, and keeps a history that was refused.
    ///
    /// # Errors
    /// When it was refused, or cannot be kept.
    pub fn print(&self, name: &str) -> anyhow::Result<()> {
        println!("{}", self.verdict.summary);
        if let Some(path) = self.keep()? {
            println!("history: {}", path.display());
        }
        for accusation in &self.verdict.accusations {
            println!("  REFUSED: {accusation}");
        }
        let (passed, failed): (Vec<_>, Vec<_>) = self.verdict.checks().partition(|(_, passed)| *passed);
        println!("{name}: {} passed, {} failed", passed.len(), failed.len());
        self.result()
    }

    /// What the judge says, as an outcome.
    ///
    /// # Errors
    /// When the history was refused.
    pub fn result(&self) -> anyhow::Result<()> {
        if !self.verdict.is_good() {
            bail!("the history is not that of a correct store");
        }
        Ok(())
    }

    /// Writes the history where it was asked for, or else only if it was refused; where it is then.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self) -> anyhow::Result<Option<PathBuf>> {
        let refused = || (!self.verdict.is_good()).then(|| "chaos-history.jsonl".into());
        let Some(path) = self.args.history.clone().or_else(refused) else { return Ok(None) };
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        for line in self.history.lines() {
            writeln!(file, "{}", line?)?;
        }
        file.flush()?;
        Ok(Some(path))
    }
}
