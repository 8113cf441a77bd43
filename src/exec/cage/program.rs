//! That what runs is what was meant: the program is found once, checked, and run by its descriptor.
//!
//! The supervisor resolves the path, with its symbolic links, and remembers which file it found. The cell
//! opens that path without following a link and insists on the same file, unchanged; the pin is checked on
//! that descriptor, and that descriptor is executed. Whoever swaps a name after that changes nothing.
//!
//! A script is run by its descriptor too: the kernel hands it to its interpreter as `/proc/self/fd/N`, so it
//! keeps that one descriptor, for reading its own text, and `$0` is that name.

use std::{
    fs::{self, File},
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::FdFlags,
    process::geteuid,
};
use serde::{Deserialize, Serialize};

/// A program's file, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Where it is, without symbolic links.
    pub(super) path: PathBuf,
    dev: u64,
    ino: u64,
    /// Changes with every change of content, owner or mode.
    changed: (i64, i64),
}

/// Finds the program of an order, or says why it may not be run.
pub(super) fn find(argv0: &[u8]) -> Result<Seen, String> {
    let asked = Path::new(std::ffi::OsStr::from_bytes(argv0));
    let shown = asked.display();
    if !asked.is_absolute() {
        return Err(format!("{shown} is not an absolute path"));
    }
    let path = fs::canonicalize(asked).map_err(|error| format!("{shown}: {error}"))?;
    let found = fs::symlink_metadata(&path).map_err(|error| format!("{shown}: {error}"))?;
    let (mode, owner) = (found.mode(), found.uid());
    let why = if !found.file_type().is_file() {
        "is no regular file"
    } else if mode & 0o111 == 0 {
        "is not executable"
    } else if mode & 0o6000 != 0 {
        "changes its user or group when it is run"
    } else if mode & 0o022 != 0 {
        "may be written by others: chmod go-w"
    } else if owner != 0 && owner != geteuid().as_raw() {
        "belongs to somebody else, who could change it"
    } else {
        let changed = (found.ctime(), found.ctime_nsec());
        return Ok(Seen { path, dev: found.dev(), ino: found.ino(), changed });
    };
    Err(format!("{shown} {why}"))
}

/// The program, open and checked.
pub(super) struct Program {
    file: OwnedFd,
    script: bool,
}

impl Program {
    /// Opens what was found and checks that it is still that; with a pin, that it has that hash.
    pub(super) fn open(seen: &Seen, pin: Option<&[u8; 32]>) -> Result<Self, String> {
        let shown = seen.path.display();
        let io = |error: std::io::Error| format!("{shown}: {error}");
        let path_only = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(&seen.path, path_only, Mode::empty()).map_err(|e| io(e.into()))?;
        let now = fs::metadata(own_name(&file)).map_err(io)?;
        let changed = (now.ctime(), now.ctime_nsec());
        if (now.dev(), now.ino(), changed) != (seen.dev, seen.ino, seen.changed) {
            return Err(format!("{shown} was changed while it was about to be run"));
        }
        // What may be executed need not be readable; then it cannot be pinned, and is no script.
        let content = File::open(own_name(&file));
        if let Some(pin) = pin {
            let mut content = content.as_ref().map_err(|error| format!("{shown}: {error}"))?;
            let mut hasher = blake3::Hasher::new();
            let mut piece = vec![0; 64 << 10];
            loop {
                match content.read(&mut piece).map_err(io)? {
                    0 => break,
                    n => hasher.update(&piece[..n]),
                };
            }
            if hasher.finalize() != *pin {
                return Err(format!("{shown} is not the file that is pinned"));
            }
        }
        let mut mark = [0; 4];
        let script = match content.and_then(|content| content.read_at(&mut mark, 0)) {
            Ok(_) if mark == *b"\x7fELF" => false,
            Ok(_) if mark.starts_with(b"#!") => true,
            // The C library would hand it to a shell.
            Ok(_) => return Err(format!("{shown} is neither a program nor a script")),
            Err(_) => false,
        };
        Ok(Self { file, script })
    }

    /// A descriptor of it, for rules about it.
    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// The name under which this very file is run.
    pub(super) fn name(&self) -> std::io::Result<PathBuf> {
        if self.script {
            rustix::io::fcntl_setfd(&self.file, FdFlags::empty())?;
        }
        Ok(own_name(&self.file))
    }
}

fn own_name(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
