//! Who the members are, and how they come and go, as etcd's clients ask.
//!
//! A member of etcd is a node here. A node that is in no chain, or is copied to, is a learner: it takes no part in writes.
//!
//! | call | here |
//! |------|------|
//! | list | the nodes that are registered, as this node knows them, or as all do if it shall be linearizable |
//! | add | refused: a node registers itself, `quorate node join`, since it is told what it starts with |
//! | remove | the node leaves its chains as others take its place, and is forgotten |
//! | update | the node is found elsewhere |
//! | promote | refused with etcd's words: a node that joins is promoted when it is in step, by nobody's order |

use quorate_model::NodeId;
use quorate_protocols::chain::swami::{Addresses, Answer, Command, Query, Refusal, State};
use quorate_protocols::paxos::log::{Outcome, Request as Ask};
use tonic::{Request, Response, Status};

use super::EtcdError;
use super::gateway::Gateway;
use super::generated::etcdserverpb::{self as pb, cluster_server};
use crate::config::is_address;

/// The Cluster service.
#[derive(Clone, Debug)]
pub struct Cluster(pub Gateway);

impl Cluster {
    /// The nodes as this node knows them.
    async fn state(&self) -> Result<State, Status> {
        Ok(self.0.keyspace.cluster().await?.state)
    }

    /// Has `request` decided.
    async fn ask(&self, request: Ask<Command, Query>) -> Result<Answer, Status> {
        match self.0.keyspace.system(request).await? {
            Outcome::Answer(Answer::Refused(refusal)) => Err(refused(&refusal)),
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Changed => Err(EtcdError::Unhealthy.status()),
        }
    }

    fn members(&self, state: &State) -> Vec<pb::Member> {
        if state.nodes.is_empty() {
            return self.configured(); // it is being founded
        }
        let is_learner = |node| state.chains.values().all(|chain| !chain.configuration.is_member(node));
        let members = state.nodes.iter().map(|(node, registered)| pb::Member {
            id: node.0.into(),
            name: self.name(*node),
            peer_ur_ls: vec![format!("http://{}", registered.addresses.peer)],
            client_ur_ls: vec![format!("http://{}", registered.addresses.client)],
            is_learner: is_learner(*node),
        });
        members.collect()
    }

    fn configured(&self) -> Vec<pb::Member> {
        let members = self.0.cluster.members.iter().map(|member| pb::Member {
            id: member.id,
            name: member.name.clone(),
            peer_ur_ls: member.peer_urls.clone(),
            client_ur_ls: member.client_urls.clone(),
            is_learner: false,
        });
        members.collect()
    }

    fn name(&self, node: NodeId) -> String {
        let known = self.0.cluster.members.iter().find(|member| member.id == u64::from(node.0));
        known.map_or_else(|| format!("node{}", node.0), |member| member.name.clone())
    }

    /// The node that a client calls a member.
    fn node(id: u64) -> Result<NodeId, Status> {
        u32::try_from(id).map(NodeId).map_err(|_| EtcdError::MemberNotFound.status())
    }
}

fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::UnknownNode(_) => EtcdError::MemberNotFound.status(),
        Refusal::Taken(_) => EtcdError::PeerUrlExists.status(),
        other => Status::failed_precondition(format!("quorate: {other}")),
    }
}

/// The one address in etcd's list of URLs.
fn address(urls: &[String]) -> Result<String, Status> {
    let [url] = urls else {
        return Err(Status::invalid_argument("quorate: a node has one address for other nodes: give one URL"));
    };
    let address = match url.split_once("://") {
        Some(("http", host)) => host.trim_end_matches('/'),
        None => url,
        Some(_) => return Err(Status::invalid_argument("quorate: there is no TLS between nodes yet: say http://")),
    };
    if !is_address(address) {
        return Err(Status::invalid_argument(format!("quorate: `{address}` is not an address like 10.0.0.1:2380")));
    }
    Ok(address.to_owned())
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let state = if request.get_ref().linearizable {
            match self.ask(Ask::Query(Query::Since(u64::MAX))).await? {
                Answer::Everything(state) => *state,
                _ => self.state().await?,
            }
        } else {
            self.state().await.unwrap_or_default() // a loop that does not answer knows no more than the configuration
        };
        let header = Some(self.0.header_without_revision());
        Ok(Response::new(pb::MemberListResponse { header, members: self.members(&state) }))
    }

    async fn member_add(&self, _: Request<pb::MemberAddRequest>) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(Status::failed_precondition(
            "quorate: a node registers itself: run `quorate node join` on its machine with the address of any member",
        ))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.ask(Ask::Command(Command::Remove(Self::node(request.get_ref().id)?))).await?;
        let header = Some(self.0.header_without_revision());
        let members = self.members(&self.state().await?);
        Ok(Response::new(pb::MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        let node = Self::node(request.id)?;
        let state = self.state().await?;
        let known = state.nodes.get(&node).ok_or(EtcdError::MemberNotFound)?;
        let addresses = Addresses { peer: address(&request.peer_ur_ls)?, client: known.addresses.client.clone() };
        self.ask(Ask::Command(Command::Update(node, addresses))).await?;
        let header = Some(self.0.header_without_revision());
        let members = self.members(&self.state().await?);
        Ok(Response::new(pb::MemberUpdateResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let node = Self::node(request.get_ref().id)?;
        let state = self.state().await?;
        if !state.nodes.contains_key(&node) {
            return Err(EtcdError::MemberNotFound.status());
        }
        let is_member = state.chains.values().any(|chain| chain.configuration.is_member(node));
        Err(if is_member { EtcdError::MemberNotLearner } else { EtcdError::LearnerNotReady }.status())
    }
}
