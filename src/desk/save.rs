//! `inbox save`: files out of a message, under names that this disk is asked for, never the wire.
//!
//! A file that came in parts is linked into place where the disk allows, so saving a gigabyte costs
//! nothing; else it is copied. Nothing is ever overwritten.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use postrider_base::packet::{Body, Content, FileEntry, Manifest};
use postrider_spool::Spool;

use super::{
    Desk, Event, Failure, FailureKind, Unit, Watch, clock, hex,
    inbox::Kept,
    ledger::{set_key, set_note, space},
    reply::Saved,
};

/// How often another name is tried before giving up.
const NAME_TRIES: u32 = 10_000;

impl Desk {
    /// Saves a message's files (or its text) in a directory that exists.
    pub fn save_message(
        &self,
        id: &str,
        dir: &Path,
        watch: &dyn Watch,
    ) -> Result<Vec<Saved>, Failure> {
        let spool = self.spool(watch)?;
        let kept = self.find_received(spool, id)?;
        if !dir.is_dir() {
            return Err(Failure::new(
                FailureKind::Usage,
                format!("{} is not a directory", dir.display()),
            )
            .next("the message is safe in the inbox; name a directory that exists"));
        }
        let files = match &kept.packet.body {
            Body::Files(manifest) => Some(manifest),
            Body::Job(job) => job.files.as_ref(),
            _ => None,
        };
        let saved = match (&kept.packet.body, files) {
            (_, Some(manifest)) => {
                if manifest.parts().is_some() && spool.note(space::COMPLETE, &kept.id.0)?.is_none()
                {
                    return Err(Failure::new(
                        FailureKind::Failed,
                        "not all of that message is here yet",
                    )
                    .next("what is here is safe; the rest comes with the next stick or link"));
                }
                // Only a contact may send something that can be run.
                let may_run = self.home.contacts()?.of(&kept.author).is_some();
                self.save_files(&kept, manifest, dir, may_run, watch)?
            }
            (Body::Mail(text), None) => vec![save_text(&kept, text, dir)?],
            (_, None) => Vec::new(),
        };
        sync_dir(dir)?;
        let mut notes = vec![set_note(space::READ, &kept.id.0, Vec::new())];
        if let Some(first) = saved.first() {
            notes.push(set_note(space::SAVED, &kept.id.0, first.path.clone().into_bytes()));
        }
        spool.commit(clock::now(), notes)?;
        Ok(saved)
    }

    /// Files of a message that is here whole; `may_run` says whether any may become one that can be run.
    pub(super) fn save_files(
        &self,
        kept: &Kept,
        manifest: &Manifest,
        dir: &Path,
        may_run: bool,
        watch: &dyn Watch,
    ) -> Result<Vec<Saved>, Failure> {
        let set_dir = manifest
            .parts()
            .map(|parts| self.inbox_dir().join(hex(&set_key(kept.author.as_bytes(), &parts.set))));
        let total = Some(manifest.total_bytes());
        watch.event(Event::Begin { what: "saving".into(), total, unit: Unit::Bytes });
        let mut tops: Vec<(String, PathBuf)> = Vec::new();
        let mut saved = Vec::new();
        let mut inline_at = 0;
        for (n, file) in manifest.files.iter().enumerate() {
            let target = target_of(dir, file, &mut tops)?;
            let failed = |error| Failure::file("save", &target, error);
            if file.directory {
                fs::create_dir_all(&target).map_err(failed)?;
                continue;
            }
            let length = usize::try_from(file.bytes).unwrap_or(usize::MAX);
            let path = match (&manifest.content, &set_dir) {
                (Content::Inline(bytes), _) => {
                    let own = bytes.get(inline_at..).and_then(|rest| rest.get(..length));
                    inline_at += length;
                    write_new(&target, own.unwrap_or_default())?
                }
                (Content::Parts(_), Some(set_dir)) => {
                    link_or_copy(&set_dir.join(format!("f{n}")), &target, file.bytes)?
                }
                (Content::Parts(_), None) => continue,
            };
            dress(&path, file, may_run).map_err(failed)?;
            watch.event(Event::Advance(file.bytes));
            saved.push(Saved {
                id: kept.id.to_string(),
                path: path.display().to_string(),
                bytes: file.bytes,
            });
        }
        watch.event(Event::End);
        Ok(saved)
    }
}

/// Where a file goes. The first component is made anew for this message, so that nothing below it
/// was there before: no link to follow, no file to overwrite.
fn target_of(
    dir: &Path,
    file: &FileEntry,
    tops: &mut Vec<(String, PathBuf)>,
) -> Result<PathBuf, Failure> {
    let Some((top, below)) = file.path.split_first() else {
        return Err(Failure::new(FailureKind::Damaged, "a file without a name"));
    };
    let name = safe_name(top);
    if below.is_empty() && !file.directory {
        return Ok(dir.join(name));
    }
    let base = match tops.iter().find(|(known, _)| known == top) {
        Some((_, path)) => path.clone(),
        None => {
            let made = fresh(&dir.join(name), |path| fs::create_dir(path))?;
            tops.push((top.clone(), made.clone()));
            made
        }
    };
    let mut target = base;
    for component in below {
        target.push(safe_name(component));
    }
    if let Some(parent) = target.parent().filter(|_| !below.is_empty()) {
        fs::create_dir_all(parent).map_err(|error| Failure::file("create", parent, error))?;
    }
    Ok(target)
}

