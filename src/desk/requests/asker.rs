//! Requests of mine: made, followed, and what to do when several were asked the same.

use std::time::Duration;

use postrider_base::{
    BundleId, Lifetime, Niceness, NodeId,
    packet::{
        Body, KNOWN_MAX, Listed, Manifest, No, PacketError, Range, Request, Told, is_component,
    },
};
use postrider_spool::{Change, Spool};

use super::{
    AnswerNote, AskedNote,
    notes::SourcesNote,
    rest::Verdict,
    sources::{PATIENCE_MS, is_good, overall},
    target::Requests,
};
use crate::desk::{
    Desk, Event, Failure, FailureKind, Silent, Watch, clock,
    inbox::{Kept, find_note, note_keys, note_keys_of},
    incoming::lock,
    ledger::{remove_note, set_key, set_note, space},
    people::name_of,
    queue::ended,
    reply::{ListedLine, RequestLine, SourceLine},
    send::refuse_revoked,
    sets::part_keys,
};
use crate::home::Contact;

/// As many as anybody would ask the same.
const SOURCES_MAX: usize = 16;
/// What came of requests is forgotten after this long; messages stay where they are.
const FORGOTTEN_MS: u64 = 90 * 24 * 3600 * 1000;
/// Changes of one commit, when many requests are forgotten.
const TOGETHER: usize = 512;

/// What to ask for.
#[derive(Clone, Debug, Default)]
pub struct GetRequest {
    /// Whom: petnames or ids. The first is asked, and the next when that one does not send.
    pub to: Vec<String>,
    /// A share, and names in it, with `/` between them; the last may be a pattern.
    pub path: String,
    /// What there is, instead of the file.
    pub list: bool,
    /// Of a list, what sorts behind this name.
    pub after: Option<String>,
    /// Only bytes from here.
    pub from: Option<u64>,
    /// Only so many.
    pub length: Option<u64>,
    /// Also if what comes is here already.
    pub again: bool,
    /// For how long nothing may come before the next is asked.
    pub patience: Option<Duration>,
    /// How urgent the request is.
    pub nice: Option<Niceness>,
    /// How long it lives.
    pub lifetime: Option<Lifetime>,
}

/// What an answer led to.
#[derive(Debug)]
pub struct Settled {
    /// How the request stands.
    pub line: RequestLine,
    /// Bundles of requests that need no answer any more.
    pub gone: Vec<BundleId>,
}

impl Desk {
    /// Asks for files, or what there is. When this returns, that is durable.
    pub fn get(&self, wanted: &GetRequest, watch: &dyn Watch) -> Result<RequestLine, Failure> {
        let asked = wanted.request()?;
        if !(1..=SOURCES_MAX).contains(&wanted.to.len()) {
            let what = format!("between 1 and {SOURCES_MAX} can be asked for a file");
            return Err(Failure::new(FailureKind::Usage, what).next("nothing was asked"));
        }
        let spool = self.spool(watch)?;
        let requests = Requests::new(self, spool);
        let asked = match asked {
            Request::Get { path, glob: None, range: None, .. } if !wanted.again => {
                let known = requests.known(&path)?;
                Request::Get { path, glob: None, range: None, known }
            }
            asked => asked,
        };
        let contacts = self.home.contacts()?;
        let mut whom: Vec<&Contact> = Vec::new();
        for to in &wanted.to {
            let contact = contacts.resolve(to)?;
            refuse_revoked(&contacts, contact)?;
            if whom.iter().all(|it| it.card.node != contact.card.node) {
                whom.push(contact);
            }
        }
        let Some((first, others)) = whom.split_first() else {
            return Err(Failure::new(FailureKind::Fault, "nobody was asked"));
        };
        let mut changes: Vec<Change> = Vec::new();
        let way = (wanted.nice, wanted.lifetime);
        let id = requests.ask(first, &asked, way, None, &mut changes)?;
        if !others.is_empty() {
            let nodes: Vec<NodeId> = others.iter().map(|it| it.card.node).collect();
            let patience = wanted.patience.map(|it| u64::try_from(it.as_millis()));
            let patience_ms = patience.map_or(PATIENCE_MS, |ms| ms.unwrap_or(u64::MAX));
            let held_ms = spool.held_ms(clock::now());
            let note = SourcesNote::new(&nodes, patience_ms, way.0, way.1, held_ms);
            changes.push(set_note(space::SOURCES, &id.0, note.encode()));
        }
        // Who is asked and who may be: both or neither.
        spool.commit(clock::now(), changes)?;
        self.ring_requests();
        requests.overall_line(id)
    }

