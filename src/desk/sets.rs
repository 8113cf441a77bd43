//! Large messages on their way in: parts in any order become files.
//!
//! ```text
//! spool/inbox/<set key>/f<n>      the message's n-th file, filled part by part
//! spool/inbox/<set key>/p<index>  a part that came before its manifest
//! spool/inbox/<set key>/packet    a manifest too large for a note
//! spool/inbox/loose/<bundle id>   a part being read whose set is not known
//! ```
//!
//! Names are made of hexadecimal digits only; nothing from outside becomes a path. A file counts
//! only through its note in the log, which is written after the file was synced.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use postrider_base::{
    BundleId, NodeId,
    bundle::Receipt,
    id::SetId,
    packet::{Body, Manifest, Packet, PartHead, PartList},
};
use postrider_spool::{Change, DurableSpool, Spool, contract::PAGE_MAX};

use super::{
    Failure, hex,
    incoming::{Refusal, lock},
    ledger::{MessageNote, remove_note, set_key, set_note, space},
};

/// Packets above this lie in a file: a note holds at most 1 MiB, and a group three.
const PACKET_IN_NOTE_MAX: usize = 512 * 1024;

/// The sets that a visit meets, and their files.
pub(super) struct SetBook<'a> {
    spool: &'a DurableSpool,
    inbox: PathBuf,
    known: Mutex<HashMap<[u8; 24], Arc<SetState>>>,
    /// Copied into place; removed after the commit that says so.
    obsolete: Mutex<Vec<PathBuf>>,
}

/// A set whose manifest is here.
struct SetState {
    message: BundleId,
    list: PartList,
    /// Where each file begins in the stream of all.
    starts: Vec<u64>,
    have: Mutex<BTreeSet<u32>>,
    receipt: Option<(Receipt, u64)>,
}

/// A message of which no part is missing any more.
pub(super) struct Completed {
    pub message: BundleId,
    /// Its receipt, and until when it is of use.
    pub receipt: Option<(Receipt, u64)>,
}

/// Where a part's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the files of its set.
    InFiles,
    /// In a file of its own.
    Loose(PathBuf),
}

/// A part that was opened.
pub(super) struct Arrived {
    pub part: PartHead,
    pub hash: [u8; 32],
    pub place: Place,
}

impl<'a> SetBook<'a> {
    pub(super) fn new(spool: &'a DurableSpool, inbox: PathBuf) -> Self {
        Self { spool, inbox, known: Mutex::default(), obsolete: Mutex::default() }
    }

