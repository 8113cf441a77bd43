//! Who links with whom, so that few sessions reach everybody.
//!
//! All nodes that hear each other sort the same tags into the same ring. Each one takes the next on
//! either side, which connects everybody, and on either side those at distances that are powers of
//! two, which keeps the ways short. Two nodes that see the same ring agree on every edge, and every
//! node has the same number of them.

/// Distances on the ring of `nodes` at which a node takes neighbours on either side, `pairs` of
/// them at most: 1, and powers of two that divide what is left into equal ratios.
pub(super) fn distances(nodes: usize, pairs: usize) -> Vec<usize> {
    let half = nodes / 2;
    let mut distances = Vec::new();
    // half^(i/pairs), rounded up to a power of two.
    let log = usize::BITS - half.leading_zeros();
    for i in 0..pairs {
        let exponent = (log as usize * i).div_ceil(pairs);
        let distance = 1 << exponent;
        if distance <= half.max(1) && !distances.contains(&distance) {
            distances.push(distance);
        }
    }
    distances
}

/// The places of the neighbours of `me` on a ring of `nodes`; nearest first, without doubles.
pub(super) fn neighbours(nodes: usize, me: usize, pairs: usize) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    for distance in distances(nodes, pairs) {
        for at in [(me + distance) % nodes, (me + nodes - distance % nodes) % nodes] {
            if at != me && edges.iter().all(|edge| edge.at != at) {
                edges.push(Edge { at, spine: distance == 1 });
            }
        }
    }
    edges
}

/// An edge of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// The other end's place.
    pub at: usize,
    /// One of those that connect everybody.
    pub spine: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hops from node 0 to the farthest; `None` if somebody is out of reach.
    fn reach(nodes: usize, pairs: usize) -> Option<usize> {
        let mut hops = vec![None; nodes];
        hops[0] = Some(0);
        let mut open = std::collections::VecDeque::from([0]);
        while let Some(at) = open.pop_front() {
            for edge in neighbours(nodes, at, pairs) {
                if hops[edge.at].is_none() {
                    hops[edge.at] = hops[at].map(|hops| hops + 1);
                    open.push_back(edge.at);
                }
            }
        }
        hops.into_iter().collect::<Option<Vec<usize>>>()?.into_iter().max()
    }

    #[test]
    fn everybody_is_reached_in_few_hops() {
        for nodes in 2..=200 {
            for pairs in 1..=3 {
                assert!(reach(nodes, pairs).is_some(), "{nodes} nodes, {pairs} pairs");
            }
        }
        assert_eq!(reach(200, 1), Some(100));
        assert!(reach(40, 2) <= Some(6), "{:?}", reach(40, 2));
        assert!(reach(200, 2) <= Some(14), "{:?}", reach(200, 2));
        assert!(reach(200, 3) <= Some(10), "{:?}", reach(200, 3));
    }

    #[test]
    fn both_ends_agree_on_every_edge() {
        for nodes in 2..=200 {
            for pairs in 1..=3 {
                for me in 0..nodes {
                    let edges = neighbours(nodes, me, pairs);
                    assert!(edges.len() <= 2 * pairs && !edges.is_empty());
                    for edge in edges {
                        let back = neighbours(nodes, edge.at, pairs);
                        let same = Edge { at: me, spine: edge.spine };
                        assert!(back.contains(&same), "{nodes}: {me} to {}", edge.at);
                    }
                }
            }
        }
    }

    #[test]
    fn one_alone_has_nobody() {
        assert_eq!(neighbours(1, 0, 3), []);
    }
}
