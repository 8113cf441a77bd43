//! A request of somebody else, answered once: the answer becomes durable in the group that forgets the
//! request, so a crash leaves both or neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use postrider_base::{
    BundleId, NodeId,
    packet::{Body, FileEntry, Handle, INLINE_MAX, Listed, No, Packet, Range, Request, Told},
};
use postrider_spool::{Change, DurableSpool, Spool};

use super::{
    CameNote, Heard, fair,
    notes::{key, parts},
    within::{self, Found, Miss, Plain, Way},
};
use crate::{
    desk::{
        Desk, Failure, SendRequest,
        call_back::Beside,
        clock,
        inbox::note_keys,
        introduce::letter,
        ledger::{remove_note, space},
        message_files::{Outgoing, Source, Trouble},
        promise::{Outcome, Promise},
        reply::Word,
        send::Small,
    },
    home::{Acl, Contact, Contacts, Right, Share, Shares},
};

/// How often a file that changes is tried.
const TRIES: u32 = 3;

/// Requests, others' and mine.
#[derive(Clone, Copy)]
pub struct Requests<'a> {
    pub(super) desk: &'a Desk,
    pub(super) spool: &'a DurableSpool,
}

/// A request that waits: by whom, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitingRequest {
    by: NodeId,
    /// The message that asks.
    pub id: BundleId,
}

impl WaitingRequest {
    fn key(&self) -> Vec<u8> {
        key(&self.by, &self.id)
    }

    fn forget(&self) -> Change {
        remove_note(space::REQUEST, &self.key())
    }
}

/// What somebody was answered.
#[derive(Debug)]
pub struct Given {
    /// Who.
    pub to: String,
    /// What: files, listing, same, or why not.
    pub what: Word,
    /// Bundles of an answer that was begun and taken back.
    pub gone: Vec<BundleId>,
}

/// What is to be said.
enum Reply {
    Say(Told),
    Send(Vec<Outgoing>, Option<String>),
}

impl<'a> Requests<'a> {
    pub(super) fn new(desk: &'a Desk, spool: &'a DurableSpool) -> Self {
        Self { desk, spool }
    }

    /// What came, or comes within this time.
    pub fn wait(&self, at_most: Duration) -> Heard {
        self.desk.request_news.wait(at_most)
    }

    /// Others' requests that wait, the oldest of each of them: nobody waits for all of another's.
    pub fn waiting(&self) -> Result<Vec<WaitingRequest>, Failure> {
        let mut oldest: BTreeMap<NodeId, (u64, BundleId)> = BTreeMap::new();
        for key in note_keys(self.spool, space::REQUEST)? {
            let Some((by, id)) = parts(&key) else { continue };
            let note = self.spool.note(space::REQUEST, &key)?;
            // One that cannot be read any more goes first, and away.
            let came = note.as_deref().and_then(CameNote::read).map_or(0, |(_, held_ms)| held_ms);
            let first = oldest.entry(by).or_insert((came, id));
            *first = (*first).min((came, id));
        }
        Ok(oldest.into_iter().map(|(by, (_, id))| WaitingRequest { by, id }).collect())
    }

    /// Answers one of them, and forgets it. Somebody who is no contact is answered nothing: there is no
    /// key to seal it to. Nor is whoever was blocked or revoked since.
    pub fn answer(&self, waiting: &WaitingRequest) -> Result<Option<Given>, Failure> {
        let Some(note) = self.spool.note(space::REQUEST, &waiting.key())? else { return Ok(None) };
        let contacts = self.desk.home.contacts()?;
        let to = contacts
            .of(&waiting.by)
            .filter(|to| !to.blocked && contacts.rosters().revoked_by(&to.card.node).is_none());
        let (Some((request, _)), Some(to)) = (CameNote::read(&note), to) else {
            self.spool.commit(clock::now(), vec![waiting.forget()])?;
            return Ok(None);
        };
        let shares = self.desk.home.shares()?;
        let mut gone = Vec::new();
        for tries in 1..=TRIES {
            let reply = self.reply(&shares, &contacts, to, &request);
            let what = match reply {
                Reply::Say(told) => self.say(waiting, to, told)?,
                Reply::Send(files, text) => {
                    match self.send(waiting, to, files, text, &mut gone)? {
                        Some(what) => what,
                        // It changed: once more, as it is now.
                        None if tries < TRIES => continue,
                        None => self.say(waiting, to, Told::No(No::Changing))?,
                    }
                }
            };
            return Ok(Some(Given { to: to.name.clone(), what, gone }));
        }
        Ok(None)
    }

