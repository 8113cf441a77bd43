//! `inbox`: what arrived, and reading it.

use std::path::Path;

use postrider_base::{
    BundleId, Card, NodeId, Roster,
    packet::{Body, Introduction, Job, Manifest, Packet},
};
use postrider_exec::allow::shown;
use postrider_spool::{DurableSpool, Spool, contract::PAGE_MAX};

use super::{
    Desk, Failure, FailureKind, Watch, clock, hex,
    ledger::{MessageNote, set_key, set_note, space},
    people::name_of,
    reply::{Received, ReceivedFile},
    sets::{packet_of, part_keys},
};
use crate::home::Contacts;

/// A received message as it is kept.
pub(super) struct Kept {
    pub id: BundleId,
    pub note: MessageNote,
    pub author: NodeId,
    pub packet: Packet,
}

impl Desk {
    /// Everything that arrived, oldest first; incomplete messages too.
    pub fn inbox(&self, watch: &dyn Watch) -> Result<Vec<Received>, Failure> {
        let spool = self.spool(watch)?;
        let contacts = self.home.contacts()?;
        let mut found = Vec::new();
        for key in note_keys(spool, space::MESSAGE)? {
            let Ok(id) = key.as_slice().try_into().map(BundleId) else { continue };
            // Another one has brought the same, to the same question.
            if spool.note(space::DOUBLE, &id.0)?.is_some() {
                continue;
            }
            // What became of a job stands with the job.
            if let Some(kept) = self.kept(spool, id)?
                && !matches!(kept.packet.body, Body::Result(_))
            {
                found.push((kept.note.3, self.describe(spool, &contacts, &kept)?));
            }
        }
        found.sort_by(|(a, x), (b, y)| (a, &x.id).cmp(&(b, &y.id)));
        Ok(found.into_iter().map(|(_, message)| message).collect())
    }

    /// One message, marked as read when it is complete.
    pub fn read_message(&self, id: &str, watch: &dyn Watch) -> Result<Received, Failure> {
        let spool = self.spool(watch)?;
        let kept = self.find_received(spool, id)?;
        let message = self.describe(spool, &*self.home.contacts()?, &kept)?;
        if message.complete && !message.read {
            spool.commit(clock::now(), vec![set_note(space::READ, &kept.id.0, Vec::new())])?;
        }
        Ok(message)
    }

    /// The message whose id begins with these digits.
    pub(super) fn find_received(
        &self,
        spool: &DurableSpool,
        digits: &str,
    ) -> Result<Kept, Failure> {
        let id = find_note(spool, space::MESSAGE, digits, "message")?;
        let gone = || {
            Failure::new(FailureKind::Damaged, format!("the message {id} cannot be read back"))
                .next("postrider spool check says what is damaged; the sender may send it again")
        };
        self.kept(spool, id)?.ok_or_else(gone)
    }

    pub(super) fn kept(&self, spool: &DurableSpool, id: BundleId) -> Result<Option<Kept>, Failure> {
        let Some(value) = spool.note(space::MESSAGE, &id.0)? else { return Ok(None) };
        let Some(note) = MessageNote::read(&value) else { return Ok(None) };
        let Ok(author) = NodeId::from_bytes(&note.1) else { return Ok(None) };
        let packet = packet_of(&self.inbox_dir(), &note)?;
        Ok(packet.map(|packet| Kept { id, note, author, packet }))
    }

    pub(super) fn describe(
        &self,
        spool: &DurableSpool,
        contacts: &Contacts,
        kept: &Kept,
    ) -> Result<Received, Failure> {
        let Kept { id, note, author, packet } = kept;
        let (kind, text, files, parts) = match &packet.body {
            Body::Mail(text) => ("mail", text.clone(), Vec::new(), (1, 1)),
            Body::Files(manifest) => {
                let (files, parts) = files_of(spool, kept, manifest)?;
                ("file", manifest.text.clone().unwrap_or_default(), files, parts)
            }
            Body::Job(job) => {
                let (files, parts) = match &job.files {
                    Some(manifest) => files_of(spool, kept, manifest)?,
                    None => (Vec::new(), (1, 1)),
                };
                ("job", wants(job), files, parts)
            }
            Body::Introduction(said) => {
                ("introduction", introduces(contacts, author, said), Vec::new(), (1, 1))
            }
            Body::Roster(bytes) => ("roster", offers(contacts, id, bytes), Vec::new(), (1, 1)),
            Body::Part(_) | Body::Card(_) | Body::Result(_) | Body::Word(_) | Body::Request(_) => {
                ("post", String::new(), Vec::new(), (1, 1))
            }
        };
        let held_ms = spool.held_ms(clock::now());
        Ok(Received {
            id: id.to_string(),
            from: name_of(contacts, author),
            kind: kind.into(),
            text,
            files,
            age_s: held_ms.saturating_sub(note.3) / 1000,
            read: spool.note(space::READ, &id.0)?.is_some(),
            created: note.2,
            complete: parts.0 >= parts.1,
            parts,
            known_sender: contacts.of(author).is_some(),
            alarm: note.6.then_some(
                "the sender used this number before for another message: its disk was set back, \
                 or its key is in two places"
                    .into(),
            ),
            reply_to: packet.tail.reply_to.map(|id| id.to_string()),
        })
    }

