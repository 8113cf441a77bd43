//! Listing a directory that may have been filled to hurt us.

use std::{
    collections::BTreeSet,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use postrider_base::disk::{Listed, ListedKind};
use rustix::{
    fs::{self, AtFlags, FileType, RawDir},
    io::Errno,
};

use super::name::folded;

/// Names read before a listing gives up: twice a million, which ext4 delivers in about two
/// seconds. A directory of ours holds some thousands.
pub const NAMES_LOOKED_AT_MAX: u64 = 2_000_000;

/// Time after which a listing gives up. A FAT looks names up one by one through the whole
/// directory, so the square of a hostile count can be asked of it; an honest listing of thousands
/// takes less than a second.
pub const SURVEY_TIME_MAX: Duration = Duration::from_secs(8);

/// One read of the kernel's directory buffer: room for some 120 of the longest names.
const BUFFER_BYTES: usize = 32 * 1024;

/// What [`super::MediumDisk::survey`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Plain files and directories under names of ours, in no order.
    pub found: Vec<Listed>,
    /// Everything else that was seen: other names, links, devices, names doubled by case.
    pub ignored: u64,
    /// The listing stopped at a bound; there is more that nobody looked at.
    pub cut_short: bool,
}

/// Reads `dir` from its start. The descriptor must be fresh: its position is shared.
pub(super) fn survey(dir: &OwnedFd, limit: usize) -> rustix::io::Result<Survey> {
    let started = Instant::now();
    let mut survey = Survey::default();
    let mut names = BTreeSet::new();
    let mut looked_at = 0_u64;
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
    let mut raw = RawDir::new(dir, &mut buffer);
    while let Some(entry) = raw.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        let listed = entry.file_name().to_bytes();
        if listed == b"." || listed == b".." {
            continue;
        }
        if looked_at == NAMES_LOOKED_AT_MAX || started.elapsed() > SURVEY_TIME_MAX {
            survey.cut_short = true;
            break;
        }
        looked_at += 1;
        // `Unknown` is what drivers say that do not keep the type in the directory.
        let type_allows = matches!(
            entry.file_type(),
            FileType::RegularFile | FileType::Directory | FileType::Unknown
        );
        let Some(found) = type_allows.then(|| ours(dir, listed)).flatten() else {
            survey.ignored += 1;
            continue;
        };
        if names.contains(&found.name) {
            survey.ignored += 1;
            continue;
        }
        if survey.found.len() == limit {
            survey.cut_short = true;
            break;
        }
        names.insert(found.name.clone());
        survey.found.push(found);
    }
    Ok(survey)
}

/// The entry as we would name it, if it is a plain file or a directory under a name of ours.
///
/// A name shown in another case is looked up in ours: where case is ignored that finds the same
/// file, and where it matters it finds our own file or none. Comparing inode numbers would not do:
/// a FUSE file system may number the two names of one file differently.
fn ours(dir: &OwnedFd, listed: &[u8]) -> Option<Listed> {
    let name = folded(listed)?;
    // A name that cannot be looked at (gone since, or on a bad sector) is one that we do not have.
    let stat = fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let len_bytes = u64::try_from(stat.st_size).ok()?;
            Some(Listed { name, kind: ListedKind::File, len_bytes })
        }
        FileType::Directory => Some(Listed { name, kind: ListedKind::Directory, len_bytes: 0 }),
        _ => None,
    }
}
