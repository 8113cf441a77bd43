//! The source sprays again: own bundles without a receipt get their tokens anew, and a new number, so
//! that neighbours whose cursors have passed them are offered them again. When, says the engine.
//!
//! After which part of its lifetime a bundle was last renewed stands in a note, made with the renewal:
//! a spool that is opened again knows it, and bundles need no field that all but a few never use.

use std::sync::Mutex;

use postrider_base::{Niceness, bundle::Hop};
use postrider_engine::router::{due_again, next_part_s};
use postrider_spool::{
    Change, Class, Cursor, Destination, DurableSpool, Entry, Queue, Spool, contract::PAGE_MAX,
};

use super::{
    Desk, Failure, clock,
    incoming::lock,
    ledger::{OwnNote, remove_note, set_note, space},
};

/// Own bundles that are looked at in one turn: each is a row of the index, for the few that are due a
/// head is read too. Who has more is some turns behind.
const LOOKED_MAX: usize = 32 << 10;
/// Renewed in one turn: as many as an engine is told of at once.
const RENEWED_MAX: usize = 256;

/// How far own bundles have been looked at, in this process.
#[derive(Debug, Default)]
pub(super) struct Renewing(Mutex<Walk>);

#[derive(Debug, Default)]
struct Walk {
    /// Where the last turn ended; `None`: at the end.
    after: Option<Cursor>,
    /// The highest number, and when the next part ends of what there was: until either changes nothing
    /// is due. `None`: not known.
    rest: Option<(u64, u64)>,
    /// The last note that was looked at.
    noted: Option<Vec<u8>>,
}

impl Desk {
    /// Renews what is due, or some of it.
    pub(super) fn spray_again(&self, spool: &DurableSpool) -> Result<(), Failure> {
        let mut walk = lock(&self.renewing.0);
        self.forget_renewals(spool, &mut walk)?;
        let now = clock::now();
        let (held_ms, latest) = (spool.held_ms(now), spool.numbering().latest);
        if walk.rest.is_some_and(|(seen, due_ms)| seen == latest && held_ms < due_ms) {
            return Ok(());
        }
        walk.rest = None;
        let whole = walk.after.is_none();
        let (mut looked, mut due_ms, mut changes) = (0, u64::MAX, Vec::new());
        while looked < LOOKED_MAX && changes.len() < 2 * RENEWED_MAX {
            let page = spool.page(Queue::Class(Class::Own), walk.after, PAGE_MAX)?;
            let ended = page.len() < PAGE_MAX;
            for entry in page {
                if changes.len() >= 2 * RENEWED_MAX {
                    break;
                }
                walk.after = Some(entry.cursor());
                looked += 1;
                changes.extend(renewal(spool, &entry, held_ms)?.into_iter().flatten());
                if let Some(wait_s) = next_part_s(entry.age_s(held_ms), entry.summary.lifetime_s) {
                    due_ms = due_ms.min(held_ms.saturating_add(wait_s.saturating_mul(1000)));
                }
            }
            if ended && changes.len() < 2 * RENEWED_MAX {
                walk.after = None;
                break;
            }
        }
        let renewed = changes.len() as u64 / 2;
        if !changes.is_empty() {
            spool.commit(now, changes)?;
        }
        if walk.after.is_none() && whole {
            walk.rest = Some((latest + renewed, due_ms));
        }
        Ok(())
    }

    /// Notes of some bundles that are no longer here go.
    fn forget_renewals(&self, spool: &DurableSpool, walk: &mut Walk) -> Result<(), Failure> {
        let keys = spool.notes(space::RENEWED, &[], walk.noted.as_deref(), PAGE_MAX)?;
        walk.noted = keys.last().filter(|_| keys.len() == PAGE_MAX).cloned();
        let mut changes = Vec::new();
        for key in keys {
            let id = <[u8; 32]>::try_from(&key[..]).map(postrider_base::BundleId);
            let live = id.is_ok_and(|id| matches!(spool.entry(&id), Ok(Some(_)) | Err(_)));
            changes.extend((!live).then(|| remove_note(space::RENEWED, &key)));
        }
        if !changes.is_empty() {
            spool.commit(clock::now(), changes)?;
        }
        Ok(())
    }
}

/// The renewal of a bundle and its note, if it is due.
fn renewal(
    spool: &DurableSpool,
    entry: &Entry,
    held_ms: u64,
) -> Result<Option<[Change; 2]>, Failure> {
    let (id, lifetime_s, age_s) = (entry.id, entry.summary.lifetime_s, entry.age_s(held_ms));
    let all = Niceness::new(entry.summary.nice).map_or(1, Hop::tokens_of);
    // What is for a group goes to everybody, whatever its tokens.
    let spends = !matches!(entry.summary.destination, Destination::Group(_));
    let left = (entry.hop, all);
    if !spends || due_again(age_s, lifetime_s, left, 0).is_none() {
        return Ok(None);
    }
    let note = spool.note(space::RENEWED, &id.0)?;
    let renewed = note.and_then(|note| note.first().copied()).unwrap_or(0);
    let Some(part) = due_again(age_s, lifetime_s, left, renewed) else { return Ok(None) };
    let own = spool.envelope(&id)?.and_then(|envelope| envelope.own);
    if own.as_deref().and_then(OwnNote::read).is_none() {
        return Ok(None);
    }
    let hop = Hop { tokens: all, ..entry.hop };
    Ok(Some([Change::Renew { id, hop }, set_note(space::RENEWED, &id.0, vec![part])]))
}