    /// Where a part's bytes go while it is being opened.
    pub(super) fn writer(&self, id: &BundleId, part: &PartHead) -> io::Result<PartWriter> {
        let candidates =
            self.spool.notes(space::SET, &part.set.0, None, 2).map_err(io::Error::other)?;
        if let [key] = &candidates[..]
            && let Ok(key) = <[u8; 24]>::try_from(key.as_slice())
            && let Some(state) = self.state(&key).map_err(io::Error::other)?
            && state.list.bytes_of(part.index) == Some(part.plain_bytes)
            && !lock(&state.have).contains(&part.index)
        {
            let at = u64::from(part.index) * state.list.part_bytes;
            return PartWriter::into_files(self.dir(&key)?, state, at);
        }
        let loose = self.inbox.join("loose");
        private_dir(&loose)?;
        PartWriter::into_loose(loose.join(hex(&id.0)))
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
        let Some(state) = self.state(&key)? else {
            let Place::Loose(path) = &arrived.place else {
                return Err(Refusal::Forged("a part of somebody else's message".into()));
            };
            let dir = self.dir(&key).map_err(|e| file_failure("create", &self.inbox, e))?;
            let to = dir.join(format!("p{}", part.index));
            publish(path, &to).map_err(|e| file_failure("write", &to, e))?;
            let value = [&arrived.hash[..], &[1]].concat();
            changes.push(set_note(space::PART, &note_key, value));
            return Ok(None);
        };
        let expected = usize::try_from(part.index).ok().and_then(|i| state.list.hashes.get(i));
        if expected != Some(&arrived.hash)
            || state.list.bytes_of(part.index) != Some(part.plain_bytes)
        {
            return Err(Refusal::Forged("a part that its manifest does not name".into()));
        }
        if let Place::Loose(path) = &arrived.place {
            self.adopt(&key, &state, part.index, path)?;
        }
        lock(&state.have).insert(part.index);
        changes.push(set_note(space::PART, &note_key, [&arrived.hash[..], &[0]].concat()));
        Ok(state.completed(changes))
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
        let state = Arc::new(SetState::new(message, manifest, list.clone(), receipt));
        self.dir(&key).map_err(|e| file_failure("create", &self.inbox, e))?;
        for (index, hash, place) in self.noted_parts(&key)? {
            let good = usize::try_from(index).ok().and_then(|i| list.hashes.get(i)) == Some(&hash);
            let note_key = [&key[..], &index.to_be_bytes()].concat();
            match (good, &place) {
                (true, Place::Loose(path)) => {
                    self.adopt(&key, &state, index, path)?;
                    lock(&state.have).insert(index);
                    changes.push(set_note(space::PART, &note_key, [&hash[..], &[0]].concat()));
                }
                (true, Place::InFiles) => {
                    lock(&state.have).insert(index);
                }
                (false, _) => changes.push(remove_note(space::PART, &note_key)),
            }
        }
        let mut value = message.0.to_vec();
        if let Some((receipt, until)) = receipt {
            value.extend_from_slice(&receipt.encode());
            value.extend_from_slice(&until.to_be_bytes());
        }
        changes.push(set_note(space::SET, &key, value));
        let completed = state.completed(changes);
        lock(&self.known).insert(key, state);
        Ok(completed)
    }

