//! The decision: what to do about a chain, given what is known of its nodes. A pure function, row by row.
//!
//! | # | the chain | and | so |
//! |---|-----------|-----|----|
//! | 1 | has no member whose lease may live | | nothing: all wait |
//! | 2 | has a member whose lease has run out | another member's may live | it leaves |
//! | 3 | has a joiner whose lease has run out, or that is not in service | | it leaves |
//! | 4 | has a joiner | the tail says that it is in step | it is admitted |
//! | 5 | has a joiner | | nothing: it is copied to |
//! | 6 | has fewer members in service than wanted | a spare node is in service, asked lately and is not suspected | the spare joins |
//! | 7 | has more members than wanted, or as many as wanted in service and others too, or one of several that is removed | one of them has retired | it leaves |
//! | 8 | the same | nobody has retired | one is asked to retire: who is not in service, or else the tail |
//! | 9 | anything else | | nothing |
//!
//! Nothing is decided on suspicion alone: it is advice about whom to take, never about whom to put out. If no lease of any
//! member may live (1), any of them may come back with all that was committed, and whoever left comes back with nothing. So
//! the last member never leaves. One thing is decided at a time: each decision is made on what came of the last.
//!
//! A joiner serves nobody, whatever its lease: it goes at once (3); that it has one shows that it lives.
//!
//! A member that should go and is well (7, 8) goes by a way that lets nobody wait for a lease: it gives up its right first.
//! Of several spares the one goes first that left this chain longest ago or never, then the one with the fewest chains.
//!
//! Not chosen: to leave the head rather than the tail when a chain is too long; the order of age is kept, and the oldest
//! member keeps its place.

use alloc::collections::BTreeSet;

use quorate_model::NodeId;

use super::super::configuration::Change;
use super::system::{Chain, State, Wanted};

/// What is known of the nodes of one chain, besides what is written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// Members and the joiner whose lease may still live. Whoever is not among them serves nobody.
    pub may_serve: BTreeSet<NodeId>,
    /// Nodes that are not in the chain and asked for a lease not longer ago than one lasts.
    pub heard: BTreeSet<NodeId>,
    /// Nodes that others cannot reach, as far as gossip goes.
    pub suspected: BTreeSet<NodeId>,
    /// The tail said, under this very configuration, that the joiner has everything.
    pub in_step: bool,
    /// The member that was asked to retire since the chain last changed, and did.
    pub retired: Option<NodeId>,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Decision {
    /// Change the chain.
    Change(Change),
    /// Ask the member to give up its right to serve.
    Retire(NodeId),
}

/// What to do next about chain number `number` of `state`; see the table of this module.
#[must_use]
pub fn decide(state: &State, number: u32, observed: &Observed) -> Option<Decision> {
    let chain = state.chains.get(&number)?;
    let configuration = &chain.configuration;
    let members = configuration.members();
    let may_serve = |node: &NodeId| observed.may_serve.contains(node);
    if !members.iter().any(may_serve) {
        return None; // 1
    }
    if let Some(gone) = members.iter().find(|node| !may_serve(node)) {
        return Some(Decision::Change(Change::Leave(*gone))); // 2
    }
    if let Some(joiner) = configuration.joiner() {
        let change = match () {
            () if !may_serve(&joiner) || !is_in_service(state, joiner) => Change::Leave(joiner), // 3
            () if observed.in_step => Change::Admit(joiner),                                     // 4
            () => return None,                                                                   // 5
        };
        return Some(Decision::Change(change));
    }
    let serving = members.iter().filter(|node| is_in_service(state, **node)).count();
    let wanted = chain.wanted_len as usize;
    if serving < wanted
        && let Some(spare) = spare(state, chain, observed)
    {
        return Some(Decision::Change(Change::Join(spare))); // 6
    }
    let others = members.iter().find(|node| !is_in_service(state, **node));
    let is_removed = |node| state.nodes.get(&node).is_none_or(|node| node.wanted == Wanted::Leaving);
    let surplus = match others {
        Some(node) if serving >= wanted || (is_removed(*node) && members.len() > 1) => *node,
        None if members.len() > wanted => configuration.tail(),
        _ => return None, // 9
    };
    Some(match observed.retired {
        Some(retired) if retired == surplus => Decision::Change(Change::Leave(surplus)), // 7
        _ => Decision::Retire(surplus),                                                  // 8
    })
}

fn is_in_service(state: &State, node: NodeId) -> bool {
    state.nodes.get(&node).is_some_and(|node| node.wanted == Wanted::InService)
}

