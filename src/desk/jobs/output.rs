//! `job log`: what is here of what a command wrote, and how much is not.

use std::{fs::File, io::Read, path::PathBuf};

use postrider_base::{
    BundleId,
    packet::{Content, INLINE_MAX, JobResult, Stream},
};
use postrider_spool::{DurableSpool, Spool};

use crate::desk::{
    Desk, Failure, FailureKind, Watch, hex,
    inbox::find_note,
    ledger::{set_key, space},
    reply::OutputLine,
};

/// One of a command's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What is here of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub bytes: u64,
    pub blake3: [u8; 32],
    pub kept: Kept,
    /// Why something is missing, if it is.
    pub missing_why: Option<&'static str>,
}

/// The beginning and the end of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// In memory.
    Bytes { head: Vec<u8>, tail: Vec<u8> },
    /// In a file of the inbox; behind `gap` stands the end.
    File { path: PathBuf, bytes: u64, gap: u64 },
}

impl Which {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    fn of(self, result: &JobResult) -> &Stream {
        match self {
            Self::Stdout => &result.stdout,
            Self::Stderr => &result.stderr,
        }
    }
}

impl Desk {
    /// What is here of an output of a job's command.
    pub fn job_output(
        &self,
        id: &str,
        which: Which,
        watch: &dyn Watch,
    ) -> Result<OutputLine, Failure> {
        let spool = self.spool(watch)?;
        let id = find_note(spool, space::ISSUED, id, "job of mine")?;
        let Some((message, result)) = self.result_message(spool, &id)? else {
            let state = self.job_line(spool, &id, watch)?.state;
            let what = format!("that job is {state}: its output is not here yet");
            return Err(Failure::new(FailureKind::Failed, what)
                .next(format!("postrider job wait {id}, or look again later")));
        };
        let output = self.output_of(spool, &id, message, &result, which)?;
        let line = OutputLine {
            id: id.to_string(),
            stream: which.word().into(),
            bytes: output.bytes,
            blake3: hex(&output.blake3),
            missing: output.missing(),
            missing_why: output.missing_why.map(Into::into),
            ..OutputLine::default()
        };
        Ok(match output.kept {
            Kept::Bytes { head, tail } => OutputLine {
                head_bytes: head.len() as u64,
                tail_bytes: tail.len() as u64,
                head: hex(&head),
                tail: hex(&tail),
                ..line
            },
            Kept::File { path, bytes, gap } => OutputLine {
                file: Some(path.display().to_string()),
                head_bytes: gap,
                tail_bytes: bytes.saturating_sub(gap),
                ..line
            },
        })
    }

    /// As [`Self::job_output`], of a result that was found.
    pub(super) fn output_of(
        &self,
        spool: &DurableSpool,
        job: &BundleId,
        message: BundleId,
        result: &JobResult,
        which: Which,
    ) -> Result<Output, Failure> {
        let stream = which.of(result);
        let shown = |why| Output {
            bytes: stream.bytes,
            blake3: stream.blake3,
            kept: Kept::Bytes { head: stream.head.clone(), tail: stream.tail.clone() },
            missing_why: why,
        };
        if stream.is_whole() {
            return Ok(shown(None));
        }
        let Some((files, entry)) = result.files.as_ref().zip(result.file(which.word())) else {
            return Ok(shown(Some("not-sent")));
        };
        let before = files.files.iter().take_while(|file| *file != entry);
        let (n, start) = before.fold((0, 0), |(n, start), file| (n + 1, start + file.bytes));
        let gap = stream.gap.unwrap_or(entry.bytes);
        let kept = match &files.content {
            Content::Inline(bytes) => {
                let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
                let own = bytes.get(at(start)..at(start + entry.bytes)).unwrap_or_default();
                let (head, tail) = own.split_at_checked(at(gap)).unwrap_or((own, &[]));
                Kept::Bytes { head: head.to_vec(), tail: tail.to_vec() }
            }
            Content::Parts(parts) => {
                if spool.note(space::COMPLETE, &message.0)?.is_none() {
                    return Ok(shown(Some("on-the-way")));
                }
                let target = self.issued(spool, job)?.1;
                let author = target.as_slice().try_into().unwrap_or_default();
                let dir = self.inbox_dir().join(hex(&set_key(&author, &parts.set)));
                Kept::File { path: dir.join(format!("f{n}")), bytes: entry.bytes, gap }
            }
        };
        let missing_why = stream.gap.map(|_| "not-kept");
        Ok(Output { bytes: stream.bytes, blake3: stream.blake3, kept, missing_why })
    }
}

impl Output {
    /// Bytes that were written and are not here.
    pub(super) fn missing(&self) -> u64 {
        let here = match &self.kept {
            Kept::Bytes { head, tail } => (head.len() + tail.len()) as u64,
            Kept::File { bytes, .. } => *bytes,
        };
        self.bytes.saturating_sub(here)
    }

    /// The bytes before the gap and behind it, where they are not too many to be shown.
    fn ends(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match &self.kept {
            Kept::Bytes { head, tail } => Some((head.clone(), tail.clone())),
            Kept::File { path, bytes, gap } if *bytes <= INLINE_MAX => {
                let mut head = Vec::new();
                File::open(path).ok()?.take(*bytes).read_to_end(&mut head).ok()?;
                let gap = usize::try_from(*gap).unwrap_or(usize::MAX).min(head.len());
                let tail = head.split_off(gap);
                Some((head, tail))
            }
            Kept::File { .. } => None,
        }
    }
}

/// An output as text, for display: bytes that are none become a mark, and what is missing is said.
pub(super) fn as_text(output: Output) -> Option<String> {
    let (head, tail) = output.ends()?;
    let head = String::from_utf8_lossy(&head);
    match output.missing() {
        0 => Some(format!("{head}{}", String::from_utf8_lossy(&tail))),
        missing => {
            let tail = String::from_utf8_lossy(&tail);
            Some(format!("{head}\n[{missing} bytes are not here]\n{tail}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(bytes: u64, head: &[u8], tail: &[u8]) -> Output {
        let kept = Kept::Bytes { head: head.to_vec(), tail: tail.to_vec() };
        Output { bytes, blake3: [0; 32], kept, missing_why: None }
    }

    #[test]
    fn a_text_says_what_is_missing_and_only_that() {
        assert_eq!(as_text(output(3, b"abc", b"")).unwrap(), "abc");
        assert_eq!(as_text(output(2, b"a\xff", b"")).unwrap(), "a\u{fffd}");
        let cut = output(10, b"ab", b"yz");
        assert_eq!(cut.missing(), 6);
        assert_eq!(as_text(cut).unwrap(), "ab\n[6 bytes are not here]\nyz");
    }

    #[test]
    fn a_file_is_split_at_its_gap_and_one_that_is_long_is_no_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f0");
        std::fs::write(&path, "headtail").unwrap();
        let kept = |bytes| Kept::File { path: path.clone(), bytes, gap: 4 };
        let of =
            |bytes| Output { bytes: 20, blake3: [0; 32], kept: kept(bytes), missing_why: None };
        assert_eq!(as_text(of(8)).unwrap(), "head\n[12 bytes are not here]\ntail");
        assert_eq!(as_text(of(INLINE_MAX + 1)), None);
    }
}
