//! Several who may have it: one is asked, and the next when that one does not send.
//!
//! ```text
//! get -> the first is asked; the others are noted
//! no, or nothing new for a while -> the next is asked: for what is not here yet of a file that has
//!     begun to come (`rest`), else for all of it
//! one of them has sent it -> what still asks is called back, and nobody else is asked
//! ```
//!
//! Each step is one group with the note that says so, taken by whoever looks first: the daemon, a verb
//! about requests, or a toss.

use std::{collections::BTreeSet, fs, time::UNIX_EPOCH};

use postrider_base::{
    BundleId, Lifetime, Niceness, NodeId,
    packet::{Body, Content, PartList, RANGES_MAX, Request},
};
use postrider_spool::{Change, Spool};

use super::{AskedNote, asker::text_of, notes::SourcesNote, target::Requests};
use crate::{
    desk::{
        Desk, Failure, SendRequest, Watch, clock, hex,
        inbox::note_keys,
        incoming::lock,
        introduce::letter,
        ledger::{remove_note, set_key, set_note, space},
        reply::RequestLine,
        send::{Small, refuse_revoked},
        sets::part_keys,
    },
    home::Contact,
};

/// How one `get` stands: by the one request of it that has what was asked for, else by what still goes on.
pub(super) fn overall(lines: &[RequestLine]) -> Option<usize> {
    let worth = |line: &RequestLine| match &*line.state {
        _ if is_good(line) => 3,
        "arriving" => 2,
        _ if is_over(line) => 0,
        _ => 1,
    };
    // Of equals the newest, but of such that are over the first: it says most about what was asked.
    let best = lines.iter().map(worth).max()?;
    let all = lines.iter().enumerate().filter(|(_, line)| worth(line) == best);
    let mut all = all.map(|(n, _)| n);
    if best == 0 { all.next() } else { all.next_back() }
}

/// For how long nothing may come before the next is asked, unless somebody says so: less and a slow
/// source is given up before its answer was read; more and somebody waits for nothing.
pub(super) const PATIENCE_MS: u64 = 10 * 60 * 1000;
/// As much, where the next one is at the other end of a link and whoever was asked is not.
const NEAR_MS: u64 = 10 * 1000;
/// That something came is noted four times within that at most: each time is a sync.
const NOTED: u64 = 4;

/// A file that has begun to come.
pub(super) struct Begun {
    /// The message that brings it.
    pub message: BundleId,
    /// The key of its set.
    pub key: [u8; 24],
    /// Its parts.
    pub list: PartList,
    /// What the file is.
    pub blake3: [u8; 32],
}

impl Desk {
    /// Asks those who are to be asked next. Which bundles are gone by it; `near` says who is at the other
    /// end of a link.
    pub fn advance_gets(
        &self,
        near: &dyn Fn(&NodeId) -> bool,
        watch: &dyn Watch,
    ) -> Result<Vec<BundleId>, Failure> {
        let spool = self.spool(watch)?;
        let requests = Requests::new(self, spool);
        let mut gone = Vec::new();
        for key in note_keys(spool, space::SOURCES)? {
            let Ok(first) = key.as_slice().try_into().map(BundleId) else { continue };
            let _getting = lock(&self.getting);
            gone.extend(requests.advance(first, near)?);
        }
        Ok(gone)
    }
}

