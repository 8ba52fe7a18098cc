//! `quorate lease`: keys that die with whoever stops renewing.

use std::time::Duration;

use anyhow::bail;
use tokio_stream::wrappers::ReceiverStream;

use super::{Target, emit, parse_lease, print};
use crate::etcd::generated::etcdserverpb as pb;
use pb::lease_client::LeaseClient;

/// Works with leases.
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Examples:
  quorate lease grant 30
  quorate put greeting hello --lease 694d7550
  quorate lease keep-alive 694d7550
  quorate lease revoke 694d7550")]
pub enum LeaseCommand {
    /// Makes a lease of so many seconds.
    Grant {
        /// How long it lasts without renewal, in seconds; the node raises it to 2.
        #[arg(value_parser = clap::value_parser!(i64).range(1..), allow_negative_numbers = true)]
        ttl_s: i64,
    },
    /// Ends a lease and deletes its keys.
    Revoke {
        /// The lease, in hexadecimal.
        #[arg(value_parser = parse_lease)]
        lease: i64,
    },
    /// Renews a lease until Ctrl-C.
    KeepAlive {
        /// The lease, in hexadecimal.
        #[arg(value_parser = parse_lease)]
        lease: i64,
        /// Renew once.
        #[arg(long)]
        once: bool,
    },
    /// Says how long a lease has left, and its keys.
    Ttl {
        /// The lease, in hexadecimal.
        #[arg(value_parser = parse_lease)]
        lease: i64,
    },
    /// Lists all leases.
    List,
}

/// Runs `quorate lease`.
///
/// # Errors
/// When no node answers, or there is no such lease.
pub async fn lease(target: &Target, command: LeaseCommand) -> anyhow::Result<()> {
    let mut client = LeaseClient::new(target.connect().await?);
    match command {
        LeaseCommand::Grant { ttl_s } => {
            let request = pb::LeaseGrantRequest { ttl: ttl_s, id: 0 };
            let answer = client.lease_grant(target.request(request)).await?.into_inner();
            print(target, &answer, |answer| vec![format!("lease {:x} granted with {} s", answer.id, answer.ttl).into()])
        }
        LeaseCommand::Revoke { lease } => {
            let answer = client.lease_revoke(target.request(pb::LeaseRevokeRequest { id: lease })).await?.into_inner();
            print(target, &answer, |_| vec![format!("lease {lease:x} revoked").into()])
        }
        LeaseCommand::KeepAlive { lease, once } => keep_alive(target, &mut client, lease, once).await,
        LeaseCommand::Ttl { lease } => {
            let request = pb::LeaseTimeToLiveRequest { id: lease, keys: true };
            let answer = client.lease_time_to_live(target.request(request)).await?.into_inner();
            if answer.ttl < 0 {
                bail!("there is no lease {lease:x}");
            }
            print(target, &answer, |answer| {
                let head = format!("lease {lease:x}: {} s left of {} s", answer.ttl, answer.granted_ttl);
                std::iter::once(head.into()).chain(answer.keys.iter().cloned()).collect()
            })
        }
        LeaseCommand::List => {
            let answer = client.lease_leases(target.request(pb::LeaseLeasesRequest {})).await?.into_inner();
            print(target, &answer, |answer| {
                answer.leases.iter().map(|lease| format!("{:x}", lease.id).into()).collect()
            })
        }
    }
}

async fn keep_alive(
    target: &Target,
    client: &mut LeaseClient<tonic::transport::Channel>,
    lease: i64,
    once: bool,
) -> anyhow::Result<()> {
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    requests.send(pb::LeaseKeepAliveRequest { id: lease }).await?;
    let mut answers = client.lease_keep_alive(ReceiverStream::new(receiver)).await?.into_inner();
    loop {
        let answer = tokio::select! {
            answer = answers.message() => answer?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(answer) = answer else { bail!("the node ended the stream") };
        if answer.ttl <= 0 {
            bail!("lease {lease:x} is gone: it ran out or was revoked");
        }
        print(target, &answer, |answer| vec![format!("lease {lease:x} renewed: {} s", answer.ttl).into()])?;
        if once {
            return emit(&[]);
        }
        let third = Duration::from_millis(answer.ttl.unsigned_abs() * 1000 / 3);
        tokio::select! {
            () = tokio::time::sleep(third) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        requests.send(pb::LeaseKeepAliveRequest { id: lease }).await?;
    }
}
