//! Large messages on their way in: parts in any order become files.
//!
//! ```text
//! spool/inbox/<set key>/f<n>      the message's n-th file, filled part by part
//! spool/inbox/<set key>/s         whole parts that came before their manifest, each at its place
//! spool/inbox/<set key>/p<index>  another part that came before its manifest
//! spool/inbox/<set key>/packet    a manifest too large for a note
//! spool/inbox/loose/<bundle id>   a part being read whose set is not known
//! ```
//!
//! Names are made of hexadecimal digits only; nothing from outside becomes a path. A file counts
//! only through its note in the log, which is written after the file was synced.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use postrider_base::{
    BundleId, NodeId,
    bundle::Receipt,
    id::SetId,
    packet::{Manifest, PART_BYTES, Packet, PartHead, PartList},
};
use postrider_spool::{Change, DurableSpool, Spool, contract::PAGE_MAX};

use super::{
    Failure, clock, hex,
    incoming::{Refusal, lock},
    ledger::{MessageNote, remove_note, set_key, set_note, space},
    parts::{Layout, PartWriter, Place},
    places::{LeasedWriter, Places},
};

/// Packets above this lie in a file: a note holds at most 1 MiB, and a group three.
const PACKET_IN_NOTE_MAX: usize = 512 * 1024;

/// The sets that a visit meets, and their files.
pub(super) struct SetBook<'a> {
    spool: &'a DurableSpool,
    inbox: PathBuf,
    known: Mutex<HashMap<[u8; 24], Arc<SetState>>>,
    /// Held while a manifest brings parts into place, and while a part chooses its own.
    placing: Mutex<()>,
    places: Arc<Places>,
    /// Copied into place; removed after the commit that says so.
    obsolete: Mutex<Vec<PathBuf>>,
}

/// A set whose manifest is here.
struct SetState {
    message: BundleId,
    list: PartList,
    /// Where each file begins in the stream of all.
    starts: Arc<[u64]>,
    have: Mutex<BTreeSet<u32>>,
    receipt: Option<(Receipt, u64)>,
}

/// A message of which no part is missing any more.
pub(super) struct Completed {
    pub message: BundleId,
    /// Its receipt, and until when it is of use.
    pub receipt: Option<(Receipt, u64)>,
}

/// A part that was opened.
pub(super) struct Arrived {
    pub part: PartHead,
    pub hash: [u8; 32],
    pub place: Place,
}

/// Where a noted part is.
const IN_FILES: u8 = 0;
const LOOSE: u8 = 1;
pub(super) const IN_STREAM: u8 = 2;

/// Parts from this index on are loose until their manifest says that they belong there: an index is
/// only what the sender says, and no file reaches to the place of the four thousand millionth part.
/// 1 TiB, a sixteenth of the longest file on ext4.
const STREAM_PARTS_MAX: u32 = 1 << 17;
/// A part of more files than this is not opened while it comes: each is a descriptor, and a part may
/// wait for its rest for days.
const LEASED_FILES_MAX: usize = 4;
/// The file of whole parts that came before their manifest.
const STREAM: &str = "s";

impl<'a> SetBook<'a> {
    pub(super) fn new(spool: &'a DurableSpool, inbox: PathBuf, places: Arc<Places>) -> Self {
        Self {
            spool,
            inbox,
            places,
            known: Mutex::default(),
            placing: Mutex::default(),
            obsolete: Mutex::default(),
        }
    }

    /// Where a part's bytes go while it is being opened. `source` is the author, where the
    /// envelope proves it.
    pub(super) fn writer(
        &self,
        id: &BundleId,
        part: &PartHead,
        source: Option<&NodeId>,
    ) -> io::Result<PartWriter> {
        let candidates =
            self.spool.notes(space::SET, &part.set.0, None, 2).map_err(io::Error::other)?;
        if let [key] = &candidates[..]
            && let Ok(key) = <[u8; 24]>::try_from(key.as_slice())
            && let Some(state) = self.state(&key).map_err(io::Error::other)?
            && state.list.bytes_of(part.index) == Some(part.plain_bytes)
            && !lock(&state.have).contains(&part.index)
            && self.places.take(&key, part.index)
        {
            return Ok(PartWriter::into_files(self.dir(&key)?, state.layout(part.index)));
        }
        if candidates.is_empty()
            && part.plain_bytes == PART_BYTES
            && part.index < STREAM_PARTS_MAX
            && let Some(source) = source
            && let Some(writer) = self.stream_writer(source, part)?
        {
            return Ok(writer);
        }
        let loose = self.inbox.join("loose");
        private_dir(&loose)?;
        Ok(PartWriter::into_loose(loose.join(hex(&id.0))))
    }

