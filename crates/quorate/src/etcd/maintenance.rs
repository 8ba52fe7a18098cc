//! How a member is, and what keeps it well.

use quorate_machines::kv::{Alarm, AlarmKind, Command, Done, Revision};
use tonic::{Request, Response, Status};

use super::answers::{Answers, gone};
use super::convert;
use super::errors::EtcdError;
use super::gateway::{CLUSTER_VERSION, Gateway, VERSION};
use super::generated::etcdserverpb::{self as pb, maintenance_server};
use super::kv::foreign_answer;
use super::snapshot;

/// The Maintenance service.
#[derive(Clone, Debug)]
pub struct Maintenance(pub Gateway);

#[tonic::async_trait]
impl maintenance_server::Maintenance for Maintenance {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        use pb::alarm_request::AlarmAction;
        self.0.check_leader(request.metadata())?;
        let request = request.into_inner();
        let (revision, alarms) = match (request.action(), kind(request.alarm())) {
            (AlarmAction::Get, kind) => {
                let view = self.0.view_of_all().await?;
                (view.revision(), alarms(view.alarms(), request.member_id, kind))
            }
            (AlarmAction::Activate, Some(kind)) => {
                self.0.turn_alarm(Command::AlarmRaise(Alarm { member: request.member_id, kind })).await?
            }
            (AlarmAction::Deactivate, Some(kind)) => {
                let raised = alarms(self.0.view_of_all().await?.alarms(), request.member_id, Some(kind));
                let (mut revision, mut lowered) = (self.0.keyspace.revision(), Vec::new());
                for alarm in raised {
                    let (after, gone) = self.0.turn_alarm(Command::AlarmLower(alarm)).await?;
                    revision = after;
                    lowered.extend(gone);
                }
                (revision, lowered)
            }
            (AlarmAction::Activate | AlarmAction::Deactivate, None) => (self.0.keyspace.revision(), Vec::new()),
        };
        let alarms = alarms.into_iter().map(member).collect();
        Ok(Response::new(pb::AlarmResponse { header: Some(self.0.header(revision)), alarms }))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let status = self.0.status().await?;
        let view = self.0.view_here().await?;
        let mut errors: Vec<String> = view.alarms().into_iter().map(text).collect();
        if status.head == 0 {
            errors.push(EtcdError::NoLeader.code_and_text().1.to_owned());
        }
        let bytes = convert::wire(view.bytes_in_use());
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.0.header(view.revision())),
            version: VERSION.to_owned(),
            db_size: bytes,
            leader: status.head,
            raft_index: status.log_index,
            raft_term: status.configuration,
            raft_applied_index: status.applied_index,
            errors,
            db_size_in_use: bytes,
            is_learner: false,
            storage_version: CLUSTER_VERSION.to_owned(),
            db_size_quota: convert::wire(self.0.limits.quota_bytes),
            downgrade_info: None,
        }))
    }

    async fn defragment(&self, _: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        // What compaction forgets is freed as it is forgotten: there is never anything to gather. No header, as etcd has none
        // in this answer, which its Rust client holds us to.
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let view = self.0.view_here().await?;
        let header = Some(self.0.header(view.revision()));
        Ok(Response::new(pb::HashResponse { header, hash: fold(view.digest()) }))
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        let view = self.0.view_here().await?;
        let hash = view.hash(convert::revision(request.into_inner().revision)).map_err(EtcdError::from)?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(self.0.header(view.revision())),
            hash: fold(hash.hash),
            compact_revision: if hash.compacted == Revision(0) { -1 } else { convert::wire(hash.compacted.0) },
            hash_revision: convert::wire(hash.revision.0),
        }))
    }

    type SnapshotStream = Answers<pb::SnapshotResponse>;

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        let view = self.0.view_of_all().await?;
        let header = Some(self.0.header(view.revision()));
        Ok(Response::new(Answers::of(|sender| async move {
            let mut remaining_bytes = snapshot::Writer::total_bytes(&view, tokio::task::yield_now).await;
            let mut writer = snapshot::Writer::new(view);
            while let Some(blob) = writer.next_piece() {
                remaining_bytes -= blob.len() as u64;
                let response = pb::SnapshotResponse { header, remaining_bytes, blob, version: VERSION.to_owned() };
                sender.send(Ok(response)).await.map_err(gone)?;
            }
            Ok(())
        })))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let target = request.into_inner().target_id;
        if !self.0.cluster.members.iter().any(|member| member.id == target) {
            return Err(EtcdError::BadTransferee.into());
        }
        Err(Status::unimplemented("etcdserver: the head of a chain is not moved by hand"))
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(Status::unimplemented("etcdserver: there is no older version to go back to"))
    }
}

impl Gateway {
    async fn turn_alarm(&self, command: Command) -> Result<(Revision, Vec<Alarm>), Status> {
        match self.propose(command).await? {
            (revision, Done::Alarms(alarms)) => Ok((revision, alarms)),
            _ => Err(foreign_answer()),
        }
    }
}

fn alarms(raised: Vec<Alarm>, member: u64, kind: Option<AlarmKind>) -> Vec<Alarm> {
    let asked = |alarm: &Alarm| (member == 0 || alarm.member == member) && kind.is_none_or(|kind| alarm.kind == kind);
    raised.into_iter().filter(asked).collect()
}

fn kind(kind: pb::AlarmType) -> Option<AlarmKind> {
    match kind {
        pb::AlarmType::None => None,
        pb::AlarmType::Nospace => Some(AlarmKind::NoSpace),
        pb::AlarmType::Corrupt => Some(AlarmKind::Corrupt),
    }
}

fn member(alarm: Alarm) -> pb::AlarmMember {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    };
    pb::AlarmMember { member_id: alarm.member, alarm: kind as i32 }
}

/// An alarm as etcd prints one.
fn text(alarm: Alarm) -> String {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    };
    format!("memberID:{} alarm:{kind} ", alarm.member)
}

/// 64 bits as 32.
fn fold(hash: u64) -> u32 {
    u32::try_from((hash >> 32) ^ (hash & u64::from(u32::MAX))).expect("both halves have 32 bits")
}