    /// What a note keeps of a packet: its bytes, or nothing when they lie in a file; and its set.
    pub(super) fn keep_packet(
        &self,
        author: &NodeId,
        _id: &BundleId,
        packet: &Packet,
    ) -> Result<(Option<Vec<u8>>, Option<SetId>), Failure> {
        let set = match &packet.body {
            Body::Files(manifest) => manifest.parts().map(|parts| parts.set),
            _ => None,
        };
        let bytes = packet.encode();
        match set {
            Some(set) if bytes.len() > PACKET_IN_NOTE_MAX => {
                let dir = self
                    .dir(&set_key(author.as_bytes(), &set))
                    .map_err(|e| file_failure("create", &self.inbox, e))?;
                let path = dir.join("packet");
                crate::home::replace(&path, &bytes, 0o600)
                    .map_err(|e| Failure::file("write", &path, e))?;
                Ok((None, Some(set)))
            }
            set => Ok((Some(bytes), set)),
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

    fn dir(&self, key: &[u8; 24]) -> io::Result<PathBuf> {
        let dir = self.inbox.join(hex(key));
        private_dir(&dir)?;
        Ok(dir)
    }

    /// Moves a loose part into the files of its set.
    fn adopt(
        &self,
        key: &[u8; 24],
        state: &Arc<SetState>,
        index: u32,
        path: &Path,
    ) -> Result<(), Failure> {
        let failed = |error| Failure::file("read", path, error);
        let mut from = File::open(path).map_err(failed)?;
        let at = u64::from(index) * state.list.part_bytes;
        let dir = self.dir(key).map_err(failed)?;
        let mut writer = PartWriter::into_files(dir, Arc::clone(state), at).map_err(failed)?;
        io::copy(&mut from, &mut writer).map_err(failed)?;
        writer.sync(&mut HashSet::new()).map_err(failed)?;
        lock(&self.obsolete).push(path.to_owned());
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
        let Body::Files(manifest) = &packet.body else { return Ok(None) };
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
                && let Some((hash, [loose])) = value.split_first_chunk::<32>()
            {
                let place = if *loose == 1 {
                    Place::Loose(self.inbox.join(hex(key)).join(format!("p{index}")))
                } else {
                    Place::InFiles
                };
                found.push((index, *hash, place));
            }
        }
        Ok(found)
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

    /// When nothing is missing: says so, names the message, and lets its receipt go.
    fn completed(&self, changes: &mut Vec<Change>) -> Option<Completed> {
        if lock(&self.have).len() < self.list.hashes.len() {
            return None;
        }
        changes.push(set_note(space::COMPLETE, &self.message.0, Vec::new()));
        Some(Completed { message: self.message, receipt: self.receipt })
    }

    /// Which file holds byte `at` of the stream, and up to where.
    fn file_at(&self, at: u64) -> (usize, u64, u64) {
        let n = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        let end = self.starts.get(n + 1).copied().unwrap_or(self.list.total_bytes);
        (n, at - self.starts[n], end)
    }
}

/// Writes one part to where it belongs.
pub(super) struct PartWriter {
    target: Target,
    open: Option<(PathBuf, File)>,
    touched: Vec<(PathBuf, File)>,
}

enum Target {
    Files { dir: PathBuf, state: Arc<SetState>, at: u64 },
    Loose(PathBuf, u64),
}

impl PartWriter {
    fn into_files(dir: PathBuf, state: Arc<SetState>, at: u64) -> io::Result<Self> {
        Ok(Self { target: Target::Files { dir, state, at }, open: None, touched: Vec::new() })
    }

    fn into_loose(path: PathBuf) -> io::Result<Self> {
        // What an interrupted visit left of the same bundle.
        let _ = fs::remove_file(&path);
        Ok(Self { target: Target::Loose(path, 0), open: None, touched: Vec::new() })
    }

    /// Makes all of it durable. Of several parts of one file a single sync is enough, so files and
    /// directories in `synced` (by now, after all of their bytes were written) are passed over.
    pub(super) fn sync(&mut self, synced: &mut HashSet<PathBuf>) -> io::Result<()> {
        self.touched.extend(self.open.take());
        for (path, file) in self.touched.drain(..) {
            if synced.insert(path) {
                file.sync_all()?;
            }
        }
        let dir = match &self.target {
            Target::Files { dir, .. } => dir.as_path(),
            Target::Loose(path, _) => path.parent().unwrap_or(Path::new(".")),
        };
        if synced.insert(dir.to_owned()) {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Where its bytes are.
    pub(super) fn place(&self) -> Place {
        match &self.target {
            Target::Files { .. } => Place::InFiles,
            Target::Loose(path, _) => Place::Loose(path.clone()),
        }
    }

    fn file_for_next(&mut self) -> io::Result<(&File, u64, u64)> {
        let (path, offset, left) = match &self.target {
            Target::Loose(path, at) => (path.clone(), *at, u64::MAX),
            Target::Files { dir, state, at } => {
                let (n, offset, end) = state.file_at(*at);
                (dir.join(format!("f{n}")), offset, end - at)
            }
        };
        if self.open.as_ref().is_none_or(|(opened, _)| *opened != path) {
            self.touched.extend(self.open.take());
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            self.open = Some((path, file));
            // Keep few descriptors open, however many small files a part holds.
            if self.touched.len() >= 64 {
                for (_, file) in self.touched.drain(..) {
                    file.sync_all()?;
                }
            }
        }
        match &self.open {
            Some((_, file)) => Ok((file, offset, left)),
            None => Err(io::ErrorKind::Other.into()),
        }
    }
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (file, offset, left) = self.file_for_next()?;
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        file.write_all_at(&bytes[..n], offset)?;
        match &mut self.target {
            Target::Files { at, .. } | Target::Loose(_, at) => *at += n as u64,
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
