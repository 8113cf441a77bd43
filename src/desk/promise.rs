//! Files that answer a request: what they are is said first, and then they are sealed.
//!
//! ```text
//! read, hashed -> one group: manifest, what it costs -> parts, each with its note
//!              -> one group: request forgotten
//! ```
//!
//! So whoever asked knows from the first byte on what the whole is: if this node goes away for good while
//! it seals, what it has not sent can come from somebody else. A crash is gone on after by whoever
//! answers the request again. A file that changed meanwhile cannot be what was said: that message is
//! called back, and another one made.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use postrider_base::{
    BundleId,
    id::SetId,
    packet::{Body, PART_BYTES, PartList},
};
use postrider_spool::{Change, DurableSpool, Spool};

use super::{
    Desk, Failure, SendRequest, Silent, clock,
    inbox::{note_keys, note_keys_of},
    ledger::{remove_note, set_note, space},
    message_files::{Outgoing, Source},
    outgoing::{self, Promised, sealed_key},
    queue::ended,
    send::{Sealing, Sending, nice_of_parts},
    store::{self, must_admit},
};
use crate::home::Contact;

/// Bytes of a request's key: who asks, and which message.
const REQUEST_BYTES: usize = 64;

/// What is known of the answer to a request before it is made.
#[derive(Debug)]
pub(super) struct Promise {
    set: SetId,
    /// Whose request: its note's key.
    request: Vec<u8>,
    /// The manifest, and the hash of what it says of the content.
    said: Option<(BundleId, [u8; 32])>,
    /// What is sealed: hashes by index.
    sealed: BTreeMap<u32, [u8; 32]>,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All of it is durable, or nobody wants the rest any more.
    Done,
    /// A file is another than was said, or cannot be read any more. What was said is taken back; these
    /// bundles are gone.
    Changed(Vec<BundleId>),
}

impl Promise {
    /// What a crash left of the answer to a request; else one that begins.
    pub(super) fn of(spool: &DurableSpool, request: Vec<u8>) -> Result<Self, Failure> {
        let mut promise =
            Self { set: SetId(clock::random()?), request, said: None, sealed: BTreeMap::new() };
        for key in note_keys(spool, space::SENDING)? {
            let value = spool.note(space::SENDING, &key)?.unwrap_or_default();
            if let Some(said) = value.strip_prefix(&promise.request[..])
                && let Ok(set) = key.as_slice().try_into()
            {
                (promise.set, promise.said) = (SetId(set), read_said(said));
            }
        }
        for key in note_keys_of(spool, space::SEALED, &promise.set.0)? {
            let index = key.get(promise.set.0.len()..).and_then(|index| index.try_into().ok());
            let note = spool.note(space::SEALED, &key)?;
            let blake3 = note.and_then(|note| note.as_slice().try_into().ok());
            promise.sealed.extend(index.map(u32::from_be_bytes).zip(blake3));
        }
        Ok(promise)
    }

    /// Whether it was said already what comes: then that is paid for.
    pub(super) fn is_said(&self) -> bool {
        self.said.is_some()
    }

    fn note(&self, message: &BundleId, content: &[u8; 32]) -> Change {
        let value = [&self.request[..], &message.0, content].concat();
        set_note(space::SENDING, &self.set.0, value)
    }

    /// What is sealed is removed with the next look at the spool: nothing goes on with it.
    fn give_up(&self) -> Change {
        set_note(space::SENDING, &self.set.0, Vec::new())
    }
}

