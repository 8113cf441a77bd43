//! What came of a request, put where it was wanted: whole or not at all, and never in place of anything.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use postrider_base::{
    BundleId,
    packet::{Body, Content, FileEntry, Manifest, Request, Told},
};
use postrider_spool::Spool;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use super::target::Requests;
use crate::desk::{
    Desk, Event, Failure, FailureKind, Unit, Watch, clock, hex,
    inbox::{Kept, find_note, note_keys},
    ledger::{set_key, set_note, space},
    reply::Saved,
    save::{dress, fresh, safe_name, sync_dir},
};

/// How files are called until they are whole. What a crash leaves of one can be deleted.
const UNFINISHED: &str = ".postrider-";

/// A file of a message that is here.
struct Wanted<'a> {
    kept: &'a Kept,
    manifest: &'a Manifest,
    number: usize,
    file: &'a FileEntry,
}

impl Desk {
    /// Saves what came of a request: as this file, or in this directory under the name that was asked
    /// for. Where there is something already another name is taken.
    pub fn save_answer(
        &self,
        id: &str,
        to: &Path,
        watch: &dyn Watch,
    ) -> Result<Vec<Saved>, Failure> {
        let spool = self.spool(watch)?;
        let id = find_note(spool, space::REQUESTED, id, "request")?;
        let requests = Requests::new(self, spool);
        let first = requests.first_of(id)?;
        requests.save(first, requests.best_of(first)?, to, watch)
    }
}