    /// Over a live link the parts come while the sender still seals, and the manifest last. At its
    /// place in the stream of all a part need not be copied again. Only the author writes here, so
    /// whatever lies there is the author's.
    fn stream_writer(&self, source: &NodeId, part: &PartHead) -> io::Result<Option<PartWriter>> {
        let key = set_key(source.as_bytes(), &part.set);
        let _placing = lock(&self.placing);
        let noted = [&key[..], &part.index.to_be_bytes()].concat();
        if self.state(&key).map_err(io::Error::other)?.is_some()
            || self.spool.note(space::PART, &noted).map_err(io::Error::other)?.is_some()
            || !self.places.take(&key, part.index)
        {
            return Ok(None);
        }
        let dir = self.dir(&key)?;
        let (stream, renamed) = (dir.join(STREAM), dir.join("f0"));
        if !stream.exists() && renamed.exists() {
            // A crash fell between the new name and the commit of the manifest.
            publish(&renamed, &stream)?;
        }
        PartWriter::into_stream(stream, part.index).map(Some)
    }

    /// As [`Self::writer`], for a part that is opened while it comes and beside an intake: `None`
    /// unless its place is free and certain.
    pub(super) fn lease(&self, part: &PartHead, source: &NodeId) -> Option<LeasedWriter> {
        let key = set_key(source.as_bytes(), &part.set);
        self.places.lease(&key, part.index, || {
            let noted = [&key[..], &part.index.to_be_bytes()].concat();
            if self.spool.note(space::PART, &noted).ok()?.is_some() {
                return None;
            }
            if let Some(state) = self.state(&key).ok()? {
                let layout = state.layout(part.index);
                let fits = state.list.bytes_of(part.index) == Some(part.plain_bytes)
                    && layout.files_of(part.plain_bytes) <= LEASED_FILES_MAX;
                let dir = fits.then(|| self.dir(&key).ok()).flatten()?;
                // Until then the stream of all may take the only file's name, and the place of one
                // that is made here.
                let certain = state.starts.len() > 1 || dir.join("f0").exists();
                return certain.then(|| PartWriter::into_files(dir, layout));
            }
            if part.plain_bytes != PART_BYTES || part.index >= STREAM_PARTS_MAX {
                return None;
            }
            let dir = self.dir(&key).ok()?;
            let (stream, renamed) = (dir.join(STREAM), dir.join("f0"));
            // An intake sees to what a crash left.
            let certain = stream.exists() || !renamed.exists();
            certain.then(|| PartWriter::into_stream(stream, part.index).ok()).flatten()
        })
    }

    /// Takes note of a part. Returns the message when this was its last.
    pub(super) fn part(
        &self,
        author: &NodeId,
        arrived: &Arrived,
        changes: &mut Vec<Change>,
    ) -> Result<Option<Completed>, Refusal> {
        let part = &arrived.part;
        let key = set_key(author.as_bytes(), &part.set);
        let note_key = [&key[..], &part.index.to_be_bytes()].concat();
        self.places.take(&key, part.index);
        let Some(state) = self.state(&key)? else {
            let place = match &arrived.place {
                Place::Loose(path) => {
                    let dir = self.dir(&key).map_err(|e| file_failure("create", &self.inbox, e))?;
                    let to = dir.join(format!("p{}", part.index));
                    publish(path, &to).map_err(|e| file_failure("write", &to, e))?;
                    LOOSE
                }
                Place::InStream(path) if path.starts_with(self.inbox.join(hex(&key))) => IN_STREAM,
                Place::InStream(_) | Place::InFiles => {
                    return Err(Refusal::Forged("a part of somebody else's message".into()));
                }
            };
            changes.push(set_note(space::PART, &note_key, [&arrived.hash[..], &[place]].concat()));
            return Ok(None);
        };
        let expected = usize::try_from(part.index).ok().and_then(|i| state.list.hashes.get(i));
        if expected != Some(&arrived.hash)
            || state.list.bytes_of(part.index) != Some(part.plain_bytes)
        {
            return Err(Refusal::Forged("a part that its manifest does not name".into()));
        }
        self.adopt(&key, &state, part.index, &arrived.place)?;
        lock(&state.have).insert(part.index);
        changes.push(set_note(space::PART, &note_key, [&arrived.hash[..], &[IN_FILES]].concat()));
        Ok(self.completed(&key, &state, changes))
    }

