//! A result: what became of a job, said by the node that was asked.
//!
//! ```text
//! result = [job, state, code | null, why | null, ran ms, waited ms, clock | null,
//!           stdout, stderr, [[bound, means], ...], audit | null, manifest | null]
//! stream = [bytes, blake3 | null, head, tail, gap | null]
//! ```
//!
//! A stream that is short stands in `head`, whole. Of a longer one its beginning and its end are
//! shown; what was kept of it may come along as a file, in which `gap` says where its end begins.

use std::collections::BTreeMap;

use serde_bytes::ByteBuf;

use super::{
    PacketError,
    fields::{Few, digest, holds, id, is_line},
    job::has_few_parts,
    manifest::{FileEntry, Manifest},
};
use crate::{id::BundleId, wire};

/// A result's body is at most this long, as a job's is.
pub const RESULT_MAX: usize = 1 << 20;
/// A reason is at most this long.
pub const WHY_MAX: usize = 512;
/// Of a stream at most so many bytes stand in the result itself.
pub const SHOWN_MAX: usize = 4096;
/// At most so many bounds are told of.
pub const BOUNDS_MAX: usize = 32;
/// The name of a bound, or by what it was enforced, is at most this long.
pub const BOUND_MAX: usize = 64;

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// Of which.
    pub job: BundleId,
    /// How it ended.
    pub state: State,
    /// Why, for a person, on one line.
    pub why: Option<String>,
    /// Milliseconds that its command ran.
    pub ran_ms: u64,
    /// Milliseconds that it waited here before.
    pub waited_ms: u64,
    /// When this was said, in Unix seconds; nothing where the clock cannot be trusted.
    pub clock: Option<u64>,
    /// What its command wrote to standard output.
    pub stdout: Stream,
    /// What it wrote to standard error.
    pub stderr: Stream,
    /// Which bounds were enforced, and by what.
    pub enforced: BTreeMap<String, String>,
    /// The newest link of the node's audit chain.
    pub audit: Option<[u8; 32]>,
    /// What was kept of the streams that are not shown whole: files `stdout`, `stderr`.
    pub files: Option<Manifest>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its command ended by itself, with this status.
    Exited(u8),
    /// Its command was ended by this signal.
    Signalled(u8),
    /// Its command took longer than it may.
    Overran,
    /// Its command was ended because somebody wanted it to end.
    Killed,
    /// It was begun, and nobody can say how it ended.
    Unknown,
    /// It may not be run here.
    Refused,
    /// Nothing here has that name.
    UnknownHandle,
    /// Its command could not be begun.
    NotBegun,
    /// It came, or its turn came, too late.
    Expired,
    /// It was taken back before it began.
    Cancelled,
    /// A newer one took its place.
    Superseded,
    /// What it waited for ended otherwise or not in time.
    Skipped,
    /// Its command ended well; what it changed did not stand its trial, and is as it was before.
    Undone,
}

/// What a command wrote to one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Bytes that it wrote.
    pub bytes: u64,
    /// BLAKE3 of all of them.
    pub blake3: [u8; 32],
    /// The first of them: all, if there are no more.
    pub head: Vec<u8>,
    /// The last of them.
    pub tail: Vec<u8>,
    /// Where in the file the end begins, if something between was not kept.
    pub gap: Option<u64>,
}

type StreamWire = (u64, Option<ByteBuf>, ByteBuf, ByteBuf, Option<u64>);
type ResultWire = (
    ByteBuf,
    u8,
    Option<u8>,
    Option<String>,
    u64,
    u64,
    Option<u64>,
    StreamWire,
    StreamWire,
    Few<(String, String), BOUNDS_MAX>,
    Option<ByteBuf>,
    Option<ByteBuf>,
);