    /// Requests of mine, oldest first.
    pub fn gets(&self, watch: &dyn Watch) -> Result<Vec<RequestLine>, Failure> {
        let requests = Requests::new(self, self.spool(watch)?);
        let mut lines = Vec::new();
        for id in requests.asked()? {
            if requests.first_of(id)? == id {
                // Seconds would leave those of one second in any order.
                let asked_ms = requests.asked_note(id)?.0.4;
                lines.push((asked_ms, id, requests.overall_line(id)?));
            }
        }
        lines.sort_by_key(|(asked_ms, id, _)| (*asked_ms, *id));
        Ok(lines.into_iter().map(|(.., line)| line).collect())
    }

    /// How a request of mine stands.
    pub fn get_state(&self, id: &str, watch: &dyn Watch) -> Result<RequestLine, Failure> {
        let spool = self.spool(watch)?;
        let id = find_note(spool, space::REQUESTED, id, "request")?;
        let requests = Requests::new(self, spool);
        requests.overall_line(requests.first_of(id)?)
    }

    /// What messages that came mean for requests of mine, where no daemon looks after that.
    pub(in crate::desk) fn settle_gets(
        &self,
        messages: &[BundleId],
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let requests = self.open_requests(watch)?;
        let settled = messages.iter().try_for_each(|id| requests.settle(*id).map(drop));
        // What came is safe, and whoever looks next tries again.
        if let Err(failure) = settled.and_then(|()| self.advance_gets(&|_| false, watch).map(drop))
        {
            watch.event(Event::Warn(format!("a request for a file waits: {failure}")));
        }
        Ok(())
    }
}

impl GetRequest {
    /// As it is sent, once what is known stands in it.
    fn request(&self) -> Result<Request, Failure> {
        let usage = |what: String, next: &str| {
            Failure::new(FailureKind::Usage, what).next(format!("nothing was asked; {next}"))
        };
        let text = self.path.strip_suffix('/').filter(|_| self.list).unwrap_or(&self.path);
        let mut path: Vec<String> = match text {
            "" => Vec::new(),
            text => text.split('/').map(ToOwned::to_owned).collect(),
        };
        if let Some(name) = path.iter().find(|name| !is_component(name)) {
            let what = format!("{:?} cannot be asked for: {name:?} is no name", self.path);
            let next = "a path is a share and names in it, as maps/north.pdf; see what there is: \
                        postrider get WHO --list";
            return Err(usage(what, next));
        }
        let glob = path.pop_if(|name| name.contains(['*', '?']));
        let range = match (self.from, self.length) {
            (None, None) => None,
            (from, length) => Some(Range { from: from.unwrap_or(0), length }),
        };
        let request = if self.list {
            Request::List { path, glob, after: self.after.clone() }
        } else {
            Request::Get { path, glob, range, known: Vec::new() }
        };
        request.check().map_err(|error| {
            let what = match error {
                PacketError::Field("range") => "such bytes cannot be asked for".to_owned(),
                PacketError::Field("path") if self.path.is_empty() => {
                    "which file is wanted?".to_owned()
                }
                _ => format!("{:?} cannot be asked for", self.path),
            };
            usage(what, "see what there is: postrider get WHO --list")
        })?;
        Ok(request)
    }
}

