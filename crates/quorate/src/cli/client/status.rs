//! `quorate status`: every endpoint, side by side.

use anyhow::bail;
use serde::Serialize;

use super::{START, Target, emit, refusal};
use crate::cli::{Output, place, say};
use crate::etcd::generated::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::maintenance_client::MaintenanceClient;

#[derive(Serialize)]
struct Row {
    endpoint: String,
    /// What the node is in the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<pb::StatusResponse>,
}

/// Runs `quorate status`.
///
/// # Errors
/// When none answers.
pub async fn status(target: &Target) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for endpoint in &target.endpoints {
        rows.push(match ask(target, endpoint).await {
            Ok((status, place)) => Row { endpoint: endpoint.clone(), place, error: None, status: Some(status) },
            Err(error) => Row { endpoint: endpoint.clone(), place: None, error: Some(error), status: None },
        });
    }
    if target.output == Output::Json {
        emit(&[serde_json::to_string(&rows)?.into()])?;
    } else {
        say!("{:<24} {:>6} {:>6} {:>10} {:>10} {:>12}", "endpoint", "member", "place", "revision", "applied", "bytes");
        for row in &rows {
            say_row(row)?;
        }
    }
    if rows.iter().all(|row| row.status.is_none()) {
        bail!("no node answers. {START}");
    }
    Ok(())
}

/// How a node is and what it is in the chain, or why that is not known.
async fn ask(target: &Target, endpoint: &str) -> Result<(pb::StatusResponse, Option<&'static str>), String> {
    let channel = target.connect_to(endpoint).await.map_err(|error| format!("{error:#}"))?;
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let status = maintenance.status(target.request(pb::StatusRequest {})).await;
    let status = status.map_err(|status| refusal(&status))?.into_inner();
    let listing = target.request(pb::MemberListRequest { linearizable: false });
    let members = ClusterClient::new(channel).member_list(listing).await;
    let members = members.map_err(|status| refusal(&status))?.into_inner().members;
    let me = status.header.map(|header| header.member_id);
    let at = members.iter().position(|member| Some(member.id) == me); // they are listed in the chain's order
    Ok((status, at.map(|at| place(at, members.len()))))
}

fn say_row(row: &Row) -> anyhow::Result<()> {
    let Some(status) = &row.status else {
        say!("{:<24} {}", row.endpoint, row.error.as_deref().unwrap_or("does not answer"));
        return Ok(());
    };
    let header = status.header.unwrap_or_default();
    say!(
        "{:<24} {:>6x} {:>6} {:>10} {:>10} {:>12}{}",
        row.endpoint,
        header.member_id,
        row.place.unwrap_or("?"),
        header.revision,
        status.raft_applied_index,
        status.db_size,
        status.errors.iter().map(|error| format!("  {}", error.trim_end())).collect::<String>()
    );
    Ok(())
}
