//! Who the members are. In this version they are fixed when the cluster is made, so what would change them is refused.

use tonic::{Request, Response, Status};

use super::gateway::Gateway;
use super::generated::etcdserverpb::{self as pb, cluster_server};

/// The Cluster service.
#[derive(Clone, Debug)]
pub struct Cluster(pub Gateway);

/// Says that members do not change.
fn fixed() -> Status {
    Status::unimplemented("etcdserver: membership is fixed in this version")
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let members = self.0.cluster.members.iter().map(|member| pb::Member {
            id: member.id,
            name: member.name.clone(),
            peer_ur_ls: member.peer_urls.clone(),
            client_ur_ls: member.client_urls.clone(),
            is_learner: false,
        });
        let header = Some(self.0.header_without_revision());
        Ok(Response::new(pb::MemberListResponse { header, members: members.collect() }))
    }

    async fn member_add(&self, _: Request<pb::MemberAddRequest>) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(fixed())
    }

    async fn member_remove(
        &self,
        _: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(fixed())
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(fixed())
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(fixed())
    }
}