/// Tries a path, then the same with " (2)", " (3)" … before the ending, until `make` finds it free.
pub(super) fn fresh<T>(
    path: &Path,
    mut make: impl FnMut(&Path) -> io::Result<T>,
) -> Result<PathBuf, Failure> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let ending = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    for n in 1..=NAME_TRIES {
        let name = if n == 1 { format!("{stem}{ending}") } else { format!("{stem} ({n}){ending}") };
        let candidate = path.with_file_name(name);
        match make(&candidate) {
            Ok(_) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::file("save", &candidate, error)),
        }
    }
    Err(Failure::new(FailureKind::Failed, format!("no free name like {}", path.display())))
}

pub(super) fn write_new(target: &Path, bytes: &[u8]) -> Result<PathBuf, Failure> {
    fresh(target, |path| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    })
}

fn link_or_copy(source: &Path, target: &Path, bytes: u64) -> Result<PathBuf, Failure> {
    if bytes == 0 {
        return write_new(target, &[]);
    }
    fresh(target, |path| {
        // Shares the bytes, and what is written to one does not change the other.
        if share(source, path)? {
            return Ok(());
        }
        match fs::hard_link(source, path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Another disk, or one without links.
            Err(_) => {
                let mut from = File::open(source)?;
                let mut to = create_new(path)?;
                let copied = io::copy(&mut from, &mut to).and_then(|_| to.sync_all());
                if copied.is_err() {
                    let _ = fs::remove_file(path);
                }
                copied
            }
        }
    })
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a file that shares another's bytes until one of them is written to; whether the disk can.
#[cfg(target_os = "linux")]
fn share(source: &Path, path: &Path) -> io::Result<bool> {
    let (from, to) = (File::open(source)?, create_new(path)?);
    if rustix::fs::ioctl_ficlone(&to, &from).and_then(|()| rustix::fs::fsync(&to)).is_err() {
        fs::remove_file(path)?;
        return Ok(false);
    }
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
fn share(_: &Path, _: &Path) -> io::Result<bool> {
    Ok(false)
}

fn save_text(kept: &Kept, text: &str, dir: &Path) -> Result<Saved, Failure> {
    let name = format!("message-{}.txt", &kept.id.to_string()[..8]);
    let path = write_new(&dir.join(name), text.as_bytes())?;
    Ok(Saved {
        id: kept.id.to_string(),
        path: path.display().to_string(),
        bytes: text.len() as u64,
    })
}

/// Gives a saved file the usual permissions and its time.
pub(super) fn dress(path: &Path, file: &FileEntry, may_run: bool) -> io::Result<()> {
    let opened = File::open(path)?;
    let mode = if file.executable && may_run { 0o755 } else { 0o644 };
    opened.set_permissions(fs::Permissions::from_mode(mode))?;
    if let Some(time) =
        file.mtime.and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)))
    {
        // A date that the disk cannot keep is not worth failing for.
        let _ = opened.set_times(fs::FileTimes::new().set_modified(time));
    }
    Ok(())
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), Failure> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| Failure::file("sync", dir, error))
}

/// A name from outside as a name for any disk: no separators, no control or direction characters,
/// nothing that FAT refuses, nothing hidden, nothing that a command would take for an option.
pub(super) fn safe_name(name: &str) -> String {
    let mapped: String = name
        .chars()
        .map(|c| match c {
            '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
            // Marks that turn text around make "exe.txt" of "txt.exe".
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '_',
            c if c.is_control() => '_',
            c => c,
        })
        .collect();
    let trimmed = mapped.trim_end_matches([' ', '.']);
    let mut safe = match trimmed.chars().next() {
        None => "_".to_owned(),
        Some('.' | '-' | ' ' | '~') => format!("_{}", &trimmed[1..]),
        Some(_) => trimmed.to_owned(),
    };
    // Devices, for some systems, whatever comes behind the dot.
    let stem = safe.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    if ["con", "prn", "aux", "nul"].contains(&&*stem)
        || numbered.is_some_and(|n| matches!(n.as_bytes(), [b'0'..=b'9']))
    {
        safe.insert(0, '_');
    }
    // Room for " (10000)" within the 255 bytes that most disks allow.
    while safe.len() > 240 {
        safe.pop();
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_are_mapped() {
        for (name, safe) in [
            ("report.pdf", "report.pdf"),
            (".ssh", "_ssh"),
            ("..", "_"),
            ("-rf", "_rf"),
            ("a/b\\c", "a_b_c"),
            ("dot.", "dot"),
            ("photo\u{202e}gpj.exe", "photo_gpj.exe"),
            ("con\n\u{1b}[2J", "con__[2J"),
            ("Grüße 你好.txt", "Grüße 你好.txt"),
            ("NUL", "_NUL"),
            ("com1.tar.gz", "_com1.tar.gz"),
            ("console.txt", "console.txt"),
        ] {
            assert_eq!(safe_name(name), safe);
        }
        assert!(safe_name(&"ü".repeat(127)).len() <= 240);
    }

    #[test]
    fn an_existing_name_gets_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        for expected in ["a.txt", "a (2).txt", "a (3).txt"] {
            let made = write_new(&path, b"x").unwrap();
            assert_eq!(made.file_name().unwrap(), expected);
        }
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("b")).unwrap();
        assert_eq!(write_new(&dir.path().join("b"), b"x").unwrap().file_name().unwrap(), "b (2)");
    }
}