impl Desk {
    /// Sends files in parts, what they are first. `beside` becomes durable with the manifest, `end` when
    /// all is sealed.
    pub(super) fn keep_promise(
        &self,
        spool: &DurableSpool,
        (contact, request): (&Contact, &SendRequest),
        mut files: Vec<Outgoing>,
        mut promise: Promise,
        beside: &dyn Fn(&BundleId) -> Vec<Change>,
        end: Vec<Change>,
    ) -> Result<Outcome, Failure> {
        let set = promise.set;
        let _sending = Sending::begin(&self.sending, set.0);
        let hashes = outgoing::hash_parts(&mut files)?;
        let content = content_hash(&files, &hashes);
        let message = match promise.said {
            Some((message, said)) if said == content => message,
            Some((message, _)) => return self.break_promise(spool, &promise, message),
            None => {
                let list = PartList {
                    set,
                    part_bytes: PART_BYTES,
                    total_bytes: files.iter().map(|file| file.entry.bytes).sum(),
                    hashes: hashes.clone(),
                };
                let files = (files.clone(), &Body::Files as _);
                let made = self.seal_manifest(spool, contact, request, files, list)?;
                let Sealing { id, mut changes, .. } = made;
                changes.extend(beside(&id));
                changes.push(promise.note(&id, &content));
                let outcomes = spool.commit(clock::now(), changes)?;
                must_admit(&outcomes, 0, &id)?;
                id
            }
        };
        let is_over = || Ok(ended(spool, message)?.is_some());
        let promised = Promised {
            hashes,
            sealed: std::mem::take(&mut promise.sealed),
            changed: AtomicBool::new(false),
            is_over: &is_over,
        };
        let parts = self.parts(contact, &files, set, Some(promised));
        let nice = nice_of_parts(request, parts.total);
        let letter = |post: &dyn store::Post| self.letter(post, contact, request, nice);
        let sealed = outgoing::seal_parts(spool, &parts, &letter, &mut files, &Silent);
        let changed = parts.promised.as_ref().is_some_and(|it| it.changed.load(Ordering::Relaxed));
        // What was said cannot be kept: it must not wait for ever where nobody goes on with it.
        let spoiled = |file: &Outgoing| match &file.source {
            Source::Open(open) => open.trouble().is_some(),
            Source::Named(_) => false,
        };
        if changed || files.iter().any(spoiled) {
            return self.break_promise(spool, &promise, message);
        }
        let mut changes = end;
        if is_over()? {
            changes.push(promise.give_up());
        } else {
            let indices = 0..u32::try_from(sealed?.hashes.len()).unwrap_or(u32::MAX);
            changes.push(remove_note(space::SENDING, &set.0));
            changes
                .extend(indices.map(|index| remove_note(space::SEALED, &sealed_key(set, index))));
        }
        spool.commit(clock::now(), changes)?;
        Ok(Outcome::Done)
    }

    fn break_promise(
        &self,
        spool: &DurableSpool,
        promise: &Promise,
        message: BundleId,
    ) -> Result<Outcome, Failure> {
        let gone = match ended(spool, message)? {
            None => self.cancel_bundles(&message.to_string(), &Silent)?.1,
            Some(_) => Vec::new(),
        };
        spool.commit(clock::now(), vec![promise.give_up()])?;
        Ok(Outcome::Changed(gone))
    }
}

/// Whether somebody goes on with what is noted of a set that is being sealed.
pub(super) fn goes_on(spool: &DurableSpool, note: &[u8]) -> Result<bool, Failure> {
    let Some(request) = note.get(..REQUEST_BYTES) else { return Ok(false) };
    Ok(spool.note(space::REQUEST, request)?.is_some())
}

/// Of so many parts of a set: how many are not sealed yet.
pub(super) fn unsealed(spool: &DurableSpool, set: SetId, parts: u64) -> Result<u64, Failure> {
    let note = spool.note(space::SENDING, &set.0)?;
    if note.is_none() {
        return Ok(0);
    }
    let sealed = note_keys_of(spool, space::SEALED, &set.0)?.len() as u64;
    Ok(parts.saturating_sub(sealed))
}

fn read_said(bytes: &[u8]) -> Option<(BundleId, [u8; 32])> {
    let (message, content) = bytes.split_first_chunk::<32>()?;
    Some((BundleId(*message), content.try_into().ok()?))
}

/// What a content is, whatever its files are called.
fn content_hash(files: &[Outgoing], parts: &[[u8; 32]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher.update(&file.entry.bytes.to_be_bytes()).update(&file.entry.blake3);
    }
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}
