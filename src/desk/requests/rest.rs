//! What one source did not send, put in its place when another one did.
//!
//! The first one's manifest says what the file is and what each of its parts is. Bytes from elsewhere
//! count only as a part that is named there; before the last one does, all of the file is hashed.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

use postrider_base::{
    BundleId,
    packet::{Body, Content, Manifest, Request},
};
use postrider_spool::Spool;

use super::{sources::Begun, target::Requests};
use crate::desk::{
    Failure, clock, hex,
    inbox::Kept,
    incoming::{Intake, lock},
    ledger::{remove_note, set_key, set_note, space},
    sets::part_keys,
};

/// What became of a message that brings what another one lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The file is whole.
    Used,
    /// It is another file, and all of that.
    Other,
    /// It is neither.
    Unfit,
}

impl Verdict {
    fn of_note(value: &[u8]) -> Option<Self> {
        [Self::Used, Self::Other, Self::Unfit].into_iter().find(|it| value == [it.number()])
    }

    fn number(self) -> u8 {
        match self {
            Self::Used => 1,
            Self::Other => 2,
            Self::Unfit => 3,
        }
    }
}

/// The bytes that a message has, one file after the other.
struct Stream {
    pieces: Vec<(Piece, u64)>,
}

#[derive(Clone)]
enum Piece {
    At(PathBuf),
    Here(Vec<u8>),
}

impl Requests<'_> {
    /// What became of a message that brings a rest.
    pub(super) fn verdict(&self, message: BundleId) -> Result<Option<Verdict>, Failure> {
        let note = self.spool.note(space::REST, &message.0)?;
        Ok(note.as_deref().and_then(Verdict::of_note))
    }

    /// Puts what came to a request for a rest in its place, as far as it is here.
    pub(super) fn fill_in(&self, id: BundleId) -> Result<(), Failure> {
        let (_, Request::Rest { bytes, blake3, ranges, .. }) = self.asked_note(id)? else {
            return Ok(());
        };
        let Some(message) = self.answered(id)?.and_then(|answer| answer.message()) else {
            return Ok(());
        };
        if self.verdict(message)?.is_some() {
            return Ok(());
        }
        let Some(kept) = self.desk.kept(self.spool, message)? else { return Ok(()) };
        let Body::Files(manifest) = &kept.packet.body else { return Ok(()) };
        if manifest.text.is_none() {
            return self.judge(message, Verdict::Other);
        }
        let lengths = manifest.files.iter().map(|file| file.bytes);
        let begun = self.begun(self.first_of(id)?, Some((bytes, blake3)))?;
        let Some(begun) = begun.filter(|_| lengths.eq(ranges.iter().map(|range| range.1))) else {
            return self.judge(message, Verdict::Unfit);
        };
        if self.spool.note(space::DOUBLE, &message.0)?.is_none() {
            // Nobody wants to read a piece, and least of all one that is not whole.
            let hidden = set_note(space::DOUBLE, &message.0, Vec::new());
            self.spool.commit(clock::now(), vec![hidden])?;
        }
        let stream = self.stream(&kept, manifest);
        while let Some((index, at)) = self.next_missing(&begun, &ranges, &kept, manifest)? {
            let last = part_keys(self.spool, &begun.key)?.len() + 1 == begun.list.hashes.len();
            let mut part = stream.from(at).map_err(|error| unreadable(&error))?;
            if last && !self.is_whole(&begun, index, &stream, at)? {
                return self.judge(message, Verdict::Unfit);
            }
            let _taking = lock(&self.desk.taking);
            let intake = Intake::new(self.desk, self.spool)?;
            let fits = intake.fill(&begun.key, index, &mut part)?;
            intake.finish()?;
            if !fits {
                return self.judge(message, Verdict::Unfit);
            }
        }
        let (here, all) = self.parts(&kept, manifest)?;
        if here >= all && self.spool.note(space::COMPLETE, &begun.message.0)?.is_some() {
            self.judge(message, Verdict::Used)?;
            self.forget(&kept, manifest)?;
        }
        Ok(())
    }

    fn judge(&self, message: BundleId, verdict: Verdict) -> Result<(), Failure> {
        let mut changes = vec![set_note(space::REST, &message.0, vec![verdict.number()])];
        if verdict != Verdict::Other {
            changes.push(set_note(space::DOUBLE, &message.0, Vec::new()));
        }
        self.spool.commit(clock::now(), changes)?;
        Ok(())
    }

    /// What was put in its place, or nobody wants, is not kept.
    pub(super) fn forget(&self, kept: &Kept, manifest: &Manifest) -> Result<(), Failure> {
        let mut changes =
            vec![remove_note(space::MESSAGE, &kept.id.0), remove_note(space::COMPLETE, &kept.id.0)];
        let Some(list) = manifest.parts() else {
            self.spool.commit(clock::now(), changes)?;
            return Ok(());
        };
        let key = set_key(kept.author.as_bytes(), &list.set);
        changes.push(remove_note(space::SET, &key));
        for part in part_keys(self.spool, &key)? {
            changes.push(remove_note(space::PART, &part));
        }
        self.spool.commit(clock::now(), changes)?;
        // Left by a crash it costs room, and no mail.
        let _ = fs::remove_dir_all(self.desk.inbox_dir().join(hex(&key)));
        Ok(())
    }

    /// A part that the file lacks and the message has: which, and where it begins there.
    fn next_missing(
        &self,
        begun: &Begun,
        ranges: &[(u64, u64)],
        kept: &Kept,
        manifest: &Manifest,
    ) -> Result<Option<(u32, u64)>, Failure> {
        let here = self.indices(&begun.key)?;
        let parts = u32::try_from(begun.list.hashes.len()).unwrap_or(u32::MAX);
        for index in (0..parts).filter(|index| !here.contains(index)) {
            let Some(length) = begun.list.bytes_of(index) else { continue };
            let from = u64::from(index).saturating_mul(begun.list.part_bytes);
            let Some(at) = place_in(ranges, from, length) else { continue };
            if self.has(kept, manifest, at, length)? {
                return Ok(Some((index, at)));
            }
        }
        Ok(None)
    }

    /// Whether these bytes of a message are here.
    fn has(&self, kept: &Kept, manifest: &Manifest, at: u64, length: u64) -> Result<bool, Failure> {
        let Some(list) = manifest.parts() else { return Ok(true) };
        let here = self.indices(&set_key(kept.author.as_bytes(), &list.set))?;
        let (first, last) = (at / list.part_bytes, (at + length - 1) / list.part_bytes);
        Ok((first..=last).all(|part| u32::try_from(part).is_ok_and(|part| here.contains(&part))))
    }

    /// Whether the file is what its manifest says, with its last part from elsewhere. Nothing that is
    /// read changes any more.
    fn is_whole(
        &self,
        begun: &Begun,
        index: u32,
        stream: &Stream,
        at: u64,
    ) -> Result<bool, Failure> {
        let path = self.desk.inbox_dir().join(hex(&begun.key)).join("f0");
        let failed = |error: io::Error| Failure::file("read", &path, error);
        let from = u64::from(index).saturating_mul(begun.list.part_bytes);
        let length = begun.list.bytes_of(index).unwrap_or(0);
        let mut hasher = blake3::Hasher::new();
        let mut hash = |bytes: &mut dyn Read| io::copy(bytes, &mut hasher).map(drop);
        let before = File::open(&path).map_err(failed)?;
        hash(&mut before.take(from)).map_err(failed)?;
        let mut part = stream.from(at).map_err(|error| unreadable(&error))?;
        hash(&mut (&mut part).take(length)).map_err(|error| unreadable(&error))?;
        let mut behind = File::open(&path).map_err(failed)?;
        behind.seek(SeekFrom::Start(from + length)).map_err(failed)?;
        let left = begun.list.total_bytes.saturating_sub(from + length);
        hash(&mut behind.take(left)).map_err(failed)?;
        Ok(*hasher.finalize().as_bytes() == begun.blake3)
    }

    fn stream(&self, kept: &Kept, manifest: &Manifest) -> Stream {
        let pieces = match (&manifest.content, manifest.parts()) {
            (Content::Inline(bytes), _) => vec![(Piece::Here(bytes.clone()), bytes.len() as u64)],
            (Content::Parts(_), None) => Vec::new(),
            (Content::Parts(_), Some(list)) => {
                let set = hex(&set_key(kept.author.as_bytes(), &list.set));
                let dir = self.desk.inbox_dir().join(set);
                let files = manifest.files.iter().enumerate();
                files.map(|(n, it)| (Piece::At(dir.join(format!("f{n}"))), it.bytes)).collect()
            }
        };
        Stream { pieces }
    }
}

