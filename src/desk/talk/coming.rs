//! What is on its way here in parts, and how much of what was sent in parts has a receipt. Nothing of
//! this has arrived.

use std::{collections::BTreeMap, fs};

use postrider_base::{
    BundleId, NodeId,
    id::SetId,
    packet::{Body, Manifest, PART_BYTES},
};
use postrider_spool::{DurableSpool, Spool, contract::PAGE_MAX};

use crate::{
    desk::{
        Desk, Failure, Watch, hex,
        inbox::{files_named, note_keys},
        ledger::{End, SentNote, set_key, space},
        people::name_of,
        promise,
        queue::{ended, own_bundles},
        reply::Coming,
        sets::{IN_STREAM, part_keys},
    },
    home::Contacts,
};

/// Most sets without a manifest that are told of: a stranger makes as many as there is room for.
const UNKNOWN_MAX: usize = 256;

/// Parts of a set, and their bytes.
#[derive(Clone, Copy, Default)]
struct Here {
    parts: u64,
    bytes: u64,
}

impl Desk {
    /// What is on its way here: with a manifest, what it is; without one, how much of something.
    pub fn coming(&self, watch: &dyn Watch) -> Result<Vec<Coming>, Failure> {
        let spool = self.spool(watch)?;
        let contacts = self.home.contacts()?;
        let mut found = Vec::new();
        for key in note_keys(spool, space::SET)? {
            if let Ok(key) = <[u8; 24]>::try_from(key.as_slice()) {
                found.extend(self.coming_as(spool, &contacts, &key)?);
            }
        }
        let unknown = self.without_manifest(spool)?;
        found.extend(unknown.into_iter().map(|(key, here)| Coming {
            message: None,
            from:
                author_of(&contacts, &key).map_or_else(String::new, |who| name_of(&contacts, &who)),
            text: String::new(),
            files: Vec::new(),
            parts_here: here.parts,
            parts: None,
            bytes_here: here.bytes,
            bytes: None,
        }));
        Ok(found)
    }

    /// Of a message that was sent in parts: how many have a receipt, of how many.
    pub(in crate::desk) fn parts_received(
        &self,
        spool: &DurableSpool,
        id: BundleId,
        note: &SentNote,
    ) -> Result<Option<(u64, u64)>, Failure> {
        let Some(set) = note.5.as_ref().and_then(|set| set.as_slice().try_into().ok()) else {
            return Ok(None);
        };
        let all = note.6.saturating_sub(1);
        let wait = match ended(spool, id)? {
            Some(End::Delivered) => 0,
            // What was taken back or outlived has left as what was received has.
            Some(End::Cancelled | End::Expired) => return Ok(None),
            None => {
                let own = own_bundles(spool)?.into_iter();
                let wait = own.filter(|(_, own)| own.3 && own.set() == Some(SetId(set))).count();
                wait as u64 + promise::unsealed(spool, SetId(set), all)?
            }
        };
        Ok(Some((all.saturating_sub(wait), all)))
    }

    fn coming_as(
        &self,
        spool: &DurableSpool,
        contacts: &Contacts,
        key: &[u8; 24],
    ) -> Result<Option<Coming>, Failure> {
        let value = spool.note(space::SET, key)?;
        let message = value.as_deref().and_then(<[u8]>::first_chunk::<32>).copied().map(BundleId);
        let Some(message) = message else { return Ok(None) };
        if spool.note(space::COMPLETE, &message.0)?.is_some() {
            return Ok(None);
        }
        let Some(kept) = self.kept(spool, message)? else { return Ok(None) };
        let manifest = match &kept.packet.body {
            // It stands with its job.
            Body::Result(_) => return Ok(None),
            body => body.manifest(),
        };
        let Some(manifest) = manifest else { return Ok(None) };
        let Some(list) = manifest.parts() else { return Ok(None) };
        let mut here = Here::default();
        for note in part_keys(spool, key)? {
            let index = note.get(24..).and_then(|index| index.try_into().ok());
            let bytes = index.and_then(|index| list.bytes_of(u32::from_be_bytes(index)));
            here.parts += 1;
            here.bytes += bytes.unwrap_or(0);
        }
        Ok(Some(Coming {
            message: Some(message.to_string()),
            from: name_of(contacts, &kept.author),
            text: manifest.text.clone().unwrap_or_default(),
            files: files_named(manifest),
            parts_here: here.parts,
            parts: Some(list.hashes.len() as u64),
            bytes_here: here.bytes,
            bytes: Some(total(manifest)),
        }))
    }

    /// Parts that came before what says of what they are parts.
    fn without_manifest(&self, spool: &DurableSpool) -> Result<BTreeMap<[u8; 24], Here>, Failure> {
        let mut sets: BTreeMap<[u8; 24], Here> = BTreeMap::new();
        let mut after: Option<Vec<u8>> = None;
        // Keys come in order: a set is asked for once.
        let mut last: Option<([u8; 24], bool)> = None;
        loop {
            let page = spool.notes(space::PART, &[], after.as_deref(), PAGE_MAX)?;
            for note in &page {
                let Some((key, index)) = note.split_first_chunk::<24>() else { continue };
                let known = match last {
                    Some((same, known)) if same == *key => known,
                    _ => spool.note(space::SET, key)?.is_some(),
                };
                last = Some((*key, known));
                if known || sets.len() >= UNKNOWN_MAX && !sets.contains_key(key) {
                    continue;
                }
                let value = spool.note(space::PART, note)?;
                let in_stream = value.as_deref().and_then(<[u8]>::last) == Some(&IN_STREAM);
                let bytes = if in_stream { PART_BYTES } else { self.loose_bytes(key, index) };
                let here = sets.entry(*key).or_default();
                here.parts += 1;
                here.bytes += bytes;
            }
            let done = page.len() < PAGE_MAX;
            after = page.into_iter().next_back();
            if done {
                return Ok(sets);
            }
        }
    }

    fn loose_bytes(&self, key: &[u8; 24], index: &[u8]) -> u64 {
        let Ok(index) = index.try_into().map(u32::from_be_bytes) else { return 0 };
        let path = self.inbox_dir().join(hex(key)).join(format!("p{index}"));
        fs::metadata(path).map_or(0, |meta| meta.len())
    }
}

fn total(manifest: &Manifest) -> u64 {
    manifest.files.iter().map(|file| file.bytes).sum()
}

/// Which contact sends a set: its key holds a hash of its author.
fn author_of(contacts: &Contacts, key: &[u8; 24]) -> Option<NodeId> {
    let set = SetId(*key.first_chunk()?);
    let mut nodes = contacts.iter().map(|contact| contact.card.node);
    nodes.find(|node| set_key(node.as_bytes(), &set) == *key)
}
