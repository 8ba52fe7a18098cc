//! A node whose machine has storage of its own, together with that storage: what outlives the node beside its log.
//!
//! The store writes when it likes, so before each step a choice says whether the oldest checkpoint that waits is durable
//! now, which it mostly is not; and when the node dies a choice says how much of what waits is. What the node lets go of stays in storage until a new
//! generation deletes it.

use quorate_model::{Choose, Context, Event, Process};
use quorate_protocols::chain::{Node, Record};

use super::Lists;
use super::shelf::Shelf;

/// See the module.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Housed {
    node: Node<Lists>,
    /// Generations that the node holds no more.
    attic: Vec<Shelf>,
    /// The number of the newest generation.
    newest: u64,
}

impl Housed {
    /// `node`, whose machine was found in its storage.
    #[must_use]
    pub(super) fn new(node: Node<Lists>) -> Self {
        let newest = held(&node).map(|shelf| shelf.newest).max().unwrap_or(0);
        Self { node, attic: Vec::new(), newest }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node<Lists> {
        &self.node
    }

    pub(super) fn on(&mut self, event: Event<Node<Lists>>, cx: &mut Context<'_, Node<Lists>>) {
        let kept = self.attic.iter_mut();
        for shelf in self.node.machines_mut().filter_map(Lists::shelf_mut).chain(kept) {
            if shelf.is_writing() && *cx.choose(&[false, false, false, true]) {
                shelf.write();
            }
        }
        self.step(|node| node.on(event, cx));
    }

    pub(super) fn replay(&mut self, record: Record<Lists>) {
        self.step(|node| node.replay(record));
    }

    pub(super) fn compact(&self) -> impl Iterator<Item = Record<Lists>> {
        self.node.compact()
    }

    /// What is found in the storage when the node has died.
    pub(super) fn left(&self, chance: &mut dyn Choose) -> Lists {
        let mut shelves: Vec<Shelf> = held(&self.node).chain(&self.attic).cloned().collect();
        for shelf in &mut shelves {
            while shelf.is_writing() && chance.choose(2) == 1 {
                shelf.write();
            }
        }
        Lists::found(Shelf::newest_of(shelves.into_iter()))
    }

    /// Keeps what the node lets go of in a step, and deletes what a generation that it makes deletes.
    fn step(&mut self, step: impl FnOnce(&mut Node<Lists>)) {
        let before: Vec<Shelf> = held(&self.node).cloned().collect();
        step(&mut self.node);
        let is_held = |generation: u64| held(&self.node).any(|shelf| shelf.generation == generation);
        let let_go = before.into_iter().filter(|shelf| !is_held(shelf.generation) && !shelf.is_deleted);
        let let_go: Vec<_> = let_go.collect();
        self.attic.extend(let_go);
        let made = held(&self.node).find(|shelf| shelf.generation > self.newest);
        let Some((made, beside)) = made.map(|shelf| (shelf.generation, shelf.beside)) else { return };
        self.newest = made;
        let stays = |generation: u64| generation == made || Some(generation) == beside;
        self.attic.retain(|shelf| stays(shelf.generation));
        for shelf in self.node.machines_mut().filter_map(Lists::shelf_mut) {
            shelf.newest = made;
            shelf.is_deleted |= !stays(shelf.generation);
        }
    }
}

fn held(node: &Node<Lists>) -> impl Iterator<Item = &Shelf> {
    node.machines().filter_map(Lists::shelf)
}
