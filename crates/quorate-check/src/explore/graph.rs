//! Which states were visited, and how they hang together.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// States by number, counted from 0 in the order in which they were found.
pub(super) struct Visited {
    numbers: HashTable<Numbered>,
    /// The state that a state was found from, and by which of its moves. Initial states have themselves for parent.
    parents: Vec<(u32, u32)>,
}

/// A print and the number of its state, side by side: a look-up is one place in memory, and there are millions. The
/// print stands in parts so that nothing is lost to alignment.
struct Numbered {
    print: [u32; 4],
    number: u32,
}

fn parts(print: u128) -> [u32; 4] {
    [print as u32, (print >> 32) as u32, (print >> 64) as u32, (print >> 96) as u32]
}

/// The lower half of the print is hash enough.
fn hash(parts: &[u32; 4]) -> u64 {
    u64::from(parts[1]) << 32 | u64::from(parts[0])
}

impl Visited {
    pub fn new() -> Self {
        Self { numbers: HashTable::new(), parents: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.parents.len()
    }

    pub fn find(&self, print: u128) -> Option<u32> {
        let print = parts(print);
        self.numbers.find(hash(&print), |it| it.print == print).map(|it| it.number)
    }

    /// The number of a state, and whether it is new here: if it is, it came from `parent` by its move number `made`.
    pub fn find_or_add(&mut self, print: u128, parent: Option<u32>, made: u32) -> (u32, bool) {
        let print = parts(print);
        let number = u32::try_from(self.parents.len()).expect("the number of states is bounded by states_max");
        match self.numbers.entry(hash(&print), |it| it.print == print, |it| hash(&it.print)) {
            Entry::Occupied(found) => (found.get().number, false),
            Entry::Vacant(free) => {
                free.insert(Numbered { print, number });
                self.parents.push((parent.unwrap_or(number), made));
                (number, true)
            }
        }
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
