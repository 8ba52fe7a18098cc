//! Sealing: what is opened is what a member sealed for this node, once. Any other bytes are refused, with their reason.

use quorate_model::NodeId;
use quorate_runtime::datagram::{
    ANYONE, DATAGRAM_BYTES_MAX, Key, KeyRing, PAYLOAD_BYTES_MAX, Refusal, SEAL_BYTES, Seal, TooLong,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const KEY: [u8; 32] = [7; 32];

fn seal(cluster: &str, node: u32, boot: u64, key: [u8; 32]) -> Seal {
    Seal::new(NodeId(node), boot, KeyRing::new(cluster, &Key::new(key)), 64)
}

fn sealed(from: &mut Seal, to: u32, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    from.seal(NodeId(to), payload, &mut datagram).expect("it fits");
    datagram
}

fn open(at: &mut Seal, datagram: &[u8]) -> Result<(u32, Vec<u8>), Refusal> {
    at.open(&mut datagram.to_vec()).map(|opened| (opened.from.0, opened.payload.to_vec()))
}

#[test]
fn what_was_sealed_is_opened_once() {
    let (mut one, mut two) = (seal("c", 1, 1, KEY), seal("c", 2, 1, KEY));
    let datagram = sealed(&mut one, 2, b"hello");
    assert_eq!(datagram.len(), 5 + SEAL_BYTES);
    assert!(!datagram.windows(5).any(|window| window == b"hello"), "it is encrypted");
    assert_eq!(open(&mut two, &datagram), Ok((1, b"hello".to_vec())));
    assert_eq!(open(&mut two, &datagram), Err(Refusal::Replayed));
    let to_anyone = sealed(&mut one, ANYONE.0, b"");
    assert_eq!(open(&mut two, &to_anyone), Ok((1, Vec::new())));
}

#[test]
fn the_largest_payload_makes_the_largest_datagram_and_a_larger_one_is_refused() {
    let mut one = seal("c", 1, 1, KEY);
    assert_eq!(sealed(&mut one, 2, &[1; PAYLOAD_BYTES_MAX]).len(), DATAGRAM_BYTES_MAX);
    let too_long = one.seal(NodeId(2), &[1; PAYLOAD_BYTES_MAX + 1], &mut Vec::new());
    assert_eq!(too_long, Err(TooLong { length: PAYLOAD_BYTES_MAX + 1 }));
}

#[test]
fn each_mistake_has_its_reason() {
    let mut two = seal("c", 2, 1, KEY);
    let from = |cluster, node, to, key| sealed(&mut seal(cluster, node, 1, key), to, b"x");
    assert_eq!(open(&mut two, &from("other", 1, 2, KEY)), Err(Refusal::OtherCluster));
    assert_eq!(open(&mut two, &from("c", 1, 2, [8; 32])), Err(Refusal::UnknownKey));
    assert_eq!(open(&mut two, &from("c", 1, 3, KEY)), Err(Refusal::OtherReceiver { to: NodeId(3) }));
    assert_eq!(open(&mut two, &from("c", 2, 2, KEY)), Err(Refusal::OwnName));
    assert_eq!(open(&mut two, b"GET / HTTP/1.1"), Err(Refusal::NotOurs));
    assert_eq!(open(&mut two, &[0; DATAGRAM_BYTES_MAX + 1]), Err(Refusal::NotOurs));
    let mut newer = from("c", 1, 2, KEY);
    newer[2] = 9;
    assert_eq!(open(&mut two, &newer), Err(Refusal::Version { found: 9 }));
}

/// The tags are hints, not proofs: with the tag of the right cluster and key it still does not authenticate.
#[test]
fn another_cluster_with_our_key_and_our_tags_is_refused() {
    let mut two = seal("c", 2, 1, KEY);
    let ours = sealed(&mut seal("c", 1, 1, KEY), 2, b"x");
    let mut theirs = sealed(&mut seal("other", 1, 1, KEY), 2, b"x");
    theirs[3..11].copy_from_slice(&ours[3..11]);
    assert_eq!(open(&mut two, &theirs), Err(Refusal::Forged));
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let (mut one, mut two) = (seal("c", 1, 1, KEY), seal("c", 2, 1, KEY));
    let datagram = sealed(&mut one, 2, b"some payload");
    for bit in 0..datagram.len() * 8 {
        let mut damaged = datagram.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&mut two, &damaged).is_err(), "bit {bit} went unseen");
    }
    for length in 0..datagram.len() {
        assert!(open(&mut two, &datagram[..length]).is_err(), "cut to {length} bytes");
    }
    assert_eq!(open(&mut two, &datagram), Ok((1, b"some payload".to_vec())), "no forgery moved the window");
}

