//! What is on a medium, before anything of it is believed.

use std::path::{Path, PathBuf};

use postrider_base::disk::Disk;
use postrider_base::{BundleId, Niceness};
use postrider_engine::parcel::{
    CARDS_DIR, CONTAINERS_DIR, CONTAINERS_MAX, Condition, FileKind, FileNumber, Listing, NOTES_DIR,
    NOTES_FILE_MAX_BYTES, NOTES_FILES_MAX, Notes, RESTS_DIR, RESTS_MAX, VolumeId, file_kind,
};
use postrider_transports::media::MediumDisk;

use super::{Event, Failure, Watch, medium_failure, rests::OnMediumRest};

/// Files looked at in the folder of containers: all that may be there, and as many leftovers.
const FILES_MAX: usize = 2 * CONTAINERS_MAX;

/// What is on a medium.
pub(super) struct Inventory {
    pub containers: Vec<OnMedium>,
    /// Unfinished files: number and length.
    pub leftovers: Vec<(FileNumber, u64)>,
    /// Rests of bundles.
    pub rests: Vec<OnMediumRest>,
    /// Unfinished ones.
    pub rest_leftovers: Vec<FileNumber>,
    /// All notes, merged.
    pub notes: Notes,
    /// The files that they came from.
    pub notes_files: Vec<PathBuf>,
    /// Cards lying about.
    pub cards: u64,
    /// Whether every folder was listed to its end.
    pub complete: bool,
}

/// One container, and what a visit learns of it.
pub(super) struct OnMedium {
    pub number: FileNumber,
    pub path: PathBuf,
    pub file_bytes: u64,
    pub listing: Listing,
    pub copies: Vec<Copy>,
}

/// One copy of a bundle.
pub(super) struct Copy {
    pub id: BundleId,
    pub record_bytes: u64,
    pub nice: Niceness,
    pub condition: Condition,
    /// Somebody noted before this visit that it is damaged.
    pub noted_damaged: bool,
    /// A receipt on the medium opens the lock of the bundle on the medium.
    pub receipted: bool,
}

/// Lists a medium and reads its notes.
pub(super) fn read(
    disk: &MediumDisk,
    volume: VolumeId,
    watch: &dyn Watch,
) -> Result<Inventory, Failure> {
    let mut complete = true;
    let mut list = |dir: &str, limit: usize| {
        let survey = match disk.survey(Path::new(dir), limit) {
            Ok(survey) => survey,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(medium_failure(error)),
        };
        if survey.cut_short {
            complete = false;
            watch.event(Event::Warn(format!(
                "there are too many files in {dir} on the medium; some were not looked at"
            )));
        }
        let ours = survey.found.into_iter().filter_map(|found| {
            let (number, kind) = file_kind(&found.name)?;
            Some((number, kind, Path::new(dir).join(&found.name), found.len_bytes))
        });
        Ok(ours.collect::<Vec<_>>())
    };
    let (mut containers, mut leftovers) = (Vec::new(), Vec::new());
    for (number, kind, path, file_bytes) in list(CONTAINERS_DIR, FILES_MAX)? {
        match kind {
            FileKind::Container => containers.push(OnMedium {
                number,
                path,
                file_bytes,
                listing: Listing::Partial,
                copies: Vec::new(),
            }),
            FileKind::Leftover => leftovers.push((number, file_bytes)),
            _ => {}
        }
    }
    // One order for everybody, so that a visit that is cut short goes on where it stopped.
    containers.sort_by_key(|container| container.number.0);
    let (mut rests, mut rest_leftovers) = (Vec::new(), Vec::new());
    for (number, kind, path, file_bytes) in list(RESTS_DIR, 2 * RESTS_MAX)? {
        match kind {
            FileKind::Rest => rests.push(OnMediumRest { number, path, file_bytes, known: None }),
            FileKind::Leftover => rest_leftovers.push(number),
            _ => {}
        }
    }
    rests.sort_by_key(|rest| rest.number.0);
    rests.truncate(RESTS_MAX);
    let (mut files, mut notes_files) = (Vec::new(), Vec::new());
    for (_, kind, path, _) in list(NOTES_DIR, NOTES_FILES_MAX)? {
        if kind == FileKind::Notes {
            let bytes = read_bounded(disk, &path, NOTES_FILE_MAX_BYTES)?;
            // A damaged file of hints is replaced like any other.
            files.extend(bytes.and_then(|bytes| Notes::decode(volume, &bytes).ok()));
            notes_files.push(path);
        }
    }
    let cards = list(CARDS_DIR, super::CARDS_MAX)?;
    let cards = cards.iter().filter(|(_, kind, ..)| *kind == FileKind::Card).count() as u64;
    let notes = Notes::merge(volume, &files);
    Ok(Inventory {
        containers,
        leftovers,
        rests,
        rest_leftovers,
        notes,
        notes_files,
        cards,
        complete,
    })
}

/// A file's bytes, or `None` when it is longer than allowed.
fn read_bounded(disk: &MediumDisk, path: &Path, most: u64) -> Result<Option<Vec<u8>>, Failure> {
    let file = disk.open(path).map_err(medium_failure)?;
    let length = file.len_bytes().map_err(medium_failure)?;
    let Some(length) = usize::try_from(length).ok().filter(|_| length <= most) else {
        return Ok(None);
    };
    let mut bytes = vec![0; length];
    file.read_exact_at(0, &mut bytes).map_err(medium_failure)?;
    Ok(Some(bytes))
}
