//! `send`: durable when it returns.

use std::{collections::BTreeSet, mem, path::PathBuf, sync::Mutex};

use postrider_base::{
    BundleId, Lifetime, Niceness, NodeId,
    bundle::Sequence,
    compose::{Letter, Padding, Privacy, To, seal},
    id::SetId,
    packet::{Body, Content, FileEntry, INLINE_MAX, Manifest, Packet, PartList, TEXT_MAX, Tail},
    wire,
};
use postrider_spool::{Body as SpoolBody, Change, Destination, contract::GROUP_MAX};

use super::{
    Desk, Failure, FailureKind, Watch,
    call_back::Beside,
    clock,
    incoming::lock,
    ledger::{OwnNote, SentNote, event, remove_note, set_note, space, used},
    message_files::{self, Outgoing, Stream},
    outgoing::{self, Parts, Promised},
    parallel::in_parallel,
    people::is_hidden,
    reply::Sent,
    store::{Post, must_admit, own_bundle},
    talk::written,
};
use crate::home::{Contact, Contacts};

/// A message to send.
#[derive(Clone, Debug)]
pub struct SendRequest {
    /// To whom: a petname or an id.
    pub to: String,
    /// The text.
    pub text: Option<String>,
    /// Files and directories.
    pub files: Vec<PathBuf>,
    /// How urgent; `None`: normal, and bulk for the parts of large files.
    pub nice: Option<Niceness>,
    /// How long it lives; the configured lifetime by default.
    pub lifetime: Option<Lifetime>,
    /// Whether relays may see who writes to whom; `None`: as the contact is set.
    pub hidden: Option<bool>,
    /// The message it answers, by id.
    pub reply_to: Option<BundleId>,
    /// The message of mine to the same recipient whose place it takes: an id, or its first digits.
    pub supersede: Option<String>,
}

/// Files above this are bulk unless the sender says otherwise (the command line's contract).
const BULK_FROM: u64 = 1 << 20;

/// A batch is committed in groups of at most so many bytes of bodies: well below what the spool
/// takes at once.
const GROUP_BYTES: u64 = GROUP_MAX as u64 / 2;

/// The content of a small message and what is said about it.
pub(super) struct Small {
    pub packet: Packet,
    pub bytes: u64,
    pub preview: String,
}

/// What is made of the files of a message: mail, or what else brings files along.
pub(super) type Wrap<'a> = dyn Fn(Manifest) -> Body + 'a;

/// Files, and what is made of them.
struct Wrapped<'a> {
    files: Vec<Outgoing>,
    wrap: &'a Wrap<'a>,
}

/// A message that is sealed and not durable yet.
pub(super) struct Sealing {
    /// What its sender hears.
    pub sent: Sent,
    /// Which it is.
    pub id: BundleId,
    /// What makes it durable; its bundle is the first.
    pub changes: Vec<Change>,
}

impl Desk {
    /// Queues a message. When this returns, it is durable.
    pub fn send(&self, request: &SendRequest, watch: &dyn Watch) -> Result<Sent, Failure> {
        Ok(self.send_bundles(request, watch)?.0)
    }

    /// As [`Self::send`]; also which bundles are gone because it takes the place of another message.
    pub fn send_bundles(
        &self,
        request: &SendRequest,
        watch: &dyn Watch,
    ) -> Result<(Sent, Vec<BundleId>), Failure> {
        let nothing = Beside::Changes(Vec::new());
        if let Some(digits) = &request.supersede {
            let spool = self.spool(watch)?;
            let older = self.older(spool, digits, self.home.contacts()?.resolve(&request.to)?)?;
            let (sent, gone) =
                self.send_by(spool, request, &Body::Files, Beside::End(&older), watch)?;
            return Ok((Sent { supersedes: Some(older.id()), ..sent }, gone));
        }
        match self.spool.get() {
            Some(spool) => self.send_by(spool, request, &Body::Files, nothing, watch),
            None => self.send_by(&self.appender(watch)?, request, &Body::Files, nothing, watch),
        }
    }

