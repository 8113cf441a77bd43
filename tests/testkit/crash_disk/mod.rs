//! A disk that loses power at a chosen step and keeps only what it promised, or a seeded part of
//! the rest.
//!
//! Every file has a live image (what programs read) and a durable one (what a sync made safe), and
//! so has the set of names. At a power cut each 512-byte sector written since the last sync is
//! lost, kept, torn or left at one of its earlier states, each by itself, so that later writes may
//! survive where earlier ones do not; lengths and names not yet synced are lost or kept likewise.
//! A failed sync behaves as Linux does: the pages count as clean, and a second sync that succeeds
//! says nothing about them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postrider_base::disk::{Disk, DiskFile, Listed, ListedKind};

use crate::seeded::Seeded;

/// What disks write whole or tear: the smallest sector still sold.
const SECTOR: usize = 512;
/// Earlier states of one sector that may survive a cut; more would only repeat themselves.
const KEPT_STATES: usize = 6;

/// How the file system under the double treats names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// A rename is atomic: after a cut there is the old name or the new one (ext4, exFAT measured).
    Atomic,
    /// FAT: names change one by one, and a renamed file has length 0 until it is synced again. A
    /// file that is synced has its name by that. Two names that a cut left of one file share its
    /// clusters: removing one frees them.
    Fat,
}

/// What goes wrong at a chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This operation fails as a broken disk does.
    Eio,
    /// This operation finds no space.
    Enospc,
    /// Power goes away in the middle of this operation; all later ones fail until
    /// [`CrashDisk::power_cut`].
    Power,
}

/// The double: a handle to one in-memory disk; clones see the same disk.
#[derive(Clone)]
pub struct CrashDisk(Arc<Mutex<State>>);

struct State {
    names: Names,
    files: BTreeMap<u64, Inode>,
    next_inode: u64,
    live: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Renames whose directories are not synced yet: (from, to).
    renames: Vec<(PathBuf, PathBuf)>,
    capacity_bytes: u64,
    ops: u64,
    plan: Option<(u64, Fault, bool)>,
    powered: bool,
    /// Handles of an earlier life are dead.
    life: u64,
    chance: Seeded,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    File(u64),
}

#[derive(Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// States each sector went through since it was last synced, oldest first.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Sectors of a failed sync: the system forgot to write them and will not try again.
    doomed: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Lengths since the last sync.
    lengths: Vec<usize>,
    /// FAT: renamed and not synced since.
    entry_says_empty: bool,
}

impl CrashDisk {
    /// An empty disk of practically unlimited size.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self(Arc::new(Mutex::new(State {
            names,
            files: BTreeMap::new(),
            next_inode: 1,
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            renames: Vec::new(),
            capacity_bytes: 1 << 40,
            ops: 0,
            plan: None,
            powered: true,
            life: 0,
            chance: Seeded::new(0),
        })))
    }

    /// Changing operations so far: creates, writes, length changes, renames, removals, syncs.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// Lets the operation number `op` (counted like [`Self::ops`], the first is 0) go wrong once.
    pub fn fail_at(&self, op: u64, fault: Fault) {
        self.state().plan = Some((op, fault, false));
    }

    /// Lets every operation from number `op` on go wrong.
    pub fn fail_from(&self, op: u64, fault: Fault) {
        self.state().plan = Some((op, fault, true));
    }

    /// Forgets the planned fault.
    pub fn heal(&self) {
        self.state().plan = None;
    }

    /// Sets how many bytes all files together may have.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// Bytes all files have together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used()
    }

    /// Cuts the power (if it was not cut yet), decides by `seed` what survives, and powers up.
    pub fn power_cut(&self, seed: u64) {
        let mut state = self.state();
        state.chance = Seeded::new(seed);
        state.crash();
    }

    /// Stops the program without cutting power: everything written stays, open handles die.
    pub fn kill(&self) {
        let mut state = self.state();
        state.life += 1;
        state.plan = None;
        state.powered = true;
    }

    /// Whether a planned power cut has happened.
    #[must_use]
    pub fn is_off(&self) -> bool {
        !self.state().powered
    }

    /// An independent copy of the disk as it is now, everything on it taken as durable.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.state();
        let files = state
            .files
            .iter()
            .map(|(n, inode)| {
                let bytes = inode.live.clone();
                (*n, Inode { durable: bytes.clone(), live: bytes, ..Inode::default() })
            })
            .collect();
        Self(Arc::new(Mutex::new(State {
            names: state.names,
            files,
            next_inode: state.next_inode,
            live: state.live.clone(),
            durable: state.live.clone(),
            renames: Vec::new(),
            capacity_bytes: state.capacity_bytes,
            ops: 0,
            plan: None,
            powered: true,
            life: 0,
            chance: Seeded::new(0),
        })))
    }

    /// Every file with its length, for tests that damage one.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state();
        state
            .live
            .iter()
            .filter_map(|(path, node)| match node {
                Node::File(n) => {
                    let len = state.files.get(n).map_or(0, |i| i.live.len());
                    Some((path.clone(), len as u64))
                }
                Node::Directory => None,
            })
            .collect()
    }

    /// Changes a file's bytes behind everybody's back, durably: rot.
    pub fn rot(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let Some(Node::File(n)) = state.live.get(path).copied() else { return };
        if let Some(inode) = state.files.get_mut(&n) {
            change(&mut inode.live);
            inode.durable = inode.live.clone();
            inode.dirty.clear();
            inode.lengths.clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, state: &State, inode: u64) -> Box<dyn DiskFile> {
        Box::new(CrashFile { disk: self.clone(), inode, life: state.life })
    }
}