#[cfg(test)]
mod tests {
    use postrider_base::BundleId;
    use postrider_spool::Why;

    use super::*;
    use crate::desk::{AddRequest, InitRequest, SendRequest, Silent};

    /// Time cannot be made to pass here; but an age only grows, whoever says it.
    fn grow(spool: &DurableSpool, id: &BundleId, eighths: u32, tokens: u8) -> Entry {
        let entry = spool.entry(id).unwrap().unwrap();
        let age_s = entry.summary.lifetime_s / 8 * eighths + 8;
        let hop = Hop { tokens, age_s, ..entry.hop };
        let change = Change::Hop { id: *id, hop, class: entry.class };
        spool.commit(clock::now(), vec![change]).unwrap();
        spool.entry(id).unwrap().unwrap()
    }

    #[test]
    fn own_bundles_are_renewed_once_for_each_part_also_by_the_next_program() {
        let dir = tempfile::tempdir().unwrap();
        let [alice, bob] = ["Alice", "Bob"].map(|name| {
            let home = dir.path().join(name);
            let request = InitRequest { home, name: Some(name.into()), even_if_public: false };
            Desk::init(&request).unwrap().0
        });
        alice.add(&AddRequest { card: bob.home().card.clone(), name: None }).unwrap();
        let request = SendRequest {
            to: "Bob".into(),
            text: Some("for many".into()),
            files: Vec::new(),
            nice: None,
            lifetime: None,
            hidden: None,
            reply_to: None,
            supersede: None,
        };
        alice.send(&request, &Silent).unwrap();
        let mut desk = alice;
        let id = desk.spool(&Silent).unwrap().since(0, 1).unwrap()[0].id;
        for (eighths, tokens, renewed) in [
            (0, 1, false),
            (1, 8, false),
            (1, 3, false),
            (1, 1, true),
            (1, 1, false),
            (2, 3, false),
            (2, 1, false),
            (3, 1, false),
            (4, 7, true),
        ] {
            let spool = desk.spool(&Silent).unwrap();
            let before = grow(spool, &id, eighths, tokens);
            // What arrives wakes it, as time would.
            lock(&desk.renewing.0).rest = None;
            desk.tidy(spool).unwrap();
            let after = spool.entry(&id).unwrap().unwrap();
            let (all, number) = match renewed {
                true => (8, spool.numbering().latest),
                false => (tokens, before.arrival),
            };
            assert_eq!((after.hop.tokens, after.arrival), (all, number), "{eighths} {tokens}");
            assert_eq!(renewed, after.arrival > before.arrival, "{eighths} {tokens}");
            assert!(lock(&desk.renewing.0).rest.is_some(), "all was looked at");
            drop(desk);
            desk = Desk::open(&dir.path().join("Alice")).unwrap();
        }
        let spool = desk.spool(&Silent).unwrap();
        assert_eq!(spool.note(space::RENEWED, &id.0).unwrap(), Some(vec![4]));
        spool.commit(clock::now(), vec![Change::Retire { id, why: Why::Cancelled }]).unwrap();
        desk.tidy(spool).unwrap();
        assert_eq!(spool.note(space::RENEWED, &id.0).unwrap(), None);
    }

    #[test]
    fn what_is_carried_for_others_is_not_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("Alice");
        let request = InitRequest { home, name: Some("Alice".into()), even_if_public: false };
        let alice = Desk::init(&request).unwrap().0;
        let spool = alice.spool(&Silent).unwrap();
        let id = BundleId([7; 32]);
        let hop = Hop { tokens: 1, hops: 1, age_s: 86_400 / 8, level: 0 };
        for (class, own) in [(Class::Contact, Some(vec![1])), (Class::Own, None)] {
            let bundle = postrider_spool::NewBundle {
                id,
                head: b"head".to_vec(),
                summary: postrider_spool::Summary {
                    destination: Destination::Node([1; 32]),
                    source: None,
                    nice: 160,
                    lifetime_s: 86_400,
                    length: 4,
                },
                hop,
                class,
                worth: 0,
                from: None,
                own,
                body: postrider_spool::Body::Inline(b"body".to_vec()),
            };
            spool.commit(clock::now(), vec![Change::Bundle(bundle)]).unwrap();
            alice.spray_again(spool).unwrap();
            assert_eq!(spool.entry(&id).unwrap().unwrap().hop, hop, "{class:?}");
            spool.commit(clock::now(), vec![Change::Retire { id, why: Why::Damaged }]).unwrap();
        }
    }
}
