//! Tokens on their way from this node to others.
//!
//! A bundle may become as many copies as its tokens say. Some are handed over with a copy, in two
//! phases, so that a crash at any moment loses tokens at worst and never makes any:
//!
//! ```text
//! grant     what is handed over is taken off here, durably; only then Begin goes out, with it
//! outcome   kept: it is there now.  refused, or never begun: it is put back here, durably
//!           unknown (the link ended in between): it waits for the next link to the same neighbour,
//!           and is lost if this node restarts or the neighbour stays away
//! ```
//!
//! The sender keeps one token, its own copy's, whatever happens.
//!
//! To one neighbour a bundle's tokens go over one link at a time: what is said on a second one means
//! nothing for what the first brings.
//!
//! Answers of the spool may overtake one another. So while anything of a bundle is being asked or
//! changed, what is left of its tokens is what is noted here, not what an answer says.

use std::collections::{BTreeMap, VecDeque};

use postrider_base::{BundleId, NodeId, bundle::Hop};

use super::contract::LinkId;

/// Handovers without an outcome: those of all wants on four links. Beyond, the oldest is taken for
/// kept, which at worst loses its tokens.
const GRANTS_MAX: usize = 1024;

/// What is being handed over.
#[derive(Debug, Default)]
pub(crate) struct Handovers {
    purses: BTreeMap<BundleId, Purse>,
    grants: BTreeMap<(BundleId, NodeId), Grant>,
    /// In the order in which they were made; some are over.
    order: VecDeque<(BundleId, NodeId)>,
}

/// What is left of a bundle's tokens here, while that is in motion.
#[derive(Debug, Default)]
struct Purse {
    /// The hop data as the spool has it, or will when all changes are durable.
    hop: Option<Hop>,
    /// Questions and changes without an answer.
    asked: u32,
    grants: u32,
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    tokens: u8,
    /// Which link brings it; `None`: the one that did has ended, after it had begun.
    link: Option<LinkId>,
    begun: bool,
}

/// What a neighbour gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    /// So many tokens, once this hop data is durable here.
    After(u8, Hop),
    /// So many that were taken off before.
    Again(u8),
    /// Nothing over this link: another one to the same neighbour brings it.
    Elsewhere,
    /// Nothing: there is only this node's own copy left.
    Spent,
}

/// How a handover ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The neighbour has the copy, this one or another.
    There,
    /// The neighbour has said that it does not take it.
    Refused,
    /// Nothing was said: the link ended, or it was not wanted any more.
    Unsaid,
}

impl Handovers {
    /// The spool is asked for a bundle of which some tokens are to be handed over.
    pub fn asked(&mut self, id: BundleId) {
        self.purses.entry(id).or_default().asked += 1;
    }

    /// What was asked, or changed, has been answered and dealt with, or never will be.
    pub fn answered(&mut self, id: &BundleId) {
        if let Some(purse) = self.purses.get_mut(id) {
            purse.asked = purse.asked.saturating_sub(1);
        }
        self.tidy(id);
    }

    /// Takes tokens off for a neighbour; `hop` is what the spool said, `share` how many of so many
    /// go. After [`Granted::After`] the change counts as asked.
    pub fn grant(
        &mut self,
        id: BundleId,
        (to, link): (NodeId, LinkId),
        hop: Hop,
        share: impl FnOnce(u8) -> u8,
    ) -> Granted {
        if let Some(grant) = self.grants.get_mut(&(id, to)) {
            if *grant.link.get_or_insert(link) == link {
                return Granted::Again(grant.tokens);
            }
            return Granted::Elsewhere;
        }
        let purse = self.purses.entry(id).or_default();
        let left = purse.hop.get_or_insert(hop);
        let tokens = share(left.tokens).min(left.tokens.saturating_sub(1));
        if tokens == 0 {
            return Granted::Spent;
        }
        left.tokens -= tokens;
        let left = *left;
        purse.asked += 1;
        purse.grants += 1;
        self.grants.insert((id, to), Grant { tokens, link: Some(link), begun: false });
        self.order.push_back((id, to));
        self.bound();
        Granted::After(tokens, left)
    }