impl State {
    fn used(&self) -> u64 {
        let linked = self.live.values().filter_map(|node| match node {
            Node::File(n) => self.files.get(n),
            Node::Directory => None,
        });
        linked.map(|inode| inode.live.len() as u64).sum()
    }

    fn alive(&self) -> io::Result<()> {
        if self.powered { Ok(()) } else { Err(io::Error::other("the power is off")) }
    }

    /// Counts a changing operation; says what is planned for it.
    fn step(&mut self) -> io::Result<Option<Fault>> {
        self.alive()?;
        let op = self.ops;
        self.ops += 1;
        match self.plan {
            Some((at, fault, lasting)) if op == at || (lasting && op > at) => {
                if fault == Fault::Power {
                    self.powered = false;
                }
                Ok(Some(fault))
            }
            _ => Ok(None),
        }
    }

    /// For operations that happen whole or not at all.
    fn step_whole(&mut self) -> io::Result<bool> {
        match self.step()? {
            None => Ok(true),
            Some(Fault::Eio) => Err(io::Error::from_raw_os_error(5)),
            Some(Fault::Enospc) => Err(io::Error::from_raw_os_error(28)),
            // The cut may come after the change was made, before anybody heard of it.
            Some(Fault::Power) => Ok(false),
        }
    }

