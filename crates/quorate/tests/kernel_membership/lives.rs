//! The lives of a member, and what others see of them.

use std::time::{Duration, Instant};

use quorate::membership::{Change, Standing};
use quorate_model::NodeId;
use tokio::time::timeout;

use crate::cluster::PATIENCE;
use crate::{Plan, comes_true, damage, holds, life, stands};

/// Longer than the lives of this test can be ahead of the clock.
const CLOCK_LAG: Duration = Duration::from_millis(20);

#[tokio::test]
async fn each_life_is_later_than_the_last_whatever_became_of_the_folder() {
    let plan = Plan::new(2);
    let one = plan.start(1).await;
    let mut before = 0;
    for what in ["begins", "is started again", "lost its file", "has a damaged file", "lost its folder"] {
        match what {
            "lost its file" => std::fs::remove_file(plan.data(2).join("gossip/member")).expect("it is there"),
            "has a damaged file" => damage(&plan.data(2).join("gossip/member")),
            "lost its folder" => std::fs::remove_dir_all(plan.data(2)).expect("it is there"),
            _ => {}
        }
        // Lives that the file counts may be ahead of the clock, by one for each start within the same millisecond.
        let ended = Instant::now();
        comes_true("the clock is past them", || ended.elapsed() > CLOCK_LAG).await;
        let two = plan.start(2).await;
        holds(&two, what, |roster| roster.count(Standing::Alive) == 2).await;
        holds(&one, what, |roster| {
            let held = roster.get(NodeId(2)).expect("it is configured");
            held.standing == Standing::Alive && held.incarnation.life > before
        })
        .await;
        before = life(&one, 2);
        assert_eq!(before, life(&two, 2));
        drop(two); // it says nothing, as one that is killed
    }
}

#[tokio::test]
async fn changes_are_followed_from_the_first_news_of_a_node_to_its_leave() {
    let plan = Plan::new(2);
    let one = plan.start(1).await;
    let mut changes = one.changes();
    let mut seen = Vec::new();
    let two = plan.start(2).await;
    holds(&two, "node 1 is there", |roster| stands(roster, 1) == Some(Standing::Alive)).await;
    let known = one.roster();
    assert_eq!(known.get(NodeId(1)).and_then(|known| known.profile.clone()).expect("its own").zone, "zone-1");
    holds(&one, "node 2 is there", |roster| stands(roster, 2) == Some(Standing::Alive)).await;
    while seen.last() != Some(&Standing::Alive) {
        let Change { node, standing, .. } = timeout(PATIENCE, changes.next()).await.expect("in time").expect("it runs");
        if node == NodeId(2) {
            seen.push(standing);
        }
    }
    two.leave().await;
    while seen.last() != Some(&Standing::Left) {
        let Change { node, standing, .. } = timeout(PATIENCE, changes.next()).await.expect("in time").expect("it runs");
        assert_eq!(node, NodeId(2));
        seen.push(standing);
    }
    assert!(seen.contains(&Standing::Alive) && !seen.contains(&Standing::Dead), "{seen:?}");
    let held = one.roster();
    let two = held.get(NodeId(2)).expect("it is remembered");
    assert_eq!(two.profile.as_ref().expect("what it said last").zone, "zone-2");
    one.leave().await;
    assert_eq!(
        timeout(PATIENCE, changes.next()).await.expect("in time").map(|change| change.standing),
        Some(Standing::Left)
    );
    assert_eq!(timeout(PATIENCE, changes.next()).await.expect("in time"), None, "it has ended");
}