    /// Queues many messages with as few syncs as possible; `each` hears of every outcome, in order,
    /// after the message is durable.
    pub fn send_batch(
        &self,
        requests: &mut dyn Iterator<Item = Result<SendRequest, Failure>>,
        each: &mut dyn FnMut(Result<Sent, Failure>),
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        /// One sync for so many messages (the command line's contract).
        const BATCH: usize = 64;
        let appender;
        let post: &dyn Post = match self.spool.get() {
            Some(spool) => spool,
            None => {
                appender = self.appender(watch)?;
                &appender
            }
        };
        let contacts = self.home.contacts()?;
        let mut batch = Vec::new();
        loop {
            let request = requests.next();
            let done = request.is_none();
            batch.extend(request);
            if done || batch.len() >= BATCH {
                self.send_together(post, &contacts, mem::take(&mut batch), each, watch)?;
            }
            if done {
                return Ok(());
            }
        }
    }

    /// Seals several messages in parallel and commits them as one group.
    fn send_together(
        &self,
        post: &dyn Post,
        contacts: &Contacts,
        requests: Vec<Result<SendRequest, Failure>>,
        each: &mut dyn FnMut(Result<Sent, Failure>),
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let make = |request: Result<SendRequest, Failure>| {
            let request = request?;
            if request.supersede.is_some() {
                let what = "a message of a batch takes the place of none";
                return Err(Failure::new(FailureKind::Usage, what)
                    .next("this one was not sent; send it by itself: postrider send --supersede"));
            }
            let contact = contacts.resolve(&request.to)?;
            refuse_revoked(contacts, contact)?;
            let mut changes = Vec::new();
            let sent = match self.small(contact, &request, &Body::Files, watch)? {
                Some(small) => {
                    self.seal_small(post, contact, &request, small, &mut changes).map(|made| made.0)
                }
                // Too large for a batch: sent on its own, durable at once.
                None => {
                    let nothing = Beside::Changes(Vec::new());
                    let files = message_files::list(&request.files, watch)?;
                    let wrapped = Wrapped { files, wrap: &Body::Files };
                    self.send_parts(post, contact, &request, wrapped, nothing, watch)
                        .map(|sent| sent.0)
                }
            }?;
            Ok((sent, changes))
        };
        let made = in_parallel(requests, self.home.config.worker_count(), make);
        let (mut changes, mut bytes, mut waiting) = (Vec::new(), 0, Vec::new());
        for made in made {
            let (sent, its) = match made {
                Ok((sent, its)) => (Ok(sent), its),
                Err(failure) => (Err(failure), Vec::new()),
            };
            let more: u64 = its.iter().map(inline_bytes).sum();
            if bytes + more > GROUP_BYTES {
                commit_all(post, mem::take(&mut changes), mem::take(&mut waiting), each)?;
                bytes = 0;
            }
            bytes += more;
            changes.extend(its);
            waiting.push(sent);
        }
        commit_all(post, changes, waiting, each)
    }

    /// Sends a message, and does what stands beside it. Also which bundles are gone by that.
    pub(super) fn send_by(
        &self,
        post: &dyn Post,
        request: &SendRequest,
        wrap: &Wrap<'_>,
        beside: Beside<'_>,
        watch: &dyn Watch,
    ) -> Result<(Sent, Vec<BundleId>), Failure> {
        let contacts = self.home.contacts()?;
        let contact = contacts.resolve(&request.to)?;
        refuse_revoked(&contacts, contact)?;
        let Some(small) = self.small(contact, request, wrap, watch)? else {
            let files = message_files::list(&request.files, watch)?;
            let wrapped = Wrapped { files, wrap };
            return self.send_parts(post, contact, request, wrapped, beside, watch);
        };
        let mut changes = Vec::new();
        let (sent, id) = self.seal_small(post, contact, request, small, &mut changes)?;
        let gone = self.commit_new(post, &id, changes, beside)?.1;
        Ok((sent, gone))
    }

    /// As [`Self::send_by`], of files that are open already and fit one packet.
    pub(super) fn send_open(
        &self,
        post: &dyn Post,
        contact: &Contact,
        request: &SendRequest,
        files: Vec<Outgoing>,
        beside: Beside<'_>,
    ) -> Result<Sent, Failure> {
        let small = self.small_of(contact, request, files, &Body::Files)?;
        let mut changes = Vec::new();
        let (sent, id) = self.seal_small(post, contact, request, small, &mut changes)?;
        self.commit_new(post, &id, changes, beside)?;
        Ok(sent)
    }

