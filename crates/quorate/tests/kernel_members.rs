//! Members of a chain come and go: whole nodes that are killed, added and removed, as a user does it.

#[path = "support/cluster.rs"]
mod cluster;

use std::process::Command;

use cluster::{Cluster, Node, Settings, addresses, until};
use quorate::http::{ChainList, ChainRow};

/// What a node knows of the chain.
fn chain(node: &Node) -> Option<ChainRow> {
    let page = node.page("/v1/chains")?;
    let (_, body) = page.split_once("\r\n\r\n")?;
    serde_json::from_str::<ChainList>(body).ok()?.chains.into_iter().next()
}

/// Waits until `node` knows of these members, head first, of no joiner, and that it serves as one of them.
fn members(node: &Node, wanted: &[u32]) {
    until(&format!("node {} serves with the members {wanted:?}", node.id), || {
        let chain = chain(node)?;
        let members: Vec<_> = chain.members.iter().map(|member| member.node).collect();
        (members == wanted && chain.joiner.is_none() && chain.own.serving && chain.own.lease_ms > 0).then_some(())
    });
}

/// Runs the program against `node`, and gives what it says.
fn quorate(node: &Node, arguments: &[&str]) -> String {
    let endpoint = &node.settings.members[node.settings.node - 1].0;
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let output = command.args(arguments).args(["--endpoints", endpoint]).output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[tokio::test]
async fn a_member_that_is_killed_leaves_and_joins_anew_and_no_write_at_the_others_fails() {
    let mut cluster = Cluster::started("leaves", 3, "").await;
    let mut wanted = Vec::new();
    let mut line = vec![1, 2, 3];
    for node in &cluster.nodes {
        members(node, &line);
    }
    // The head, then who is the head now, and so on: each of them once.
    for round in 0..3 {
        let gone = line.remove(0);
        cluster.nodes[gone as usize - 1].kill();
        for (at, stays) in line.iter().enumerate() {
            let key = format!("{round}-{at}");
            cluster.nodes[*stays as usize - 1].put(&key, "1").await.expect("a put at a node that stays");
            wanted.push(key);
        }
        for stays in &line {
            members(&cluster.nodes[*stays as usize - 1], &line);
        }
        line.push(gone);
        let back = &mut cluster.nodes[gone as usize - 1];
        back.start();
        members(back, &line);
        assert_eq!(back.keys().await, wanted, "node {gone} has everything");
    }
    // All at once: nobody has left, and nothing is lost.
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    for node in &mut cluster.nodes {
        members(node, &line);
        assert_eq!(node.keys().await, wanted, "node {}", node.id);
    }
}

/// Node 4, which joins a cluster of three and runs.
fn added(cluster: &Cluster, name: &str) -> Node {
    let own = addresses(2);
    let data = cluster.folder.path().join("data-4");
    let folder = data.to_str().expect("a path of letters");
    let join = ["node", "join", "--data", folder, "--client", &own[0], "--peer", &own[1]];
    let said = quorate(&cluster.nodes[1], &join);
    assert!(said.contains(&format!("node 4 of cluster {name} is registered")), "{said}");
    let mut members_then = cluster.nodes[0].settings.members.clone();
    members_then.push((own[0].clone(), own[1].clone()));
    let settings = Settings { node: 4, data: data.clone(), members: members_then, ..cluster.nodes[0].settings.clone() };
    let mut added = Node::new(cluster.folder.path(), "node-4", settings);
    let config = std::fs::read_to_string(data.join("quorate.toml")).expect("it was written");
    added.start_with(&config);
    added
}

#[tokio::test]
async fn a_node_is_added_and_takes_the_place_of_one_that_is_removed() {
    let mut cluster = Cluster::started("replaced", 3, "").await;
    cluster.nodes[0].put("before", "1").await.expect("a put");

    let added = added(&cluster, "replaced");
    quorate(&cluster.nodes[0], &["chain", "resize", "4"]);
    members(&added, &[1, 2, 3, 4]);
    assert_eq!(added.keys().await, ["before"]);
    added.put("between", "1").await.expect("a put at the new node");

    quorate(&cluster.nodes[2], &["chain", "resize", "3"]);
    members(&cluster.nodes[0], &[1, 2, 3]);
    quorate(&cluster.nodes[2], &["node", "remove", "1"]);
    for at in [1, 2] {
        members(&cluster.nodes[at], &[2, 3, 4]);
    }
    members(&added, &[2, 3, 4]);
    let said = quorate(&added, &["chain", "show", "--output", "json"]);
    assert!(said.contains("\"node\":4"), "{said}");
    let refusal = cluster.nodes[0].put("x", "1").await.expect_err("it is no member");
    assert_eq!(refusal.message(), "etcdserver: no leader");
    cluster.nodes[0].stop();

    // The log that decides does without it as well: another may be killed.
    until("node 1 is no member of the log that decides", || {
        let page = cluster.nodes[1].page("/v1/chains")?;
        page.contains("\"system\":[2,3,4]").then_some(())
    });
    cluster.nodes[1].kill();
    cluster.nodes[2].put("after", "1").await.expect("a put without both");
    members(&added, &[3, 4]);
    assert_eq!(added.keys().await, ["after", "before", "between"]);
}

/// It decides until it is voted out of the log, and no longer: nobody asks it any more.
#[tokio::test]
async fn whoever_decides_is_drained_and_another_decides() {
    let cluster = Cluster::started("drained", 3, "").await;
    cluster.nodes[0].put("before", "1").await.expect("a put");
    let added = added(&cluster, "drained");
    let swami = until("somebody decides", || chain(&cluster.nodes[0])?.swami.filter(|swami| *swami > 0));
    quorate(&cluster.nodes[0], &["node", "drain", &swami.to_string()]); // node 4 may not listen yet
    let others: Vec<_> = cluster.nodes.iter().filter(|node| node.id != swami as usize).chain([&added]).collect();
    let mut wanted: Vec<_> = others.iter().map(|node| node.id as u32).collect();
    wanted.sort_unstable();
    let system = format!("\"system\":[{},{},{}]", wanted[0], wanted[1], wanted[2]);
    for node in others {
        until("another decides, in the log and of the log", || {
            let (page, chain) = (node.page("/v1/chains")?, chain(node)?);
            (page.contains(&system) && chain.swami.is_some_and(|other| other != swami)).then_some(())
        });
        members(node, &wanted);
        assert_eq!(node.keys().await, ["before"]);
    }
}