    /// What was granted is on its way.
    pub fn begun(&mut self, id: &BundleId, (to, link): (NodeId, LinkId)) {
        if let Some(grant) = self.grants.get_mut(&(*id, to)).filter(|g| g.link == Some(link)) {
            grant.begun = true;
        }
    }

    /// How it ended. Returns hop data that is to become durable here, which counts as asked.
    pub fn end(
        &mut self,
        id: &BundleId,
        (to, link): (NodeId, LinkId),
        outcome: Outcome,
    ) -> Option<Hop> {
        let grant = self.grants.get_mut(&(*id, to)).filter(|grant| grant.link == Some(link))?;
        let back = match outcome {
            Outcome::There => !grant.begun,
            Outcome::Refused => true,
            Outcome::Unsaid if grant.begun => {
                grant.link = None;
                return None;
            }
            Outcome::Unsaid => true,
        };
        let grant = *grant;
        self.close(id, &to);
        let restored = self.purses.get_mut(id).filter(|_| back).and_then(|purse| {
            let hop = purse.hop.as_mut()?;
            hop.tokens = hop.tokens.saturating_add(grant.tokens);
            purse.asked += 1;
            Some(*hop)
        });
        self.tidy(id);
        restored
    }

    /// The spool has given a bundle tokens anew: what waits for a neighbour that has not come back
    /// counts as lost, so that what is noted here does not hide the new ones for as long as it stays
    /// away. Where more is in motion, these are lost instead.
    pub fn renewed(&mut self, id: &BundleId) {
        let of_id = |(of, _): &&(BundleId, NodeId)| of == id;
        let idle = self.grants.iter().filter(|(key, grant)| of_id(key) && grant.link.is_none());
        for (id, to) in idle.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.close(&id, &to);
        }
        self.tidy(id);
    }

    fn close(&mut self, id: &BundleId, to: &NodeId) {
        if self.grants.remove(&(*id, *to)).is_some()
            && let Some(purse) = self.purses.get_mut(id)
        {
            purse.grants = purse.grants.saturating_sub(1);
        }
    }

    fn bound(&mut self) {
        while self.order.len() > GRANTS_MAX {
            let Some((id, to)) = self.order.pop_front() else { return };
            self.close(&id, &to);
            self.tidy(&id);
        }
    }

    fn tidy(&mut self, id: &BundleId) {
        if self.purses.get(id).is_some_and(|purse| purse.asked == 0 && purse.grants == 0) {
            self.purses.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;

    const ID: BundleId = BundleId([7; 32]);

    /// A neighbour, over the link of that number.
    fn over(n: u8, link: u64) -> (NodeId, LinkId) {
        (NodeSecret::from_seed([n; 32]).id(), LinkId(link))
    }

    fn node(n: u8) -> (NodeId, LinkId) {
        over(n, u64::from(n))
    }

    fn hop(tokens: u8) -> Hop {
        Hop { tokens, hops: 1, age_s: 5, level: 0 }
    }

    fn half(tokens: u8) -> u8 {
        tokens / 2
    }

    #[test]
    fn what_is_granted_is_taken_off_before_and_put_back_if_it_is_not_taken() {
        let mut handovers = Handovers::default();
        handovers.asked(ID);
        let granted = handovers.grant(ID, node(1), hop(8), half);
        assert_eq!(granted, Granted::After(4, hop(4)));
        handovers.answered(&ID);
        handovers.answered(&ID);
        // An answer from before the change says nothing.
        handovers.asked(ID);
        let granted = handovers.grant(ID, node(2), hop(8), half);
        assert_eq!(granted, Granted::After(2, hop(2)));
        handovers.answered(&ID);
        handovers.answered(&ID);
        handovers.begun(&ID, node(2));
        assert_eq!(handovers.end(&ID, node(1), Outcome::There), Some(hop(6)), "never begun");
        handovers.answered(&ID);
        assert_eq!(handovers.end(&ID, node(2), Outcome::There), None);
        assert!(handovers.purses.is_empty() && handovers.grants.is_empty());
        assert_eq!(handovers.end(&ID, node(2), Outcome::Refused), None, "only once");
    }

    #[test]
    fn a_handover_that_was_cut_waits_for_the_same_neighbour() {
        let mut handovers = Handovers::default();
        assert_eq!(handovers.grant(ID, node(1), hop(8), half), Granted::After(4, hop(4)));
        handovers.answered(&ID);
        handovers.begun(&ID, node(1));
        assert_eq!(handovers.end(&ID, node(1), Outcome::Unsaid), None);
        assert_eq!(handovers.grant(ID, over(1, 5), hop(4), half), Granted::Again(4));
        assert_eq!(handovers.end(&ID, over(1, 5), Outcome::Refused), Some(hop(8)));
        handovers.answered(&ID);
        assert!(handovers.purses.is_empty());
    }

    #[test]
    fn a_neighbour_that_stays_away_does_not_hide_new_tokens() {
        let mut handovers = Handovers::default();
        assert_eq!(handovers.grant(ID, node(1), hop(2), half), Granted::After(1, hop(1)));
        handovers.answered(&ID);
        handovers.begun(&ID, node(1));
        assert_eq!(handovers.end(&ID, node(1), Outcome::Unsaid), None);
        assert_eq!(handovers.grant(ID, node(2), hop(8), half), Granted::Spent, "what is noted");
        handovers.renewed(&ID);
        assert!(handovers.purses.is_empty() && handovers.grants.is_empty());
        assert_eq!(handovers.grant(ID, node(2), hop(8), half), Granted::After(4, hop(4)));
        handovers.answered(&ID);
        // What is on its way goes on.
        handovers.begun(&ID, node(2));
        handovers.renewed(&ID);
        assert_eq!(handovers.end(&ID, node(2), Outcome::Refused), Some(hop(8)));
    }

    /// A second link to the same neighbour began as well, before the tokens were taken off for good;
    /// and what was refused there was put back although the first link had brought it.
    #[test]
    fn to_one_neighbour_one_link_brings_it() {
        let mut handovers = Handovers::default();
        assert_eq!(handovers.grant(ID, over(1, 5), hop(8), half), Granted::After(4, hop(4)));
        assert_eq!(handovers.grant(ID, over(1, 6), hop(8), half), Granted::Elsewhere);
        handovers.answered(&ID);
        handovers.begun(&ID, over(1, 5));
        assert_eq!(handovers.end(&ID, over(1, 6), Outcome::Refused), None);
        assert_eq!(handovers.end(&ID, over(1, 5), Outcome::There), None);
        assert!(handovers.grants.is_empty());
    }

    #[test]
    fn the_own_copy_keeps_its_token() {
        let mut handovers = Handovers::default();
        assert_eq!(handovers.grant(ID, node(1), hop(1), half), Granted::Spent);
        assert_eq!(handovers.grant(ID, node(1), hop(3), |_| 99), Granted::Spent);
        handovers.answered(&ID);
        assert_eq!(handovers.grant(ID, node(1), hop(3), |_| 99), Granted::After(2, hop(1)));
    }

    #[test]
    fn what_never_ends_is_bounded() {
        let mut handovers = Handovers::default();
        for n in 0..2 * GRANTS_MAX {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            let id = BundleId(id);
            assert!(matches!(handovers.grant(id, node(1), hop(8), half), Granted::After(..)));
            handovers.answered(&id);
        }
        assert_eq!(handovers.grants.len(), GRANTS_MAX);
        assert_eq!(handovers.purses.len(), GRANTS_MAX);
    }
}
