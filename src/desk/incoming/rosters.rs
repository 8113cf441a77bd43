//! A roster on its way through: whoever follows its key takes it before the bundle counts as known,
//! and carries one bundle of the newest. Everything else that is addressed to such a group is junk.

use std::io::Read;

use postrider_base::{
    Head, Roster,
    bundle::{Destination, SealKind},
    packet::{Body, Packet},
    roster::ROSTER_MAX,
};
use postrider_spool::{Change, DurableSpool, Entry, Queue, Spool, Why};

use super::{Intake, Refusal, lock, read_failure};
use crate::{desk::Failure, home::Taken};

/// A roster, and the packet around it.
const PAYLOAD_MAX: u64 = ROSTER_MAX as u64 + 1024;
const JUNK: Refusal = Refusal::Unwanted("it is no roster of the key that it is for");
const PAGE: usize = 256;

impl Intake<'_> {
    /// Whether a bundle goes to the group of a roster that is followed.
    pub(in crate::desk) fn is_for_followers(&self, head: &Head) -> bool {
        match head.header().destination {
            Destination::Group(group) => lock(&self.contacts).rosters().of_group(&group).is_some(),
            _ => false,
        }
    }

    /// The roster in a bundle that is for followers of its key.
    pub(super) fn roster_in(
        &self,
        head: &Head,
        payload: &[u8],
    ) -> Result<Option<Box<Roster>>, Refusal> {
        if !self.is_for_followers(head) {
            return Ok(None);
        }
        match roster_of(head, payload) {
            Some(roster) => Ok(Some(Box::new(roster))),
            None => Err(JUNK),
        }
    }

    /// The payload of a large bundle to followers: short enough to be looked at whole.
    pub(super) fn read_for_followers(
        &self,
        head: &Head,
        payload: impl Read,
    ) -> Result<Vec<u8>, Refusal> {
        let length = head.header().length;
        if length > PAYLOAD_MAX {
            return Err(JUNK);
        }
        let mut bytes = Vec::new();
        payload
            .take(length + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Refusal::Failed(read_failure(error)))?;
        if bytes.len() as u64 != length
            || head.header().hash != Some(*blake3::hash(&bytes).as_bytes())
        {
            return Err(Refusal::Damaged("its payload is not the one that was signed".into()));
        }
        Ok(bytes)
    }

    /// Takes a roster, durably, if it is the newest; then those before it are let go. Nothing of this
    /// waits for the group: a bundle that is known must not stand for a roster that was not taken.
    pub(super) fn take_roster(&self, roster: &Roster) -> Result<(), Refusal> {
        let taken = self.home.take_roster(roster).map_err(Failure::from)?;
        let mut group = lock(&self.group);
        self.flush_locked(&mut group)?;
        let queue = Queue::Destination(Destination::Group(roster.group()).into());
        match taken {
            Taken::NotFollowed => Ok(()),
            Taken::Older => Err(Refusal::Unwanted("a newer roster is known")),
            Taken::Same if is_here(self.spool, roster)? => Err(Refusal::Known),
            Taken::Same | Taken::Newer => {
                *lock(&self.contacts) = (*self.home.contacts().map_err(Failure::from)?).clone();
                let mut cursor = None;
                loop {
                    let page = self.spool.page(queue, cursor, PAGE)?;
                    cursor = page.last().map(Entry::cursor);
                    let retire = |id| Change::Retire { id, why: Why::Cancelled };
                    group.changes.extend(page.iter().map(|entry| retire(entry.id)));
                    if page.len() < PAGE {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Whether a bundle of this roster is here. One of those before may have stayed, after a cut.
pub(in crate::desk) fn is_here(spool: &DurableSpool, roster: &Roster) -> Result<bool, Failure> {
    let queue = Queue::Destination(Destination::Group(roster.group()).into());
    for row in spool.page(queue, None, PAGE)? {
        let Some((_, payload)) = whole(spool, &row)? else { continue };
        let Ok(Packet { body: Body::Roster(bytes), .. }) = Packet::decode(&payload) else {
            continue;
        };
        // It was checked when it came.
        if Roster::decode_kept(&bytes).is_ok_and(|here| here.number == roster.number) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The head and payload of a bundle that may have a roster.
pub(in crate::desk) fn whole(
    spool: &DurableSpool,
    row: &Entry,
) -> Result<Option<(Head, Vec<u8>)>, Failure> {
    if row.summary.length > PAYLOAD_MAX {
        return Ok(None);
    }
    let Some(envelope) = spool.envelope(&row.id)? else { return Ok(None) };
    let Ok(head) = Head::decode(&envelope.head) else { return Ok(None) };
    let mut payload = vec![0; usize::try_from(row.summary.length).unwrap_or(0)];
    let mut got = 0;
    while got < payload.len() {
        match spool.read(&row.id, got as u64, &mut payload[got..])? {
            Some(n) if n > 0 => got += n,
            _ => return Ok(None),
        }
    }
    Ok(Some((head, payload)))
}

/// The roster in an open bundle, if it is one of the key whose group the bundle is for.
pub(in crate::desk) fn roster_of(head: &Head, payload: &[u8]) -> Option<Roster> {
    if head.header().seal != SealKind::None {
        return None;
    }
    let Ok(Packet { body: Body::Roster(bytes), .. }) = Packet::decode(payload) else { return None };
    let roster = Roster::decode(&bytes).ok()?;
    let group = Destination::Group(roster.group());
    (head.header().destination == group).then_some(roster)
}
