//! The election service: the leader is who has the first place of a [queue](super::queue), and its key's value is what it
//! proclaims.

use bytes::Bytes;
use quorate_machines::kv::{
    Command, Done, KeyValue, LeaseId, Op, Put, Range, Revision, SortOrder, SortTarget, Span, Txn,
};
use tonic::{Request, Response, Status};

use super::answers::{AnswerSender, Answers, gone};
use super::convert;
use super::errors::EtcdError;
use super::gateway::Gateway;
use super::generated::etcdserverpb::ResponseHeader;
use super::generated::mvccpb;
use super::generated::v3electionpb::{self as pb, election_server};
use super::kv::foreign_answer;
use super::queue::{Joined, Withdraw, all_of, created};
use super::watch::Wish;

/// The Election service.
#[derive(Clone, Debug)]
pub struct Election(pub Gateway);

#[tonic::async_trait]
impl election_server::Election for Election {
    async fn campaign(&self, request: Request<pb::CampaignRequest>) -> Result<Response<pb::CampaignResponse>, Status> {
        let gateway = &self.0;
        gateway.check_leader(request.metadata())?;
        let pb::CampaignRequest { name, lease, value } = request.into_inner();
        let (place, outdated) = match gateway.join(&name, lease, value.clone()).await? {
            Joined::New(place) => (place, false),
            Joined::Again(place, there) => (place, there.value != value),
        };
        let withdraw = Withdraw::on_drop(gateway, &place);
        if outdated {
            gateway.proclaim(place.key.clone(), place.created, place.lease, value).await?;
        }
        let revision = gateway.turn(&place).await?;
        withdraw.disarm();
        let leader = pb::LeaderKey { name, key: place.key, rev: convert::wire(place.created.0), lease: place.lease.0 };
        Ok(Response::new(pb::CampaignResponse { header: Some(gateway.header(revision)), leader: Some(leader) }))
    }

    async fn proclaim(&self, request: Request<pb::ProclaimRequest>) -> Result<Response<pb::ProclaimResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let request = request.into_inner();
        let leader = request.leader.ok_or(EtcdError::MissingLeader)?;
        let created = convert::revision(leader.rev);
        let revision = self.0.proclaim(leader.key, created, LeaseId(leader.lease), request.value).await?;
        Ok(Response::new(pb::ProclaimResponse { header: Some(self.0.header(revision)) }))
    }

    async fn leader(&self, request: Request<pb::LeaderRequest>) -> Result<Response<pb::LeaderResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let prefix = prefix(&request.into_inner().name);
        let (revision, leader) = self.0.first(prefix).await?;
        let kv = convert::key_value(leader.ok_or(EtcdError::ElectionNoLeader)?);
        Ok(Response::new(pb::LeaderResponse { header: Some(self.0.header(revision)), kv: Some(kv) }))
    }

    type ObserveStream = Answers<pb::LeaderResponse>;

    async fn observe(&self, request: Request<pb::LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        self.0.check_leader(request.metadata())?;
        let gateway = self.0.clone();
        let prefix = prefix(&request.into_inner().name);
        Ok(Response::new(Answers::of(|sender| async move { gateway.observe(prefix, sender).await })))
    }

    async fn resign(&self, request: Request<pb::ResignRequest>) -> Result<Response<pb::ResignResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let leader = request.into_inner().leader.ok_or(EtcdError::MissingLeader)?;
        let revision = self.0.leave(leader.key, convert::revision(leader.rev)).await?;
        Ok(Response::new(pb::ResignResponse { header: Some(self.0.header(revision)) }))
    }
}

fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

impl Gateway {
    async fn proclaim(&self, key: Bytes, at: Revision, lease: LeaseId, value: Bytes) -> Result<Revision, Status> {
        if key.is_empty() {
            return Err(EtcdError::EmptyKey.into());
        }
        let txn = Txn {
            compare: vec![created(&key, at)],
            success: vec![Op::Put(Put { key, value, lease, ..Put::default() })],
            failure: Vec::new(),
        };
        match self.propose(Command::Txn(txn)).await? {
            (revision, Done::Txn(done)) if done.succeeded => Ok(revision),
            (_, Done::Txn(_)) => Err(EtcdError::ElectionNotLeader.into()),
            _ => Err(foreign_answer()),
        }
    }

    /// Who is first under `prefix`, and the revision at which that is so.
    async fn first(&self, prefix: Bytes) -> Result<(Revision, Option<KeyValue>), Status> {
        let span = Span::prefix(prefix);
        let view = self.view_for(false, Revision(0), || vec![span.clone()]).await?;
        let first = Range { limit: 1, sort_order: SortOrder::Ascend, sort_target: SortTarget::Create, ..all_of(span) };
        let found = view.range(&first).map_err(EtcdError::from)?;
        Ok((view.revision(), found.kvs.into_iter().next()))
    }

    /// Sends each leader and each of its proclamations. Between two leaders some may be passed over, the newest never.
    async fn observe(&self, prefix: Bytes, sender: AnswerSender<pb::LeaderResponse>) -> Result<(), Status> {
        let send = async |header: ResponseHeader, kv: mvccpb::KeyValue| {
            let response = pb::LeaderResponse { header: Some(header), kv: Some(kv) };
            sender.send(Ok(response)).await.map_err(gone)
        };
        loop {
            let (revision, first) = self.first(prefix.clone()).await?;
            let outlet = self.hub.open().await?;
            let Some(leader) = first else {
                // Nobody leads: whoever comes makes the next look worthwhile.
                outlet.create(wish(Span::prefix(prefix.clone()), revision, false));
                loop {
                    let heard = outlet.next().await;
                    if heard.canceled || !heard.events.is_empty() {
                        break;
                    }
                }
                continue;
            };
            let key = leader.key.clone();
            send(self.header(revision), convert::key_value(leader)).await?;
            outlet.create(wish(Span::Key(key), revision, true));
            'led: loop {
                let heard = outlet.next().await;
                if heard.canceled {
                    break;
                }
                for event in heard.events {
                    let Some(kv) = event.kv.filter(|_| event.r#type == mvccpb::event::EventType::Put as i32) else {
                        break 'led; // the leader is gone
                    };
                    send(self.header(convert::revision(kv.mod_revision)), kv).await?;
                }
            }
        }
    }
}

fn wish(span: Span, seen: Revision, deletes: bool) -> Wish {
    Wish {
        span,
        start: Some(Revision(seen.0 + 1)),
        watch_id: 0,
        prev_kv: false,
        puts: true,
        deletes,
        progress_notify: false,
        fragment_bytes: None,
    }
}
