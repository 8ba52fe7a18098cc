//! Data folders that are not this node's, are in use, are no folder, cannot be written, or are gone.

use std::os::unix::fs::PermissionsExt;

use crate::cluster::{Cluster, Node, addresses};
use crate::says_all;

/// A node like `node` of the same cluster, on ports of its own.
fn double(cluster: &Cluster, node: usize, name: &str) -> Node {
    let mut settings = cluster.nodes[node].settings.clone();
    let own = addresses(2);
    settings.members[node] = (own[0].clone(), own[1].clone());
    Node::new(cluster.folder.path(), name, settings)
}

#[tokio::test]
async fn a_folder_that_is_not_this_nodes_is_refused_and_left_as_it_was() {
    let mut cluster = Cluster::started("folders", 3, "").await;
    cluster.nodes[0].put("kept", "1").await.expect("a put");

    let in_use = cluster.nodes[1].settings.data.display().to_string();
    let why = {
        let mut node = double(&cluster, 1, "in-use");
        node.start();
        node.fails()
    };
    says_all(&why, &["node 2 cannot start from", &in_use, "in use by another process", "a folder of its own"]);

    cluster.nodes[1].stop();
    let own = cluster.nodes[1].settings.data.clone();
    let other = cluster.nodes[2].settings.data.clone();
    cluster.nodes[1].settings.data = other.clone();
    cluster.nodes[1].start();
    let why = cluster.nodes[1].fails();
    let other = other.display().to_string();
    says_all(&why, &["node 2 cannot start from", &other, "belongs to node 3, not to node 2", "another folder"]);

    cluster.nodes[1].settings.data = own;
    cluster.nodes[1].settings.cluster = "elsewhere".into();
    cluster.nodes[1].start();
    let why = cluster.nodes[1].fails();
    says_all(&why, &[&in_use, "belongs to cluster \"folders\", not to \"elsewhere\"", "another folder"]);

    cluster.nodes[1].settings.cluster = "folders".into();
    cluster.nodes[1].start();
    for node in &mut cluster.nodes {
        node.serves().await;
        assert_eq!(node.keys().await, ["kept"]);
    }
}

#[test]
fn a_folder_that_is_none_or_cannot_be_written_is_refused() {
    let mut cluster = Cluster::new("no-folder", 1, "");
    let base = cluster.folder.path().to_owned();
    let node = &mut cluster.nodes[0];
    let own = node.settings.data.clone();

    let file = base.join("a-file");
    std::fs::write(&file, "mine").expect("a file");
    node.settings.data = file.clone();
    node.start();
    says_all(&node.fails(), &["cannot make the data folder", "a-file", "let `data` name a folder", "File exists"]);
    assert_eq!(std::fs::read(&file).expect("it is there"), b"mine");

    if rustix::process::geteuid().is_root() {
        node.user = Some(65_534); // root may write everywhere
    }
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    mode(&base, 0o755);
    std::fs::create_dir(base.join("sealed")).expect("a folder");
    mode(&base.join("sealed"), 0o555);
    node.settings.data = base.join("sealed/data");
    node.start();
    says_all(
        &node.fails(),
        &["cannot make the data folder", "sealed/data", "this user may write", "Permission denied"],
    );

    node.user = None;
    node.settings.data = own;
    node.start();
    assert!(node.runs());
}

