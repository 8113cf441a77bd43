//! Links come and go: which of two to one neighbour stays, and which end when there are too many.

use postrider_base::NodeId;

use super::Near;
use crate::{
    near::{
        contract::{AdapterId, Came, End, Place},
        duty::Pace,
        limits::{
            IDLE_WANTED_MS, LINKS_KEPT, SHORT_MS, STALE_MS, UNPROVEN_MAX, UNPROVEN_MS,
            UNPROVEN_OLD_MS,
        },
        sessions::Session,
    },
    node::LinkId,
};

impl Near {
    /// Bytes can go. Who is there comes later, if at all.
    pub(super) fn link_up(
        &mut self,
        now_ms: u64,
        link: LinkId,
        adapter: AdapterId,
        from: Place,
        came: Came,
    ) {
        let expect = match came {
            Came::Dialled => self.dialled(adapter, from),
            Came::Accepted => None,
        };
        let (up_ms, moved_ms) = (now_ms, now_ms);
        let session = Session { adapter, from, came, expect, node: None, up_ms, moved_ms };
        self.sessions.0.insert(link, session);
        self.changed = true;
        let wanted = self.adapters.contains_key(&adapter) && self.profile.pace().is_some();
        // A dial that was given up.
        let late = came == Came::Dialled && expect.is_none();
        if !wanted || late {
            self.drop_link(link);
            return;
        }
        let unproven = self.sessions.on(adapter).filter(|(_, session)| !session.is_kept());
        let unproven: Vec<(u64, LinkId)> = unproven.map(|(link, s)| (s.up_ms, *link)).collect();
        if unproven.len() > UNPROVEN_MAX {
            let oldest = unproven.into_iter().min();
            let old = oldest.filter(|(up_ms, _)| up_ms + UNPROVEN_OLD_MS <= now_ms);
            self.drop_link(old.map_or(link, |(_, old)| old));
        }
    }

    /// It is certain who is at the other end.
    pub(super) fn proven(&mut self, now_ms: u64, link: LinkId, node: NodeId) {
        if node == self.local.node || self.blocked.contains(&node) {
            self.drop_link(link);
            return;
        }
        let Some(session) = self.sessions.0.get_mut(&link) else { return };
        session.node = Some(node);
        session.moved_ms = now_ms;
        let new = *session;
        self.changed = true;
        if new.came == Came::Accepted
            && let Some(up) = self.adapters.get_mut(&new.adapter)
        {
            up.caller_came(now_ms);
        }
        if self.resolver.knows(&node) {
            let sessions = &self.sessions;
            let keep = |node: &NodeId| sessions.reach(node);
            if let Some(neighbour) = self.neighbours.entry(node, keep) {
                neighbour.proven(new.dialled());
            }
        }
        let other = self.sessions.0.iter().find(|(old, s)| **old != link && s.node == new.node);
        if let Some((old_link, old)) = other {
            let spare = if self.is_new_better(now_ms, node, old, &new) { *old_link } else { link };
            self.drop_link(spare);
        }
        if self.sessions.kept(new.adapter) > LINKS_KEPT
            && let Some(pace) = self.profile.pace()
        {
            let least = self.least(now_ms, new.adapter);
            least.into_iter().for_each(|link| self.end(now_ms, pace, link));
        }
    }

    /// Which of two links to one node stays. Both ends choose alike: the one that the node with the
    /// lower key dialled. Who dials anew knows nothing of the old one.
    fn is_new_better(&self, now_ms: u64, node: NodeId, old: &Session, new: &Session) -> bool {
        if new.came == old.came || new.came == Came::Accepted && now_ms >= old.up_ms + STALE_MS {
            return true;
        }
        let mine = self.local.node < node;
        (new.came == Came::Dialled) == mine
    }

    /// The link that goes when one too many has come: a stranger's, one that has nothing to say, one
    /// whose time is over, else the newest.
    fn least(&self, now_ms: u64, adapter: AdapterId) -> Option<LinkId> {
        let rank = |session: &Session| {
            let node = session.with();
            let known = node.is_some_and(|node| self.resolver.knows(&node));
            let wanted = node.is_some_and(|node| self.wanted.contains_key(&node));
            let (young, idle) = (session.node.is_none(), session.idle_ms(wanted) <= now_ms);
            match (session.over_ms() <= now_ms, idle) {
                (_, true) if !young => (known, 0, session.moved_ms),
                (true, false) if !young => (known, 1, session.up_ms),
                _ => (known, 2, u64::MAX - session.up_ms),
            }
        };
        let kept = self.sessions.on(adapter).filter(|(_, session)| session.is_kept());
        kept.min_by_key(|(link, session)| (rank(session), u64::MAX - link.0)).map(|(link, _)| *link)
    }

    /// A link is gone.
    pub(super) fn link_down(&mut self, now_ms: u64, link: LinkId, end: End) {
        let Some(session) = self.sessions.0.remove(&link) else { return };
        self.changed = true;
        if let Some(pace) = self.profile.pace() {
            self.ended(now_ms, pace, &session, end);
        }
    }

    /// Ends a link from this side, because it has had its time.
    pub(super) fn end(&mut self, now_ms: u64, pace: Pace, link: LinkId) {
        let Some(session) = self.sessions.0.get(&link).copied() else { return };
        self.drop_link(link);
        self.ended(now_ms, pace, &session, End::Closed);
    }

    /// What the end of a link means for its neighbour.
    fn ended(&mut self, now_ms: u64, pace: Pace, session: &Session, end: End) {
        let Some(node) = session.with().filter(|node| !self.sessions.reach(node)) else { return };
        if session.node.is_none() || end == End::Closed && now_ms < session.up_ms + SHORT_MS {
            self.failed(now_ms, node, session.dialled());
            return;
        }
        let mail_left = self.wanted.contains_key(&node);
        let Some(neighbour) = self.neighbours.get_mut(&node) else { return };
        match end {
            End::Closed => neighbour.visited(now_ms, mail_left, pace),
            End::Lost => {
                neighbour.lost();
                if mail_left {
                    self.adapters.values_mut().for_each(|a| a.duty.mail(now_ms, pace));
                }
            }
        }
    }

    /// Ends links that prove nobody, and those that have nothing more to say where the profile wants
    /// that, where nobody is there whom we know, and where there is another way.
    pub(super) fn end_links(&mut self, now_ms: u64, pace: Pace) {
        let mut over = Vec::new();
        let mut next_ms = u64::MAX;
        for (link, session) in &self.sessions.0 {
            let wanted = session.node.is_some_and(|node| self.wanted.contains_key(&node));
            let needed = session
                .node
                .is_some_and(|node| self.resolver.knows(&node) && !self.elsewhere.contains(&node));
            let most_ms = if wanted { IDLE_WANTED_MS } else { 0 };
            let idle_ms = pace.idle_ms.map(|idle| session.moved_ms + idle.max(most_ms));
            let at_ms = match session.node {
                None => session.up_ms + UNPROVEN_MS,
                Some(_) if !needed => session.idle_ms(false),
                Some(_) => idle_ms.map_or(u64::MAX, |at| at.max(session.idle_ms(wanted))),
            };
            if at_ms <= now_ms {
                over.push(*link);
            } else {
                next_ms = next_ms.min(at_ms);
            }
        }
        over.into_iter().for_each(|link| self.end(now_ms, pace, link));
        self.wake_at(next_ms);
    }
}
