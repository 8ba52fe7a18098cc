//! Keys and values: ranges from views, everything else through the log.
//!
//! A linearizable read waits until this node's view holds every write acknowledged anywhere, of *any* key: its header
//! carries the store's revision, which clients take for the present one of the whole store (Kubernetes reads one key to
//! learn how far its caches must be). [`Limits::reads_by_key`](super::Limits::reads_by_key) gives that up for speed.

use std::sync::Arc;

use futures_core::Stream;
use prost::Message;
use quorate_machines::kv::{Answer, Command, Done, Op, Revision, SortOrder, SortTarget, Span, Txn};
use tonic::{Request, Response, Status};

use super::convert;
use super::errors::EtcdError;
use super::gateway::Gateway;
use super::generated::etcdserverpb::{self as pb, kv_server};
use crate::keyspace::View;

/// The KV service.
#[derive(Clone, Debug)]
pub struct Kv(pub Gateway);

#[tonic::async_trait]
impl kv_server::Kv for Kv {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let gateway = &self.0;
        gateway.check_leader(request.metadata())?;
        let request = request.into_inner();
        let serializable = request.serializable;
        let range = convert::range(request)?;
        let view = gateway.view_for(serializable, range.revision, || vec![range.span.clone()]).await?;
        let found = view.range(&range).map_err(EtcdError::from)?;
        Ok(Response::new(convert::found(Some(gateway.header(view.revision())), found)))
    }

    type RangeStreamStream = RangeChunks;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let gateway = &self.0;
        gateway.check_leader(request.metadata())?;
        let request = request.into_inner();
        let serializable = request.serializable;
        let range = convert::range(request)?;
        let filtered =
            [range.min_mod_revision, range.max_mod_revision, range.min_create_revision, range.max_create_revision];
        if range.sort_order == SortOrder::Descend || range.sort_target != SortTarget::Key {
            return Err(Status::unimplemented("etcdserver: RangeStream does not support custom sort"));
        }
        if filtered.iter().any(|revision| *revision != Revision(0)) {
            return Err(Status::unimplemented("etcdserver: RangeStream does not support revision filters"));
        }
        let view = gateway.view_for(serializable, range.revision, || vec![range.span.clone()]).await?;
        Ok(Response::new(RangeChunks::new(gateway.header(view.revision()), view, range)))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let gateway = &self.0;
        gateway.check_leader(request.metadata())?;
        let put = convert::put(gateway.fits(request.into_inner())?)?;
        let (revision, done) = gateway.propose(Command::Put(put)).await?;
        let Done::Put(prev_kv) = done else { return Err(foreign_answer()) };
        Ok(Response::new(convert::put_done(Some(gateway.header(revision)), prev_kv)))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let gateway = &self.0;
        gateway.check_leader(request.metadata())?;
        let delete = convert::delete(gateway.fits(request.into_inner())?)?;
        let (revision, done) = gateway.propose(Command::Delete(delete)).await?;
        let Done::Delete(deleted, prev_kvs) = done else { return Err(foreign_answer()) };
        Ok(Response::new(convert::delete_done(Some(gateway.header(revision)), deleted, prev_kvs)))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let gateway = &self.0;
        gateway.check_leader(request.metadata())?;
        let request = gateway.fits(request.into_inner())?;
        let serializable = !reads(&request).is_empty() && reads(&request).iter().all(|range| range.serializable);
        let txn = convert::txn(request, gateway.limits.txn_ops_max)?;
        let (revision, done) = if txn.is_read_only() {
            let (spans, revision) = footprint(&txn);
            let view = gateway.view_for(serializable, revision, || spans).await?;
            (view.revision(), view.txn_read(&txn).map_err(EtcdError::from)?)
        } else {
            match gateway.propose(Command::Txn(txn)).await? {
                (revision, Done::Txn(done)) => (revision, done),
                _ => return Err(foreign_answer()),
            }
        };
        Ok(Response::new(convert::txn_done(gateway.header(revision), done)))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let gateway = &self.0;
        gateway.check_leader(request.metadata())?;
        // What is compacted can't be read from here on, whether or not its bytes are swept yet: `physical` has no more to
        // wait for.
        let revision = convert::revision(request.into_inner().revision);
        let (revision, _) = gateway.propose(Command::Compact(revision)).await?;
        Ok(Response::new(pb::CompactionResponse { header: Some(gateway.header(revision)) }))
    }
}

/// A command was answered with what another kind of command does.
pub(super) fn foreign_answer() -> Status {
    Status::internal("etcdserver: the store's answer does not fit the request")
}