/// The log forgets what a checkpoint holds; an older store beside it lacks that.
#[tokio::test]
async fn a_store_that_is_older_than_its_log_is_refused() {
    let mut cluster = Cluster::started("older", 1, "checkpoint_bytes = 20000").await;
    let node = &mut cluster.nodes[0];
    let store = node.settings.data.join("store");
    let fill = async |node: &Node| {
        for number in 0..300 {
            node.put(&format!("k{number:03}"), vec![b'x'; 400]).await.expect("a put");
        }
    };
    fill(node).await;
    node.stop();
    let older = node.settings.data.with_extension("older");
    let copied = std::process::Command::new("cp").args(["-a", "--sparse=always"]).arg(&store).arg(&older).status();
    assert!(copied.is_ok_and(|status| status.success()));
    node.start();
    node.serves().await;
    fill(node).await;
    let wanted = node.everything(0, false).await.expect("it serves");
    node.stop();
    let right = node.settings.data.with_extension("right");
    std::fs::rename(&store, &right).expect("it is there");
    std::fs::rename(&older, &store).expect("it is there");
    node.start();
    let why = node.fails();
    says_all(
        &why,
        &[
            "node 1 cannot start",
            "does not fit together",
            "older than the log's",
            "Put back a copy of the whole folder",
        ],
    );
    std::fs::remove_dir_all(&store).expect("it is there");
    std::fs::rename(&right, &store).expect("it is there");
    node.start();
    node.serves().await;
    assert!(node.everything(0, false).await.expect("it serves") == wanted);
}

/// A disk was lost: the node comes back with nothing. Seen at first: a middle node that waited for ever, and a head that
/// took up its work again, counted its operations from one, and so gave a new put the answer to an old one.
#[tokio::test]
async fn a_node_whose_folder_is_gone_gives_no_wrong_answer_and_loses_no_write() {
    let mut cluster = Cluster::started("lost", 3, "").await;
    let mut wanted = Vec::new();
    for at in 0..3 {
        for number in 0..5 {
            let key = format!("node{at}-{number}");
            cluster.nodes[at].put(&key, "1").await.expect("a put");
            wanted.push(key);
        }
    }
    wanted.sort();
    // Each of them joins anew and is copied to, whatever place it had.
    for at in [0, 1, 2] {
        let node = &mut cluster.nodes[at];
        node.stop();
        std::fs::remove_dir_all(&node.settings.data).expect("it is there");
        node.start();
        node.serves().await;
        assert_eq!(node.keys().await, wanted, "node {}", node.id);
        for number in 0..8 {
            let key = format!("node{at}-again-{number}");
            node.put(&key, "1").await.expect("a put");
            wanted.push(key);
            wanted.sort();
            assert_eq!(node.keys().await, wanted, "after {number} puts through node {}", node.id);
        }
    }
    for node in &mut cluster.nodes {
        node.serves().await;
        assert_eq!(node.keys().await, wanted, "node {}", node.id);
    }
    cluster.nodes[0].put("zz", "1").await.expect("a put");
}

/// Seen before: a node that had founded its cluster alone founded a second one, with nothing in it, when its folder was gone.
#[tokio::test]
async fn a_cluster_of_one_whose_folder_is_gone_is_not_founded_again() {
    let mut cluster = Cluster::started("alone", 1, "").await;
    let node = &mut cluster.nodes[0];
    node.put("kept", "1").await.expect("a put");
    node.stop();
    node.start();
    node.serves().await;
    assert_eq!(node.keys().await, ["kept"], "no word is needed while the folder is there");
    node.stop();
    std::fs::remove_dir_all(&node.settings.data).expect("it is there");
    node.start();
    says_all(&node.fails(), &["node 1 cannot start", "nobody whom it could ask", "--found", "join as a new one"]);
}

/// Three that lost their folders at once have nobody who remembers. They wait, and found nothing.
#[tokio::test]
async fn a_cluster_whose_folders_are_all_gone_is_not_founded_again() {
    let mut cluster = Cluster::started("all-gone", 3, "").await;
    cluster.nodes[0].put("kept", "1").await.expect("a put");
    for node in &mut cluster.nodes {
        node.stop();
        std::fs::remove_dir_all(&node.settings.data).expect("it is there");
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    for node in &cluster.nodes {
        node.says("it asks all others of them, and decides nothing before they have answered");
        node.put("lost", "1").await.expect_err("nobody is a member of anything");
    }
}