    /// The message as one packet, or `None` when it is too large for that.
    pub(super) fn small(
        &self,
        contact: &Contact,
        request: &SendRequest,
        wrap: &Wrap<'_>,
        watch: &dyn Watch,
    ) -> Result<Option<Small>, Failure> {
        let text = request.text.clone();
        if request.files.is_empty() {
            let tail = self.tail(contact, request);
            let text = text.unwrap_or_default();
            let bytes = text.len() as u64;
            let preview = preview(&text);
            let body = if text.len() <= TEXT_MAX {
                Body::Mail(text)
            } else if bytes <= INLINE_MAX {
                Body::Files(Manifest {
                    text: None,
                    files: vec![text_file(&text)],
                    content: Content::Inline(text.into_bytes()),
                })
            } else {
                return Err(Failure::new(
                    FailureKind::Usage,
                    format!("a text of {bytes} bytes is too long for a message"),
                )
                .next("nothing was sent; send it as a file: postrider send WHO -f FILE"));
            };
            return Ok(Some(Small { packet: Packet { body, tail }, bytes, preview }));
        }
        check_text(text.as_deref())?;
        let files = message_files::list(&request.files, watch)?;
        let total: u64 = files.iter().map(|file| file.entry.bytes).sum();
        if files.is_empty() {
            return Err(Failure::new(FailureKind::Usage, "there is no file in that")
                .next("nothing was sent; links and special files are left out"));
        }
        if total > INLINE_MAX {
            return Ok(None);
        }
        self.small_of(contact, request, files, wrap).map(Some)
    }

    /// Files that fit one packet, as one.
    fn small_of(
        &self,
        contact: &Contact,
        request: &SendRequest,
        mut files: Vec<Outgoing>,
        wrap: &Wrap<'_>,
    ) -> Result<Small, Failure> {
        let text = request.text.clone();
        let total: u64 = files.iter().map(|file| file.entry.bytes).sum();
        let mut content = vec![0; usize::try_from(total).unwrap_or(0)];
        Stream::new(&mut files).fill(&mut content)?;
        let bytes = total + text.as_ref().map_or(0, String::len) as u64;
        let preview = text.as_deref().map_or_else(|| file_preview(&files), preview);
        let files = files.into_iter().map(|file| file.entry).collect();
        let body = wrap(Manifest { text, files, content: Content::Inline(content) });
        let tail = self.tail(contact, request);
        Ok(Small { packet: Packet { body, tail }, bytes, preview })
    }

    /// Seals a small message; its changes join the group that the caller commits.
    pub(super) fn seal_small(
        &self,
        post: &dyn Post,
        contact: &Contact,
        request: &SendRequest,
        small: Small,
        changes: &mut Vec<Change>,
    ) -> Result<(Sent, BundleId), Failure> {
        let nice = request.nice.unwrap_or(Niceness::NORMAL);
        let (letter, sequence) = self.letter(post, contact, request, nice)?;
        let sealed = seal(&letter, &small.packet.encode(), &clock::random()?)
            .map_err(outgoing::compose_failure)?;
        changes.extend(written(&sealed.id, letter.sequence, &small.packet));
        let own = wire::encode(&OwnNote::new(sealed.secret.as_ref(), None, false));
        let held_ms = post.held_ms(clock::now());
        let bundle = own_bundle(sealed.id, &sealed.head, SpoolBody::Inline(sealed.payload), own);
        let to = contact.card.node.as_bytes();
        let note = SentNote::new(to, held_ms, small.bytes, small.preview, None, 1);
        changes.extend(used(sequence));
        changes.push(Change::Bundle(bundle));
        changes.push(set_note(space::SENT, &sealed.id.0, wire::encode(&note)));
        changes.push(event(&sealed.id, held_ms, 0, ("saved", &contact.name, "")));
        Ok((sent(&sealed.id, contact, small.bytes), sealed.id))
    }

