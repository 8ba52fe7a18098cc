//! Nodes that should not be there: a second one with the same identity, one of another cluster, and one that was removed.

use std::process::Command;

use crate::cluster::{Cluster, Node, addresses, until};

#[tokio::test]
async fn a_second_node_with_the_same_identity_is_refused_and_the_cluster_goes_on() {
    let mut cluster = Cluster::started("twins", 3, "").await;
    cluster.nodes[0].put("before", "1").await.expect("a put");
    let mut settings = cluster.nodes[1].settings.clone();
    let own = addresses(2);
    settings.members[1] = (own[0].clone(), own[1].clone());
    settings.data = cluster.folder.path().join("twin");
    let mut twin = Node::new(cluster.folder.path(), "twin", settings);
    twin.start();
    twin.says("two processes run as node 2: stop one of them");
    let neighbours = [0, 2];
    for at in neighbours {
        cluster.nodes[at].says("two processes run as node 2: stop one of them");
        assert!(cluster.nodes[at].counter("quorate_net_refused_total") > 0);
    }
    assert!(twin.everything(0, true).await.is_err(), "it has nothing and nobody told it that this is right");
    for at in 0..3 {
        cluster.nodes[at].put("after", "2").await.expect("a put");
        assert_eq!(cluster.nodes[at].keys().await, ["after", "before"]);
    }
    twin.stop();
    // The right one may come back at any time.
    cluster.nodes[1].stop();
    cluster.nodes[1].start();
    cluster.nodes[1].serves().await;
    assert_eq!(cluster.nodes[1].keys().await, ["after", "before"]);
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_and_the_cluster_goes_on() {
    let mut cluster = Cluster::started("ours", 3, "").await;
    cluster.nodes[0].put("before", "1").await.expect("a put");
    let mut settings = cluster.nodes[2].settings.clone();
    let own = addresses(2);
    settings.cluster = "theirs".into();
    settings.members[2] = (own[0].clone(), own[1].clone());
    settings.data = cluster.folder.path().join("stranger");
    let mut stranger = Node::new(cluster.folder.path(), "stranger", settings);
    stranger.start();
    let why = "node 3 belongs to cluster \"theirs\", this one to \"ours\"";
    stranger.says(why);
    for at in [0, 1] {
        cluster.nodes[at].says(why);
        let refused = cluster.nodes[at].counter("quorate_net_refused_total");
        until("it is counted again and again", || {
            (cluster.nodes[at].counter("quorate_net_refused_total") > refused).then_some(())
        });
        let lines = cluster.nodes[at].said().lines().filter(|line| line.contains(why)).count();
        assert_eq!(lines, 1, "each refusal is logged once");
    }
    for node in &mut cluster.nodes {
        node.put("after", "2").await.expect("a put");
        assert_eq!(node.keys().await, ["after", "before"]);
    }
}

#[tokio::test]
async fn a_removed_node_that_still_talks_is_refused_and_counted_and_the_cluster_goes_on() {
    let mut cluster = Cluster::started("removed", 3, "patience_ms = 2000").await;
    cluster.nodes[0].put("before", "1").await.expect("a put");
    let quorate = |endpoint: &str, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        let output = command.args(words).args(["--endpoints", endpoint]).output().expect("the program starts");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let endpoint = cluster.nodes[0].settings.members[0].0.clone();
    quorate(&endpoint, &["chain", "resize", "2"]);
    quorate(&endpoint, &["node", "remove", "3"]);
    until("node 3 is forgotten", || {
        let page = cluster.nodes[0].page("/v1/chains")?;
        (!page.contains("\"node\":3,\"peer\"") && !page.contains("{\"node\":3}")).then_some(())
    });
    // It was told, and goes on as if nothing had been; so it does after a restart.
    for _ in 0..2 {
        for at in [0, 1] {
            let refused = cluster.nodes[at].counter("quorate_net_refused_total");
            until("its links are refused, and counted", || {
                (cluster.nodes[at].counter("quorate_net_refused_total") > refused).then_some(())
            });
            cluster.nodes[at].says("node 3 is not known to this one");
        }
        cluster.nodes[2].put("lost", "1").await.expect_err("it is no member");
        for at in [0, 1] {
            cluster.nodes[at].put("after", "2").await.expect("a put");
            assert_eq!(cluster.nodes[at].keys().await, ["after", "before"]);
        }
        cluster.nodes[2].kill();
        cluster.nodes[2].start();
        cluster.nodes[2].says("serves clients on");
    }
}
