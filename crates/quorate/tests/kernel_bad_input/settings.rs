//! Settings that cannot work: each is refused before anything starts, with the place and the cause.

use std::net::TcpListener;
use std::process::Command;

use crate::cluster::Cluster;
use crate::says_all;

const HEAD: &str = "cluster = \"c\"\nnode = 1\ndata = \"DATA\"\n";
const MEMBER: &str = "[[member]]\nid = 1\nclient = \"127.0.0.1:1\"\npeer = \"127.0.0.1:2\"\n";

#[test]
fn each_wrong_setting_has_its_message() {
    let mut cluster = Cluster::new("settings", 1, "");
    let data = cluster.folder.path().join("data");
    let node = &mut cluster.nodes[0];
    let second = MEMBER.replace("id = 1", "id = 2");
    let wrong: [(String, &[&str]); 12] = [
        (format!("{HEAD}colour = \"red\"\n{MEMBER}"), &["line 4", "unknown field `colour`", "`cluster`", "--help"]),
        (HEAD.to_owned(), &["missing field `member`"]),
        (HEAD.replace("node = 1", "node = 3") + MEMBER, &["`node` is 3, but the members are 1"]),
        (
            HEAD.replace("node = 1", "node = \"one\"") + MEMBER,
            &["line 2", "invalid type: string \"one\", expected u32"],
        ),
        (HEAD.replace("\"c\"", "\"\"") + MEMBER, &["`cluster` is empty", "the same on all"]),
        (
            format!("{HEAD}{}", MEMBER.replace("127.0.0.1:1", "127.0.0.1")),
            &["member 1", "`127.0.0.1` is not an address"],
        ),
        (format!("{HEAD}{}", MEMBER.replace("127.0.0.1:2", "h:99999")), &["member 1", "`h:99999` is not an address"]),
        (format!("{HEAD}{MEMBER}{second}"), &["members 1 and 2 have the same address"]),
        (format!("{HEAD}{MEMBER}{MEMBER}"), &["two members have id 1"]),
        (format!("{HEAD}listen_client = \"nowhere\"\n{MEMBER}"), &["`nowhere` is not an address to listen on"]),
        (
            format!("{HEAD}[bounds]\nlog_bytes = 1000\n{MEMBER}"),
            &["`checkpoint_bytes` must be at most three eighths of `log_bytes`"],
        ),
        (format!("{HEAD}{MEMBER}[[member"), &["line 8"]),
    ];
    for (text, parts) in wrong {
        node.start_with(&text.replace("DATA", &data.display().to_string()));
        let why = node.fails();
        says_all(&why, parts);
        says_all(&why, &["the configuration ", "node-1.toml is not valid: "]);
        assert!(!data.exists(), "{why}");
    }
    let nowhere =
        HEAD.replace("DATA", &data.display().to_string()) + &MEMBER.replace("127.0.0.1:2", "no.such.host.invalid:2");
    node.start_with(&nowhere);
    says_all(&node.fails(), &["cannot find the address no.such.host.invalid:2"]);
}

#[test]
fn a_configuration_that_is_not_there_and_a_flag_that_is_unknown_are_named() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_quorate")).args(arguments).output().expect("it runs");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).expect("text")
    };
    let said = run(&["serve", "--config", "/no/such/file.toml"]);
    assert_eq!(
        said.trim_end(),
        "quorate: cannot read the configuration /no/such/file.toml: No such file or directory (os error 2)"
    );
    assert!(run(&["serve", "--confg", "x"]).contains("unexpected argument '--confg'"));
    assert!(run(&["serve"]).contains("--config <CONFIG>"));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let mut cluster = Cluster::new("ports", 1, "");
    let (client, peer) = cluster.nodes[0].settings.members[0].clone();
    for address in [&client, &peer] {
        let taken = TcpListener::bind(address).expect("it was free");
        cluster.nodes[0].start();
        let why = cluster.nodes[0].fails();
        says_all(&why, &[&format!("cannot listen on {address}: "), "another port", "Address already in use"]);
        drop(taken);
    }
    // Threads of one node share the port for clients; two nodes must not.
    cluster.nodes[0].start();
    cluster.nodes[0].serves().await;
    let mut other = Cluster::new("ports", 1, "");
    other.nodes[0].settings.members[0].0 = client.clone();
    other.nodes[0].start();
    says_all(&other.nodes[0].fails(), &[&format!("cannot listen on {client}: "), "Address already in use"]);
    assert!(cluster.nodes[0].runs());
}
