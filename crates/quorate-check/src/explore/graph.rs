//! Which states were visited, and how they hang together.

use hashbrown::HashTable;

/// States by number, counted from 0 in the order in which they were found.
pub(super) struct Visited {
    numbers: HashTable<u32>,
    prints: Vec<u128>,
    /// The state that a state was found from, and by which of its moves. Initial states have themselves for parent.
    parents: Vec<(u32, u32)>,
}

impl Visited {
    pub fn new() -> Self {
        Self { numbers: HashTable::new(), prints: Vec::new(), parents: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.prints.len()
    }

    pub fn find(&self, print: u128) -> Option<u32> {
        self.numbers.find(print as u64, |&number| self.prints[number as usize] == print).copied()
    }

    /// Adds a state that is not there yet. Its number.
    pub fn add(&mut self, print: u128, parent: Option<u32>, made: u32) -> u32 {
        let number = u32::try_from(self.prints.len()).expect("the number of states is bounded by states_max");
        self.prints.push(print);
        self.parents.push((parent.unwrap_or(number), made));
        let prints = &self.prints;
        self.numbers.insert_unique(print as u64, number, |&number| prints[number as usize] as u64);
        number
    }

    /// The way to a state: the number of the initial state, then which move each time, counted from 0.
    pub fn path(&self, mut number: u32) -> (u32, Vec<u32>) {
        let mut path = Vec::new();
        loop {
            let (parent, made) = self.parents[number as usize];
            if parent == number {
                path.reverse();
                return (number, path);
            }
            path.push(made);
            number = parent;
        }
    }
}

/// The states, of `count`, from which no state in `good` can be reached over `edges`; the smallest number of them.
pub(super) fn first_lost(count: usize, edges: &[(u32, u32)], good: &[u32]) -> Option<u32> {
    // Edges by their target: where each one's sources begin, then the sources.
    let mut begin = vec![0_usize; count + 1];
    for (_, to) in edges {
        begin[*to as usize + 1] += 1;
    }
    for at in 0..count {
        begin[at + 1] += begin[at];
    }
    let mut next = begin.clone();
    let mut sources = vec![0_u32; edges.len()];
    for (from, to) in edges {
        sources[next[*to as usize]] = *from;
        next[*to as usize] += 1;
    }
    let mut reaches = vec![false; count];
    let mut open: Vec<u32> = good.to_vec();
    for &number in good {
        reaches[number as usize] = true;
    }
    while let Some(number) = open.pop() {
        for &from in &sources[begin[number as usize]..begin[number as usize + 1]] {
            if !std::mem::replace(&mut reaches[from as usize], true) {
                open.push(from);
            }
        }
    }
    reaches.iter().position(|reached| !reached).map(|number| number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_without_a_way_to_a_good_one_is_found() {
        // 0 -> 1 -> 2 (good), 0 -> 3 -> 4 -> 3
        let edges = [(0, 1), (1, 2), (0, 3), (3, 4), (4, 3)];
        assert_eq!(first_lost(5, &edges, &[2]), Some(3));
        assert_eq!(first_lost(5, &edges, &[2, 4]), None);
        assert_eq!(first_lost(1, &[], &[]), Some(0));
    }
}
