//! Leases: granted and revoked through the log; their time is the head's business.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use quorate_machines::kv::{Command, Done, LeaseId, lease};
use tonic::{Request, Response, Status, Streaming};

use super::errors::EtcdError;
use super::gateway::Gateway;
use super::generated::etcdserverpb::{self as pb, lease_server};
use super::kv::foreign_answer;

/// The Lease service.
#[derive(Clone, Debug)]
pub struct Lease(pub Gateway);

/// So many names of our own choice may be taken before a grant is given up.
const NAMES_MAX: usize = 8;

impl Gateway {
    /// Makes a lease; an id of 0 lets us choose.
    pub(super) async fn grant(&self, id: i64, ttl_s: i64) -> Result<pb::LeaseGrantResponse, Status> {
        let ttl_s = lease::term_s(ttl_s, self.limits.lease_ttl_min_s).map_err(|_| EtcdError::LeaseTtlTooLarge)?;
        for _ in 0..NAMES_MAX {
            let chosen = if id == 0 { fresh_id()? } else { id };
            match self.propose(Command::LeaseGrant { id: LeaseId(chosen), ttl_s }).await {
                Ok((revision, Done::LeaseGranted(ttl))) => {
                    let header = Some(self.header(revision));
                    return Ok(pb::LeaseGrantResponse { header, id: chosen, ttl, error: String::new() });
                }
                Ok(_) => return Err(foreign_answer()),
                Err(EtcdError::LeaseExists) if id == 0 => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EtcdError::LeaseExists.into())
    }

    async fn keep_alive(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let header = Some(self.header(self.keyspace.revision()));
        let ttl = self.keyspace.keep_alive(LeaseId(id)).await?.unwrap_or(0);
        Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
    }
}

/// A positive number by chance.
fn fresh_id() -> Result<i64, Status> {
    let chance = getrandom::u64().map_err(|_| Status::internal("etcdserver: no randomness for a lease's name"))?;
    Ok(i64::try_from(chance >> 1).expect("63 bits fit").max(1))
}

#[tonic::async_trait]
impl lease_server::Lease for Lease {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let request = request.into_inner();
        self.0.grant(request.id, request.ttl).await.map(Response::new)
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let (revision, _) = self.0.propose(Command::LeaseRevoke(LeaseId(request.into_inner().id))).await?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: Some(self.0.header(revision)) }))
    }

    type LeaseKeepAliveStream = KeepAlives<Streaming<pb::LeaseKeepAliveRequest>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        self.0.check_leader(request.metadata())?;
        Ok(Response::new(KeepAlives::new(self.0.clone(), request.into_inner())))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let pb::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let time = self.0.keyspace.remaining(LeaseId(id)).await?;
        let view = if keys { self.0.view_of_all().await? } else { self.0.view_here().await? };
        let (ttl, granted_ttl) = time.map_or((-1, 0), |time| (time.remaining_s, time.granted_s));
        let keys = if keys && time.is_some() { view.lease_keys(LeaseId(id)) } else { Vec::new() };
        let header = Some(self.0.header(view.revision()));
        Ok(Response::new(pb::LeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys }))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let view = self.0.view_of_all().await?;
        let leases = view.leases().into_iter().map(|(id, _)| pb::LeaseStatus { id: id.0 }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse { header: Some(self.0.header(view.revision())), leases }))
    }
}

type Renewal = Pin<Box<dyn Future<Output = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

/// Renewals, answered one after the other: a client that sends many waits for each, and nothing piles up here.
pub struct KeepAlives<S> {
    gateway: Gateway,
    requests: S,
    renewal: Option<Renewal>,
}

impl<S> KeepAlives<S> {
    pub(crate) fn new(gateway: Gateway, requests: S) -> Self {
        Self { gateway, requests, renewal: None }
    }
}

impl<S> Stream for KeepAlives<S>
where
    S: Stream<Item = Result<pb::LeaseKeepAliveRequest, Status>> + Unpin,
{
    type Item = Result<pb::LeaseKeepAliveResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(renewal) = &mut self.renewal {
                let answer = std::task::ready!(renewal.as_mut().poll(cx));
                self.renewal = None;
                return Poll::Ready(Some(answer));
            }
            match std::task::ready!(Pin::new(&mut self.requests).poll_next(cx)) {
                Some(Ok(request)) => {
                    let gateway = self.gateway.clone();
                    self.renewal = Some(Box::pin(async move { gateway.keep_alive(request.id).await }));
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}