    fn reply(&self, shares: &Shares, contacts: &Contacts, to: &Contact, asked: &Request) -> Reply {
        let may = |share: &Share| self.may(share, contacts, &to.card.node);
        // Whoever may have nothing here hears the same whatever they ask for.
        if !shares.0.values().any(may) {
            return Reply::Say(Told::No(No::NotAllowed));
        }
        let (path, share) = match asked {
            Request::List { path, glob, after } if path.is_empty() => {
                let shown = shares.0.iter().filter(|(_, share)| share.list && may(share));
                let told = list_shares(shown, glob.as_deref(), after.as_deref());
                return Reply::Say(told);
            }
            Request::List { path, .. } | Request::Get { path, .. } | Request::Rest { path, .. } => {
                let name: Option<Handle> = path.first().and_then(|name| name.parse().ok());
                (path, name.and_then(|name| shares.0.get(&name)).filter(|share| may(share)))
            }
            // Not a question.
            Request::Answer { .. } => return Reply::Say(Told::No(No::NotFound)),
        };
        let Some(share) = share else { return Reply::Say(Told::No(No::NotFound)) };
        let home = self.desk.home.dir();
        let replied = match asked {
            Request::List { glob, after, .. } => {
                list(share, home, path, glob.as_deref(), after.as_deref())
            }
            Request::Get { glob: None, range, known, .. } => get(share, home, path, *range, known),
            Request::Get { glob: Some(glob), .. } => get_many(share, home, path, glob),
            Request::Rest { bytes, blake3, ranges, .. } => {
                rest(share, home, path, (*bytes, *blake3), ranges)
            }
            Request::Answer { .. } => Err(No::NotFound),
        };
        replied.unwrap_or_else(|no| Reply::Say(Told::No(discreet(share, no))))
    }

    /// Whether somebody may ask for what is in a share.
    fn may(&self, share: &Share, contacts: &Contacts, who: &NodeId) -> bool {
        let today = clock::today();
        match &share.who {
            Some(words) => Acl::means(words, contacts, Some(who), today),
            None => self.desk.home.config.acl.may(contacts, Some(who), Right::Files, today),
        }
    }

    fn say(&self, waiting: &WaitingRequest, to: &Contact, said: Told) -> Result<Word, Failure> {
        let what = word(&said);
        let request = letter(to);
        let body = Body::Request(Box::new(Request::Answer { request: waiting.id, said }));
        let packet = Packet { body, tail: self.desk.tail(to, &request) };
        let small = Small { packet, bytes: 0, preview: format!("about a request: {what}") };
        let mut changes = Vec::new();
        let (_, id) = self.desk.seal_small(self.spool, to, &request, small, &mut changes)?;
        self.desk.commit_new(self.spool, &id, changes, Beside::Changes(vec![waiting.forget()]))?;
        Ok(what)
    }

