//! Requests that are too large: etcd's own words where it has some, and the node goes on.

use quorate::etcd::generated::etcdserverpb::{self as pb, RequestOp, TxnRequest, request_op::Request};
use tonic::{Code, Status};

use crate::cluster::{Cluster, Node};

const TOO_LARGE: &str = "etcdserver: request is too large";
const TOO_MANY_OPS: &str = "etcdserver: too many operations in txn request";

fn put(key: impl Into<Vec<u8>>) -> RequestOp {
    let put = pb::PutRequest { key: key.into().into(), ..Default::default() };
    RequestOp { request: Some(Request::RequestPut(put)) }
}

async fn txn(node: &Node, request: TxnRequest) -> Result<(), Status> {
    node.kv().await.txn(request).await.map(drop)
}

fn refused(what: &str, outcome: Result<(), Status>, code: Code, text: &str) {
    let status = outcome.expect_err(what);
    assert_eq!((status.code(), status.message()), (code, text), "{what}");
}

/// Transactions within transactions.
fn nested(depth: usize) -> TxnRequest {
    (0..depth).fold(TxnRequest { success: vec![put("deep")], ..Default::default() }, |inner, _| TxnRequest {
        success: vec![RequestOp { request: Some(Request::RequestTxn(inner)) }],
        ..Default::default()
    })
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_in_etcds_words_and_changes_nothing() {
    let mut cluster = Cluster::started("requests", 3, "").await;
    for node in &cluster.nodes {
        node.put("kept", "1").await.expect("a put");
        let value = vec![b'x'; (16 << 20) / 10]; // 1.6 MiB
        refused("a large value", node.put("large", value).await.map(drop), Code::InvalidArgument, TOO_LARGE);
        let long = "k".repeat(60_000);
        refused("a long key", node.put(&long, "1").await.map(drop), Code::InvalidArgument, TOO_LARGE);
        let within = TxnRequest { success: vec![put("short"), put(long)], ..Default::default() };
        refused("a long key in a txn", txn(node, within).await, Code::InvalidArgument, TOO_LARGE);
        let many = TxnRequest { success: (0..129).map(|at| put(format!("op{at}"))).collect(), ..Default::default() };
        refused("many operations", txn(node, many).await, Code::InvalidArgument, TOO_MANY_OPS);
        // etcd has no bound of its own here; what one node reads, all must.
        for depth in [3, 30, 60, 90, 200] {
            let outcome = txn(node, nested(depth)).await;
            match outcome {
                Ok(()) => assert!(depth < 100, "{depth}"),
                Err(status) => {
                    assert!(depth > 3, "{status:?}");
                    assert!(matches!(status.code(), Code::InvalidArgument | Code::Internal), "{depth}: {status:?}");
                }
            }
        }
        let huge = node.put("huge", vec![b'x'; 64 << 20]).await.expect_err("64 MiB");
        assert!(matches!(huge.code(), Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument), "{huge:?}");
        assert_eq!(node.keys().await, ["deep", "kept"]);
    }
    for node in &mut cluster.nodes {
        node.stop();
    }
}