    /// Takes a manifest; parts that came before it fall into place. Returns the message when all
    /// of them had.
    pub(super) fn manifest(
        &self,
        author: &NodeId,
        message: BundleId,
        manifest: &Manifest,
        receipt: Option<(Receipt, u64)>,
        changes: &mut Vec<Change>,
    ) -> Result<Option<Completed>, Refusal> {
        let Some(list) = manifest.parts() else { return Ok(None) };
        let key = set_key(author.as_bytes(), &list.set);
        if self.state(&key)?.is_some() {
            return Err(Refusal::Forged("a second manifest for the same parts".into()));
        }
        let _placing = lock(&self.placing);
        self.places.close(&key, list.hashes.len());
        let state = Arc::new(SetState::new(message, manifest, list.clone(), receipt));
        self.dir(&key).map_err(|e| file_failure("create", &self.inbox, e))?;
        let mut bad = Vec::new();
        for (index, hash, place) in self.noted_parts(&key)? {
            if usize::try_from(index).ok().and_then(|i| list.hashes.get(i)) == Some(&hash) {
                // Its note may go on saying where it was: with the manifest there, it belongs to
                // the files; until that is committed, it is still where it was, too.
                self.adopt(&key, &state, index, &place)?;
                lock(&state.have).insert(index);
            } else {
                let note_key = [&key[..], &index.to_be_bytes()].concat();
                bad.push(remove_note(space::PART, &note_key));
            }
        }
        // Apart from the manifest's group, which must not grow with what others made of it.
        while !bad.is_empty() {
            let rest = bad.split_off(bad.len().min(PAGE_MAX));
            self.spool.commit(clock::now(), bad)?;
            bad = rest;
        }
        let mut value = message.0.to_vec();
        if let Some((receipt, until)) = receipt {
            value.extend_from_slice(&receipt.encode());
            value.extend_from_slice(&until.to_be_bytes());
        }
        changes.push(set_note(space::SET, &key, value));
        let completed = self.completed(&key, &state, changes);
        lock(&self.known).insert(key, state);
        Ok(completed)
    }

    /// Puts bytes in the place of a part that has not come, if they are that part. `None` if they are
    /// not; else the message, when this was its last.
    pub(super) fn fill(
        &self,
        key: &[u8; 24],
        index: u32,
        bytes: &mut dyn Read,
        changes: &mut Vec<Change>,
    ) -> Result<Option<Option<Completed>>, Failure> {
        let Some(state) = self.state(key)? else { return Ok(None) };
        let wanted = usize::try_from(index).ok().and_then(|i| state.list.hashes.get(i));
        let length = state.list.bytes_of(index);
        let (Some(wanted), Some(length)) = (wanted, length) else { return Ok(None) };
        if lock(&state.have).contains(&index) {
            return Ok(Some(None));
        }
        // Over a link it may be on its way: that lease is over.
        self.places.take(key, index);
        let failed = |error| Failure::file("write", &self.inbox, error);
        let dir = self.dir(key).map_err(failed)?;
        let mut writer = PartWriter::into_files(dir, state.layout(index));
        let mut hashed = Hashed { to: &mut writer, hasher: blake3::Hasher::new() };
        let copied = io::copy(&mut bytes.take(length), &mut hashed).map_err(failed)?;
        if copied != length || hashed.hasher.finalize().as_bytes() != wanted {
            return Ok(None);
        }
        writer.sync(&mut HashSet::new()).map_err(failed)?;
        lock(&state.have).insert(index);
        let note_key = [&key[..], &index.to_be_bytes()].concat();
        changes.push(set_note(space::PART, &note_key, [&wanted[..], &[IN_FILES]].concat()));
        Ok(Some(self.completed(key, &state, changes)))
    }