    /// Sends files; nothing is said when they changed meanwhile. Which bundles are gone because of that.
    fn send(
        &self,
        waiting: &WaitingRequest,
        to: &Contact,
        files: Vec<Outgoing>,
        text: Option<String>,
        gone: &mut Vec<BundleId>,
    ) -> Result<Option<Word>, Failure> {
        let node = to.card.node;
        let total: u64 = files.iter().map(|file| file.entry.bytes).sum();
        let promise = match total > INLINE_MAX {
            true => Some(Promise::of(self.spool, waiting.key())?),
            false => None,
        };
        let spent = match promise.as_ref().is_some_and(Promise::is_said) {
            true => None,
            false => match fair::spend(self.desk, self.spool, &node, total)? {
                Ok(spent) => Some(spent),
                Err(no) => return self.say(waiting, to, Told::No(no)).map(Some),
            },
        };
        let request = SendRequest { reply_to: Some(waiting.id), text, ..letter(to) };
        let opened: Vec<_> = files
            .iter()
            .filter_map(|file| match &file.source {
                Source::Open(open) => Some(open.clone()),
                Source::Named(_) => None,
            })
            .collect();
        let paid = |message: &BundleId| {
            let spent = spent.as_ref().map(fair::Spent::changes).unwrap_or_default();
            spent.into_iter().chain([fair::given(&node, message)]).collect::<Vec<_>>()
        };
        let sent = match promise {
            Some(promise) => {
                let (letter, end) = ((to, &request), vec![waiting.forget()]);
                self.desk.keep_promise(self.spool, letter, files, promise, &paid, end)
            }
            None => {
                let beside = |message: &BundleId| {
                    paid(message).into_iter().chain([waiting.forget()]).collect()
                };
                let beside = Beside::Of(&beside);
                let sent = self.desk.send_open(self.spool, to, &request, files, beside);
                sent.map(|_| Outcome::Done)
            }
        };
        let trouble: BTreeSet<bool> = opened
            .iter()
            .filter_map(|file| file.trouble().map(|trouble| trouble == Trouble::Changed))
            .collect();
        match sent {
            Ok(Outcome::Done) => Ok(Some("files".into())),
            // This disk's trouble, not the file's: it waits.
            Err(failure) if trouble.is_empty() => Err(failure),
            changed => {
                if let Ok(Outcome::Changed(bundles)) = changed {
                    gone.extend(bundles);
                }
                if trouble.is_empty() || trouble.contains(&true) {
                    return Ok(None);
                }
                self.say(waiting, to, Told::No(No::Unreadable)).map(Some)
            }
        }
    }
}

/// To whoever may not list, what is refused and what is not there look the same.
fn discreet(share: &Share, no: No) -> No {
    match no {
        No::Directory | No::Special | No::Unreadable if !share.list => No::NotFound,
        no => no,
    }
}

fn list_shares<'a>(
    shares: impl Iterator<Item = (&'a Handle, &'a Share)>,
    glob: Option<&str>,
    after: Option<&str>,
) -> Told {
    let wanted = |name: &str| {
        after.is_none_or(|after| name > after) && glob.is_none_or(|glob| within::fits(glob, name))
    };
    let entries = shares.filter(|(name, _)| wanted(name.as_str())).filter_map(|(name, share)| {
        let meta = std::fs::metadata(&share.path).ok()?;
        let (directory, name) = (meta.is_dir(), name.to_string());
        let bytes = if directory { 0 } else { meta.len() };
        (directory || meta.is_file()).then_some(Listed { name, directory, bytes, mtime: None })
    });
    // As many as the file of shares may have: they fit.
    Told::Listing { entries: entries.collect(), more: false }
}

fn list(
    share: &Share,
    home: &Path,
    path: &[String],
    glob: Option<&str>,
    after: Option<&str>,
) -> Result<Reply, No> {
    if !share.list {
        return Err(No::NotFound);
    }
    let (entries, more) = match within::find(share, home, &path[1..], Way::Kernel)? {
        Found::Directory(dir) => within::list(&dir, share, glob, after)?,
        // A file is a list of itself.
        Found::File(Plain { file, mtime, .. }) => {
            let name = path.last().cloned().unwrap_or_default();
            (vec![Listed { name, directory: false, bytes: file.len(), mtime }], false)
        }
    };
    Ok(Reply::Say(Told::Listing { entries, more }))
}

