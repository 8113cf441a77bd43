//! `draft`: messages that are kept and not sent.
//!
//! A draft's text and the paths of its files lie in the log, as the inbox does; the files stay where
//! they are. Sending makes the message durable in the group that removes the draft, and notes which
//! message it became: whoever asks again, after a crash, gets that message and not a second one.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use postrider_base::{
    BundleId, Lifetime, Niceness, NodeId,
    packet::{Body, INLINE_MAX},
    wire,
};
use postrider_spool::{DurableSpool, Spool};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    desk::{
        Desk, Failure, FailureKind, SendRequest, Watch,
        call_back::Beside,
        clock,
        inbox::{find_note, note_keys},
        incoming::lock,
        ledger::{remove_note, set_note, space},
        people::name_of,
        reply::{DraftFile, DraftLine, Sent},
    },
    home::Contacts,
};

/// Most files and directories of a draft, and most bytes of their paths.
const PATHS_MAX: usize = 1024;
const PATH_BYTES: usize = 256 << 10;

/// A draft as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DraftNote(
    u8,
    /// The recipient's key.
    ByteBuf,
    /// The text.
    Option<String>,
    /// The paths of its files.
    Vec<ByteBuf>,
    /// Niceness.
    Option<u8>,
    /// Lifetime, in seconds.
    Option<u32>,
    /// Whether its envelope is hidden.
    Option<bool>,
    /// The message it answers.
    Option<ByteBuf>,
    /// The custody clock when it was written.
    u64,
);

impl Desk {
    /// Keeps a message without sending it. When this returns, it is durable.
    pub fn write_draft(
        &self,
        request: &SendRequest,
        watch: &dyn Watch,
    ) -> Result<DraftLine, Failure> {
        let contacts = self.home.contacts()?;
        let to = contacts.resolve(&request.to)?.card.node;
        check(request)?;
        let spool = self.spool(watch)?;
        let note = DraftNote(
            1,
            ByteBuf::from(*to.as_bytes()),
            request.text.clone(),
            request.files.iter().map(|path| ByteBuf::from(path.as_os_str().as_bytes())).collect(),
            request.nice.map(|nice| nice.value()),
            request.lifetime.map(Lifetime::seconds),
            request.hidden,
            request.reply_to.map(|id| ByteBuf::from(id.0)),
            spool.held_ms(clock::now()),
        );
        let id = BundleId(clock::random()?);
        spool.commit(clock::now(), vec![set_note(space::DRAFT, &id.0, wire::encode(&note))])?;
        let line = line(spool, &contacts, &id, &note)?;
        Ok(DraftLine { done: Some("written".into()), ..line })
    }

    /// Every draft, oldest first.
    pub fn drafts(&self, watch: &dyn Watch) -> Result<Vec<DraftLine>, Failure> {
        let spool = self.spool(watch)?;
        let contacts = self.home.contacts()?;
        let mut found = Vec::new();
        for key in note_keys(spool, space::DRAFT)? {
            let Ok(id) = key.as_slice().try_into().map(BundleId) else { continue };
            if let Some(note) = read(spool, &id)? {
                found.push((note.8, line(spool, &contacts, &id, &note)?));
            }
        }
        found.sort_by(|(a, x), (b, y)| (a, &x.id).cmp(&(b, &y.id)));
        Ok(found.into_iter().map(|(_, line)| line).collect())
    }

    /// One draft.
    pub fn draft(&self, id: &str, watch: &dyn Watch) -> Result<DraftLine, Failure> {
        let spool = self.spool(watch)?;
        let (id, note) = find(spool, id)?;
        line(spool, &*self.home.contacts()?, &id, &note)
    }

    /// Forgets a draft.
    pub fn remove_draft(&self, id: &str, watch: &dyn Watch) -> Result<DraftLine, Failure> {
        let spool = self.spool(watch)?;
        // It must not be sent in between.
        let _drafting = lock(&self.drafting);
        let (id, note) = find(spool, id)?;
        let line = line(spool, &*self.home.contacts()?, &id, &note)?;
        spool.commit(clock::now(), vec![remove_note(space::DRAFT, &id.0)])?;
        Ok(DraftLine { done: Some("removed".into()), ..line })
    }

