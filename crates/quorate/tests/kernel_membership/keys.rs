//! Keys that change while all run.

use std::sync::atomic::Ordering;

use quorate::membership::{GossipKey, Membership, Standing};
use quorate_runtime::datagram::Refusal;

use crate::{Plan, comes_true, holds};

/// Gives all members these keys, one after the other, and lets each hear so much afterwards that all were probed.
async fn set(members: &[Membership], keys: &[GossipKey]) {
    for member in members {
        member.set_keys(keys).await.expect("it runs");
    }
    for member in members {
        let received = || member.datagrams().received.load(Ordering::Relaxed);
        let before = received();
        comes_true("the others are heard", || received() >= before + 4).await;
    }
}

#[tokio::test]
async fn keys_change_in_three_steps_and_nobody_is_called_dead_for_it() {
    let [old, new] = [GossipKey::drawn(), GossipKey::drawn()];
    let mut plan = Plan::new(3);
    plan.keys = vec![old];
    let members = plan.start_all().await;
    let mut changes = members[0].changes();
    let falls = tokio::spawn(async move {
        let mut falls = Vec::new();
        while let Some(change) = changes.next().await {
            if change.standing == Standing::Dead {
                falls.push(change);
            }
        }
        falls
    });
    for keys in [vec![old, new], vec![new, old], vec![new]] {
        set(&members, &keys).await;
        for member in &members {
            assert_eq!(member.datagrams().refused(&Refusal::UnknownKey), 0, "each key opens before another seals");
        }
    }
    for member in &members {
        holds(member, "all are alive", |roster| roster.count(Standing::Alive) == 3).await;
    }
    // Who comes with the old key is not heard; who comes with the new one is.
    plan.keys = vec![old];
    members[2].leave().await;
    let late = plan.start(3).await;
    comes_true("the old key is refused", || members[0].datagrams().refused(&Refusal::UnknownKey) > 0).await;
    assert_eq!(late.roster().count(Standing::Alive), 1, "it hears nobody but itself");
    late.set_keys(&[new]).await.expect("it runs");
    for member in [&members[0], &late] {
        holds(member, "all are alive", |roster| roster.count(Standing::Alive) == 3).await;
    }
    drop((members, late));
    assert_eq!(falls.await.expect("it does not panic"), []);
}

#[tokio::test]
async fn more_keys_than_a_ring_has_are_refused_and_the_others_stay() {
    let plan = Plan::new(1);
    let member = plan.start(1).await;
    let error = member.set_keys(&[0; 5].map(|_| GossipKey::drawn())).await.expect_err("too many");
    assert!(error.to_string().contains("keys already"), "{error}");
}
