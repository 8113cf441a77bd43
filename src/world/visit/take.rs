//! Taking from a medium: what is new, verified before any of it is believed.

use std::collections::BTreeSet;

use postrider_base::{
    BundleId, Head, Niceness,
    bundle::{HeadError, Receipt},
};
use postrider_engine::{
    node::{Body, Class, Custody, Input, Kept, LinkPolicy, NewBundle},
    parcel::{Condition, Container, ContainerError, Damage, Listing, Notes, Record, RecordError},
    router::{Flood, Neighbour, Placement, Router},
};
use postrider_spool::Spool;

use super::{Copy, OnMedium, Pass, Place, Trouble, Visit};
use crate::{
    letters::{node_id, row_of, seal_key},
    shell::staged_bytes,
};

/// Bodies are staged in pieces of this size.
const CHUNK_BYTES: usize = 16 << 10;

impl Visit {
    /// Takes note of what a container's trailer lists.
    pub(super) fn learn(&mut self, at: usize, place: &mut Place<'_>) -> Result<(), Trouble> {
        let on_medium = &mut self.containers[at];
        let file = place.disk.open(&on_medium.path)?;
        let container = match Container::open(&file) {
            Ok(container) => container,
            Err(ContainerError::Read(error)) => return Err(error.into()),
            Err(error) => {
                place.damage(on_medium, &error.to_string());
                return Ok(());
            }
        };
        for entry in container.listed().unwrap_or_default() {
            let mut receipts = self.notes.receipts();
            let receipt = receipts.find(|receipt| receipt.id_prefix == entry.id.prefix());
            let receipted = receipt.is_some_and(|receipt| {
                container.at(entry).is_ok_and(|record| opens(&container, &record, receipt))
            });
            let noted_damaged = self.notes.says_damaged(&entry.id, on_medium.number);
            on_medium.copies.push(Copy {
                id: entry.id,
                record_bytes: entry.record_bytes,
                nice: entry.nice,
                condition: if noted_damaged { Condition::Damaged } else { Condition::Good },
                noted_damaged,
                receipted,
            });
        }
        Ok(())
    }

    /// Takes what is new from a container.
    pub(super) fn take(
        &mut self,
        at: usize,
        pass: Pass,
        place: &mut Place<'_>,
    ) -> Result<(), Trouble> {
        let on_medium = &mut self.containers[at];
        let noted = on_medium.copies.iter().filter(|copy| copy.noted_damaged);
        let suspects: BTreeSet<BundleId> = noted.map(|copy| copy.id).collect();
        if pass == Pass::NotedDamaged && suspects.is_empty() {
            return Ok(());
        }
        let file = place.disk.open(&on_medium.path)?;
        // What does not open was said when it was learnt.
        let Ok(container) = Container::open(&file) else { return Ok(()) };
        let listed = container.listed().is_some();
        let mut whole = listed && (pass == Pass::Good || on_medium.listing == Listing::Whole);
        let wanted = |id: &BundleId| {
            !place.node.knows(id) && suspects.contains(id) == (pass == Pass::NotedDamaged)
        };
        // One may come twice in a container, so what is known is asked again when it is kept.
        let contents: Vec<_> = container.contents(wanted).collect::<Result<_, _>>()?;
        for content in contents {
            let found = match content {
                Ok(found) => found,
                Err(Damage { id, offset, .. }) => {
                    whole &= id.is_some();
                    place.damage(on_medium, &format!("at byte {offset}"));
                    mark_damaged(on_medium, id, &mut self.notes);
                    continue;
                }
            };
            let said = found.entry.map(|entry| entry.id);
            match place.keep_record(&container, &found.record) {
                Ok((id, nice)) if !listed => on_medium.copies.push(Copy {
                    id,
                    record_bytes: found.record.end() - found.record.offset,
                    nice,
                    condition: Condition::Good,
                    noted_damaged: false,
                    receipted: false,
                }),
                Ok(_) => {}
                Err(Unkept::Damaged(why)) => {
                    place.damage(on_medium, &why);
                    mark_damaged(on_medium, said, &mut self.notes);
                }
                Err(Unkept::Trouble(trouble)) => return Err(trouble),
            }
        }
        on_medium.listing = if whole { Listing::Whole } else { Listing::Partial };
        Ok(())
    }
}

/// Why a record is not kept.
enum Unkept {
    /// It is not what it says.
    Damaged(String),
    Trouble(Trouble),
}