/// The best node to join the chain.
fn spare(state: &State, chain: &Chain, observed: &Observed) -> Option<NodeId> {
    let left = |node| chain.changes.iter().rev().find(|(_, change)| *change == Change::Leave(node)).map(|(at, _)| *at);
    let chains =
        |node| state.chains.values().filter(|chain| chain.configuration.line().any(|other| other == node)).count();
    let spares = state.nodes.keys().copied().filter(|node| {
        is_in_service(state, *node)
            && observed.heard.contains(node)
            && !observed.suspected.contains(node)
            && chain.configuration.line().all(|other| other != *node)
    });
    spares.min_by_key(|node| (left(*node), chains(*node), *node))
}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, VecDeque};
    use alloc::format;
    use alloc::vec::Vec;

    use super::super::super::configuration::Configuration;
    use super::super::system::{Addresses, Registered};
    use super::*;

    const CHAIN: u32 = 7;

    fn nodes(numbers: &[u32]) -> Vec<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    /// Nodes 1 to 5, in service but for those of `drained`, and a chain.
    fn state(members: &[u32], joiner: Option<u32>, wanted_len: u32, drained: &[u32]) -> State {
        let registered = |node: u32| Registered {
            addresses: Addresses { peer: format!("{node}"), client: format!("{node}") },
            added: 1,
            wanted: if drained.contains(&node) { Wanted::Draining } else { Wanted::InService },
        };
        let mut configuration = Configuration::new(1, nodes(members));
        if let Some(joiner) = joiner {
            configuration = configuration.after(Change::Join(NodeId(joiner))).expect("it is no member");
        }
        let chain = Chain { revision: 1, wanted_len, configuration, changes: VecDeque::new() };
        State {
            revision: 1,
            numbered: 5,
            nodes: (1..=5).map(|node| (NodeId(node), registered(node))).collect(),
            chains: BTreeMap::from([(CHAIN, chain)]),
        }
    }

    fn observed(may_serve: &[u32]) -> Observed {
        let heard = (1..=5).map(NodeId).collect();
        Observed { may_serve: nodes(may_serve).into_iter().collect(), heard, ..Observed::default() }
    }

    fn retired(may_serve: &[u32], retired: u32) -> Observed {
        Observed { retired: Some(NodeId(retired)), ..observed(may_serve) }
    }

    fn change(change: fn(NodeId) -> Change, node: u32) -> Option<Decision> {
        Some(Decision::Change(change(NodeId(node))))
    }

    #[test]
    fn each_row_of_the_table_decides_as_it_says() {
        let retire = |node| Some(Decision::Retire(NodeId(node)));
        let in_step = Observed { in_step: true, ..observed(&[1, 2, 3]) };
        let suspecting = |nodes: &[u32]| Observed { suspected: observed(nodes).may_serve, ..observed(&[1, 2]) };
        let hearing = |nodes: &[u32]| Observed { heard: observed(nodes).may_serve, ..observed(&[1, 2]) };
        let mut removed = state(&[1, 2], None, 2, &[3, 4, 5]);
        removed.nodes.remove(&NodeId(2));
        let mut alone = state(&[2], None, 1, &[1, 3, 4, 5]);
        alone.nodes.remove(&NodeId(2));
        for (row, state, observed, expected) in [
            ("8: removed, and nobody instead", removed, observed(&[1, 2]), retire(2)),
            ("9: removed, and alone", alone, observed(&[2]), None),
            ("2", state(&[1, 2, 3], None, 3, &[]), observed(&[1, 3]), change(Change::Leave, 2)),
            ("2: one after the other", state(&[1, 2, 3], None, 3, &[]), observed(&[3]), change(Change::Leave, 1)),
            ("2: before the joiner", state(&[1, 2], Some(3), 3, &[]), observed(&[2]), change(Change::Leave, 1)),
            ("1", state(&[1, 2], None, 2, &[]), observed(&[]), None),
            ("1: the joiner's is no member's", state(&[1, 2], Some(3), 3, &[]), observed(&[3]), None),
            ("3: dead", state(&[1, 2], Some(3), 3, &[]), observed(&[1, 2]), change(Change::Leave, 3)),
            ("3: drained", state(&[1, 2], Some(3), 3, &[3]), observed(&[1, 2, 3]), change(Change::Leave, 3)),
            ("4", state(&[1, 2], Some(3), 3, &[]), in_step, change(Change::Admit, 3)),
            ("5", state(&[1, 2], Some(3), 3, &[]), observed(&[1, 2, 3]), None),
            ("6", state(&[1, 2], None, 3, &[]), observed(&[1, 2]), change(Change::Join, 3)),
            ("6: not the suspected", state(&[1, 2], None, 3, &[]), suspecting(&[3, 4]), change(Change::Join, 5)),
            ("6: not the drained", state(&[1, 2], None, 3, &[3]), observed(&[1, 2]), change(Change::Join, 4)),
            ("6: before a drained one goes", state(&[1, 2], None, 2, &[1]), observed(&[1, 2]), change(Change::Join, 3)),
            ("6: not who is silent", state(&[1, 2], None, 3, &[]), hearing(&[4]), change(Change::Join, 4)),
            ("not 6: nobody is there", state(&[1, 2], None, 3, &[]), suspecting(&[3, 4, 5]), None),
            ("7: drained", state(&[1, 2, 3], None, 2, &[1]), retired(&[1, 2, 3], 1), change(Change::Leave, 1)),
            ("7: too long", state(&[1, 2, 3], None, 2, &[]), retired(&[1, 2, 3], 3), change(Change::Leave, 3)),
            ("8: drained", state(&[1, 2, 3], None, 2, &[1]), observed(&[1, 2, 3]), retire(1)),
            ("8: too long", state(&[1, 2, 3], None, 2, &[]), observed(&[1, 2, 3]), retire(3)),
            ("8: another has retired", state(&[1, 2, 3], None, 2, &[1]), retired(&[1, 2, 3], 2), retire(1)),
            ("9: all is well", state(&[1, 2, 3], None, 3, &[]), observed(&[1, 2, 3]), None),
            ("9: drained, and nobody instead", state(&[1, 2], None, 2, &[1, 3, 4, 5]), observed(&[1, 2]), None),
        ] {
            assert_eq!(decide(&state, CHAIN, &observed), expected, "row {row}");
        }
    }

    /// Of several spares: who never left, then who has the fewest chains.
    #[test]
    fn the_spare_that_failed_last_is_the_last_to_be_tried_again() {
        let mut state = state(&[1, 2], None, 3, &[]);
        let chain = state.chains.get_mut(&CHAIN).expect("it was put there");
        chain.changes = [(4, Change::Leave(NodeId(3))), (6, Change::Leave(NodeId(4)))].into();
        assert_eq!(decide(&state, CHAIN, &observed(&[1, 2])), change(Change::Join, 5));
        state.nodes.remove(&NodeId(5));
        assert_eq!(decide(&state, CHAIN, &observed(&[1, 2])), change(Change::Join, 3));
    }

    /// Every state of a small chain and everything that can be observed of it: what is decided can follow, never takes the
    /// last member whose lease may live, takes nobody in on no word, and puts nobody out whose lease may live and who did
    /// not retire.
    #[test]
    fn whatever_is_observed_the_decision_can_follow_and_harms_nobody() {
        let subsets = |bits: u32| (1..=4).filter(move |node| bits >> (node - 1) & 1 == 1).collect::<Vec<u32>>();
        let mut decisions = 0;
        for members in [&[1][..], &[1, 2], &[2, 1, 3]] {
            let joiners = (1..=4).filter(|node| !members.contains(node)).map(Some).chain([None]);
            for joiner in joiners {
                for bits in 0..1_u32 << 11 {
                    let (drained, may_serve) = (subsets(bits & 15), subsets(bits >> 4 & 15));
                    let (in_step, wanted_len) = (bits >> 8 & 1 == 1, (bits >> 9 & 3) + 1);
                    let state = state(members, joiner, wanted_len, &drained);
                    for gone in core::iter::once(None).chain(members.iter().map(|node| Some(NodeId(*node)))) {
                        let observed = Observed { in_step, retired: gone, ..observed(&may_serve) };
                        let decision = decide(&state, CHAIN, &observed);
                        decisions += 1;
                        let configuration = &state.chains[&CHAIN].configuration;
                        let Some(Decision::Change(change)) = decision else { continue };
                        let next = configuration.after(change).expect("what is decided can follow");
                        assert!(!next.members().is_empty());
                        match change {
                            Change::Admit(_) => assert!(in_step),
                            Change::Leave(node) if configuration.is_member(node) => {
                                assert!(!observed.may_serve.contains(&node) || gone == Some(node));
                                let stays = next.members().iter().any(|node| observed.may_serve.contains(node));
                                assert!(stays, "someone who may serve stays");
                            }
                            Change::Leave(_) | Change::Join(_) => {}
                        }
                    }
                }
            }
        }
        assert!(decisions > 50_000);
    }
}
