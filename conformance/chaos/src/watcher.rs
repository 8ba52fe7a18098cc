//! A watcher: hears every change from a revision on. When its stream breaks it asks again from where it was, the first
//! ones always the same node as long as it is one, the last one the next node each time.

use std::sync::Arc;
use std::time::Duration;

use pb::watch_request::RequestUnion;
use quorate::bench::connection::{CallError, Connection};
use quorate::etcd::generated::etcdserverpb as pb;
use quorate::etcd::generated::mvccpb::event::EventType;
use tokio::time::{Instant, sleep, timeout};

use crate::client::parse_value;
use crate::history::{Event, Key, PREFIX, PREFIX_END, Run};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// How long a stream may take to be confirmed before it is asked for again.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// How often it looks whether the run is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long after the end it waits for what is missing. The judge says what is.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);

/// Watches from revision `next` until the run's last one was heard.
pub async fn watch(run: Arc<Run>, number: usize, mut next: i64) {
    let hops = number + 1 == run.write().watchers.len();
    let mut at = if hops { 0 } else { number };
    let mut over_since = None;
    loop {
        at = run.here_from(at);
        // What broke is asked for again; why it broke is the cluster's business, as long as nothing is missing at the end.
        if let Err(Ended::Malformed(why)) = listen(&run, number, at, &mut next, &mut over_since).await {
            return run.write().malformed.push(format!("watcher {number}: {why}"));
        }
        if is_over(&run, next, &mut over_since) {
            return;
        }
        if hops {
            at += 1;
        }
        sleep(PAUSE).await;
    }
}

/// Whether all was heard, or enough waited for it.
fn is_over(run: &Run, next: i64, over_since: &mut Option<Instant>) -> bool {
    if run.last_revision() == i64::MAX {
        return false;
    }
    let since = *over_since.get_or_insert_with(Instant::now);
    next > run.last_revision() || since.elapsed() > SETTLE_WITHIN
}

enum Ended {
    /// The stream broke.
    Broken,
    /// The server said what it never may.
    Malformed(String),
}

impl From<CallError> for Ended {
    fn from(_: CallError) -> Self {
        Self::Broken
    }
}

async fn listen(
    run: &Run,
    number: usize,
    at: usize,
    next: &mut i64,
    over_since: &mut Option<Instant>,
) -> Result<(), Ended> {
    let create = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: PREFIX.into(),
            range_end: PREFIX_END.into(),
            start_revision: *next,
            ..Default::default()
        })),
    };
    let open = async { Connection::open(&run.endpoints[at]).await?.stream(WATCH, &create).await };
    let (_outgoing, mut incoming) = timeout(CONFIRM_WITHIN, open).await.map_err(|_| Ended::Broken)??;
    loop {
        let answer = match timeout(LOOK_EVERY, incoming.next::<pb::WatchResponse>()).await {
            Err(_) if is_over(run, *next, over_since) => return Ok(()),
            Err(_) => continue,
            Ok(answer) => answer?.ok_or(Ended::Broken)?,
        };
        if answer.compact_revision != 0 {
            return Err(Ended::Malformed(format!("was told of a compaction at {}", answer.compact_revision)));
        }
        if answer.canceled {
            return Err(Ended::Broken);
        }
        let heard = run.now();
        for event in &answer.events {
            let kv = event.kv.as_ref().ok_or_else(|| Ended::Malformed("an event without a key".into()))?;
            let (Some(key), Some(value), EventType::Put) =
                (Key::parse(&kv.key), parse_value(&kv.value), event.r#type())
            else {
                return Err(Ended::Malformed(format!("heard of what nobody did: {event:?}")));
            };
            run.write().watchers[number].push(Event { revision: kv.mod_revision, key, value, heard });
            *next = (*next).max(kv.mod_revision + 1);
        }
    }
}
