//! Any bytes are a message or an error, and no message, however false, makes a member panic or grow beyond its bounds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_check::casts::gossip::{alive, profile};
use quorate_check::casts::gossip_crowd::{Crowd, CrowdShape};
use quorate_check::simulate::Draw;
use quorate_model::time::Instant;
use quorate_model::{Context, Event, NodeId, Outbox, Pid, Process, Wire};
use quorate_protocols::gossip::{Fact, Incarnation, Member, Message, Options, Part, Standing};

fn arbitrary(draw: &mut Draw, length_max: u64) -> Vec<u8> {
    (0..draw.below(length_max)).map(|_| draw.below(256) as u8).collect()
}

#[test]
fn any_bytes_are_a_message_or_an_error() {
    let mut draw = Draw::seeded(1, 0);
    let mut decoded = 0;
    for round in 0..200_000_u32 {
        let mut bytes = arbitrary(&mut draw, 80);
        match round % 3 {
            0 if !bytes.is_empty() => bytes[0] = draw.below(9) as u8, // a kind that may exist
            1 => {
                bytes = some_message(&mut draw).to_bytes().to_vec();
                let at = draw.below(bytes.len() as u64) as usize;
                bytes[at] = draw.below(256) as u8;
            }
            _ => {}
        }
        if let Ok(message) = Message::from_bytes(Bytes::from(bytes)) {
            decoded += 1;
            assert_eq!(Message::from_bytes(message.to_bytes()), Ok(message), "what was decoded has bytes");
        }
    }
    assert!(decoded > 10_000, "{decoded} were messages");
}

#[test]
fn every_message_is_read_back_as_it_was_written() {
    let mut draw = Draw::seeded(2, 0);
    for _ in 0..10_000 {
        let message = some_message(&mut draw);
        assert_eq!(Message::from_bytes(message.to_bytes()), Ok(message));
    }
}

/// Numbers that break things.
fn number(draw: &mut Draw) -> u64 {
    match draw.below(4) {
        0 => draw.below(4),
        1 => (1 << 62) - 1 - draw.below(2),
        _ => draw.below(1 << 40),
    }
}

fn node(draw: &mut Draw) -> NodeId {
    NodeId(match draw.below(4) {
        0 => draw.below(4) as u32,
        1 => u32::MAX - draw.below(2) as u32,
        _ => draw.below(1 << 32) as u32,
    })
}

fn some_fact(draw: &mut Draw) -> Arc<Fact> {
    let (node, by) = (node(draw), node(draw));
    let profile = Arc::new(profile(node.0));
    let standing = match draw.below(4) {
        0 => Standing::Alive(profile),
        1 => Standing::Suspected { profile, by },
        2 => Standing::Dead,
        _ => Standing::Left,
    };
    Arc::new(Fact { node, incarnation: Incarnation { life: number(draw), count: number(draw) }, standing })
}

fn some_message(draw: &mut Draw) -> Message {
    let news = (0..draw.below(12)).map(|_| some_fact(draw)).collect();
    let (target, asked) = (node(draw), Instant(if draw.per_mille(500) { 0 } else { number(draw) }));
    match draw.below(7) {
        0 => Message::Ping { asked, news },
        1 => Message::Ack { target, asked, news },
        2 => Message::Help { target, asked, news },
        3 => Message::Nack { target, asked },
        4 => Message::Compare((0..draw.below(33)).map(|_| some_part(draw)).collect()),
        5 => Message::Offer { first: target, last: node(draw), facts: news },
        _ => Message::Give(news),
    }
}

fn some_part(draw: &mut Draw) -> Part {
    Part { first: node(draw), last: node(draw), len: draw.below(9) as u32, digest: draw.below(u64::MAX) }
}

/// A member among liars: it hears anything from anyone, its alarms ring whenever, and its bounds are small.
#[test]
fn among_liars_a_member_keeps_its_bounds_and_its_word() {
    let options = Options {
        members_len_max: 64,
        fallen_len_max: 16,
        rumours_len_max: 16,
        helping_len_max: 8,
        ..Options::default()
    };
    for seed in 0..20 {
        let mut draw = Draw::seeded(seed, 3);
        let me = NodeId(1);
        let mut member = Member::new(me, vec![NodeId(2)], profile(1), options.clone()).knowing((1..9).map(alive));
        let mut outbox = Outbox::new();
        let mut alarms = VecDeque::new();
        let (mut now, mut own) = (Instant::default(), None);
        for round in 0..5_000 {
            let event = match draw.below(4) {
                _ if round == 0 => Event::Start,
                0 if !alarms.is_empty() => {
                    Event::Alarm(alarms.remove(draw.below(alarms.len() as u64) as usize).expect("one of them"))
                }
                _ => Event::Message { from: Pid::gossip(node(&mut draw).0), message: some_message(&mut draw) },
            };
            now = now + Duration::from_millis(draw.below(2_000));
            member.on(event, &mut Context::new(Pid::gossip(1), now, &mut outbox, &mut draw));
            while let Some(change) = outbox.alarm_change() {
                if let quorate_model::AlarmChange::Set(timer, _) = change {
                    alarms.retain(|set| *set != timer);
                    alarms.push_back(timer);
                }
            }
            while outbox.take_record().is_some() {
                outbox.synced(1);
            }
            let mut sent = 0;
            while let Some((_, message)) = outbox.release() {
                assert!(message.to_bytes().len() <= options.message_bytes_max);
                sent += 1;
            }
            assert!(sent <= 16 + 33, "{sent} messages in one step");
            assert!(
                member.facts().count() <= options.members_len_max && member.rumours_len() <= options.rumours_len_max
            );
            let said = member.fact(me).map(|fact| fact.rank());
            assert!(said >= own, "its own incarnation goes back");
            assert!(member.fact(me).is_some_and(|fact| fact.is_alive()), "it is what it says");
            own = said;
        }
    }
}

#[test]
fn a_profile_beyond_its_bounds_is_refused_and_nothing_changes() {
    let mut crowd = Crowd::new(CrowdShape::new(3, 0), 1);
    crowd.run_for(Duration::from_secs(2), |_, _| {});
    let own = |crowd: &Crowd| crowd.member(NodeId(1)).and_then(|member| member.fact(NodeId(1)).cloned());
    let before = own(&crowd);
    let mut long = profile(1);
    long.extra = Bytes::from(vec![0; 257]);
    crowd.tell(NodeId(1), Message::Describe(Box::new(long)));
    assert_eq!(crowd.told(), [(NodeId(1), Message::Refused)]);
    assert_eq!(own(&crowd), before);
}
