//! Whole nodes, as `quorate node list` shows them.

use std::process::Command;

use quorate::http::{NodeList, NodeRow};
use quorate::membership::Standing;

use crate::cluster::{Cluster, Node, until};

/// What a node knows, by way of the command line.
fn list(node: &Node) -> Option<NodeList> {
    let endpoint = &node.settings.members[node.settings.node - 1].0;
    let arguments = ["node", "list", "--output", "json", "--endpoints", endpoint];
    let output = Command::new(env!("CARGO_BIN_EXE_quorate")).args(arguments).output().expect("the program starts");
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("it is JSON"))
}

/// Waits until `node` knows of `other` what `condition` wants; what it knows then.
fn knows(node: &Node, other: u32, what: &str, condition: impl Fn(&NodeRow) -> bool) -> NodeRow {
    until(&format!("node {} knows that node {other} {what}", node.id), || {
        list(node)?.nodes.into_iter().find(|row| row.node == other && condition(row))
    })
}

fn all_alive(node: &Node) -> NodeList {
    until(&format!("node {} knows that all are alive", node.id), || {
        list(node).filter(|list| list.nodes.len() == 3 && list.nodes.iter().all(|row| row.standing == Standing::Alive))
    })
}

#[tokio::test]
async fn a_node_that_is_killed_is_dead_and_comes_back_in_a_later_life_and_one_that_is_stopped_has_left() {
    let mut cluster = Cluster::new("listed", 3, "");
    cluster.nodes[2].settings.listen = "zone = \"attic\"\n".to_owned();
    for node in &mut cluster.nodes {
        node.start();
    }
    for node in &mut cluster.nodes {
        node.serves().await;
    }
    for node in &cluster.nodes {
        let list = all_alive(node);
        assert_eq!(list.asked as usize, node.id);
        let third = list.nodes[2].profile.clone().expect("it said so");
        let (client, peer) = &node.settings.members[2];
        assert_eq!((&third.client, &third.peer, third.zone.as_str()), (client, peer, "attic"));
        assert_eq!(third.roles, ["store", "gateway"]);
    }
    let before = knows(&cluster.nodes[0], 3, "is alive", |row| row.standing == Standing::Alive).incarnation;
    cluster.nodes[2].kill();
    for at in [0, 1] {
        knows(&cluster.nodes[at], 3, "is dead", |row| row.standing == Standing::Dead);
        assert_eq!(cluster.nodes[at].counter("quorate_gossip_members{standing=\"dead\"}"), 1);
    }
    cluster.nodes[2].start();
    cluster.nodes[2].serves().await;
    for at in [0, 1] {
        let row = knows(&cluster.nodes[at], 3, "is alive again", |row| row.standing == Standing::Alive);
        assert!(row.incarnation.0 > before.0, "{row:?} after {before:?}");
    }
    cluster.nodes[1].stop();
    for at in [0, 2] {
        let row = knows(&cluster.nodes[at], 2, "has left", |row| row.standing != Standing::Alive);
        assert_eq!(row.standing, Standing::Left);
        assert!(row.profile.is_some(), "what it said of itself is remembered");
    }
}

#[tokio::test]
async fn keys_are_read_again_on_a_signal_and_a_wrong_configuration_changes_nothing() {
    let [old, new] = ["1".repeat(64), "2".repeat(64)];
    let keys = |keys: &[&str]| format!("gossip_keys = {keys:?}\n");
    let mut cluster = Cluster::new("reloaded", 3, "");
    for node in &mut cluster.nodes {
        node.settings.listen = keys(&[&old]);
        node.start();
    }
    for node in &mut cluster.nodes {
        node.serves().await;
    }
    for step in [vec![&*old, &new], vec![&new, &old], vec![&new]] {
        for node in &mut cluster.nodes {
            let lines = node.said().matches("keys of gossip were read again").count();
            node.settings.listen = keys(&step);
            node.reload();
            until("the keys are read", || {
                (node.said().matches("keys of gossip were read again").count() > lines).then_some(())
            });
        }
    }
    let unknown = "quorate_gossip_refused_total{reason=\"unknown_key\"}";
    for node in &mut cluster.nodes {
        all_alive(node);
        assert_eq!(node.counter(unknown), 0, "each key opens before another seals");
        node.settings.listen = keys(&["no key"]);
        node.reload();
        node.says("the keys of gossip stay as they are");
        assert!(!node.said().contains(&new), "keys are not said");
        assert!(node.runs());
    }
    all_alive(&cluster.nodes[0]);
}
