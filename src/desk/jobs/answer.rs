//! What a job's issuer is told: how it ended, and what its command wrote.

use std::{
    fs::File,
    io::{Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use postrider_base::{
    BundleId, Niceness,
    packet::{Answer, BOUND_MAX, BOUNDS_MAX, JobResult, SHOWN_MAX, State, Stream, WHY_MAX},
};
use postrider_exec::{
    contract::{Bound, Captured, End},
    schedule::contract::How,
};

use crate::{
    desk::{Failure, SendRequest, clock, introduce::letter},
    home::Contact,
};

/// The last words of a command, for whoever wants no more.
const BRIEF_BYTES: u64 = 200;

/// A result, and the files that go along.
pub(super) struct Made {
    pub result: JobResult,
    /// `stdout`, `stderr`, as far as they are not shown whole.
    pub files: Vec<PathBuf>,
    /// Bytes of output in the result itself.
    pub bytes: u64,
}

impl Made {
    /// How it is sent.
    pub fn request(&self, to: &Contact) -> SendRequest {
        // Somebody waits for it; a log of megabytes is bulk, as any file is.
        let nice = self.files.is_empty().then_some(Niceness::NORMAL);
        SendRequest { files: self.files.clone(), nice, ..letter(to) }
    }
}

/// Says what became of a job whose command ran in this folder, if it ran.
pub(super) fn compose(
    job: BundleId,
    how: &How,
    wanted: Answer,
    waited_ms: u64,
    folder: &Path,
) -> Result<Made, Failure> {
    let (state, why) = stated(how);
    let mut result = JobResult::without_output(job, state);
    // What a supervisor said that could do nothing at all.
    let trouble = matches!(how, How::NotBegun(_)).then(|| folder.join("trouble"));
    let trouble = trouble.and_then(|path| std::fs::read_to_string(path).ok());
    let why = why.map(|why| match &trouble {
        Some(trouble) => format!("{why}: {}", trouble.trim()),
        None => why.to_owned(),
    });
    result.why = why.map(|why| line(&why, WHY_MAX));
    result.waited_ms = waited_ms;
    result.clock = Some(clock::wall_s());
    let mut files = Vec::new();
    if let How::Ended(outcome) | How::Undone(_, Some(outcome)) = how
        && state.may_have_run()
    {
        result.ran_ms = outcome.ran_ms;
        let enforced = outcome.enforced.iter().take(BOUNDS_MAX);
        result.enforced =
            enforced.map(|(bound, by)| (line(bound, BOUND_MAX), line(by, BOUND_MAX))).collect();
        for (name, captured, stream) in [
            ("stdout", &outcome.stdout, &mut result.stdout),
            ("stderr", &outcome.stderr, &mut result.stderr),
        ] {
            let path = folder.join(name);
            let (shown, kept) = shown(&path, captured, wanted)?;
            *stream = shown;
            if wanted == Answer::Full && !stream.is_whole() && kept > 0 {
                stream.gap = captured.cut_at;
                files.push(path);
            }
        }
    }
    let shown = |stream: &Stream| stream.head.len() + stream.tail.len();
    let bytes = (shown(&result.stdout) + shown(&result.stderr)) as u64;
    Ok(Made { result, files, bytes })
}

/// In which state a job ended, and why.
pub(super) fn stated(how: &How) -> (State, Option<&str>) {
    match how {
        How::Ended(outcome) => match &outcome.end {
            End::Exited(code) => (State::Exited(*code), None),
            End::Signalled(signal) => (State::Signalled(*signal), None),
            End::Overran(bound) => (State::Overran, Some(beyond(*bound))),
            End::Killed => (State::Killed, None),
            End::NotBegun(why) => (State::NotBegun, Some(why.as_str())),
        },
        How::Undone(why, _) => (State::Undone, Some(why.as_str())),
        How::Unknown => (State::Unknown, Some("it was begun, and this node lost sight of it")),
        How::NotBegun(why) => (State::NotBegun, Some(why.as_str())),
        How::Refused(why) => (State::Refused, Some(why.as_str())),
        How::NoSuchHandle => (State::UnknownHandle, None),
        How::Expired(why) => (State::Expired, Some(*why)),
        How::Cancelled => (State::Cancelled, None),
        How::Superseded => (State::Superseded, None),
        How::Skipped(why) => (State::Skipped, Some(*why)),
    }
}

/// What is shown of a stream in the result itself, and how many bytes of it were kept.
fn shown(path: &Path, captured: &Captured, wanted: Answer) -> Result<(Stream, u64), Failure> {
    let most = match wanted {
        Answer::Full => SHOWN_MAX as u64,
        Answer::Brief => BRIEF_BYTES,
    };
    // Beginning and end; of whom little is wanted, the end.
    let most = (if wanted == Answer::Full { most / 2 } else { 0 }, most);
    let read = || match &captured.few {
        _ if captured.bytes == 0 => Ok((Stream::whole(Vec::new()), 0)),
        Some(few) => ends(Cursor::new(few), few.len() as u64, captured, most),
        None => {
            let file = File::open(path)?;
            let kept = file.metadata()?.len();
            ends(file, kept, captured, most)
        }
    };
    read().map_err(|error| Failure::file("read", path, error))
}

/// At most so many bytes of the beginning, and so many in all, of `kept`; and how many those were.
fn ends(
    mut from: impl Read + Seek,
    kept: u64,
    captured: &Captured,
    (of_head, most): (u64, u64),
) -> std::io::Result<(Stream, u64)> {
    if captured.cut_at.is_none() && captured.bytes == kept && kept <= most {
        let mut all = Vec::new();
        from.read_to_end(&mut all)?;
        return Ok((Stream::whole(all), kept));
    }
    let head = of_head.min(kept);
    let tail = (most - head).min(kept - head);
    let (mut first, mut last) = (Vec::new(), Vec::new());
    from.by_ref().take(head).read_to_end(&mut first)?;
    from.seek(SeekFrom::End(-i64::try_from(tail).unwrap_or(0)))?;
    from.take(tail).read_to_end(&mut last)?;
    let (bytes, blake3) = (captured.bytes, captured.blake3);
    Ok((Stream { bytes, blake3, head: first, tail: last, gap: None }, kept))
}

/// What a command used more of than it may.
fn beyond(bound: Bound) -> &'static str {
    match bound {
        Bound::Wall => "it took longer than it may",
        Bound::Cpu => "it used the processor for longer than it may",
        Bound::Memory => "it used more memory than it may",
        Bound::Scratch => "it wrote more than it may",
    }
}

/// One line of printable characters, no longer than it may be.
fn line(text: &str, most: usize) -> String {
    let mut line = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + c.len_utf8() > most {
            break;
        }
        line.push(c);
    }
    if line.is_empty() { "-".into() } else { line }
}
