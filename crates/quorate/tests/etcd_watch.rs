//! Watches, as a client sees them.

mod support;

use std::time::Duration;

use quorate::etcd::Limits;
use quorate::etcd::generated::etcdserverpb as pb;
use quorate::etcd::generated::mvccpb::event::EventType;
use support::{Server, of_all, of_key, soon, start, start_with};

/// The revisions of the events of `answers`.
fn revisions(answer: &pb::WatchResponse) -> Vec<i64> {
    answer.events.iter().map(|event| event.kv.as_ref().expect("an event has a key").mod_revision).collect()
}

async fn puts(server: &Server, count: usize, value: &[u8]) {
    for n in 0..count {
        server.put(format!("k{}", n % 10), value).await;
    }
}

#[tokio::test]
async fn the_past_comes_at_once_and_whole() {
    let server = start().await;
    puts(&server, 5, b"v").await;
    let mut watching = server.watch().await;
    watching.create(of_all(2)).await;
    assert_eq!(watching.created().await.header.expect("a header").revision, 6);
    assert_eq!(revisions(&watching.next().await), [2, 3, 4, 5, 6]);
    server.put("new", "v").await;
    assert_eq!(revisions(&watching.next().await), [7]);
}

#[tokio::test]
async fn events_come_once_and_in_order_however_history_and_writes_meet() {
    let server = start().await;
    puts(&server, 1_500, b"v").await; // more than is read of history at once
    let writer = async { puts(&server, 300, b"v").await };
    let watchers = async {
        let mut watching = server.watch().await;
        let starts = [2, 700, 1_400, 1_501, 1_502];
        for start_revision in starts {
            watching.create(of_all(start_revision)).await;
        }
        let mut next: Vec<i64> = starts.to_vec();
        while next.iter().any(|next| *next <= 1_801) {
            let answer = watching.next().await;
            let watcher = usize::try_from(answer.watch_id).expect("from 0 on");
            for revision in revisions(&answer) {
                assert_eq!(revision, next[watcher], "watcher {watcher} hears each revision once and in order");
                next[watcher] += 1;
            }
        }
    };
    tokio::join!(writer, watchers);
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_nothing() {
    let server = start().await;
    let mut watching = server.watch().await;
    watching.create(of_all(0)).await;
    watching.created().await;
    puts(&server, 1_000, &[7; 8 << 10]).await; // 8 MB: far over what a stream may queue
    let mut next = 2;
    while next <= 1_001 {
        for revision in revisions(&watching.next().await) {
            assert_eq!(revision, next);
            next += 1;
        }
    }
}

#[tokio::test]
async fn the_future_waits_and_hears_of_nothing_older() {
    let server = start().await;
    let mut watching = server.watch().await;
    watching.create(of_all(4)).await;
    watching.created().await;
    watching.progress().await;
    puts(&server, 4, b"v").await;
    let (mut heard, mut answers) = (Vec::new(), Vec::new());
    while heard.last() != Some(&5) {
        answers.push(watching.next().await);
        heard.extend(revisions(answers.last().expect("one was pushed")));
    }
    assert_eq!(heard, [4, 5]);
    assert!(answers.iter().all(|answer| !answer.events.is_empty()), "no progress before the start: {answers:?}");
}

#[tokio::test]
async fn who_asks_for_what_is_compacted_is_told_from_where_it_can() {
    let server = start().await;
    puts(&server, 5, b"v").await;
    let compact = pb::CompactionRequest { revision: 4, physical: true };
    soon(server.kv().compact(compact)).await.expect("a compaction");
    let mut watching = server.watch().await;
    watching.create(of_all(3)).await;
    watching.created().await;
    let answer = watching.next().await;
    assert!(answer.canceled);
    assert_eq!(answer.compact_revision, 4);
    watching.create(of_all(4)).await;
    watching.created().await;
    assert_eq!(revisions(&watching.next().await), [4, 5, 6], "the compacted revision itself is still there");
}

#[tokio::test]
async fn wishes_that_are_none_are_answered_and_the_stream_goes_on() {
    let server = start().await;
    let mut watching = server.watch().await;
    let named = |watch_id| pb::WatchCreateRequest { watch_id, ..of_key("a", 0) };
    watching.create(named(5)).await;
    assert_eq!(watching.created().await.watch_id, 5);
    let empty = pb::WatchCreateRequest { range_end: "a".into(), ..of_key("b", 0) };
    for (wish, reason) in [
        (named(5), "mvcc: duplicate watch ID provided on the WatchStream"),
        (empty, "mvcc: watcher range is empty"),
        (of_key("a", -1), "etcdserver: mvcc: required revision has been compacted"),
    ] {
        watching.create(wish).await;
        let answer = watching.next().await;
        assert!(answer.created && answer.canceled);
        assert_eq!((answer.watch_id, answer.cancel_reason.as_str()), (-1, reason));
    }
    server.put("a", "v").await;
    assert_eq!(watching.next().await.watch_id, 5);
}

#[tokio::test]
async fn filters_and_previous_values_are_as_asked() {
    use pb::watch_create_request::FilterType;
    let server = start().await;
    let mut watching = server.watch().await;
    let filter = |filter: FilterType, watch_id| pb::WatchCreateRequest {
        filters: vec![filter as i32],
        prev_kv: true,
        watch_id,
        ..of_key("a", 0)
    };
    watching.create(filter(FilterType::Noput, 1)).await;
    watching.create(filter(FilterType::Nodelete, 2)).await;
    watching.created().await;
    watching.created().await;
    server.put("a", "1").await;
    server.put("a", "2").await;
    server.delete("a").await;
    let (mut put, mut deleted) = (Vec::new(), Vec::new());
    while put.len() < 2 || deleted.is_empty() {
        let answer = watching.next().await;
        if answer.watch_id == 1 { deleted.extend(answer.events) } else { put.extend(answer.events) }
    }
    assert!(put.iter().all(|event| event.r#type() == EventType::Put));
    assert_eq!(put[0].prev_kv, None, "what created the key had nothing before it");
    assert_eq!(put[1].prev_kv.as_ref().map(|kv| kv.value.clone()), Some("1".into()));
    assert_eq!(deleted[0].r#type(), EventType::Delete);
    assert_eq!(deleted[0].prev_kv.as_ref().map(|kv| kv.value.clone()), Some("2".into()));
    let gone = deleted[0].kv.as_ref().expect("a key");
    assert_eq!((gone.create_revision, gone.version, gone.mod_revision), (0, 0, 4));
}

#[tokio::test]
async fn progress_is_told_when_asked_and_when_it_was_quiet() {
    let limits = Limits { progress_interval: Duration::from_millis(100), ..Limits::default() };
    let server = start_with(1, limits).await;
    let mut watching = server.watch().await;
    watching.create(of_key("a", 0)).await;
    watching.created().await;
    let revision = server.put("other", "v").await;
    watching.progress().await;
    let answer = watching.next().await;
    assert_eq!((answer.watch_id, answer.events.len()), (-1, 0));
    assert_eq!(answer.header.expect("a header").revision, revision);

    watching.create(pb::WatchCreateRequest { progress_notify: true, watch_id: 9, ..of_key("b", 0) }).await;
    watching.created().await;
    let answer = watching.next().await;
    assert_eq!((answer.watch_id, answer.events.len()), (9, 0));
    assert_eq!(answer.header.expect("a header").revision, revision);
}

#[tokio::test]
async fn one_revision_is_one_answer_unless_fragments_are_asked_for() {
    let server = start().await;
    let mut watching = server.watch().await;
    watching.create(pb::WatchCreateRequest { fragment: true, watch_id: 1, prev_kv: true, ..of_all(0) }).await;
    watching.create(pb::WatchCreateRequest { watch_id: 2, prev_kv: true, ..of_all(0) }).await;
    watching.created().await;
    watching.created().await;
    for _ in 0..2 {
        let put = |n: usize| pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
                key: format!("k{n}").into(),
                value: vec![7; 190 << 10].into(),
                ..Default::default()
            })),
        };
        let txn = pb::TxnRequest { success: (0..8).map(put).collect(), ..Default::default() };
        soon(server.kv().txn(txn)).await.expect("a transaction");
    }
    // With what was there before, the second revision has some 3 MB, and an answer at most 2.
    let (mut parts, mut wholes) = (Vec::new(), Vec::new());
    while wholes.len() < 2 || parts.iter().filter(|part: &&pb::WatchResponse| !part.fragment).count() < 2 {
        let answer = watching.next().await;
        if answer.watch_id == 1 { parts.push(answer) } else { wholes.push(answer) }
    }
    assert!(wholes.iter().all(|whole| whole.events.len() == 8 && !whole.fragment));
    assert!(parts.len() > 2, "the second revision does not fit one answer");
    assert_eq!(parts.iter().map(|part| part.events.len()).sum::<usize>(), 16);
}