    /// When nothing is missing: says so, names the message, and lets its receipt go.
    fn completed(
        &self,
        key: &[u8; 24],
        state: &SetState,
        changes: &mut Vec<Change>,
    ) -> Option<Completed> {
        if lock(&state.have).len() < state.list.hashes.len() {
            return None;
        }
        // Gone already where it became the only file.
        lock(&self.obsolete).push(self.inbox.join(hex(key)).join(STREAM));
        changes.push(set_note(space::COMPLETE, &state.message.0, Vec::new()));
        Some(Completed { message: state.message, receipt: state.receipt })
    }

    /// What a note keeps of a packet: its bytes, or nothing when they lie in a file; and its set.
    pub(super) fn keep_packet(
        &self,
        author: &NodeId,
        packet: &Packet,
        bytes: &[u8],
    ) -> Result<(Option<Vec<u8>>, Option<SetId>), Failure> {
        let set = packet.body.manifest().and_then(Manifest::parts).map(|parts| parts.set);
        match set {
            Some(set) if bytes.len() > PACKET_IN_NOTE_MAX => {
                let dir = self
                    .dir(&set_key(author.as_bytes(), &set))
                    .map_err(|e| file_failure("create", &self.inbox, e))?;
                let path = dir.join("packet");
                crate::home::replace(&path, bytes, 0o600)
                    .map_err(|e| Failure::file("write", &path, e))?;
                Ok((None, Some(set)))
            }
            set => Ok((Some(bytes.to_vec()), set)),
        }
    }