#[test]
fn an_earlier_life_is_refused_when_a_later_one_was_heard() {
    let (mut first, mut second, mut two) = (seal("c", 1, 1, KEY), seal("c", 1, 2, KEY), seal("c", 2, 1, KEY));
    let late = sealed(&mut first, 2, b"late");
    assert!(open(&mut two, &sealed(&mut first, 2, b"a")).is_ok());
    assert!(open(&mut two, &sealed(&mut second, 2, b"b")).is_ok());
    assert_eq!(open(&mut two, &late), Err(Refusal::EarlierLife));
}

#[test]
fn there_are_no_more_senders_than_may_be() {
    let mut two = Seal::new(NodeId(2), 1, KeyRing::new("c", &Key::new(KEY)), 2);
    let results: Vec<_> = [3, 4, 5].map(|node| open(&mut two, &sealed(&mut seal("c", node, 1, KEY), 2, b""))).into();
    assert_eq!(results, [Ok((3, vec![])), Ok((4, vec![])), Err(Refusal::Crowded)]);
    two.forget(NodeId(3));
    assert!(open(&mut two, &sealed(&mut seal("c", 5, 1, KEY), 2, b"")).is_ok());
}

/// Each node goes through the steps at its own time; at every moment all hear all.
#[test]
fn the_key_changes_while_all_run_and_nothing_is_refused() {
    let new = Key::new([9; 32]);
    let mut nodes: Vec<Seal> = (1..=3).map(|node| seal("c", node, 1, KEY)).collect();
    let old = nodes[0].tags().next().expect("a ring has a key");
    let all_hear_all = |nodes: &mut Vec<Seal>| {
        for from in 0..3 {
            for to in (0..3).filter(|to| *to != from) {
                let datagram = sealed(&mut nodes[from], to as u32 + 1, b"x");
                assert!(open(&mut nodes[to], &datagram).is_ok());
            }
        }
    };
    let mut tag = old;
    for at in 0..3 {
        tag = nodes[at].install(&new).expect("there is room");
        all_hear_all(&mut nodes);
    }
    for at in 0..3 {
        nodes[at].seal_with(tag).expect("it is there");
        all_hear_all(&mut nodes);
    }
    for at in 0..3 {
        nodes[at].retire(old).expect("it does not seal");
        all_hear_all(&mut nodes);
    }
    let with_old_key = sealed(&mut seal("c", 4, 1, KEY), 1, b"x");
    assert_eq!(open(&mut nodes[0], &with_old_key), Err(Refusal::UnknownKey));
}

/// A million datagrams that were forged, changed, or played again: none is heard.
#[test]
fn of_many_bytes_from_anywhere_none_is_heard() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut one, mut two) = (seal("c", 1, 1, KEY), seal("c", 2, 1, KEY));
    let heard: Vec<Vec<u8>> = (0..100).map(|number: u32| sealed(&mut one, 2, &number.to_le_bytes())).collect();
    for datagram in &heard {
        assert!(open(&mut two, datagram).is_ok());
    }
    for round in 0..1_000_000_u32 {
        let mut datagram = heard[rng.random_range(0..heard.len())].clone();
        match round % 4 {
            0 => {} // again
            1 => {
                let at = rng.random_range(0..datagram.len());
                datagram[at] ^= rng.random_range(1..=255_u8);
            }
            2 => {
                // A head that is right, and anything behind it.
                let length = rng.random_range(0..64);
                datagram.truncate(43);
                datagram.resize(43 + length, 0);
                rng.fill_bytes(&mut datagram[43..]);
            }
            _ => {
                let length = rng.random_range(0..100);
                datagram.resize(length, 0);
                rng.fill_bytes(&mut datagram);
            }
        }
        assert!(open(&mut two, &datagram).is_err(), "round {round}");
    }
}