#[tokio::test]
async fn a_cancelled_watcher_hears_no_more() {
    let server = start().await;
    let mut watching = server.watch().await;
    watching.create(of_key("a", 0)).await;
    watching.create(of_key("a", 0)).await;
    assert_eq!(watching.created().await.watch_id, 0);
    assert_eq!(watching.created().await.watch_id, 1);
    watching.cancel(0).await;
    watching.cancel(77).await; // of nobody: no answer
    let answer = watching.next().await;
    assert!(answer.canceled && answer.watch_id == 0);
    server.put("a", "v").await;
    assert_eq!(watching.next().await.watch_id, 1);
    watching.progress().await;
    assert_eq!(watching.next().await.watch_id, -1, "and watcher 0 was told nothing");
}

#[tokio::test]
async fn a_thousand_watchers_and_a_hundred_streams_all_hear() {
    let server = start().await;
    let mut many = server.watch().await;
    let mut others = Vec::new();
    for _ in 0..1_000 {
        many.create(of_key("a", 0)).await;
        many.created().await;
    }
    for _ in 0..100 {
        let mut watching = server.watch().await;
        watching.create(of_key("a", 0)).await;
        watching.created().await;
        others.push(watching);
    }
    server.put("a", "v").await;
    let mut heard: Vec<i64> = Vec::new();
    for _ in 0..1_000 {
        heard.push(many.next().await.watch_id);
    }
    heard.sort_unstable();
    assert!(heard.into_iter().eq(0..1_000));
    for other in &mut others {
        assert_eq!(revisions(&other.next().await), [2]);
    }
}