impl Requests<'_> {
    /// The next of several is asked when it is time. Which bundles are gone.
    pub(super) fn advance(
        &self,
        first: BundleId,
        near: &dyn Fn(&NodeId) -> bool,
    ) -> Result<Vec<BundleId>, Failure> {
        let note = self.spool.note(space::SOURCES, &first.0)?;
        let Some(note) = note.as_deref().and_then(SourcesNote::read) else { return Ok(Vec::new()) };
        let members = self.members(first)?;
        for id in &members {
            self.fill_in(*id)?;
        }
        let lines = members.iter().map(|id| self.line(*id)).collect::<Result<Vec<_>, _>>()?;
        let good = members.iter().zip(&lines).find(|(_, line)| is_good(line));
        let Some((last, line)) = members.last().zip(lines.last()) else {
            return self.close(first);
        };
        if let Some((id, _)) = good {
            let gone = self.enough(*id)?;
            self.close(first)?;
            return Ok(gone);
        }
        // A person has called it back, and so means all of it.
        if lines.iter().any(|line| line.state == "cancelled") {
            return self.close(first);
        }
        let held_ms = self.spool.held_ms(clock::now());
        let nodes = note.nodes();
        let Some(next) = nodes.first() else {
            // What comes now settles it; a request whose source is silent for good ends with its time.
            return if lines.iter().all(is_over) { self.close(first) } else { Ok(Vec::new()) };
        };
        if !is_over(line) {
            let mark = self.mark(&members, &lines)?;
            let since = held_ms.saturating_sub(note.6);
            if mark != note.5 {
                if since >= note.2.min(NEAR_MS) / NOTED {
                    let note = SourcesNote(note.0, note.1, note.2, note.3, note.4, mark, held_ms);
                    let changes = vec![set_note(space::SOURCES, &first.0, note.encode())];
                    self.spool.commit(clock::now(), changes)?;
                }
                return Ok(Vec::new());
            }
            let now = self.asked_note(*last)?.0.to();
            let nearer = near(next) && !now.is_some_and(|now| near(&now));
            let patience_ms = if nearer { note.2.min(NEAR_MS) } else { note.2 };
            if since < patience_ms {
                return Ok(Vec::new());
            }
        }
        self.ask_next(first, note, held_ms)?;
        Ok(Vec::new())
    }

    /// Asks the first of those who were not asked that can be.
    fn ask_next(&self, first: BundleId, note: SourcesNote, held_ms: u64) -> Result<(), Failure> {
        let (_, asked) = self.asked_note(first)?;
        let wanted = match self.begun(first, None)? {
            Some(begun) => self.lacking(&asked, &begun)?.unwrap_or(asked),
            None => asked,
        };
        let contacts = self.desk.home.contacts()?;
        let mut nodes = note.nodes().into_iter();
        let mut changes = Vec::new();
        let mut found = None;
        for node in nodes.by_ref() {
            let to = contacts.of(&node).filter(|to| !to.blocked);
            if let Some(to) = to.filter(|to| refuse_revoked(&contacts, to).is_ok()) {
                found = Some(to);
                break;
            }
        }
        if let Some(to) = found {
            let nice = note.3.and_then(Niceness::new);
            let lifetime = note.4.and_then(Lifetime::new);
            self.ask(to, &wanted, (nice, lifetime), Some(first), &mut changes)?;
        }
        let left: Vec<NodeId> = nodes.collect();
        let mut note = SourcesNote(note.0, Vec::new(), note.2, note.3, note.4, 0, held_ms);
        note.1 = SourcesNote::new(&left, 0, None, None, 0).1;
        changes.push(set_note(space::SOURCES, &first.0, note.encode()));
        self.spool.commit(clock::now(), changes)?;
        Ok(())
    }

    /// Seals a request to somebody, with what is remembered of it; `first` is the request of those who are
    /// asked the same, this one where it is `None` and there are several.
    pub(super) fn ask(
        &self,
        to: &Contact,
        wanted: &Request,
        (nice, lifetime): (Option<Niceness>, Option<Lifetime>),
        first: Option<BundleId>,
        changes: &mut Vec<Change>,
    ) -> Result<BundleId, Failure> {
        let request = SendRequest { nice, lifetime, ..letter(to) };
        let body = Body::Request(Box::new(wanted.clone()));
        let tail = self.desk.tail(to, &request);
        let packet = postrider_base::packet::Packet { body, tail };
        let small = Small { packet, bytes: 0, preview: format!("asks for {}", text_of(wanted)) };
        let (_, id) = self.desk.seal_small(self.spool, to, &request, small, changes)?;
        let held_ms = self.spool.held_ms(clock::now());
        let note = AskedNote::new(&to.card.node, wanted, first, held_ms);
        changes.push(set_note(space::REQUESTED, &id.0, note.encode()));
        Ok(id)
    }

    /// Nobody else is asked.
    fn close(&self, first: BundleId) -> Result<Vec<BundleId>, Failure> {
        self.spool.commit(clock::now(), vec![remove_note(space::SOURCES, &first.0)])?;
        Ok(Vec::new())
    }

    /// Whether somebody may have to be asked, whatever comes or does not.
    pub fn has_unasked(&self) -> Result<bool, Failure> {
        for key in note_keys(self.spool, space::SOURCES)? {
            let note = self.spool.note(space::SOURCES, &key)?;
            if note.as_deref().and_then(SourcesNote::read).is_some_and(|note| !note.1.is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Who is asked when those before do not send.
    pub(super) fn unasked(&self, first: BundleId) -> Result<Vec<NodeId>, Failure> {
        let note = self.spool.note(space::SOURCES, &first.0)?;
        Ok(note.as_deref().and_then(SourcesNote::read).map_or_else(Vec::new, |note| note.nodes()))
    }

    /// The request that stands for all that were asked the same, and so for this one.
    pub(super) fn first_of(&self, id: BundleId) -> Result<BundleId, Failure> {
        Ok(self.asked_note(id)?.0.first().unwrap_or(id))
    }

    /// All requests of one `get`, in the order in which they were asked.
    pub(super) fn members(&self, first: BundleId) -> Result<Vec<BundleId>, Failure> {
        let mut members = Vec::new();
        for id in self.asked()? {
            let (note, _) = self.asked_note(id)?;
            if id == first {
                members.push((0, 0, id));
            } else if note.first() == Some(first) {
                members.push((1, note.4, id));
            }
        }
        members.sort_unstable();
        Ok(members.into_iter().map(|(.., id)| id).collect())
    }

    /// The file of which most is here and not all, of those that were asked in one go; or the one of this
    /// content, whatever is here.
    pub(super) fn begun(
        &self,
        first: BundleId,
        content: Option<(u64, [u8; 32])>,
    ) -> Result<Option<Begun>, Failure> {
        let mut most = None;
        for id in self.members(first)? {
            let Some(message) = self.answered(id)?.and_then(|answer| answer.message()) else {
                continue;
            };
            let Some(kept) = self.desk.kept(self.spool, message)? else { continue };
            let Body::Files(manifest) = &kept.packet.body else { continue };
            let (Content::Parts(list), [file]) = (&manifest.content, &manifest.files[..]) else {
                continue;
            };
            let is_rest = matches!(self.asked_note(id)?.1, Request::Rest { .. });
            match content {
                Some(content) if (file.bytes, file.blake3) != content => continue,
                // What fills a file in is not the file, whatever it says.
                Some(_) => {}
                None if is_rest => continue,
                None => {}
            }
            let key = set_key(kept.author.as_bytes(), &list.set);
            let here = part_keys(self.spool, &key)?.len();
            if content.is_none() && here == 0 {
                continue;
            }
            if most.as_ref().is_none_or(|(before, _)| here > *before) {
                let begun = Begun { message, key, list: list.clone(), blake3: file.blake3 };
                most = Some((here, begun));
            }
        }
        Ok(most.map(|(_, begun)| begun))
    }

    /// What is asked of the next one: what is not here of a file. `None` where what was asked for is not
    /// one file as a whole.
    fn lacking(&self, asked: &Request, begun: &Begun) -> Result<Option<Request>, Failure> {
        let Request::Get { path, glob: None, range: None, .. } = asked else { return Ok(None) };
        let here = self.indices(&begun.key)?;
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let parts = u32::try_from(begun.list.hashes.len()).unwrap_or(u32::MAX);
        for index in (0..parts).filter(|index| !here.contains(index)) {
            let Some(length) = begun.list.bytes_of(index) else { continue };
            let from = u64::from(index).saturating_mul(begun.list.part_bytes);
            match ranges.last_mut() {
                Some((start, so_far)) if *start + *so_far == from => *so_far += length,
                _ => ranges.push((from, length)),
            }
        }
        // More places than can be said: what is between the last ones comes once more.
        while ranges.len() > RANGES_MAX {
            let (Some(last), Some(before)) = (ranges.pop(), ranges.last_mut()) else { break };
            before.1 = last.0 + last.1 - before.0;
        }
        if ranges.is_empty() {
            return Ok(None);
        }
        let (path, bytes, blake3) = (path.clone(), begun.list.total_bytes, begun.blake3);
        Ok(Some(Request::Rest { path, bytes, blake3, ranges }))
    }

    /// Which parts of a set are here.
    pub(super) fn indices(&self, key: &[u8; 24]) -> Result<BTreeSet<u32>, Failure> {
        let keys = part_keys(self.spool, key)?.into_iter();
        Ok(keys
            .filter_map(|key| Some(u32::from_be_bytes(key.get(24..)?.try_into().ok()?)))
            .collect())
    }

    /// What has come, in a number that another one follows when more has.
    fn mark(&self, members: &[BundleId], lines: &[RequestLine]) -> Result<u64, Failure> {
        let mut hasher = blake3::Hasher::new();
        for (id, line) in members.iter().zip(lines) {
            hasher.update(line.state.as_bytes());
            let Some(message) = self.answered(*id)?.and_then(|answer| answer.message()) else {
                continue;
            };
            let Some(kept) = self.desk.kept(self.spool, message)? else { continue };
            let Some(list) = kept.packet.body.manifest().and_then(|all| all.parts()) else {
                continue;
            };
            let key = set_key(kept.author.as_bytes(), &list.set);
            hasher.update(&part_keys(self.spool, &key)?.len().to_be_bytes());
            // Bytes of a part over a slow link, long before it is whole. That the clock may be wrong
            // does not matter: another time is another number.
            let file = self.desk.inbox_dir().join(hex(&key)).join("f0");
            let changed = fs::metadata(file).and_then(|meta| meta.modified()).ok();
            let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            hasher.update(&changed.map_or(0, |time| time.as_nanos()).to_be_bytes());
        }
        let mut mark = [0; 8];
        hasher.finalize_xof().fill(&mut mark);
        Ok(u64::from_be_bytes(mark))
    }
}

pub(super) fn is_good(line: &RequestLine) -> bool {
    ["here", "same", "listed"].contains(&&*line.state)
}

pub(super) fn is_over(line: &RequestLine) -> bool {
    ["refused", "expired", "cancelled", "used"].contains(&&*line.state)
}