impl JobResult {
    /// A result of a job that ran nothing.
    pub fn without_output(job: BundleId, state: State) -> Self {
        Self {
            job,
            state,
            why: None,
            ran_ms: 0,
            waited_ms: 0,
            clock: None,
            stdout: Stream::whole(Vec::new()),
            stderr: Stream::whole(Vec::new()),
            enforced: BTreeMap::new(),
            audit: None,
            files: None,
        }
    }

    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (state, code) = self.state.to_wire();
        let enforced = self.enforced.iter().map(|(bound, means)| (bound.clone(), means.clone()));
        wire::encode::<ResultWire>(&(
            ByteBuf::from(self.job.0),
            state,
            code,
            self.why.clone(),
            self.ran_ms,
            self.waited_ms,
            self.clock,
            self.stdout.to_wire(),
            self.stderr.to_wire(),
            Few(enforced.collect()),
            self.audit.map(ByteBuf::from),
            self.files.as_ref().map(|files| ByteBuf::from(files.encode())),
        ))
    }

    /// Reads a body and checks every length in it.
    pub fn decode(body: &[u8]) -> Result<Self, PacketError> {
        if body.len() > RESULT_MAX {
            return Err(PacketError::TooLong { limit: RESULT_MAX, got: body.len() });
        }
        let wire: ResultWire = wire::decode(body)?;
        let (job, state, code, why, ran_ms, waited_ms, clock, stdout, stderr, bounds, ..) = wire;
        let (audit, files) = (wire.10, wire.11);
        // In the one order that a map has.
        let rising = bounds.0.windows(2).all(|pair| pair[0].0 < pair[1].0);
        holds(rising, "bounds")?;
        let result = Self {
            job: id(&job, "job")?,
            state: State::from_wire(state, code)?,
            why,
            ran_ms,
            waited_ms,
            clock,
            stdout: Stream::from_wire(stdout)?,
            stderr: Stream::from_wire(stderr)?,
            enforced: bounds.0.into_iter().collect(),
            audit: audit.map(|audit| digest(&audit, "audit")).transpose()?,
            files: files.map(|files| Manifest::decode(&files)).transpose()?,
        };
        result.check()?;
        Ok(result)
    }

    /// Whether all that is within its bounds, and does not contradict itself.
    pub fn check(&self) -> Result<(), PacketError> {
        holds(self.why.as_ref().is_none_or(|why| is_line(why, WHY_MAX)), "why")?;
        let told = |(bound, means): (&String, &String)| {
            is_line(bound, BOUND_MAX) && is_line(means, BOUND_MAX)
        };
        holds(self.enforced.len() <= BOUNDS_MAX && self.enforced.iter().all(told), "bounds")?;
        let nothing = self.ran_ms == 0 && self.stdout.bytes == 0 && self.stderr.bytes == 0;
        holds(self.state.may_have_run() || nothing, "state")?;
        let mut named = 0;
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let file = self.file(name);
            named += usize::from(file.is_some());
            stream.check()?;
            holds(stream.fits(file), "output")?;
        }
        // Nothing twice and nothing else. The text is what a person writes, and nobody wrote this.
        let files = self.files.as_ref().map_or(0, |files| files.files.len());
        let silent = self.files.as_ref().is_none_or(|files| files.text.is_none());
        let few = self.files.as_ref().is_none_or(has_few_parts);
        holds(files == named && silent && few, "files")
    }

    /// The file of what was kept of a stream, `stdout` or `stderr`.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        let mut files = self.files.iter().flat_map(|manifest| &manifest.files);
        files.find(|file| file.path == [name] && !file.directory)
    }
}

impl State {
    /// Whether its command may have done anything.
    pub fn may_have_run(self) -> bool {
        matches!(
            self,
            Self::Exited(_)
                | Self::Signalled(_)
                | Self::Overran
                | Self::Killed
                | Self::Unknown
                | Self::Undone
        )
    }

    fn to_wire(self) -> (u8, Option<u8>) {
        match self {
            Self::Exited(code) => (0, Some(code)),
            Self::Signalled(signal) => (1, Some(signal)),
            Self::Overran => (2, None),
            Self::Killed => (3, None),
            Self::Unknown => (4, None),
            Self::Refused => (5, None),
            Self::UnknownHandle => (6, None),
            Self::NotBegun => (7, None),
            Self::Expired => (8, None),
            Self::Cancelled => (9, None),
            Self::Superseded => (10, None),
            Self::Skipped => (11, None),
            Self::Undone => (12, None),
        }
    }