fn get(
    share: &Share,
    home: &Path,
    path: &[String],
    range: Option<Range>,
    known: &[(u64, [u8; 32])],
) -> Result<Reply, No> {
    let Found::File(plain) = within::find(share, home, &path[1..], Way::Kernel)? else {
        return Err(No::Directory);
    };
    let all = plain.file.len();
    let (from, bytes) = match range {
        None => (0, all),
        Some(Range { from, .. }) if from >= all => return Err(No::Beyond),
        Some(Range { from, length }) => (from, length.unwrap_or(u64::MAX).min(all - from)),
    };
    if bytes > share.max_bytes {
        return Err(No::TooLarge { most: share.max_bytes });
    }
    // Only a file of a length that is known is worth being read twice.
    if range.is_none()
        && known.iter().any(|(bytes, _)| *bytes == all)
        && let Some(blake3) = plain.file.hash()
        && known.contains(&(all, blake3))
    {
        return Ok(Reply::Say(Told::Same { bytes: all, blake3 }));
    }
    let text = range.map(|_| format!("bytes {from}-{} of {all}", from + bytes - 1));
    Ok(Reply::Send(vec![outgoing(plain, from, bytes)], text))
}

/// The bytes that somebody lacks of a content, if it is that one; else all of it.
fn rest(
    share: &Share,
    home: &Path,
    path: &[String],
    content: (u64, [u8; 32]),
    ranges: &[(u64, u64)],
) -> Result<Reply, No> {
    let Found::File(plain) = within::find(share, home, &path[1..], Way::Kernel)? else {
        return Err(No::Directory);
    };
    let all = plain.file.len();
    // Nobody has more read here than they could have sent.
    if all > share.max_bytes {
        return Err(No::TooLarge { most: share.max_bytes });
    }
    // Whoever asks could put nothing of another file beside what is there: only the hash of all of it
    // says that it is the same.
    if all != content.0 || plain.file.hash() != Some(content.1) {
        return get(share, home, path, None, &[]);
    }
    // Within the file, and apart: no more than all of it.
    let total = ranges.iter().fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
    let some = |(from, length): &(u64, u64)| outgoing(plain.clone(), *from, *length);
    let text = format!("{total} bytes of {all} that you lack");
    Ok(Reply::Send(ranges.iter().map(some).collect(), Some(text)))
}

fn get_many(share: &Share, home: &Path, path: &[String], glob: &str) -> Result<Reply, No> {
    let Found::Directory(dir) = within::find(share, home, &path[1..], Way::Kernel)? else {
        return Err(No::NotFound);
    };
    let most = share.max_bytes;
    let files = within::many(&dir, share, glob, Way::Kernel)?.ok_or(No::TooLarge { most })?;
    if files.is_empty() {
        return Err(No::NotFound);
    }
    let total = files.iter().fold(0_u64, |sum, it| sum.saturating_add(it.file.len()));
    if total > most {
        return Err(No::TooLarge { most });
    }
    let files = files.into_iter().map(|it| {
        let bytes = it.file.len();
        outgoing(it, 0, bytes)
    });
    Ok(Reply::Send(files.collect(), None))
}

fn outgoing(plain: Plain, from: u64, bytes: u64) -> Outgoing {
    let entry = FileEntry {
        path: vec![plain.name],
        bytes,
        // Filled in while it is sent.
        blake3: [0; 32],
        mtime: plain.mtime,
        executable: plain.executable,
        directory: false,
    };
    Outgoing { entry, source: Source::Open(plain.file.from(from)) }
}

/// What was said, in a word.
fn word(said: &Told) -> Word {
    match said {
        Told::No(no) => super::asker::why(*no),
        Told::Listing { .. } => "listing",
        Told::Same { .. } => "same",
    }
    .into()
}

impl From<Miss> for No {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::NotFound => Self::NotFound,
            Miss::Special => Self::Special,
            Miss::Unreadable => Self::Unreadable,
        }
    }
}