impl Requests<'_> {
    /// What a message that came means for a request of mine.
    pub fn settle(&self, message: BundleId) -> Result<Option<Settled>, Failure> {
        let Some(id) = self.spool.note(space::ANSWERS, &message.0)? else { return Ok(None) };
        let Ok(id) = id.as_slice().try_into().map(BundleId) else { return Ok(None) };
        let _getting = lock(&self.desk.getting);
        self.choose(id)?;
        self.fill_in(id)?;
        let first = self.first_of(id)?;
        let mut gone = self.advance(first, &|_| false)?;
        if is_good(&self.line(id)?) {
            gone.extend(self.enough(id)?);
        }
        Ok(Some(Settled { line: self.overall_line(first)?, gone }))
    }

    /// Of several answers to one request that whose files are all here stands; until one is, that which
    /// came last. The others were taken back by whoever sent them, and nothing of them is kept.
    fn choose(&self, id: BundleId) -> Result<(), Failure> {
        let rivals = note_keys_of(self.spool, space::RIVAL, &id.0)?;
        let stands = self.answered(id)?.and_then(|answer| answer.message());
        let mut messages: Vec<BundleId> = rivals
            .iter()
            .filter_map(|key| Some(BundleId(key.get(id.0.len()..)?.try_into().ok()?)))
            .collect();
        messages.sort_by_key(|message| Some(*message) != stands);
        let mut whole = None;
        for message in &messages {
            if !self.contents(*message)?.is_empty() {
                whole = Some(*message);
                break;
            }
        }
        let Some(whole) = whole else { return Ok(()) };
        for other in messages.into_iter().filter(|other| *other != whole) {
            let double = set_note(space::DOUBLE, &other.0, Vec::new());
            let changes = vec![remove_note(space::ANSWERS, &other.0), double];
            self.spool.commit(clock::now(), changes)?;
            if let Some((kept, manifest)) = self.manifest_of(other)? {
                self.forget(&kept, &manifest)?;
            }
        }
        let mut changes: Vec<Change> =
            rivals.iter().map(|key| remove_note(space::RIVAL, key)).collect();
        if stands != Some(whole) {
            let held_ms = self.spool.held_ms(clock::now());
            let note = AnswerNote::files(&whole, held_ms).encode();
            changes.push(set_note(space::ANSWERED, &id.0, note));
        }
        self.spool.commit(clock::now(), changes)?;
        Ok(())
    }

    /// A message that brings files, and what it says of them.
    fn manifest_of(&self, message: BundleId) -> Result<Option<(Kept, Manifest)>, Failure> {
        let kept = self.desk.kept(self.spool, message)?;
        Ok(kept.and_then(|kept| {
            let manifest = with_manifest(&kept)?.1.clone();
            Some((kept, manifest))
        }))
    }

    /// One has sent it: others need not be asked any more, and what they send is shown no more.
    pub(super) fn enough(&self, id: BundleId) -> Result<Vec<BundleId>, Failure> {
        let message = self.answered(id)?.and_then(|answer| answer.message());
        let mine = message.map_or(Ok(Vec::new()), |message| self.contents(message))?;
        let mut gone = Vec::new();
        for other in self.twins(id)? {
            match (self.answered(other)?, message) {
                // It need not be answered any more. One that has come there already is.
                (None, _) if ended(self.spool, other)?.is_none() => {
                    gone.extend(self.desk.cancel_bundles(&other.to_string(), &Silent)?.1);
                }
                (Some(answer), Some(message)) => {
                    self.note_double(message, &mine, answer.message())?;
                }
                _ => {}
            }
        }
        Ok(gone)
    }

    /// Everything that was answered, for a start.
    pub fn settle_all(&self) -> Result<Vec<BundleId>, Failure> {
        let held_ms = self.spool.held_ms(clock::now());
        let mut old = Vec::new();
        for id in self.asked()? {
            let note = self.spool.note(space::REQUESTED, &id.0)?;
            let asked_ms = note.as_deref().and_then(AskedNote::read).map_or(0, |asked| asked.4);
            if held_ms.saturating_sub(asked_ms) > FORGOTTEN_MS {
                old.push(remove_note(space::REQUESTED, &id.0));
                old.push(remove_note(space::ANSWERED, &id.0));
            }
        }
        while !old.is_empty() {
            let some = old.split_off(old.len().saturating_sub(TOGETHER));
            self.spool.commit(clock::now(), some)?;
        }
        let mut gone = Vec::new();
        for message in note_keys(self.spool, space::ANSWERS)? {
            let Ok(message) = message.as_slice().try_into().map(BundleId) else { continue };
            let request = self.spool.note(space::ANSWERS, &message.0)?.unwrap_or_default();
            if self.spool.note(space::REQUESTED, &request)?.is_none() {
                self.spool.commit(clock::now(), vec![remove_note(space::ANSWERS, &message.0)])?;
                continue;
            }
            gone.extend(self.settle(message)?.map(|settled| settled.gone).unwrap_or_default());
        }
        Ok(gone)
    }

    pub(super) fn asked(&self) -> Result<Vec<BundleId>, Failure> {
        let keys = note_keys(self.spool, space::REQUESTED)?.into_iter();
        Ok(keys.filter_map(|key| Some(BundleId(key.try_into().ok()?))).collect())
    }

    /// A request of mine, as it was asked.
    pub(super) fn asked_note(&self, id: BundleId) -> Result<(AskedNote, Request), Failure> {
        let note = self.spool.note(space::REQUESTED, &id.0)?;
        let note = note.as_deref().and_then(AskedNote::read);
        note.and_then(|note| Some((note.clone(), note.request()?))).ok_or_else(|| {
            Failure::new(FailureKind::Damaged, format!("the request {id} cannot be read back"))
        })
    }

    pub(super) fn answered(&self, id: BundleId) -> Result<Option<AnswerNote>, Failure> {
        let note = self.spool.note(space::ANSWERED, &id.0)?;
        Ok(note.as_deref().and_then(AnswerNote::read))
    }

    /// How one `get` stands, whoever was asked: by the id of its first request.
    pub(super) fn overall_line(&self, first: BundleId) -> Result<RequestLine, Failure> {
        let members = self.members(first)?;
        let lines = members.iter().map(|id| self.line(*id)).collect::<Result<Vec<_>, _>>()?;
        let unasked = self.unasked(first)?;
        let Some(best) = overall(&lines) else { return self.line(first) };
        let mut line = lines[best].clone();
        line.id = first.to_string();
        line.age_s = lines.iter().map(|line| line.age_s).max().unwrap_or(line.age_s);
        if lines.len() + unasked.len() > 1 {
            let contacts = self.desk.home.contacts()?;
            let asked = lines.iter().map(|line| SourceLine {
                to: line.to.clone(),
                state: line.state.clone(),
                why: line.why.clone(),
                most: line.most,
            });
            let waits = unasked.iter().map(|node| SourceLine {
                to: name_of(&contacts, node),
                state: "unasked".into(),
                ..SourceLine::default()
            });
            line.sources = asked.chain(waits).collect();
        }
        Ok(line)
    }

    /// The request of one `get` whose answer is what was asked for.
    pub(super) fn best_of(&self, first: BundleId) -> Result<BundleId, Failure> {
        let members = self.members(first)?;
        let lines = members.iter().map(|id| self.line(*id)).collect::<Result<Vec<_>, _>>()?;
        Ok(overall(&lines).map_or(first, |best| members[best]))
    }

    /// A request of mine, and how it stands.
    pub(super) fn line(&self, id: BundleId) -> Result<RequestLine, Failure> {
        let (asked, request) = self.asked_note(id)?;
        let contacts = self.desk.home.contacts()?;
        let to = asked.to().map_or_else(String::new, |to| name_of(&contacts, &to));
        let held_ms = self.spool.held_ms(clock::now());
        let mut line = RequestLine {
            id: id.to_string(),
            to,
            path: text_of(&request),
            list: matches!(request, Request::List { .. }),
            age_s: held_ms.saturating_sub(asked.4) / 1000,
            ..RequestLine::default()
        };
        let of_rest = matches!(request, Request::Rest { .. });
        let Some(answer) = self.answered(id)? else {
            line.state = self.desk.sent_state(&id.to_string(), &Silent)?.state;
            return Ok(line);
        };
        match (answer.message(), answer.answer()) {
            (Some(message), _) if of_rest && self.verdict(message)? != Some(Verdict::Other) => {
                (line.state, line.why) = match self.verdict(message)? {
                    Some(Verdict::Unfit) => ("refused".into(), Some("other".into())),
                    Some(_) => ("used".into(), None),
                    None => ("arriving".into(), None),
                };
            }
            (Some(message), _) => {
                line.other = of_rest;
                line.message = Some(message.to_string());
                let kept = self.desk.kept(self.spool, message)?;
                if let Some((kept, manifest)) = kept.as_ref().and_then(with_manifest) {
                    let parts = self.parts(kept, manifest)?;
                    line.bytes = Some(manifest.total_bytes());
                    line.parts = Some(parts);
                    line.state = if parts.0 >= parts.1 { "here" } else { "arriving" }.into();
                } else {
                    line.state = "refused".into();
                    line.why = Some("unreadable".into());
                }
            }
            (None, Some(Request::Answer { said, .. })) => tell(&mut line, said),
            (None, _) => {
                line.state = "refused".into();
                line.why = Some("unreadable".into());
            }
        }
        Ok(line)
    }

    /// How many parts of a message are here, and of how many.
    pub(super) fn parts(&self, kept: &Kept, manifest: &Manifest) -> Result<(u64, u64), Failure> {
        let Some(list) = manifest.parts() else { return Ok((1, 1)) };
        let all = list.hashes.len() as u64;
        if self.spool.note(space::COMPLETE, &kept.id.0)?.is_some() {
            return Ok((all, all));
        }
        let key = set_key(kept.author.as_bytes(), &list.set);
        Ok(((part_keys(self.spool, &key)?.len() as u64).min(all - 1), all))
    }

    /// Contents that came when the same was asked for, and are here.
    fn known(&self, path: &[String]) -> Result<Vec<(u64, [u8; 32])>, Failure> {
        let mut known: Vec<(u64, (u64, [u8; 32]))> = Vec::new();
        for id in self.asked()? {
            let (note, request) = self.asked_note(id)?;
            let Request::Get { path: earlier, glob: None, range: None, .. } = request else {
                continue;
            };
            let Some(message) = self.answered(id)?.and_then(|answer| answer.message()) else {
                continue;
            };
            if earlier == path
                && let [only] = self.contents(message)?[..]
                && !known.iter().any(|(_, content)| *content == only)
            {
                known.push((note.4, only));
            }
        }
        known.sort_unstable_by_key(|(asked_ms, _)| std::cmp::Reverse(*asked_ms));
        Ok(known.into_iter().map(|(_, content)| content).take(KNOWN_MAX).collect())
    }

    /// The files of a message whose bytes are all here, by length and hash.
    pub(super) fn contents(&self, message: BundleId) -> Result<Vec<(u64, [u8; 32])>, Failure> {
        let Some(kept) = self.desk.kept(self.spool, message)? else { return Ok(Vec::new()) };
        let Some((kept, manifest)) = with_manifest(&kept) else { return Ok(Vec::new()) };
        let (here, all) = self.parts(kept, manifest)?;
        let files = manifest.files.iter().filter(|file| !file.directory && here >= all);
        Ok(files.map(|file| (file.bytes, file.blake3)).collect())
    }

    /// Others that were asked the same in one go.
    fn twins(&self, id: BundleId) -> Result<Vec<BundleId>, Failure> {
        let mut members = self.members(self.first_of(id)?)?;
        members.retain(|other| *other != id);
        Ok(members)
    }

    /// A message that brings what another one has brought is shown no more.
    fn note_double(
        &self,
        message: BundleId,
        mine: &[(u64, [u8; 32])],
        other: Option<BundleId>,
    ) -> Result<(), Failure> {
        let Some(other) = other.filter(|_| !mine.is_empty()) else { return Ok(()) };
        let marked = |it: &BundleId| self.spool.note(space::DOUBLE, &it.0);
        let first = marked(&message)?.is_none() && marked(&other)?.is_none();
        if first && self.contents(other)? == mine {
            let double = set_note(space::DOUBLE, &message.0, Vec::new());
            self.spool.commit(clock::now(), vec![double])?;
        }
        Ok(())
    }
}

