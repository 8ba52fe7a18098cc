//! `quorate bench`: a load on anything that speaks etcd's API, and what it cost.
//!
//! | file         | what                                                          |
//! |--------------|---------------------------------------------------------------|
//! | `connection` | gRPC with as little CPU as HTTP/2 allows                       |
//! | `plan`       | keys, values and requests, all from one seed                   |
//! | `load`       | closed and open loop, over single-threaded runtimes            |
//! | `watch`      | how late an event is, and how many can hear it                 |
//! | `report`     | percentiles, errors by kind, CPU, as text or JSON              |
//!
//! Two rules keep the figures honest. With `--rate` a latency counts from the moment at which the request was *due*, so a
//! server that stalls is charged for all that queued behind it. And the client's own CPU is printed beside each result: where it
//! is near the number of threads, the client is what was measured.

pub mod connection;
mod load;
mod plan;
mod report;
mod watch;

use std::time::Duration;

use connection::CallError;
pub use report::{Latency, Report};

/// Puts a load on a server of etcd's API and prints what it did.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate bench put --clients 64 --duration-s 10
  quorate bench get --serializable --clients 1000 --connections 100
  quorate bench mixed --writes-percent 10 --rate 5000
  quorate bench watch --clients 100 --rate 200 --output json")]
pub struct BenchArgs {
    /// What to do.
    #[arg(value_enum)]
    pub workload: Workload,
    /// Where to, `host:port`, separated by commas; connections are spread over them.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379",
        env = "QUORATE_ENDPOINTS"
    )]
    pub endpoints: Vec<String>,
    /// How many clients, each with one request in flight (for `watch`: how many watchers).
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: u32,
    /// How many connections; by default one a client, but at most 16.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: Option<u32>,
    /// Threads of the load generator, each with a runtime of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    pub duration_s: f64,
    /// How many requests, in place of a duration.
    #[arg(long)]
    pub count: Option<u64>,
    /// Requests a second over all clients, sent when they are due; by default each client sends the next one at once.
    #[arg(long)]
    pub rate: Option<f64>,
    /// How many different keys.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub keys: u64,
    /// Bytes of a key.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(8..=4096))]
    pub key_bytes: u16,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub value_bytes: u32,
    /// Keys that one `range` reads.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub range_keys: u64,
    /// Read what the asked node has, perhaps behind, in place of the newest.
    #[arg(long)]
    pub serializable: bool,
    /// Writes among the requests of `mixed`.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub writes_percent: u8,
    /// How long to wait for an answer.
    #[arg(long, default_value_t = 10.0)]
    pub patience_s: f64,
    /// Where chance begins: the same seed asks the same requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Leave out writing all keys before a workload that reads.
    #[arg(long)]
    pub no_fill: bool,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Write a random key.
    Put,
    /// Write the keys one after the other, each once: fills a store.
    Fill,
    /// Read a random key.
    Get,
    /// Write a random key if nobody did since this client last saw it; a lost race reads it.
    Cas,
    /// Read some keys in a row.
    Range,
    /// Read and write random keys.
    Mixed,
    /// Write, and measure until each watcher has heard.
    Watch,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One line of JSON.
    Json,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An argument has no meaning. Nothing was sent.
    #[error("{0}")]
    Argument(String),
    /// The keys could not be written beforehand. Some may be.
    #[error("cannot prepare: {0}")]
    Prepare(#[source] CallError),
    /// No connection to an endpoint, or no watch on it. Nothing was measured.
    #[error("cannot start: {0}")]
    Start(#[source] CallError),
    /// The system refused a thread or a runtime. Nothing was measured.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The result cannot be written as JSON.
    #[error("cannot write the result: {0}")]
    Write(#[from] serde_json::Error),
}

impl BenchArgs {
    /// Connections in all, so that none is without a client.
    fn connection_count(&self) -> u32 {
        self.connections.unwrap_or(self.clients.min(16)).min(self.clients)
    }

    /// Threads in all, so that none is without a connection.
    fn thread_count(&self) -> u32 {
        u32::from(self.threads).min(self.connection_count())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.patience_s)
    }

    fn check(&self) -> Result<(), BenchError> {
        let positive = |name: &str, value: f64, most: f64| match value > 0.0 && value <= most {
            true => Ok(()),
            false => Err(BenchError::Argument(format!("--{name} is {value}: give more than 0 and at most {most}"))),
        };
        positive("duration-s", self.duration_s, 86_400.0)?;
        positive("patience-s", self.patience_s, 3_600.0)?;
        self.rate.map_or(Ok(()), |rate| positive("rate", rate, 10_000_000.0))?;
        if self.endpoints.iter().any(|endpoint| !endpoint.contains(':')) {
            return Err(BenchError::Argument("--endpoints: give each as host:port".into()));
        }
        if self.workload == Workload::Range && self.range_keys > self.keys {
            return Err(BenchError::Argument("--range-keys is more than --keys".into()));
        }
        Ok(())
    }
}

/// Runs the workload. The threads of the load have runtimes of their own; the caller's only waits.
///
/// # Errors
/// See [`BenchError`]. A request that failed is no error: it is counted in the report.
pub async fn run(args: BenchArgs) -> Result<Report, BenchError> {
    args.check()?;
    let fills = matches!(args.workload, Workload::Get | Workload::Cas | Workload::Range | Workload::Mixed);
    if fills && !args.no_fill {
        plan::fill(&args).await?;
    }
    let (done, finished) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("bench".into()).spawn(move || {
        let outcome = match args.workload {
            Workload::Watch => watch::run(&args),
            _ => load::run(&args),
        };
        // Nobody listens any more only when the caller was stopped, and then nobody wants the result.
        drop(done.send(outcome));
    })?;
    finished.await.unwrap_or_else(|_| Err(BenchError::Argument("the load stopped without a result".into())))
}

/// Runs the workload and prints the result as asked.
///
/// # Errors
/// See [`BenchError`].
pub async fn run_and_print(args: BenchArgs) -> Result<(), BenchError> {
    let output = args.output;
    let report = run(args).await?;
    match output {
        Output::Text => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string(&report)?),
    }
    Ok(())
}