    /// The card that came with a message, or is what the message is about, for `add`.
    pub fn card_from_message(&self, id: &str, watch: &dyn Watch) -> Result<Card, Failure> {
        let spool = self.spool(watch)?;
        let kept = self.find_received(spool, id)?;
        if let Body::Introduction(said) = &kept.packet.body {
            return Ok(Card::decode(&said.card)?);
        }
        let card = kept.packet.tail.card.as_deref().map(Card::decode);
        match card {
            Some(Ok(card)) if card.node == kept.author => Ok(card),
            _ => Err(Failure::new(
                FailureKind::Unknown,
                "no card of its sender came with that message",
            )
            .next("ask the sender for a card: postrider id --card FILE")),
        }
    }
}

/// What a message that is kept says; nothing, if it is not there.
pub(super) fn kept_packet(
    spool: &DurableSpool,
    inbox: &Path,
    id: BundleId,
) -> Result<Option<Body>, Failure> {
    let note = spool.note(space::MESSAGE, &id.0)?;
    let Some(note) = note.as_deref().and_then(MessageNote::read) else { return Ok(None) };
    Ok(packet_of(inbox, &note)?.map(|packet| packet.body))
}

/// The files of a message, and how many of its parts are here, of how many.
fn files_of(
    spool: &DurableSpool,
    kept: &Kept,
    manifest: &Manifest,
) -> Result<(Vec<ReceivedFile>, (u64, u64)), Failure> {
    let parts = match manifest.parts() {
        Some(list) => {
            let key = set_key(kept.author.as_bytes(), &list.set);
            let all = list.hashes.len() as u64;
            let complete = spool.note(space::COMPLETE, &kept.id.0)?.is_some();
            let here = if complete { all } else { part_keys(spool, &key)?.len() as u64 };
            (here, all)
        }
        None => (1, 1),
    };
    Ok((files_named(manifest), parts))
}

/// The files that a manifest names.
pub(super) fn files_named(manifest: &Manifest) -> Vec<ReceivedFile> {
    let files = manifest.files.iter().filter(|file| !file.directory).map(|file| ReceivedFile {
        name: file.path.join("/"),
        bytes: file.bytes,
        blake3: hex(&file.blake3),
    });
    files.collect()
}

/// What a job asks for, so that nothing in it can pass for something else.
pub(super) fn wants(job: &Job) -> String {
    let args = job.args.iter().map(|arg| format!(" {}", shown(arg)));
    format!("{}{}", job.handle, args.collect::<String>())
}

/// What an introduction says, in words.
fn introduces(contacts: &Contacts, author: &NodeId, said: &Introduction) -> String {
    let Ok(card) = Card::decode(&said.card) else {
        return "introduces somebody by a card that is damaged or forged".into();
    };
    let suggested = if card.name.is_empty() { "somebody" } else { &card.name };
    let who = match contacts.of(&card.node) {
        Some(contact) if contact.pending => format!("{suggested}, here called {}", contact.name),
        Some(contact) => format!("{}, whom you know", contact.name),
        None if contacts.is_chosen(author) => suggested.to_owned(),
        None => format!("{suggested}, and is nobody that you know"),
    };
    let note = said.note.as_ref().map_or_else(String::new, |note| format!("\n{note}"));
    format!("introduces {who} ({}){note}", card.node)
}

/// What a roster that somebody sent is.
fn offers(contacts: &Contacts, id: &BundleId, bytes: &[u8]) -> String {
    let Ok(roster) = Roster::decode(bytes) else {
        return "sends a roster that is damaged or forged".into();
    };
    let followed = match contacts.rosters().of(&roster.key) {
        Some(followed) => format!("followed as {}", followed.name),
        None => format!("to follow it: postrider roster follow {}", hex(&id.0[..4])),
    };
    format!("sends the roster {} ({} entries; {followed})", roster.name, roster.entries.len())
}

/// All keys of a namespace.
pub(super) fn note_keys(spool: &DurableSpool, space: u8) -> Result<Vec<Vec<u8>>, Failure> {
    note_keys_of(spool, space, &[])
}

/// Those that begin so.
pub(super) fn note_keys_of(
    spool: &DurableSpool,
    space: u8,
    begin: &[u8],
) -> Result<Vec<Vec<u8>>, Failure> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        let page = spool.notes(space, begin, all.last().map(Vec::as_slice), PAGE_MAX)?;
        let done = page.len() < PAGE_MAX;
        all.extend(page);
        if done {
            return Ok(all);
        }
    }
}

const WHERE_IDS_ARE: &str =
    "nothing was changed; postrider inbox and postrider queue begin every line with an id";

/// The one id in a namespace that begins with these hexadecimal digits.
pub(super) fn find_note(
    spool: &DurableSpool,
    space: u8,
    digits: &str,
    what: &str,
) -> Result<BundleId, Failure> {
    let digits = digits.to_ascii_lowercase();
    if digits.len() < 4 || digits.len() > 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("{digits:?} is no id: give 4 to 64 of its hexadecimal digits"),
        )
        .next(WHERE_IDS_ARE));
    }
    let bytes: Vec<u8> = digits
        .as_bytes()
        .as_chunks::<2>()
        .0
        .iter()
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    // Half a byte too few at most: the rest is compared as text.
    let found: Vec<BundleId> = spool
        .notes(space, &bytes, None, PAGE_MAX)?
        .iter()
        .filter_map(|key| Some(BundleId(key.as_slice().try_into().ok()?)))
        .filter(|id| id.to_string().starts_with(&digits))
        .collect();
    match found[..] {
        [id] => Ok(id),
        [] => Err(Failure::new(FailureKind::Unknown, format!("no {what} begins with {digits}"))
            .next(WHERE_IDS_ARE)),
        _ => Err(Failure::new(
            FailureKind::Usage,
            format!("{} {what}s begin with {digits}", found.len()),
        )
        .next("give more digits")),
    }
}