    /// The commit is durable: what it replaced can go.
    pub(super) fn committed(&self) -> Result<(), Failure> {
        for path in lock(&self.obsolete).drain(..) {
            // A leftover costs room, not mail; `spool gc` finds it.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    /// A commit failed: what it would have replaced is still needed.
    pub(super) fn abandoned(&self) {
        lock(&self.obsolete).clear();
    }

    fn dir(&self, key: &[u8; 24]) -> io::Result<PathBuf> {
        let dir = self.inbox.join(hex(key));
        private_dir(&dir)?;
        Ok(dir)
    }

    /// Brings a part that came before its manifest into the files of its set.
    fn adopt(
        &self,
        key: &[u8; 24],
        state: &SetState,
        index: u32,
        place: &Place,
    ) -> Result<(), Failure> {
        let (path, at) = match place {
            Place::InFiles => return Ok(()),
            Place::Loose(path) => (path, 0),
            Place::InStream(path) => (path, u64::from(index) * PART_BYTES),
        };
        let failed = |error| Failure::file("read", path, error);
        let dir = self.dir(key).map_err(failed)?;
        let only = dir.join("f0");
        if matches!(place, Place::InStream(_))
            && state.list.part_bytes == PART_BYTES
            && state.starts.len() == 1
            // Where a part was opened while the manifest came, others may be in the file already.
            && !(path.exists() && only.exists())
        {
            // The stream of all is the only file. It may have its new name already.
            return match publish(path, &only) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                renamed => renamed.map_err(failed),
            };
        }
        let mut from = File::open(path).map_err(failed)?;
        from.seek(SeekFrom::Start(at)).map_err(failed)?;
        let bytes = state.list.bytes_of(index).unwrap_or(0);
        let mut writer = PartWriter::into_files(dir, state.layout(index));
        io::copy(&mut from.take(bytes), &mut writer).map_err(failed)?;
        writer.sync(&mut HashSet::new()).map_err(failed)?;
        if let Place::Loose(path) = place {
            lock(&self.obsolete).push(path.clone());
        }
        Ok(())
    }

    fn state(&self, key: &[u8; 24]) -> Result<Option<Arc<SetState>>, Failure> {
        if let Some(state) = lock(&self.known).get(key) {
            return Ok(Some(Arc::clone(state)));
        }
        let Some(value) = self.spool.note(space::SET, key)? else { return Ok(None) };
        let Some((message, receipt)) = read_set_note(&value) else { return Ok(None) };
        let Some(note) = self.spool.note(space::MESSAGE, &message.0)? else { return Ok(None) };
        let Some(note) = MessageNote::read(&note) else { return Ok(None) };
        let Some(packet) = packet_of(&self.inbox, &note)? else { return Ok(None) };
        let Some(manifest) = packet.body.manifest() else { return Ok(None) };
        let Some(list) = manifest.parts() else { return Ok(None) };
        let state = SetState::new(message, manifest, list.clone(), receipt);
        for (index, ..) in self.noted_parts(key)? {
            lock(&state.have).insert(index);
        }
        let state = Arc::new(state);
        lock(&self.known).insert(*key, Arc::clone(&state));
        Ok(Some(state))
    }

    fn noted_parts(&self, key: &[u8; 24]) -> Result<Vec<(u32, [u8; 32], Place)>, Failure> {
        let mut found = Vec::new();
        for note_key in part_keys(self.spool, key)? {
            let index = note_key.get(24..).and_then(|raw| raw.try_into().ok());
            let value = self.spool.note(space::PART, &note_key)?;
            if let (Some(index), Some(value)) = (index.map(u32::from_be_bytes), value)
                && let Some((hash, [place])) = value.split_first_chunk::<32>()
            {
                let dir = self.inbox.join(hex(key));
                let place = match *place {
                    LOOSE => Place::Loose(dir.join(format!("p{index}"))),
                    IN_STREAM => Place::InStream(dir.join(STREAM)),
                    _ => Place::InFiles,
                };
                found.push((index, *hash, place));
            }
        }
        Ok(found)
    }
}

/// Writes, and hashes what was written.
struct Hashed<'a> {
    to: &'a mut PartWriter,
    hasher: blake3::Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SetState {
    fn new(
        message: BundleId,
        manifest: &Manifest,
        list: PartList,
        receipt: Option<(Receipt, u64)>,
    ) -> Self {
        let mut at = 0;
        let starts = manifest
            .files
            .iter()
            .map(|file| {
                let start = at;
                at += file.bytes;
                start
            })
            .collect();
        Self { message, list, starts, have: Mutex::default(), receipt }
    }

    /// Where a part's bytes belong.
    fn layout(&self, index: u32) -> Layout {
        let at = u64::from(index) * self.list.part_bytes;
        Layout { starts: Arc::clone(&self.starts), end: self.list.total_bytes, at }
    }
}

/// The packet of a received message, from its note or its file.
pub(super) fn packet_of(inbox: &Path, note: &MessageNote) -> Result<Option<Packet>, Failure> {
    let bytes = match (&note.4, note.set()) {
        (Some(bytes), _) => bytes.to_vec(),
        (None, Some(set)) => {
            let Ok(author) = <[u8; 32]>::try_from(note.1.as_slice()) else { return Ok(None) };
            let path = inbox.join(hex(&set_key(&author, &set))).join("packet");
            fs::read(&path).map_err(|error| Failure::file("read", &path, error))?
        }
        (None, None) => return Ok(None),
    };
    Ok(Packet::decode(&bytes).ok())
}

/// The note keys of all parts of a set that are here.
pub(super) fn part_keys(spool: &DurableSpool, key: &[u8; 24]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        let page = spool.notes(space::PART, key, all.last().map(Vec::as_slice), PAGE_MAX)?;
        let done = page.len() < PAGE_MAX;
        all.extend(page);
        if done {
            return Ok(all);
        }
    }
}

fn read_set_note(value: &[u8]) -> Option<(BundleId, Option<(Receipt, u64)>)> {
    let (message, rest) = value.split_first_chunk::<32>()?;
    let receipt = match rest.split_first_chunk::<25>() {
        Some((receipt, until)) => {
            Some((Receipt::decode(receipt).ok()?, u64::from_be_bytes(until.try_into().ok()?)))
        }
        None => None,
    };
    Some((BundleId(*message), receipt))
}

fn private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // The name must be there after a crash, or the files below it are not.
    let mut above = dir.parent();
    for _ in 0..2 {
        if let Some(parent) = above {
            File::open(parent)?.sync_all()?;
            above = parent.parent();
        }
    }
    Ok(())
}

fn publish(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    File::open(to.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    File::open(to)?.sync_all()
}

fn file_failure(what: &str, path: &Path, error: io::Error) -> Failure {
    Failure::file(what, path, error).next("nothing was lost: it is still where it came from")
}