impl Requests<'_> {
    /// What came of a request, `first` of those of its `get`.
    fn save(
        &self,
        first: BundleId,
        id: BundleId,
        to: &Path,
        watch: &dyn Watch,
    ) -> Result<Vec<Saved>, Failure> {
        let (_, request) = self.asked_note(first)?;
        let Request::Get { path, glob, range, .. } = request else {
            return Err(Failure::new(FailureKind::Usage, "a list was asked for, not a file"));
        };
        let (message, same) = self.message_of(id)?;
        let kept = self.desk.kept(self.spool, message)?;
        let kept = kept.as_ref().and_then(|kept| match &kept.packet.body {
            Body::Files(manifest) => Some((kept, manifest)),
            _ => None,
        });
        let (kept, manifest) = kept.ok_or_else(gone)?;
        let all: Vec<Wanted<'_>> = manifest
            .files
            .iter()
            .enumerate()
            .map(|(number, file)| Wanted { kept, manifest, number, file })
            .filter(|it| !it.file.directory && same.is_none_or(|same| it.file.blake3 == same))
            .collect();
        let name = path.last().filter(|_| glob.is_none());
        let name = name.map(|name| match range {
            // Not the whole of it, and so not called like it.
            Some(range) => format!("{name}.from-{}", range.from),
            None => name.clone(),
        });
        let one = all.len() == 1 || same.is_some();
        let (dir, given) = match to.parent().zip(to.file_name()) {
            _ if to.is_dir() => (to, None),
            Some((dir, given)) if one && (dir.is_dir() || dir.as_os_str().is_empty()) => {
                (dir, Some(given))
            }
            _ => {
                let what = format!("{} is not a directory", to.display());
                return Err(Failure::new(FailureKind::Usage, what)
                    .next("what came is safe; name a directory that exists"));
            }
        };
        let total = all.iter().map(|it| it.file.bytes).sum();
        watch.event(Event::Begin { what: "saving".into(), total: Some(total), unit: Unit::Bytes });
        let mut saved = Vec::new();
        for wanted in all.iter().take(if one { 1 } else { usize::MAX }) {
            // Of a file alone the name is mine; it is the sender's where I asked for a pattern.
            let target = match (&given, &name) {
                (Some(given), _) => dir.join(given),
                (None, Some(name)) if one => dir.join(safe_name(name)),
                _ => {
                    let theirs = wanted.file.path.last().map_or("", String::as_str);
                    dir.join(safe_name(theirs))
                }
            };
            let path = self.put(wanted, &target, same.is_some())?;
            watch.event(Event::Advance(wanted.file.bytes));
            saved.push(Saved {
                id: kept.id.to_string(),
                path: path.display().to_string(),
                bytes: wanted.file.bytes,
            });
        }
        watch.event(Event::End);
        sync_dir(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?;
        let mut notes = vec![set_note(space::READ, &kept.id.0, Vec::new())];
        if let Some(first) = saved.first() {
            notes.push(set_note(space::SAVED, &kept.id.0, first.path.clone().into_bytes()));
        }
        self.spool.commit(clock::now(), notes)?;
        Ok(saved)
    }

    /// The message that has what was asked for; and the hash of what is wanted of it, where the answer
    /// was that it is here already.
    fn message_of(&self, id: BundleId) -> Result<(BundleId, Option<[u8; 32]>), Failure> {
        let not_here = |what: &str| {
            let short = id.to_string()[..8].to_owned();
            Err(Failure::new(FailureKind::Failed, what.to_owned())
                .next(format!("see how it stands: postrider get --resume {short}")))
        };
        let Some(answer) = self.answered(id)? else {
            return not_here("no answer has come to that request yet");
        };
        if let Some(message) = answer.message() {
            if self.contents(message)?.is_empty() {
                return not_here("not all of that file is here yet");
            }
            return Ok((message, None));
        }
        let Some(Request::Answer { said: Told::Same { bytes, blake3 }, .. }) = answer.answer()
        else {
            return not_here("nothing was sent to that request");
        };
        for message in note_keys(self.spool, space::ANSWERS)? {
            let Ok(message) = message.as_slice().try_into().map(BundleId) else { continue };
            if self.contents(message)?.contains(&(bytes, blake3)) {
                return Ok((message, Some(blake3)));
            }
        }
        Err(gone())
    }

    /// Writes a file beside its place, makes it durable, and gives it its name.
    fn put(&self, wanted: &Wanted<'_>, target: &Path, check: bool) -> Result<PathBuf, Failure> {
        let unfinished = format!("{UNFINISHED}{}", hex(&clock::random::<8>()?));
        let unfinished = target.with_file_name(unfinished);
        let failed = |error| Failure::file("save", target, error);
        let put = self
            .write(wanted, &unfinished, check)
            .and_then(|()| dress(&unfinished, wanted.file, true).map_err(failed))
            .and_then(|()| File::open(&unfinished).and_then(|it| it.sync_all()).map_err(failed))
            .and_then(|()| fresh(target, |path| name(&unfinished, path)));
        if put.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        put
    }

    fn write(&self, wanted: &Wanted<'_>, to: &Path, check: bool) -> Result<(), Failure> {
        let Wanted { kept, manifest, number, file } = wanted;
        let failed = |error| Failure::file("save", to, error);
        let source: Box<dyn Read> = match (&manifest.content, manifest.parts()) {
            (Content::Inline(bytes), _) => {
                let before: u64 = manifest.files[..*number].iter().map(|file| file.bytes).sum();
                let at = usize::try_from(before).unwrap_or(usize::MAX);
                let length = usize::try_from(file.bytes).unwrap_or(usize::MAX);
                let own = bytes.get(at..).and_then(|rest| rest.get(..length));
                Box::new(own.unwrap_or_default())
            }
            (Content::Parts(_), Some(_)) if file.bytes == 0 => Box::new(io::empty()),
            (Content::Parts(_), Some(parts)) => {
                let set = hex(&set_key(kept.author.as_bytes(), &parts.set));
                let source = self.desk.inbox_dir().join(set).join(format!("f{number}"));
                // Costs nothing, where the disk can. Not where somebody could have changed it since.
                if !check && fs::hard_link(&source, to).is_ok() {
                    return Ok(());
                }
                Box::new(File::open(&source).map_err(failed)?)
            }
            (Content::Parts(_), None) => return Err(gone()),
        };
        let mut target =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
        let mut hashed = Hashed { source, hasher: blake3::Hasher::new() };
        io::copy(&mut hashed, &mut target).map_err(failed)?;
        target.flush().map_err(failed)?;
        if check && *hashed.hasher.finalize().as_bytes() != file.blake3 {
            return Err(Failure::new(
                FailureKind::Failed,
                "what had come before was changed here since",
            )
            .next("ask for it anew: postrider get --again WHO PATH"));
        }
        Ok(())
    }
}

/// Bytes, and their hash on the way.
struct Hashed<'a> {
    source: Box<dyn Read + 'a>,
    hasher: blake3::Hasher,
}

impl Read for Hashed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(out)?;
        self.hasher.update(&out[..n]);
        Ok(n)
    }
}

/// Gives a file a name that is free.
fn name(unfinished: &Path, name: &Path) -> io::Result<()> {
    match renameat_with(CWD, unfinished, CWD, name, RenameFlags::NOREPLACE) {
        // A file system that cannot be told so: the name is taken first, and only then replaced.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            OpenOptions::new().write(true).create_new(true).open(name)?;
            fs::rename(unfinished, name)
        }
        renamed => Ok(renamed?),
    }
}

fn gone() -> Failure {
    Failure::new(FailureKind::Damaged, "the file cannot be read back")
        .next("ask for it anew: postrider get --again WHO PATH")
}
