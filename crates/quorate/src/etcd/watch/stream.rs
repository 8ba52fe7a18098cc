//! One stream of watches: what the client asks goes to the hub, what the hub queued goes to the client.
//!
//! Both directions are one stream that the connection polls: no task of its own, and a client that does not read its
//! events is not read from either, which bounds what it can make us keep.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::hub::{Outlet, watched};
use super::outbox::Wish;
use crate::etcd::convert;
use crate::etcd::errors::EtcdError;
use crate::etcd::gateway::Gateway;
use crate::etcd::generated::etcdserverpb as pb;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

/// So many wishes are read before what is queued gets its turn.
const WISHES_AT_ONCE: usize = 64;
/// A stream that requires a leader ends when there was none for so long: three of etcd's election timeouts.
const LEADERLESS_MAX: Duration = Duration::from_secs(3);

/// A stream of watches; `S` is what its client asks.
pub struct WatchStream<S> {
    outlet: Outlet,
    wishes: Option<S>,
    gateway: Gateway,
    /// When to tell quiet watchers how far the store is; set once one asks for that.
    notice: Option<Pin<Box<Sleep>>>,
    leaderless: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> WatchStream<S> {
    pub(crate) async fn open(gateway: Gateway, wishes: S, requires_leader: bool) -> Result<Self, EtcdError> {
        let outlet = gateway.hub.open().await?;
        let leaderless = requires_leader.then(|| Box::pin(leaderless(gateway.clone())) as _);
        Ok(Self { outlet, wishes: Some(wishes), gateway, notice: None, leaderless })
    }

    fn take(&mut self, request: pb::WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => self.outlet.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.outlet.progress(),
            None => {} // a wish of a later version: etcd passes over it too
        }
    }

    fn create(&mut self, create: pb::WatchCreateRequest) {
        if create.start_revision < 0 {
            return self.outlet.refuse(EtcdError::Compacted.code_and_text().1);
        }
        let span = match watched(create.key, create.range_end) {
            Ok(span) => span,
            Err(reason) => return self.outlet.refuse(reason),
        };
        if create.progress_notify && self.notice.is_none() {
            self.notice = Some(Box::pin(tokio::time::sleep(self.notice_interval())));
        }
        self.outlet.create(Wish {
            span,
            start: (create.start_revision > 0).then(|| convert::revision(create.start_revision)),
            watch_id: create.watch_id,
            prev_kv: create.prev_kv,
            puts: !create.filters.contains(&(FilterType::Noput as i32)),
            deletes: !create.filters.contains(&(FilterType::Nodelete as i32)),
            progress_notify: create.progress_notify,
            fragment_bytes: create.fragment.then(|| self.gateway.limits.message_bytes_max()),
        });
    }

    /// The interval, and up to a tenth more, so that the streams do not all speak at once.
    fn notice_interval(&self) -> Duration {
        let interval = self.gateway.limits.progress_interval;
        let chance = getrandom::u32().unwrap_or(0); // without chance they do speak at once, which is only a burden
        interval + interval.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 10.0)
    }
}

async fn leaderless(gateway: Gateway) {
    let mut leadership = gateway.leadership();
    loop {
        if leadership.wait_for(|leads| !leads).await.is_err() {
            return;
        }
        match tokio::time::timeout(LEADERLESS_MAX, leadership.wait_for(|leads| *leads)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

impl<S> Stream for WatchStream<S>
where
    S: Stream<Item = Result<pb::WatchRequest, Status>> + Unpin,
{
    type Item = Result<pb::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        for turn in 0.. {
            let Some(wishes) = &mut this.wishes else { break };
            if turn == WISHES_AT_ONCE || this.outlet.is_full() {
                cx.waker().wake_by_ref(); // what is queued first, then more wishes
                break;
            }
            match Pin::new(wishes).poll_next(cx) {
                Poll::Ready(Some(Ok(request))) => this.take(request),
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                Poll::Ready(None) => this.wishes = None, // the client has no more wishes, but goes on listening
                Poll::Pending => break,
            }
        }
        if let Some(leaderless) = &mut this.leaderless
            && leaderless.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(EtcdError::NoLeader.status())));
        }
        while let Some(notice) = &mut this.notice
            && notice.as_mut().poll(cx).is_ready()
        {
            this.outlet.notify();
            let next = Instant::now() + this.notice_interval();
            if let Some(notice) = &mut this.notice {
                notice.as_mut().reset(next);
            }
        }
        let mut response = ready!(this.outlet.poll(cx));
        let revision = response.header.map_or(0, |header| header.revision);
        response.header = Some(pb::ResponseHeader { revision, ..this.gateway.header_without_revision() });
        Poll::Ready(Some(Ok(response)))
    }
}