/// What an answer says, beside the request.
fn tell(line: &mut RequestLine, said: Told) {
    match said {
        Told::No(no) => {
            line.state = "refused".into();
            line.why = Some(why(no).into());
            line.most = if let No::TooLarge { most } = no { Some(most) } else { None };
        }
        Told::Listing { entries, more } => {
            line.state = "listed".into();
            line.more = more;
            line.entries = entries.into_iter().map(listed).collect();
        }
        Told::Same { bytes, .. } => {
            line.state = "same".into();
            line.bytes = Some(bytes);
        }
    }
}

fn listed(entry: Listed) -> ListedLine {
    let Listed { name, directory, bytes, mtime } = entry;
    let kind = if directory { "directory" } else { "file" };
    ListedLine { name, kind: kind.into(), bytes, mtime }
}

/// Why nothing was sent, in a word.
pub(super) fn why(no: No) -> &'static str {
    match no {
        No::NotFound => "not-found",
        No::NotAllowed => "not-allowed",
        No::Directory => "directory",
        No::Special => "special",
        No::TooLarge { .. } => "too-large",
        No::Spent => "spent",
        No::Waiting => "waiting",
        No::Changing => "changing",
        No::Unreadable => "unreadable",
        No::Beyond => "beyond",
    }
}

fn with_manifest(kept: &Kept) -> Option<(&Kept, &Manifest)> {
    match &kept.packet.body {
        Body::Files(manifest) => Some((kept, manifest)),
        _ => None,
    }
}

/// What was asked for, as a person writes it.
pub(super) fn text_of(request: &Request) -> String {
    let (path, glob) = match request {
        Request::List { path, glob, .. } | Request::Get { path, glob, .. } => (path, glob),
        Request::Rest { path, .. } => (path, &None),
        Request::Answer { .. } => return String::new(),
    };
    let names: Vec<&str> = path.iter().chain(glob).map(String::as_str).collect();
    names.join("/")
}
