//! Where configured nodes are that are at a name: as it resolves, again and again, since one that does not when this node
//! starts may do so later, and one that does may move.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use quorate_model::NodeId;
use tokio::net::lookup_host;
use tokio::sync::mpsc;

/// How long after one look at all names the next is.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// Says where `names` are, whenever that is found, until nobody listens any more.
pub(super) async fn keep(names: Vec<(NodeId, String)>, is_ipv4: bool, found: mpsc::Sender<(NodeId, SocketAddr)>) {
    while !names.is_empty() {
        for (node, address) in &names {
            match resolve(address, is_ipv4).await {
                Some(address) if found.send((*node, address)).await.is_err() => return,
                Some(_) => {}
                None => tracing::debug!("{address} of node {} does not resolve yet", node.0),
            }
        }
        tokio::time::sleep(LOOK_AFTER).await;
    }
}

async fn resolve(address: &str, is_ipv4: bool) -> Option<SocketAddr> {
    lookup_host(address).await.ok()?.find(|address| address.is_ipv4() || !is_ipv4)
}

/// Where others reach this node: at `told`, if that is an address or resolves here, else at `listen`.
///
/// # Errors
/// When neither resolves.
pub(super) async fn own(told: &str, listen: &str) -> anyhow::Result<SocketAddr> {
    if let Some(address) = resolve(told, false).await {
        return Ok(address);
    }
    tracing::warn!("{told}, where others reach this node, does not resolve here; it says that it is at {listen}");
    resolve(listen, false).await.with_context(|| format!("cannot find the address {listen}"))
}

/// Whether `address` is where others can send to.
pub(super) fn is_reachable(address: SocketAddr) -> bool {
    address.port() != 0
        && !address.ip().is_unspecified()
        && address.ip() != Ipv4Addr::BROADCAST
        && !address.ip().is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("it ends in time") });
    }

    #[test]
    fn a_name_is_said_where_it_is_and_one_that_does_not_resolve_keeps_nobody_waiting() {
        run(async {
            let (sender, mut found) = mpsc::channel(1);
            let names = vec![(NodeId(2), "no.such.host.invalid:9".to_owned()), (NodeId(3), "localhost:9".to_owned())];
            let keeping = tokio::spawn(keep(names, true, sender));
            assert_eq!(found.recv().await, Some((NodeId(3), ([127, 0, 0, 1], 9).into())));
            drop(found);
            keeping.abort(); // it would notice at its next look
            let (sender, mut found) = mpsc::channel(1);
            keep(Vec::new(), true, sender).await;
            assert_eq!(found.recv().await, None);
        });
    }

    #[test]
    fn what_cannot_be_sent_to_is_no_address_of_a_node() {
        for (address, reachable) in [
            ("10.0.0.1:1", true),
            ("[2001:db8::1]:1", true),
            ("10.0.0.1:0", false),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("255.255.255.255:1", false),
            ("224.0.0.1:1", false),
        ] {
            assert_eq!(is_reachable(address.parse().expect("an address")), reachable, "{address}");
        }
    }
}
