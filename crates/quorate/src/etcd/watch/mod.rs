//! Watches: streams on which clients hear of each change of the keys that they name, once, in order, from any revision on
//! that is not compacted.

mod hub;
mod outbox;
mod spans;
mod stream;

pub use hub::Hub;
pub(crate) use outbox::Wish;
pub use stream::WatchStream;

use tonic::{Request, Response, Status, Streaming};

use super::errors::EtcdError;
use super::gateway::Gateway;
use super::generated::etcdserverpb::{self as pb, watch_server};

/// The Watch service.
#[derive(Clone, Debug)]
pub struct Watch(pub Gateway);

impl Watch {
    /// A stream of watches for what `wishes` asks.
    ///
    /// # Errors
    /// When the keyspace does not answer.
    pub(crate) async fn stream<S>(&self, wishes: S, requires_leader: bool) -> Result<WatchStream<S>, EtcdError> {
        WatchStream::open(self.0.clone(), wishes, requires_leader).await
    }
}

#[tonic::async_trait]
impl watch_server::Watch for Watch {
    type WatchStream = WatchStream<Streaming<pb::WatchRequest>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.0.check_leader(request.metadata())?;
        let requires_leader = request.metadata().get("hasleader").is_some_and(|wanted| wanted.as_bytes() == b"true");
        Ok(Response::new(self.stream(request.into_inner(), requires_leader).await?))
    }
}