impl Stream {
    /// All that is there from a place on.
    fn from(&self, mut at: u64) -> io::Result<Box<dyn Read>> {
        let mut all: Box<dyn Read> = Box::new(io::empty());
        for (piece, bytes) in &self.pieces {
            if at >= *bytes {
                at -= bytes;
                continue;
            }
            let rest: Box<dyn Read> = match piece {
                Piece::At(path) => {
                    let mut file = File::open(path)?;
                    file.seek(SeekFrom::Start(at))?;
                    Box::new(file.take(bytes - at))
                }
                Piece::Here(held) => {
                    let at = usize::try_from(at).unwrap_or(usize::MAX);
                    Box::new(io::Cursor::new(held.get(at..).unwrap_or_default().to_vec()))
                }
            };
            all = Box::new(all.chain(rest));
            at = 0;
        }
        Ok(all)
    }
}

/// Where bytes of a file are in a stream of some of its ranges, if all of them are.
fn place_in(ranges: &[(u64, u64)], from: u64, length: u64) -> Option<u64> {
    let mut before = 0;
    for (start, bytes) in ranges {
        if from >= *start && from + length <= start + bytes {
            return Some(before + from - start);
        }
        before += bytes;
    }
    None
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(
        crate::desk::FailureKind::Damaged,
        format!("what came cannot be read back: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_file_have_their_place_among_its_ranges_or_none() {
        let ranges = [(10, 10), (40, 20)];
        for (from, length, place) in [
            (10, 10, Some(0)),
            (15, 5, Some(5)),
            (40, 20, Some(10)),
            (59, 1, Some(29)),
            (5, 10, None),
            (15, 10, None),
            (60, 1, None),
        ] {
            assert_eq!(place_in(&ranges, from, length), place, "{from} {length}");
        }
    }

    #[test]
    fn a_stream_goes_on_from_any_place_in_it() {
        let piece = |text: &str| (Piece::Here(text.into()), text.len() as u64);
        let stream = Stream { pieces: vec![piece("abc"), piece("d"), piece("efg")] };
        for (at, left) in [(0, "abcdefg"), (2, "cdefg"), (3, "defg"), (5, "fg"), (7, "")] {
            let mut read = String::new();
            stream.from(at).unwrap().read_to_string(&mut read).unwrap();
            assert_eq!(read, left);
        }
    }
}