    /// Sends a draft, which is a draft no more. Of one that was sent already, how that message stands.
    pub fn send_draft(&self, id: &str, watch: &dyn Watch) -> Result<Sent, Failure> {
        let spool = self.spool(watch)?;
        // Held until it is durable: two must not send the same.
        let _drafting = lock(&self.drafting);
        let (id, note) = match find(spool, id) {
            Err(failure) if failure.kind == FailureKind::Unknown => {
                let Ok(id) = find_note(spool, space::DRAFT_SENT, id, "draft") else {
                    return Err(failure);
                };
                let message = spool.note(space::DRAFT_SENT, &id.0)?.unwrap_or_default();
                return self.sent_state(&crate::desk::hex(&message), watch);
            }
            found => found?,
        };
        let request = note.request()?;
        check(&request).map_err(|failure| {
            failure.next(format!(
                "nothing was sent, and the draft stays: put the file back, or write another one and \
                 postrider draft rm {}",
                &id.to_string()[..8]
            ))
        })?;
        let sent = |message: &BundleId| {
            vec![
                remove_note(space::DRAFT, &id.0),
                set_note(space::DRAFT_SENT, &id.0, message.0.to_vec()),
            ]
        };
        Ok(self.send_by(spool, &request, &Body::Files, Beside::Of(&sent), watch)?.0)
    }
}

impl DraftNote {
    fn request(&self) -> Result<SendRequest, Failure> {
        let bad = || {
            Failure::new(FailureKind::Damaged, "the draft cannot be read back")
                .next("postrider spool check says what is damaged")
        };
        let to = NodeId::from_bytes(&self.1).map_err(|_| bad())?;
        let answers = |id: &ByteBuf| id.as_slice().try_into().map(BundleId).map_err(|_| bad());
        Ok(SendRequest {
            to: to.to_string(),
            text: self.2.clone(),
            files: self.3.iter().map(|path| PathBuf::from(OsStr::from_bytes(path))).collect(),
            nice: self.4.map(|nice| Niceness::new(nice).ok_or_else(bad)).transpose()?,
            lifetime: self.5.map(|s| Lifetime::new(s).ok_or_else(bad)).transpose()?,
            hidden: self.6,
            reply_to: self.7.as_ref().map(answers).transpose()?,
            supersede: None,
        })
    }
}

/// What a draft must have: something to say, in bounds, and its files where it says.
fn check(request: &SendRequest) -> Result<(), Failure> {
    let usage = |what: String| {
        Err(Failure::new(FailureKind::Usage, what)
            .next("nothing was kept; a long text can be a file, and a draft may name a directory"))
    };
    let text = request.text.as_ref().map_or(0, String::len);
    if text == 0 && request.files.is_empty() {
        return usage("there is nothing to keep: a draft has a text or files".into());
    }
    if text as u64 > INLINE_MAX {
        return usage(format!("a text of {text} bytes is too long for a draft"));
    }
    let bytes: usize = request.files.iter().map(|path| path.as_os_str().len()).sum();
    if request.files.len() > PATHS_MAX || bytes > PATH_BYTES {
        return usage(format!("more than {PATHS_MAX} files and directories for a draft"));
    }
    for path in &request.files {
        look(path).map_err(|error| Failure::file("find", path, error).next("nothing was kept"))?;
    }
    Ok(())
}

fn look(path: &Path) -> std::io::Result<u64> {
    let meta = fs::metadata(path)?;
    Ok(if meta.is_file() { meta.len() } else { 0 })
}

fn read(spool: &DurableSpool, id: &BundleId) -> Result<Option<DraftNote>, Failure> {
    Ok(spool.note(space::DRAFT, &id.0)?.and_then(|bytes| wire::decode(&bytes).ok()))
}

fn find(spool: &DurableSpool, digits: &str) -> Result<(BundleId, DraftNote), Failure> {
    let unknown = |failure: Failure| match failure.kind {
        FailureKind::Unknown => failure.next("nothing was changed; see them: postrider draft"),
        _ => failure,
    };
    let id = find_note(spool, space::DRAFT, digits, "draft").map_err(unknown)?;
    let note = read(spool, &id)?.ok_or_else(|| {
        Failure::new(FailureKind::Damaged, "the draft cannot be read back")
            .next("postrider spool check says what is damaged")
    })?;
    Ok((id, note))
}

fn line(
    spool: &DurableSpool,
    contacts: &Contacts,
    id: &BundleId,
    note: &DraftNote,
) -> Result<DraftLine, Failure> {
    let request = note.request()?;
    let file =
        |path: &PathBuf| DraftFile { path: path.display().to_string(), bytes: look(path).ok() };
    let to = request.to.parse::<NodeId>().map(|node| name_of(contacts, &node));
    Ok(DraftLine {
        id: id.to_string(),
        to: to.unwrap_or(request.to),
        text: request.text.unwrap_or_default(),
        files: request.files.iter().map(file).collect(),
        age_s: spool.held_ms(clock::now()).saturating_sub(note.8) / 1000,
        reply_to: request.reply_to.map(|id| id.to_string()),
        done: None,
    })
}