impl<T: Into<Trouble>> From<T> for Unkept {
    fn from(trouble: T) -> Self {
        Self::Trouble(trouble.into())
    }
}

impl Place<'_> {
    /// What was published is whole, unless it was torn out before that: then damage is no wonder.
    fn damage(&mut self, on_medium: &OnMedium, why: &str) {
        let number = on_medium.number;
        if self.published.contains(&number) {
            self.turn.faults.push(format!("container {number} is damaged: {why}"));
        }
    }

    /// Verifies a record and keeps its bundle, if it is to be kept; what it is.
    fn keep_record(
        &mut self,
        container: &Container<'_>,
        record: &Record,
    ) -> Result<(BundleId, Niceness), Unkept> {
        let damaged = |error: HeadError| Unkept::Damaged(error.to_string());
        let head = Head::decode(&record.head).map_err(damaged)?;
        let header = head.header();
        if header.length != record.body_bytes {
            return Err(Unkept::Damaged("its body has another length".into()));
        }
        // Of a large one nothing is staged before its signature holds.
        let verified = if header.is_small() { None } else { Some(head.verify_large()) };
        let verified = verified.transpose().map_err(damaged)?;
        let payload = self.stage(container, record)?;
        let id = match verified {
            None => head.verify_small(&payload).map_err(damaged)?,
            Some(id) if header.hash == Some(*blake3::hash(&payload).as_bytes()) => id,
            Some(_) => return Err(Unkept::Damaged("its body has another hash".into())),
        };
        let at = self.node.at;
        let Some(hop) = record.hop.admitted(header.nice) else { return Ok((id, header.nice)) };
        let mut router = Flood::new(node_id(at), vec![seal_key(at)]);
        router.set_people(self.node.people.clone());
        let from = Neighbour { node: None, policy: &LinkPolicy::default() };
        let (custody, class) = match router.place(header, hop, &from) {
            Placement::Keep(custody, class, _) => (custody, class),
            Placement::Refuse(_) => return Ok((id, header.nice)),
        };
        // One of ours comes back: it is here, or it was settled.
        if self.node.knows(&id) || class == Class::Own && custody == Custody::Carry {
            return Ok((id, header.nice));
        }
        let row = row_of(id, header, hop, class);
        let (head, body) = (record.head.clone().into(), Body::Inline(payload.into()));
        let bundle = NewBundle { row, head, custody, worth: 0, body };
        if let Some(fault) = self.laws.keeping(at, &bundle, self.now_ms) {
            self.turn.faults.push(fault);
        }
        let kept = self.node.keep(self.now_ms, bundle, self.letters, &mut self.turn)?;
        if kept == Kept::Kept && custody == Custody::Carry {
            self.turn.answers.push(Input::Arrived { id });
        }
        Ok((id, header.nice))
    }

    /// A body by way of the spool's staging; nothing of it counts before its check held.
    fn stage(&mut self, container: &Container<'_>, record: &Record) -> Result<Vec<u8>, Unkept> {
        let mut staging = self.node.spool.stage()?;
        let mut body = container.body(record);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match body.read(&mut chunk) {
                Ok(0) => return Ok(staged_bytes(staging)?),
                Ok(n) => staging.append(&chunk[..n])?,
                Err(RecordError::Read(error)) => return Err(error.into()),
                Err(error) => return Err(Unkept::Damaged(error.to_string())),
            }
        }
    }
}

/// Notes that a copy is damaged, where it is known which.
fn mark_damaged(on_medium: &mut OnMedium, id: Option<BundleId>, notes: &mut Notes) {
    let Some(id) = id else { return };
    for copy in on_medium.copies.iter_mut().filter(|copy| copy.id == id) {
        copy.condition = Condition::Damaged;
    }
    notes.add_damaged(&id, on_medium.number);
}

/// Whether a receipt opens the lock of the bundle that lies on the medium, itself verified.
fn opens(container: &Container<'_>, record: &Record, receipt: &Receipt) -> bool {
    let Ok(head) = Head::decode(&record.head) else { return false };
    let verified = if head.header().is_small() {
        let most = usize::try_from(head.header().length).unwrap_or(0);
        let Ok(Some(payload)) = container.body(record).read_whole(most) else { return false };
        head.verify_small(&payload).map(|id| (id, payload))
    } else {
        head.verify_large().map(|id| (id, Vec::new()))
    };
    verified.is_ok_and(|(id, payload)| receipt.opens(&id, head.header(), &payload))
}