    fn send_parts(
        &self,
        post: &dyn Post,
        contact: &Contact,
        request: &SendRequest,
        Wrapped { mut files, wrap }: Wrapped<'_>,
        beside: Beside<'_>,
        watch: &dyn Watch,
    ) -> Result<(Sent, Vec<BundleId>), Failure> {
        let set = SetId(clock::random()?);
        let _sending = Sending::begin(&self.sending, set.0);
        // Told before the first part: what a crash leaves half-sent is found, and removed.
        post.commit(clock::now(), vec![set_note(space::SENDING, &set.0, Vec::new())])?;
        let parts = self.parts(contact, &files, set, None);
        let nice = nice_of_parts(request, parts.total);
        let letter = |post: &dyn Post| self.letter(post, contact, request, nice);
        let content = outgoing::seal_parts(post, &parts, &letter, &mut files, watch)?;
        let made = self.seal_manifest(post, contact, request, (files, wrap), content)?;
        let Sealing { sent, id, mut changes } = made;
        changes.push(remove_note(space::SENDING, &set.0));
        let (outcomes, gone) = self.commit_new(post, &id, changes, beside)?;
        must_admit(&outcomes, 0, &id)?;
        Ok((sent, gone))
    }

    /// What sealing files in parts takes.
    pub(super) fn parts<'a>(
        &self,
        contact: &Contact,
        files: &[Outgoing],
        set: SetId,
        promised: Option<Promised<'a>>,
    ) -> Parts<'a> {
        Parts {
            set,
            total: files.iter().map(|file| file.entry.bytes).sum(),
            workers: self.home.config.worker_count(),
            what: format!("sealing {} for {}", file_preview(files), contact.name),
            promised,
        }
    }

    /// The message that says what parts are, sealed.
    pub(super) fn seal_manifest(
        &self,
        post: &dyn Post,
        contact: &Contact,
        request: &SendRequest,
        (files, wrap): (Vec<Outgoing>, &Wrap<'_>),
        content: PartList,
    ) -> Result<Sealing, Failure> {
        let (set, total) = (content.set, content.total_bytes);
        let bundles = content.hashes.len() as u64 + 1;
        let bytes = total + request.text.as_ref().map_or(0, String::len) as u64;
        let preview = request.text.as_deref().map_or_else(|| file_preview(&files), preview);
        let manifest = Manifest {
            text: request.text.clone(),
            files: files.into_iter().map(|file| file.entry).collect(),
            content: Content::Parts(content),
        };
        let packet = Packet { body: wrap(manifest), tail: self.tail(contact, request) };
        let message = request.nice.unwrap_or(Niceness::NORMAL);
        let nice = before(nice_of_parts(request, total), message);
        let (letter, sequence) = self.letter(post, contact, request, nice)?;
        let sealed = seal(&letter, &packet.encode(), &clock::random()?)
            .map_err(outgoing::compose_failure)?;
        let mut staging = post.stage()?;
        staging.append(&sealed.payload)?;
        let own = wire::encode(&OwnNote::new(sealed.secret.as_ref(), Some(set), false));
        let bundle = own_bundle(sealed.id, &sealed.head, SpoolBody::Staged(staging.finish()?), own);
        let held_ms = post.held_ms(clock::now());
        let to = contact.card.node.as_bytes();
        let note = SentNote::new(to, held_ms, bytes, preview, Some(set), bundles);
        let mut changes = vec![
            Change::Bundle(bundle),
            set_note(space::SENT, &sealed.id.0, wire::encode(&note)),
            set_note(space::SENT_SET, &set.0, sealed.id.0.to_vec()),
            event(&sealed.id, held_ms, 0, ("saved", &contact.name, "")),
        ];
        changes.extend(used(sequence));
        changes.extend(written(&sealed.id, letter.sequence, &packet));
        Ok(Sealing { sent: sent(&sealed.id, contact, bytes), id: sealed.id, changes })
    }

    /// A letter to a contact under the next sequence.
    pub(super) fn letter(
        &self,
        post: &dyn Post,
        contact: &Contact,
        request: &SendRequest,
        nice: Niceness,
    ) -> Result<(Letter<'_>, postrider_spool::Sequence), Failure> {
        let node: NodeId = contact.card.node;
        let sequence = post.take_sequence(&Destination::Node(*node.as_bytes()))?;
        let lifetime = request
            .lifetime
            .or_else(|| Lifetime::new(self.home.config.lifetime_days.saturating_mul(86_400)));
        let hidden = request.hidden.unwrap_or_else(|| is_hidden(contact));
        let letter = Letter {
            author: &self.home.key.node,
            to: To::One(node, *contact.card.seal_key()),
            sequence: Sequence { epoch: sequence.epoch, counter: sequence.counter },
            created: clock::wall_s(),
            lifetime: lifetime.unwrap_or(Lifetime::DEFAULT),
            nice,
            privacy: if hidden {
                Privacy::Hidden { known: contact.answered }
            } else {
                Privacy::Open
            },
            padding: Padding::Class,
        };
        Ok((letter, sequence))
    }

    /// What a message brings along: my card, until its recipient has shown to have it.
    pub(super) fn tail(&self, contact: &Contact, request: &SendRequest) -> Tail {
        let card = (!contact.answered).then(|| self.home.card.as_bytes().to_vec());
        Tail { reply_to: request.reply_to, card }
    }
}