    fn from_wire(state: u8, code: Option<u8>) -> Result<Self, PacketError> {
        Ok(match (state, code) {
            (0, Some(code)) => Self::Exited(code),
            (1, Some(signal @ 1..=127)) => Self::Signalled(signal),
            (2, None) => Self::Overran,
            (3, None) => Self::Killed,
            (4, None) => Self::Unknown,
            (5, None) => Self::Refused,
            (6, None) => Self::UnknownHandle,
            (7, None) => Self::NotBegun,
            (8, None) => Self::Expired,
            (9, None) => Self::Cancelled,
            (10, None) => Self::Superseded,
            (11, None) => Self::Skipped,
            (12, None) => Self::Undone,
            _ => return Err(PacketError::Field("state")),
        })
    }
}

impl Stream {
    /// All that was written; at most [`SHOWN_MAX`] bytes.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.len() as u64,
            blake3: *blake3::hash(&bytes).as_bytes(),
            head: bytes,
            tail: Vec::new(),
            gap: None,
        }
    }

    /// Whether everything that was written is shown.
    pub fn is_whole(&self) -> bool {
        self.bytes == self.head.len() as u64
    }

    fn check(&self) -> Result<(), PacketError> {
        let shown = self.head.len().saturating_add(self.tail.len());
        let part = (shown as u64) < self.bytes;
        let whole = self.is_whole()
            && self.tail.is_empty()
            && self.gap.is_none()
            && *blake3::hash(&self.head).as_bytes() == self.blake3;
        holds(shown <= SHOWN_MAX && (part || whole), "output")
    }

    /// Whether a file can be what was kept of it.
    fn fits(&self, file: Option<&FileEntry>) -> bool {
        let Some(file) = file else { return self.gap.is_none() };
        let kept_whole = file.bytes == self.bytes && file.blake3 == self.blake3;
        let fits = match self.gap {
            None => kept_whole,
            Some(gap) => gap <= file.bytes && file.bytes < self.bytes,
        };
        fits && !self.is_whole()
    }

    fn to_wire(&self) -> StreamWire {
        let blake3 = (!self.is_whole()).then(|| ByteBuf::from(self.blake3));
        let (head, tail) = (ByteBuf::from(&*self.head), ByteBuf::from(&*self.tail));
        (self.bytes, blake3, head, tail, self.gap)
    }

    fn from_wire((bytes, blake3, head, tail, gap): StreamWire) -> Result<Self, PacketError> {
        // Of what is here whole the hash follows: 32 bytes less over a narrow link.
        let whole = bytes == head.len() as u64;
        holds(whole == blake3.is_none(), "output")?;
        let blake3 = match &blake3 {
            Some(blake3) => digest(blake3, "output")?,
            None => *blake3::hash(&head).as_bytes(),
        };
        Ok(Self { bytes, blake3, head: head.into_vec(), tail: tail.into_vec(), gap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Content;

    fn file(name: &str, bytes: &[u8]) -> FileEntry {
        FileEntry {
            path: vec![name.into()],
            bytes: bytes.len() as u64,
            blake3: *blake3::hash(bytes).as_bytes(),
            mtime: None,
            executable: false,
            directory: false,
        }
    }

    /// 10,000 bytes of output, all kept; 9 bytes of errors, shown whole.
    fn result() -> JobResult {
        let kept = vec![b'x'; 10_000];
        JobResult {
            why: Some("the valve was open".into()),
            ran_ms: 1200,
            waited_ms: 5,
            clock: Some(1_800_000_000),
            stdout: Stream {
                bytes: 10_000,
                blake3: *blake3::hash(&kept).as_bytes(),
                head: kept[..100].to_vec(),
                tail: kept[..200].to_vec(),
                gap: None,
            },
            stderr: Stream::whole(b"no valve\n".to_vec()),
            enforced: [("net", "namespace"), ("wall", "timer")]
                .map(|(bound, means)| (bound.into(), means.into()))
                .into(),
            audit: Some([6; 32]),
            files: Some(Manifest {
                text: None,
                files: vec![file("stdout", &kept)],
                content: Content::Inline(kept),
            }),
            ..JobResult::without_output(BundleId([5; 32]), State::Exited(3))
        }
    }

    #[test]
    fn a_result_round_trips_and_no_prefix_of_it_is_one() {
        let brief = JobResult {
            ran_ms: 0,
            stdout: Stream { gap: None, head: vec![], ..result().stdout },
            files: None,
            ..result()
        };
        let gap = |gap: u64, kept: &[u8]| {
            let content = Content::Inline(kept.to_vec());
            let files = Manifest { text: None, files: vec![file("stdout", kept)], content };
            let stdout = Stream { gap: Some(gap), ..result().stdout };
            JobResult { stdout, files: Some(files), ..result() }
        };
        let states = (0..12).map(|n| {
            let code = [0, 1].contains(&n).then_some(9);
            JobResult::without_output(BundleId([1; 32]), State::from_wire(n, code).unwrap())
        });
        let some = [result(), brief, gap(500, &[b'x'; 1000]), gap(0, b"")];
        for result in some.into_iter().chain(states) {
            let bytes = result.encode();
            assert_eq!(JobResult::decode(&bytes), Ok(result));
            for cut in 0..bytes.len() {
                assert!(JobResult::decode(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }

    /// What goes over a narrow link: how it ended, and the last words of both streams.
    #[test]
    fn a_brief_result_is_small() {
        let said = Stream { head: vec![], ..result().stdout };
        let brief = JobResult {
            stdout: Stream { tail: vec![b'x'; 200], ..said.clone() },
            ..JobResult::without_output(BundleId([5; 32]), State::Exited(0))
        };
        let nothing = JobResult::without_output(BundleId([5; 32]), State::Exited(0));
        assert_eq!((brief.encode().len(), nothing.encode().len()), (292, 56));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        type Change = fn(&mut JobResult);
        let cases: [(&str, Change); 16] = [
            ("why", |it| it.why = Some(String::new())),
            ("why", |it| it.why = Some("x".repeat(WHY_MAX + 1))),
            ("why", |it| it.why = Some("\u{1b}[2J".into())),
            ("bounds", |it| drop(it.enforced.insert("x".repeat(65), "y".into()))),
            ("bounds", |it| drop(it.enforced.insert("x".into(), "a\nb".into()))),
            ("state", |it| it.state = State::Refused),
            ("output", |it| it.stderr.tail = b"x".to_vec()),
            ("output", |it| it.stdout.head = vec![0; SHOWN_MAX]),
            ("output", |it| it.stdout.bytes = 300),
            ("output", |it| it.stdout.blake3 = [0; 32]),
            ("output", |it| it.stdout.gap = Some(1)),
            ("output", |it| it.stderr.gap = Some(0)),
            ("output", |it| {
                let content = b"no valve\n";
                it.files = Some(Manifest {
                    text: None,
                    files: vec![file("stderr", content)],
                    content: Content::Inline(content.to_vec()),
                });
            }),
            ("files", |it| {
                it.stdout = Stream::whole(vec![]);
                it.files.as_mut().unwrap().files[0].path = vec!["core".into()];
            }),
            ("files", |it| it.files.as_mut().unwrap().text = Some("hi".into())),
            ("files", |it| {
                let empty = file("stdout", b"");
                it.files.as_mut().unwrap().files.push(empty);
            }),
        ];
        for (field, change) in cases {
            let mut result = result();
            change(&mut result);
            assert_eq!(JobResult::decode(&result.encode()), Err(PacketError::Field(field)));
        }
        for (state, code) in [(0, None), (1, Some(0)), (1, Some(128)), (2, Some(1)), (13, None)] {
            assert!(State::from_wire(state, code).is_err(), "{state} {code:?}");
        }
    }
}
