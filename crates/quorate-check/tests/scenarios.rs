//! Scenario files of the small protocols, and what a scenario refuses.

mod support;

use expect_test::expect;
use quorate_check::scenario::{check_file, play};
use support::abd::{Message, Role, cast};
use support::counter::{self, Counter};

fn question(words: &str) -> Option<Message> {
    match words.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["read"] => Some(Message::Read),
        ["write", value] => value.parse().ok().map(Message::Write),
        _ => None,
    }
}

#[test]
fn abd_writes_back_what_it_reads() {
    let cast = cast(3, Role::storage, Role::patient_client, [vec![], vec![]]);
    check_file("abd_write_back.txt", &cast, question);
}

#[test]
fn a_counter_answers_when_its_record_is_on_disk() {
    let cast = counter::cast(Counter::default(), 1, 0);
    check_file("counter_output_commit.txt", &cast, |words| (words == "next").then_some(counter::Message::Next));
}

#[test]
fn what_cannot_be_done_is_refused_with_its_line() {
    let refusal = |script: &str| {
        let cast = cast(3, Role::storage, Role::client, [vec![]]);
        play(&cast, question, script).expect_err("it cannot be done").to_string()
    };
    expect![[r#"line 1: "dance" is no command"#]].assert_eq(&refusal("> dance"));
    expect!["line 2: no message is on its way from node1 to client11; these are: []"]
        .assert_eq(&refusal("# fine\n> deliver node1 -> client11"));
    expect![[r#"line 1: "sing" is no question"#]].assert_eq(&refusal("> outside11 asks client11: sing"));
    expect![[r#"line 1: "node9" is not in the cast"#]].assert_eq(&refusal("> sync node9"));
    expect!["line 1: node1 has 0 records that are not durable"].assert_eq(&refusal("> crash node1 keeping 1"));
    expect!["line 2: node1 is down"].assert_eq(&refusal("> crash node1\n> crash node1"));
    expect!["line 1: client11 has these alarms set: []"].assert_eq(&refusal("> alarm client11 Retry"));
    expect![[r#"line 1: "wait 3 s" is no command"#]].assert_eq(&refusal("> wait 3 s"));
    expect![[r#"
        line 2: expected "Held", but what happened is:
          client11 -> node1: Query { round: 1 }
          client11 -> node2: Query { round: 1 }
          client11 -> node3: Query { round: 1 }
    "#]]
    .assert_eq(&refusal("> outside11 asks client11: read\n> expect Held"));
}