impl Gateway {
    /// Refuses what is too large for the log.
    pub(super) fn fits<M: Message>(&self, request: M) -> Result<M, EtcdError> {
        if request.encoded_len() > self.limits.request_bytes_max {
            return Err(EtcdError::RequestTooLarge);
        }
        Ok(request)
    }

    /// Orders a command; answers with the store's revision after it and what it did.
    pub(super) async fn propose(&self, command: Command) -> Result<(Revision, Done), EtcdError> {
        let Answer { revision, outcome } = self.keyspace.propose(command).await?;
        Ok((revision, outcome?))
    }

    /// The view that a read of `spans` at `revision` (0: now) is answered from.
    pub(super) async fn view_for(
        &self,
        serializable: bool,
        revision: Revision,
        spans: impl FnOnce() -> Vec<Span>,
    ) -> Result<View, EtcdError> {
        if serializable {
            return Ok(self.keyspace.peek().await?);
        }
        // Any write may be the one that reaches a revision learned elsewhere.
        let by_key = self.limits.reads_by_key && revision == Revision(0);
        Ok(self.keyspace.read(if by_key { spans() } else { vec![Span::all()] }).await?)
    }

    /// The store as this node has it.
    pub(super) async fn view_here(&self) -> Result<View, EtcdError> {
        Ok(self.keyspace.peek().await?)
    }

    /// A linearizable view of everything.
    pub(super) async fn view_of_all(&self) -> Result<View, EtcdError> {
        self.view_for(false, Revision(0), || vec![Span::all()]).await
    }
}

/// All ranges of a transaction.
fn reads(txn: &pb::TxnRequest) -> Vec<&pb::RangeRequest> {
    use pb::request_op::Request;
    let mut found = Vec::new();
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => found.push(range),
            Some(Request::RequestTxn(txn)) => found.extend(reads(txn)),
            Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => {}
        }
    }
    found
}

/// What a read-only transaction looks at, and the newest revision that it names.
fn footprint(txn: &Txn) -> (Vec<Span>, Revision) {
    let mut spans: Vec<Span> = txn.compare.iter().map(|compare| compare.span.clone()).collect();
    let mut newest = Revision(0);
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Range(range) => {
                spans.push(range.span.clone());
                newest = newest.max(range.revision);
            }
            Op::Txn(txn) => {
                let (inner, revision) = footprint(txn);
                spans.extend(inner);
                newest = newest.max(revision);
            }
            Op::Put(_) | Op::Delete(_) => {}
        }
    }
    (spans, newest)
}

/// A range in pieces, all of one view: the header, the count and whether there is more come with the last.
#[derive(Debug)]
pub struct RangeChunks {
    header: pb::ResponseHeader,
    view: Arc<View>,
    range: quorate_machines::kv::Range,
    /// What is left of the limit; `None` without one.
    left: Option<u64>,
    count: Option<u64>,
    done: bool,
}

/// So many keys are read for one piece.
const CHUNK_KEYS: u64 = 512;

impl RangeChunks {
    fn new(header: pb::ResponseHeader, view: View, range: quorate_machines::kv::Range) -> Self {
        let left = (range.limit > 0).then_some(range.limit);
        Self { header, view: Arc::new(view), range, left, count: None, done: false }
    }

    fn chunk(&mut self) -> Result<pb::RangeStreamResponse, EtcdError> {
        let limit = self.left.map_or(CHUNK_KEYS, |left| left.min(CHUNK_KEYS));
        let found = self.view.range(&quorate_machines::kv::Range { limit, ..self.range.clone() })?;
        let count = *self.count.get_or_insert(found.count);
        let taken = found.kvs.len() as u64;
        self.left = self.left.map(|left| left - taken);
        self.done = !found.more || self.left == Some(0);
        let more = self.done && found.more;
        if let Some(last) = found.kvs.last() {
            let after = [&last.key[..], b"\0"].concat().into();
            self.range.span = match self.range.span.clone() {
                Span::Range(_, end) => Span::Range(after, end),
                Span::Key(_) | Span::From(_) => Span::From(after),
            };
        }
        let mut response = convert::found(None, found);
        (response.count, response.more) = if self.done { (convert::wire(count), more) } else { (0, false) };
        response.header = self.done.then_some(self.header);
        Ok(pb::RangeStreamResponse { range_response: Some(response) })
    }
}

impl Stream for RangeChunks {
    type Item = Result<pb::RangeStreamResponse, Status>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        if self.done {
            return std::task::Poll::Ready(None);
        }
        let chunk = self.chunk();
        self.done |= chunk.is_err();
        std::task::Poll::Ready(Some(chunk.map_err(Status::from)))
    }
}
