//! `etcdctl` as a client: etcd's own client library, with its own idea of which node to ask and when to ask again. It puts
//! and reads, one process a request, and is judged like the others.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::history::{Ask, Key, Operation, Run, SLOTS, Seen, Told, Value};

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(400);
/// How much longer than its own patience a process may take to say that it gave up.
const GRACE: Duration = Duration::from_secs(10);

/// Whether this machine has it.
pub async fn is_here() -> bool {
    let asked = Command::new("etcdctl").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.await.is_ok_and(|status| status.success())
}

/// Asks until the run stops.
pub async fn ask_on(run: Arc<Run>, number: u32, patience: Duration) {
    let mut chance = ChaCha8Rng::seed_from_u64(run.seed.wrapping_mul(1_000_003) + u64::from(number) + 1);
    while !run.is_stopped() {
        let group = chance.random_range(0..run.groups);
        let ask = match chance.random_range(0..2) {
            0 => Ask::Get(group),
            _ => Ask::Put(Key { group, slot: chance.random_range(0..SLOTS) }),
        };
        let value = run.number();
        let invoked = run.now();
        let outcome = timeout(patience + GRACE, call(&run, ask, value, patience)).await;
        let returned = run.now();
        let told = match outcome {
            Ok(Ok(told)) => told,
            Ok(Err(error)) => Told::Unknown(format!("etcdctl: {error:#}")),
            Err(_) => Told::Unknown("etcdctl: no answer in time".into()),
        };
        run.write().operations.push(Operation { number: value, client: number, ask, invoked, returned, told });
        sleep(PAUSE).await;
    }
}

async fn call(run: &Run, ask: Ask, value: Value, patience: Duration) -> anyhow::Result<Told> {
    let endpoints: Vec<&str> = run.here().map(String::as_str).collect();
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").arg("--endpoints").arg(endpoints.join(","));
    command.arg("--command-timeout").arg(format!("{}ms", patience.as_millis())).args(["--write-out", "fields"]);
    match ask {
        Ask::Put(key) => command.arg("put").arg(key.name()).arg(value.to_string()),
        _ => {
            let [from, to] = [0, SLOTS].map(|slot| Key { group: ask.group(), slot }.name());
            command.arg("get").arg(from).arg(to)
        }
    };
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default());
    }
    answer(ask, &String::from_utf8_lossy(&output.stdout))
}

/// What its lines `"Field" : value` say.
fn answer(ask: Ask, text: &str) -> anyhow::Result<Told> {
    let fields =
        || text.lines().filter_map(|line| line.split_once(" : ")).map(|(name, value)| (name.trim(), value.trim()));
    let revision = fields().find(|(name, _)| *name == "\"Revision\"").context("no revision")?.1.parse()?;
    let Ask::Get(group) = ask else { return Ok(Told::Done { revision, held: true, seen: None }) };
    let mut seen = Seen::default();
    let texts = |wanted: &'static str| {
        fields().filter(move |(name, _)| *name == wanted).map(|(_, value)| value.trim_matches('"').to_owned())
    };
    for (key, value) in texts("\"Key\"").zip(texts("\"Value\"")) {
        let key = Key::parse(key.as_bytes()).filter(|key| key.group == group && key.slot < SLOTS);
        let key = key.context("a key that was never written")?;
        seen[key.slot as usize] = Some(value.parse().context("a value that was never written")?);
    }
    Ok(Told::Done { revision, held: true, seen: Some(seen) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_etcdctl_prints_it() {
        let text = "\"ClusterID\" : 7\n\"MemberID\" : 2\n\"Revision\" : 12\n\"RaftTerm\" : 1\n\"Key\" : \"chaos/0003/1\"\n\
                    \"CreateRevision\" : 3\n\"ModRevision\" : 9\n\"Version\" : 4\n\"Value\" : \"41\"\n\"Lease\" : 0\n\
                    \"More\" : false\n\"Count\" : 1\n";
        let told = answer(Ask::Get(3), text).expect("it is one");
        assert_eq!(told, Told::Done { revision: 12, held: true, seen: Some([None, Some(41)]) });
        assert!(answer(Ask::Get(2), text).is_err(), "the key is of another group");
        assert!(answer(Ask::Get(3), "Error: context deadline exceeded").is_err());
    }
}