/// How urgent parts are.
pub(super) fn nice_of_parts(request: &SendRequest, total: u64) -> Niceness {
    let usual = if total > BULK_FROM { Niceness::BULK } else { Niceness::NORMAL };
    request.nice.unwrap_or(usual)
}

/// How urgent a manifest is: as its message, and in any case a step before its parts. Mostly it is
/// sealed last, so that among equals it would go last, and name what comes when that has come.
fn before(parts: Niceness, message: Niceness) -> Niceness {
    let step = Niceness::new(parts.value().saturating_sub(1)).unwrap_or(parts);
    message.min(step)
}

/// Nothing is written to a key that a roster revokes.
pub(super) fn refuse_revoked(contacts: &Contacts, contact: &Contact) -> Result<(), Failure> {
    let Some(roster) = contacts.rosters().revoked_by(&contact.card.node) else { return Ok(()) };
    let what = format!("the key of {} is revoked by the roster {roster}", contact.name);
    Err(Failure::new(FailureKind::Refused, what).next("nothing was sent; ask them for a new card"))
}

/// Commits the changes of several messages, then tells each what became of it.
fn commit_all(
    post: &dyn Post,
    changes: Vec<Change>,
    made: Vec<Result<Sent, Failure>>,
    each: &mut dyn FnMut(Result<Sent, Failure>),
) -> Result<(), Failure> {
    let failed = post.commit(clock::now(), changes).err().map(Failure::from);
    for made in made {
        each(match (&failed, made) {
            (Some(failure), Ok(_)) => Err(Failure::new(failure.kind, failure.what.clone())),
            (_, made) => made,
        });
    }
    failed.map_or(Ok(()), Err)
}

/// Bytes of a body or a note that will lie in the log.
fn inline_bytes(change: &Change) -> u64 {
    match change {
        Change::Bundle(bundle) => bundle.body.len_bytes(),
        Change::Note { value: Some(value), .. } => value.len() as u64,
        _ => 0,
    }
}

/// A set that is being sealed, for as long as this lives.
pub(super) struct Sending<'a> {
    all: &'a Mutex<BTreeSet<[u8; 16]>>,
    set: [u8; 16],
}

impl<'a> Sending<'a> {
    pub(super) fn begin(all: &'a Mutex<BTreeSet<[u8; 16]>>, set: [u8; 16]) -> Self {
        lock(all).insert(set);
        Self { all, set }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        lock(self.all).remove(&self.set);
    }
}

fn check_text(text: Option<&str>) -> Result<(), Failure> {
    match text {
        Some(text) if text.len() > TEXT_MAX => Err(Failure::new(
            FailureKind::Usage,
            format!("a text of {} bytes is too long beside files", text.len()),
        )
        .next("nothing was sent; send the text as one of the files")),
        _ => Ok(()),
    }
}

fn text_file(text: &str) -> FileEntry {
    FileEntry {
        path: vec!["message.txt".into()],
        bytes: text.len() as u64,
        blake3: *blake3::hash(text.as_bytes()).as_bytes(),
        mtime: None,
        executable: false,
        directory: false,
    }
}

fn sent(id: &BundleId, contact: &Contact, bytes: u64) -> Sent {
    Sent {
        id: id.to_string(),
        to: contact.name.clone(),
        state: "saved".into(),
        bytes,
        supersedes: None,
    }
}

/// The first line of a text, short.
fn preview(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(40).collect()
}

/// The first file's name, and how many more there are.
fn file_preview(files: &[Outgoing]) -> String {
    let first = files.first().and_then(|f| f.entry.path.first()).map_or("", |name| name.as_str());
    match files.len() {
        0 | 1 => first.to_owned(),
        n => format!("{first} ({n} files)"),
    }
}
