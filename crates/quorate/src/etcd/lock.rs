//! The lock service: a lock is the first place of a [queue](super::queue).

use bytes::Bytes;
use quorate_machines::kv::{Command, Delete, Span};
use tonic::{Request, Response, Status};

use super::errors::EtcdError;
use super::gateway::Gateway;
use super::generated::v3lockpb::{self as pb, lock_server};
use super::queue::{Joined, Withdraw};

/// The Lock service.
#[derive(Clone, Debug)]
pub struct Lock(pub Gateway);

#[tonic::async_trait]
impl lock_server::Lock for Lock {
    async fn lock(&self, request: Request<pb::LockRequest>) -> Result<Response<pb::LockResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let request = request.into_inner();
        let place = match self.0.join(&request.name, request.lease, Bytes::new()).await? {
            Joined::New(place) | Joined::Again(place, _) => place,
        };
        let withdraw = Withdraw::on_drop(&self.0, &place);
        let revision = self.0.turn(&place).await?;
        withdraw.disarm();
        Ok(Response::new(pb::LockResponse { header: Some(self.0.header(revision)), key: place.key }))
    }

    async fn unlock(&self, request: Request<pb::UnlockRequest>) -> Result<Response<pb::UnlockResponse>, Status> {
        self.0.check_leader(request.metadata())?;
        let key = request.into_inner().key;
        if key.is_empty() {
            return Err(EtcdError::EmptyKey.into());
        }
        let (revision, _) = self.0.propose(Command::Delete(Delete { span: Span::Key(key), prev_kv: false })).await?;
        Ok(Response::new(pb::UnlockResponse { header: Some(self.0.header(revision)) }))
    }
}
