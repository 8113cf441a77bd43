//! Which links a node wants on one segment, and what each is worth.

use std::collections::BTreeMap;

use postrider_base::NodeId;

use super::{
    limits::WANTED_SESSIONS_MAX,
    neighbours::{Neighbour, Spot},
    ring,
};

/// What a link is worth; more is better. When there are too many the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// A stranger who is nobody's neighbour on a ring.
    Stranger,
    /// Somebody we know.
    Known,
    /// A way across a ring: shorter ways, but not needed.
    Chord,
    /// There is mail for it.
    Wanted,
    /// Next on the ring of those we know, which strangers cannot spoil.
    KnownRing,
    /// Next on the ring of everybody: without it somebody may be out of reach.
    Ring,
}

/// A link that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub worth: Worth,
    /// There is mail: a link to the node itself, not to a guest.
    pub mail: bool,
}

/// Whom to have links with. `eligible` says who may be counted on: linked, or not known to fail.
///
/// Every carrier stands on the ring of all carriers, which looks the same to all who hear the same
/// beacons, whoever they know; and on the ring of those it knows. Who meets no strangers has only
/// the latter.
pub(super) fn plan<'a>(
    me: &NodeId,
    carrier: bool,
    wanted: &[NodeId],
    neighbours: impl Iterator<Item = (&'a Spot, &'a Neighbour)> + Clone,
    eligible: impl Fn(&Spot, &Neighbour) -> bool,
) -> BTreeMap<Spot, Want> {
    let mut wants = BTreeMap::new();
    let here = || neighbours.clone().filter(|(spot, neighbour)| eligible(spot, neighbour));
    if carrier {
        let carriers = here().filter(|(_, neighbour)| neighbour.beacon.head.carrier);
        add_ring(&mut wants, me, carriers, 2, Worth::Ring);
    }
    let known = here().filter(|(_, neighbour)| neighbour.known.is_some());
    add_ring(&mut wants, me, known, if carrier { 1 } else { 3 }, Worth::KnownRing);
    let mut more = 0;
    for node in wanted {
        let found = here().find(|(_, neighbour)| neighbour.known.as_ref() == Some(node));
        let Some((spot, _)) = found else { continue };
        match wants.get_mut(spot) {
            Some(want) => {
                want.mail = true;
                want.worth = want.worth.max(Worth::Wanted);
            }
            None if more < WANTED_SESSIONS_MAX => {
                more += 1;
                wants.insert(*spot, Want { worth: Worth::Wanted, mail: true });
            }
            None => {}
        }
    }
    wants
}

/// Guest keys order the ring: everybody reads the same ones, and they say nothing.
fn add_ring<'a>(
    wants: &mut BTreeMap<Spot, Want>,
    me: &NodeId,
    neighbours: impl Iterator<Item = (&'a Spot, &'a Neighbour)>,
    pairs: usize,
    spine: Worth,
) {
    let mut ring: Vec<(NodeId, Option<Spot>)> =
        neighbours.map(|(spot, n)| (n.beacon.head.guest, Some(*spot))).collect();
    ring.push((*me, None));
    ring.sort_unstable();
    let place = ring.iter().position(|(_, spot)| spot.is_none()).unwrap_or_default();
    for edge in ring::neighbours(ring.len(), place, pairs) {
        let Some(spot) = ring[edge.at].1 else { continue };
        let worth = if edge.spine { spine } else { Worth::Chord };
        let want = wants.entry(spot).or_insert(Want { worth, mail: false });
        want.worth = want.worth.max(worth);
    }
}
