//! The network of a simulation: links between nodes that lose, copy, damage, delay and reorder what they carry, and
//! walls between nodes, in one direction or both.

use std::time::Duration;

use super::Draw;

/// How bad the links are. One for a whole run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Links {
    /// Messages lost, of a thousand.
    pub loss_per_mille: u32,
    /// Messages that arrive twice, of a thousand.
    pub copies_per_mille: u32,
    /// Messages of which a copy with a flipped bit arrives too, of a thousand.
    pub damage_per_mille: u32,
    /// The least delay.
    pub delay_min: Duration,
    /// What comes on top, on average; it differs from message to message, so messages overtake each other.
    pub delay_mean: Duration,
}

impl Links {
    /// Links that only delay.
    #[must_use]
    pub fn good() -> Self {
        Self {
            loss_per_mille: 0,
            copies_per_mille: 0,
            damage_per_mille: 0,
            delay_min: Duration::from_micros(50),
            delay_mean: Duration::from_micros(100),
        }
    }
}

/// What becomes of one message: the delays of the copies that arrive, and whether a damaged one does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Fate {
    pub first: Option<Duration>,
    pub copy: Option<Duration>,
    pub damaged: Option<Duration>,
    /// A wall stands between the nodes.
    pub walled: bool,
}

#[derive(Debug)]
pub(super) struct Network {
    node_count: usize,
    /// How many walls stand from one node to another.
    walls: Vec<u32>,
}

impl Network {
    pub fn new(node_count: usize) -> Self {
        Self { node_count, walls: vec![0; node_count * node_count] }
    }

    /// Puts up walls (or takes them down) between the nodes on `side` and the others.
    pub fn wall(&mut self, side: &[bool], out: bool, back: bool, up: bool) {
        for from in 0..self.node_count {
            for to in 0..self.node_count {
                if (side[from] && !side[to] && out) || (!side[from] && side[to] && back) {
                    let walls = &mut self.walls[from * self.node_count + to];
                    *walls = if up { *walls + 1 } else { walls.saturating_sub(1) };
                }
            }
        }
    }

    pub fn heal(&mut self) {
        self.walls.fill(0);
    }

    pub fn fate(&self, from: usize, to: usize, links: &Links, draw: &mut Draw) -> Fate {
        if from == to {
            // Two processes of one node: a queue in memory.
            return Fate { first: Some(Duration::from_nanos(500 + draw.below(2_000))), ..Fate::default() };
        }
        if self.walls[from * self.node_count + to] > 0 {
            return Fate { walled: true, ..Fate::default() };
        }
        let delay = |draw: &mut Draw| links.delay_min + draw.around(links.delay_mean);
        Fate {
            first: (!draw.per_mille(links.loss_per_mille)).then(|| delay(draw)),
            copy: draw.per_mille(links.copies_per_mille).then(|| delay(draw)),
            damaged: draw.per_mille(links.damage_per_mille).then(|| delay(draw)),
            walled: false,
        }
    }
}
