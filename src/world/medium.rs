//! A medium that a courier carries, and how its files are read and written.

use std::{
    io,
    path::{Path, PathBuf},
};

use postrider_base::disk::{Disk, Listed};
use postrider_engine::parcel::{
    CONTAINERS_DIR, CONTAINERS_MAX, FileKind, FileNumber, NOTES_DIR, NOTES_FILE_MAX_BYTES,
    NOTES_FILES_MAX, Notes, VOLUME_FILE, VolumeId, file_kind,
};

use crate::chance::Chance;

/// Files looked at in the folder of containers: all that may be there, and as many leftovers.
const FILES_MAX: usize = 2 * CONTAINERS_MAX;

/// A disk that can be torn out of a machine. The world brings none: what survives is the business
/// of whoever makes one.
pub trait Medium: Send {
    /// Its files.
    fn disk(&self) -> &dyn Disk;
    /// Lets it be torn out in the middle of the changing operation that comes after so many others:
    /// that one and all later ones fail.
    fn doom(&self, ops: u64);
    /// What was to befall it will not.
    fn spare(&self);
    /// Tears it out, if that has not happened, and plugs it in again. The seed decides what has
    /// survived of that which was not synced.
    fn tear(&self, seed: u64);
}

/// What lies on a medium, before anything of it is believed.
pub(crate) struct Found {
    pub volume: VolumeId,
    /// Containers and their lengths, in an order that is the same for everybody.
    pub containers: Vec<(FileNumber, u64)>,
    /// Unfinished files.
    pub leftovers: Vec<(FileNumber, u64)>,
    /// All notes, merged.
    pub notes: Notes,
    /// The files that they came from.
    pub notes_files: Vec<PathBuf>,
    /// Whether every folder was listed to its end.
    pub complete: bool,
}

/// Looks through a medium; one that has no marker gets one.
pub(crate) fn look_through(disk: &dyn Disk, chance: &mut Chance) -> io::Result<Found> {
    let volume = volume_id(disk, chance)?;
    let files = list(disk, CONTAINERS_DIR, FILES_MAX)?;
    let (mut containers, mut leftovers) = (Vec::new(), Vec::new());
    for file in &files {
        match file_kind(&file.name) {
            Some((number, FileKind::Container)) => containers.push((number, file.len_bytes)),
            Some((number, FileKind::Leftover)) => leftovers.push((number, file.len_bytes)),
            _ => {}
        }
    }
    containers.sort_unstable();
    let listed = list(disk, NOTES_DIR, NOTES_FILES_MAX)?;
    let (mut all, mut notes_files) = (Vec::new(), Vec::new());
    for file in &listed {
        if matches!(file_kind(&file.name), Some((_, FileKind::Notes))) {
            let path = Path::new(NOTES_DIR).join(&file.name);
            let bytes = read_bounded(disk, &path, NOTES_FILE_MAX_BYTES)?;
            all.extend(bytes.and_then(|bytes| Notes::decode(volume, &bytes).ok()));
            notes_files.push(path);
        }
    }
    let complete = files.len() < FILES_MAX && listed.len() < NOTES_FILES_MAX;
    let notes = Notes::merge(volume, &all);
    Ok(Found { volume, containers, leftovers, notes, notes_files, complete })
}

/// Writes a small file under a name of its own, then publishes it.
pub(crate) fn write_file(
    disk: &dyn Disk,
    temporary: &Path,
    to: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    remove(disk, temporary)?;
    let file = disk.create(temporary)?;
    file.write_all_at(0, bytes)?;
    drop(file);
    disk.publish(temporary, to)
}

/// Removes a file, if it is there.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where a file of this kind lies among the containers.
pub(crate) fn container_path(number: FileNumber, kind: FileKind) -> PathBuf {
    Path::new(CONTAINERS_DIR).join(number.name(kind))
}

/// A number for a file.
pub(crate) fn any_number(chance: &mut Chance) -> FileNumber {
    FileNumber(u32::try_from(chance.below(1 << 32)).unwrap_or(0))
}

fn list(disk: &dyn Disk, dir: &str, most: usize) -> io::Result<Vec<Listed>> {
    match disk.list(Path::new(dir), most) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

fn read_bounded(disk: &dyn Disk, path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = disk.open(path)?;
    let length = file.len_bytes()?;
    let Some(length) = usize::try_from(length).ok().filter(|_| length <= most) else {
        return Ok(None);
    };
    let mut bytes = vec![0; length];
    file.read_exact_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

fn volume_id(disk: &dyn Disk, chance: &mut Chance) -> io::Result<VolumeId> {
    let path = Path::new(VOLUME_FILE);
    if let Ok(file) = disk.open(path) {
        let mut bytes = [0; 64];
        let n = file.read_at(0, &mut bytes)?;
        if let Some(volume) = VolumeId::decode(&bytes[..n]) {
            return Ok(volume);
        }
    }
    let mut id = [0; 16];
    chance.fill(&mut id);
    let volume = VolumeId(id);
    let temporary = any_number(chance).name(FileKind::Leftover);
    write_file(disk, Path::new(&temporary), path, &volume.encode())?;
    Ok(volume)
}