    fn file(&self, path: &Path) -> io::Result<u64> {
        match self.live.get(path) {
            Some(Node::File(n)) => Ok(*n),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn names_of(&self, n: u64) -> Vec<PathBuf> {
        let named = self.live.iter().filter(|(_, node)| **node == Node::File(n));
        named.map(|(path, _)| path.clone()).collect()
    }

    fn directory(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || self.live.get(path) == Some(&Node::Directory) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn crash(&mut self) {
        let mut names = self.durable.clone();
        let mut paths: Vec<PathBuf> =
            self.live.keys().chain(self.durable.keys()).cloned().collect();
        paths.sort();
        paths.dedup();
        let mut decided: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for path in paths {
            if self.live.get(&path) == self.durable.get(&path) {
                continue;
            }
            let keep = match self.partner(&path).filter(|_| self.names == Names::Atomic) {
                Some(partner) => match decided.get(&partner) {
                    Some(keep) => *keep,
                    None => self.chance.chance(1, 2),
                },
                None => self.chance.chance(1, 2),
            };
            decided.insert(path.clone(), keep);
            if keep {
                match self.live.get(&path) {
                    Some(node) => names.insert(path, *node),
                    None => names.remove(&path),
                };
            }
        }
        let numbers: Vec<u64> = self.files.keys().copied().collect();
        for n in numbers {
            let linked = names.values().any(|node| *node == Node::File(n));
            let Some(mut inode) = self.files.remove(&n) else { continue };
            if linked {
                inode.crash(&mut self.chance);
                self.files.insert(n, inode);
            }
        }
        self.live = names.clone();
        self.durable = names;
        self.renames.clear();
        self.plan = None;
        self.powered = true;
        self.life += 1;
        self.ops = 0;
    }

    fn partner(&self, path: &Path) -> Option<PathBuf> {
        self.renames.iter().rev().find_map(|(from, to)| {
            if from == path {
                Some(to.clone())
            } else if to == path {
                Some(from.clone())
            } else {
                None
            }
        })
    }
}

impl Inode {
    fn crash(&mut self, chance: &mut Seeded) {
        let mut image = self.durable.clone();
        let mut lengths = vec![self.durable.len()];
        lengths.append(&mut self.lengths);
        let len = lengths[chance.index(lengths.len())];
        image.resize(len.max(image.len()), 0);
        let mut unsure = std::mem::take(&mut self.doomed);
        for (sector, mut states) in std::mem::take(&mut self.dirty) {
            unsure.entry(sector).or_default().append(&mut states);
        }
        for (sector, states) in unsure {
            let start = sector * SECTOR;
            if start >= len {
                continue;
            }
            let end = (start + SECTOR).min(len);
            let state = &states[chance.index(states.len())];
            let kept = match chance.below(4) {
                0 => 0,
                1 => chance.index(SECTOR),
                _ => SECTOR,
            };
            let kept = kept.min(state.len()).min(end - start);
            image[start..start + kept].copy_from_slice(&state[..kept]);
        }
        image.truncate(len);
        if self.entry_says_empty {
            image.clear();
        }
        self.live.clone_from(&image);
        self.durable = image;
        self.entry_says_empty = false;
    }

    fn resize(&mut self, len: usize) {
        let old = self.live.len();
        self.live.resize(len, 0);
        self.lengths.push(len);
        if len > old {
            self.touch(old, len);
        } else if len < old && !len.is_multiple_of(SECTOR) {
            self.touch(len, len + 1);
        }
    }

    fn touch(&mut self, start: usize, end: usize) {
        if start >= end {
            return;
        }
        for sector in start / SECTOR..=(end - 1) / SECTOR {
            let from = sector * SECTOR;
            let upto = (from + SECTOR).min(self.live.len());
            let state = self.live.get(from..upto).unwrap_or_default().to_vec();
            let states = self.dirty.entry(sector).or_default();
            if states.len() == KEPT_STATES {
                states.remove(1);
            }
            states.push(state);
        }
    }

    fn sync(&mut self) {
        let len = self.live.len();
        self.durable.resize(len, 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(len);
            if start < end {
                self.durable[start..end].copy_from_slice(&self.live[start..end]);
            }
            self.doomed.remove(&sector);
        }
        self.lengths.clear();
        self.entry_says_empty = false;
    }

    fn sync_failed(&mut self) {
        for (sector, mut states) in std::mem::take(&mut self.dirty) {
            self.doomed.entry(sector).or_default().append(&mut states);
        }
    }
}

impl Disk for CrashDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let whole = state.step_whole()?;
        state.directory(path.parent().unwrap_or(Path::new("")))?;
        if state.live.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let n = state.next_inode;
        state.next_inode += 1;
        state.files.insert(n, Inode::default());
        state.live.insert(path.to_owned(), Node::File(n));
        if !whole {
            state.alive()?;
        }
        Ok(self.handle(&state, n))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        state.alive()?;
        let n = state.file(path)?;
        Ok(self.handle(&state, n))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let _ = state.step_whole()?;
        state.directory(to.parent().unwrap_or(Path::new("")))?;
        let node = *state.live.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.live.remove(from);
        state.live.insert(to.to_owned(), node);
        if node == Node::Directory {
            let inside: Vec<PathBuf> =
                state.live.keys().filter(|p| p.starts_with(from)).cloned().collect();
            for path in inside {
                let (Ok(rest), Some(node)) = (path.strip_prefix(from), state.live.remove(&path))
                else {
                    continue;
                };
                let new = to.join(rest);
                state.live.insert(new, node);
            }
        }
        state.renames.push((from.to_owned(), to.to_owned()));
        if let (Node::File(n), Names::Fat) = (node, state.names)
            && let Some(inode) = state.files.get_mut(&n)
        {
            inode.entry_says_empty = true;
        }
        state.alive()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let _ = state.step_whole()?;
        let n = state.file(path)?;
        state.live.remove(path);
        let other_name = !state.names_of(n).is_empty();
        if let (true, Names::Fat) = (other_name, state.names)
            && let Some(inode) = state.files.get_mut(&n)
        {
            *inode = Inode::default();
        }
        state.alive()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.live.get(path) {
            Some(Node::Directory) => return state.alive(),
            Some(Node::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            None => {}
        }
        let whole = state.step_whole()?;
        state.directory(path.parent().unwrap_or(Path::new("")))?;
        state.live.insert(path.to_owned(), Node::Directory);
        if whole {
            state.durable.insert(path.to_owned(), Node::Directory);
        }
        state.alive()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.step_whole()? {
            return state.alive();
        }
        state.directory(path)?;
        let inside = |p: &PathBuf| p.parent() == Some(path);
        let now: Vec<(PathBuf, Node)> =
            state.live.iter().filter(|(p, _)| inside(p)).map(|(p, n)| (p.clone(), *n)).collect();
        state.durable.retain(|p, _| !inside(p));
        state.durable.extend(now);
        // The other half of an atomic rename goes with it: a file has one name or the other.
        let settled: Vec<(PathBuf, PathBuf)> =
            state.renames.iter().filter(|(f, t)| inside(f) || inside(t)).cloned().collect();
        if state.names == Names::Atomic {
            for (from, to) in &settled {
                for path in [from, to] {
                    match state.live.get(path).copied() {
                        Some(node) => state.durable.insert(path.clone(), node),
                        None => state.durable.remove(path),
                    };
                }
            }
        }
        state.renames.retain(|r| !settled.contains(r));
        Ok(())
    }

    fn list(&self, path: &Path, limit: usize) -> io::Result<Vec<Listed>> {
        let state = self.state();
        state.alive()?;
        state.directory(path)?;
        let inside = state.live.iter().filter(|(p, _)| p.parent() == Some(path));
        let listed = inside.filter_map(|(p, node)| {
            let name = p.file_name()?.to_str()?.to_owned();
            Some(match node {
                Node::Directory => Listed { name, kind: ListedKind::Directory, len_bytes: 0 },
                Node::File(n) => {
                    let len_bytes = state.files.get(n).map_or(0, |i| i.live.len() as u64);
                    Listed { name, kind: ListedKind::File, len_bytes }
                }
            })
        });
        Ok(listed.take(limit).collect())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        state.alive()?;
        Ok(state.capacity_bytes.saturating_sub(state.used()))
    }
}

struct CrashFile {
    disk: CrashDisk,
    inode: u64,
    life: u64,
}

impl CrashFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.alive()?;
        if state.life == self.life {
            Ok(state)
        } else {
            Err(io::Error::other("a handle from before the power cut"))
        }
    }

