//! The health question of gRPC: a node serves while somebody orders writes.

use tonic::{Request, Response, Status};

use super::answers::{Answers, gone};
use super::gateway::Gateway;
use super::generated::health::health_check_response::ServingStatus;
use super::generated::health::{HealthCheckRequest, HealthCheckResponse, health_server};

/// The Health service.
#[derive(Clone, Debug)]
pub struct Health(pub Gateway);

/// The services that can be asked for; the empty name is the server as a whole.
const SERVICES: [&str; 10] = [
    "",
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Auth",
    "v3lockpb.Lock",
    "v3electionpb.Election",
    "grpc.health.v1.Health",
];

fn answer(serving: bool) -> HealthCheckResponse {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status as i32 }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            return Err(Status::not_found("unknown service"));
        }
        Ok(Response::new(answer(self.0.has_leader())))
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = SERVICES.contains(&request.get_ref().service.as_str());
        let mut leadership = self.0.leadership();
        Ok(Response::new(Answers::of(|sender| async move {
            if !known {
                let status = ServingStatus::ServiceUnknown as i32;
                sender.send(Ok(HealthCheckResponse { status })).await.map_err(gone)?;
                return std::future::pending().await; // it may never come to be known, as the protocol wants it
            }
            loop {
                let serving = *leadership.borrow_and_update();
                sender.send(Ok(answer(serving))).await.map_err(gone)?;
                if leadership.changed().await.is_err() {
                    return Ok(());
                }
            }
        })))
    }
}