    fn index(offset: u64) -> io::Result<usize> {
        usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}

impl DiskFile for CrashFile {
    fn len_bytes(&self) -> io::Result<u64> {
        let state = self.state()?;
        Ok(state.files.get(&self.inode).map_or(0, |i| i.live.len() as u64))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let state = self.state()?;
        let start = Self::index(offset)?;
        let inode = state.files.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let bytes = inode.live.get(start..).unwrap_or_default();
        let n = bytes.len().min(out.len());
        out[..n].copy_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state()?;
        let fault = state.step()?;
        let start = Self::index(offset)?;
        let mut room = bytes.len();
        if fault.is_some() {
            let mut chance = Seeded::new(state.ops ^ offset);
            room = chance.index(bytes.len() + 1);
        }
        let free = state.capacity_bytes.saturating_sub(state.used());
        let inode = state.files.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let growth = (start + bytes.len()).saturating_sub(inode.live.len());
        let full = growth as u64 > free;
        if full {
            room = room.min(bytes.len().saturating_sub(growth));
        }
        let end = start + room;
        if end > inode.live.len() && room > 0 {
            inode.resize(end);
        }
        if room > 0 {
            inode.live[start..end].copy_from_slice(&bytes[..room]);
            inode.touch(start, end);
        }
        match fault {
            Some(Fault::Eio) => Err(io::Error::from_raw_os_error(5)),
            Some(Fault::Enospc) => Err(io::Error::from_raw_os_error(28)),
            Some(Fault::Power) => state.alive(),
            None if full => Err(io::Error::from_raw_os_error(28)),
            None => Ok(()),
        }
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let _ = state.step_whole()?;
        let len = Self::index(len_bytes)?;
        let free = state.capacity_bytes.saturating_sub(state.used());
        let inode = state.files.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        if len.saturating_sub(inode.live.len()) as u64 > free {
            return Err(io::Error::from_raw_os_error(28));
        }
        inode.resize(len);
        state.alive()
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let fault = state.step()?;
        let inode = state.files.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        match fault {
            None => {
                inode.sync();
                if state.names == Names::Fat {
                    // Length and first cluster stand beside the name, in the directory's sector.
                    let named: Vec<PathBuf> = state.names_of(self.inode);
                    let node = Node::File(self.inode);
                    state.durable.extend(named.into_iter().map(|path| (path, node)));
                }
                Ok(())
            }
            Some(Fault::Power) => state.alive(),
            Some(fault) => {
                inode.sync_failed();
                Err(io::Error::from_raw_os_error(if fault == Fault::Eio { 5 } else { 28 }))
            }
        }
    }
}

#[cfg(test)]
mod tests;
