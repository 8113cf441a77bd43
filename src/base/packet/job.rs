//! A job: what somebody asks a node to run, by the name that this node gave it.
//!
//! ```text
//! job   = [handle, [argument, ...], turn, answer, manifest | null, stdin | null, fleet | null, rerun of | null]
//! turn  = [queue | null, [after, ...], if ok, patience, then, supersedes | null, age, not before | null, not after | null]
//! fleet = [name, place, of, canary, failures]
//! ```
//!
//! It has no number of its own: the bundle's sequence counts per destination, without gaps, and the
//! bundle's id is the job's. What is run, and whether, the node decides that is asked.

use std::{fmt, str::FromStr};

use serde_bytes::ByteBuf;

use super::{
    PacketError,
    fields::{Few, few, flag, holds, id},
    manifest::Manifest,
};
use crate::{id::BundleId, wire};

/// A job's body is at most this long: everything but hashes of parts fits in half of it, and the
/// other half is for those. Whatever is within the bounds below is within this one.
pub const JOB_MAX: usize = 1 << 20;
/// A handle is at most this long, and so are names of queues and of fleets.
pub const HANDLE_MAX: usize = 64;
/// A job has at most so many arguments.
pub const ARGS_MAX: usize = 256;
/// An argument is at most this long. Linux takes 128 KiB.
pub const ARG_MAX: usize = 64 * 1024;
/// The arguments of a job are together at most this long. Linux takes 2 MiB, the environment included.
pub const ARGS_BYTES_MAX: usize = 128 * 1024;
/// A job waits for at most so many others.
pub const AFTER_MAX: usize = 16;
/// A job has at most so many attachments: as many as arguments that could name them.
pub const JOB_FILES_MAX: usize = 256;
/// Attachments, or what was kept of outputs, come in at most so many parts: 128 GiB as they are cut.
pub const JOB_PARTS_MAX: usize = 16_384;
/// A fleet has at most so many nodes: each is sent a bundle of its own.
pub const FLEET_MAX: u32 = 65_536;

/// What a node calls something that it runs: 1 to 64 of `a-z 0-9 . _ -`, a letter or digit first.
///
/// So it is a word on every command line, a key in every file, and no path. Queues and fleets are
/// called alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(String);

/// What somebody asks a node to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What to run.
    pub handle: Handle,
    /// What fills the slots of the handle's command, without a zero byte.
    pub args: Vec<Vec<u8>>,
    /// When.
    pub turn: Turn,
    /// How much of its output comes back.
    pub answer: Answer,
    /// Attachments. Each has one component as its path, and there are no directories and no text.
    pub files: Option<Manifest>,
    /// Which of the attachments is its standard input.
    pub stdin: Option<u32>,
    /// The fleet for which it is run.
    pub fleet: Option<Fleet>,
    /// The job that it repeats.
    pub rerun_of: Option<BundleId>,
}

/// When a job is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// In this queue of the issuer's jobs come one after the other.
    pub queue: Option<Handle>,
    /// After these jobs.
    pub after: Vec<BundleId>,
    /// Only if all of those ended well.
    pub if_ok: bool,
    /// How long it waits for those before it, in seconds.
    pub patience_s: u32,
    /// What becomes of it then.
    pub then: Then,
    /// It takes the place of those of the issuer's with this key that have not begun.
    pub supersedes: Option<Handle>,
    /// How old it may be when it begins, in seconds on the way and waiting; above 0.
    pub age_s: u32,
    /// Not before this time, in Unix seconds.
    pub not_before: Option<u64>,
    /// Not after this time, in Unix seconds.
    pub not_after: Option<u64>,
}

/// What becomes of a job that has waited long enough for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is run.
    Run,
    /// It is never run.
    Skip,
    /// It waits for somebody to say.
    Hold,
}

/// How much of a command's output comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All that was kept.
    Full,
    /// How it ended and its last words, for a narrow link.
    Brief,
}

/// Of which fleet a job's target is a part, and when the rest of it is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// What the issuer calls this run over the fleet.
    pub name: Handle,
    /// This target's place, from 0.
    pub place: u32,
    /// How many targets there are.
    pub of: u32,
    /// How many of the first go ahead of the others.
    pub canary: u32,
    /// After so many failures nobody else begins.
    pub failures: u32,
}

type TurnWire = (
    Option<String>,
    Few<ByteBuf, AFTER_MAX>,
    u8,
    u32,
    u8,
    Option<String>,
    u32,
    Option<u64>,
    Option<u64>,
);
type FleetWire = (String, u32, u32, u32, u32);
type JobWire = (
    String,
    Few<ByteBuf, ARGS_MAX>,
    TurnWire,
    u8,
    Option<ByteBuf>,
    Option<u32>,
    Option<FleetWire>,
    Option<ByteBuf>,
);

impl Handle {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Handle {
    type Err = PacketError;

    fn from_str(text: &str) -> Result<Self, PacketError> {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
        let first = text.bytes().next();
        let good = (1..=HANDLE_MAX).contains(&text.len())
            && text.bytes().all(fits)
            && first.is_some_and(|c| c.is_ascii_alphanumeric());
        holds(good, "handle").map(|()| Self(text.to_owned()))
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Job {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode::<JobWire>(&(
            self.handle.to_string(),
            few(&self.args),
            self.turn.to_wire(),
            self.answer.number(),
            self.files.as_ref().map(|files| ByteBuf::from(files.encode())),
            self.stdin,
            self.fleet.as_ref().map(Fleet::to_wire),
            self.rerun_of.map(|job| ByteBuf::from(job.0)),
        ))
    }

    /// Reads a body and checks every length in it.
    pub fn decode(body: &[u8]) -> Result<Self, PacketError> {
        if body.len() > JOB_MAX {
            return Err(PacketError::TooLong { limit: JOB_MAX, got: body.len() });
        }
        let (handle, args, turn, answer, files, stdin, fleet, rerun_of): JobWire =
            wire::decode(body)?;
        let job = Self {
            handle: handle.parse()?,
            args: args.0.into_iter().map(ByteBuf::into_vec).collect(),
            turn: Turn::from_wire(turn)?,
            answer: Answer::of(answer)?,
            files: files.map(|files| Manifest::decode(&files)).transpose()?,
            stdin,
            fleet: fleet.map(Fleet::from_wire).transpose()?,
            rerun_of: rerun_of.map(|job| id(&job, "rerun of")).transpose()?,
        };
        job.check()?;
        Ok(job)
    }

    /// Whether all that is within its bounds; asked of one's own before it is sealed, and of others'
    /// when they are read.
    pub fn check(&self) -> Result<(), PacketError> {
        let fits = |arg: &Vec<u8>| arg.len() <= ARG_MAX && !arg.contains(&0);
        let bytes: usize = self.args.iter().map(Vec::len).sum();
        holds(
            self.args.len() <= ARGS_MAX && bytes <= ARGS_BYTES_MAX && self.args.iter().all(fits),
            "arguments",
        )?;
        self.turn.check()?;
        if let Some(files) = &self.files {
            let plain = files.files.iter().all(|file| file.path.len() == 1 && !file.directory);
            let few = files.files.len() <= JOB_FILES_MAX;
            holds(plain && few && files.text.is_none() && has_few_parts(files), "attachments")?;
        }
        let files = self.files.as_ref().map_or(0, |files| files.files.len());
        let there = |at: u32| usize::try_from(at).is_ok_and(|at| at < files);
        holds(self.stdin.is_none_or(there), "stdin")?;
        self.fleet.as_ref().map_or(Ok(()), Fleet::check)
    }
}

/// Whether the bytes of files come in no more parts than those of a job may.
pub(super) fn has_few_parts(files: &Manifest) -> bool {
    files.parts().is_none_or(|parts| parts.hashes.len() <= JOB_PARTS_MAX)
}

impl Turn {
    /// At once, if it is not older than that.
    pub fn now(age_s: u32) -> Self {
        Self {
            queue: None,
            after: Vec::new(),
            if_ok: false,
            patience_s: 0,
            then: Then::Skip,
            supersedes: None,
            age_s,
            not_before: None,
            not_after: None,
        }
    }

    fn check(&self) -> Result<(), PacketError> {
        holds(self.after.len() <= AFTER_MAX, "after")?;
        holds(!self.if_ok || !self.after.is_empty(), "if ok")?;
        holds(self.age_s > 0, "age")?;
        let ends = self.not_before.zip(self.not_after).is_none_or(|(from, to)| from <= to);
        holds(ends, "not after")
    }

    fn to_wire(&self) -> TurnWire {
        let text = |handle: &Option<Handle>| handle.as_ref().map(ToString::to_string);
        let then = match self.then {
            Then::Run => 0,
            Then::Skip => 1,
            Then::Hold => 2,
        };
        (
            text(&self.queue),
            few(self.after.iter().map(|id| id.0)),
            u8::from(self.if_ok),
            self.patience_s,
            then,
            text(&self.supersedes),
            self.age_s,
            self.not_before,
            self.not_after,
        )
    }

    fn from_wire(wire: TurnWire) -> Result<Self, PacketError> {
        let (queue, after, if_ok, patience_s, then, supersedes, age_s, not_before, not_after) =
            wire;
        Ok(Self {
            queue: queue.map(|queue| queue.parse()).transpose()?,
            after: after.0.iter().map(|job| id(job, "after")).collect::<Result<_, _>>()?,
            if_ok: flag(if_ok, "if ok")?,
            patience_s,
            then: match then {
                0 => Then::Run,
                1 => Then::Skip,
                2 => Then::Hold,
                _ => return Err(PacketError::Field("then")),
            },
            supersedes: supersedes.map(|key| key.parse()).transpose()?,
            age_s,
            not_before,
            not_after,
        })
    }
}

impl Answer {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Full => 0,
            Self::Brief => 1,
        }
    }

    pub(super) fn of(number: u8) -> Result<Self, PacketError> {
        Ok(if flag(number, "answer")? { Self::Brief } else { Self::Full })
    }
}

impl Fleet {
    fn check(&self) -> Result<(), PacketError> {
        let fits = self.of <= FLEET_MAX && self.place < self.of && self.canary <= self.of;
        holds(fits, "fleet")
    }

    fn to_wire(&self) -> FleetWire {
        (self.name.to_string(), self.place, self.of, self.canary, self.failures)
    }

    fn from_wire((name, place, of, canary, failures): FleetWire) -> Result<Self, PacketError> {
        Ok(Self { name: name.parse()?, place, of, canary, failures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::SetId,
        packet::{Content, FileEntry, PartList},
    };

    fn job() -> Job {
        Job {
            handle: "pump.restart".parse().unwrap(),
            args: vec![b"3".to_vec(), vec![0xff, b'\n'], vec![]],
            turn: Turn {
                queue: Some("pumps".parse().unwrap()),
                after: vec![BundleId([7; 32])],
                if_ok: true,
                patience_s: 60,
                then: Then::Hold,
                supersedes: Some("pump-config".parse().unwrap()),
                not_before: Some(1_800_000_000),
                not_after: Some(1_800_000_000),
                ..Turn::now(86_400)
            },
            answer: Answer::Brief,
            files: Some(Manifest {
                text: None,
                files: vec![FileEntry {
                    path: vec!["in".into()],
                    bytes: 2,
                    blake3: *blake3::hash(b"hi").as_bytes(),
                    mtime: None,
                    executable: false,
                    directory: false,
                }],
                content: Content::Inline(b"hi".to_vec()),
            }),
            stdin: Some(0),
            fleet: Some(Fleet {
                name: "pumps-2026".parse().unwrap(),
                place: 3,
                of: 4,
                canary: 1,
                failures: 1,
            }),
            rerun_of: Some(BundleId([9; 32])),
        }
    }

    #[test]
    fn a_job_round_trips_and_no_prefix_of_it_is_one() {
        let least = Job {
            args: vec![],
            turn: Turn::now(1),
            answer: Answer::Full,
            files: None,
            stdin: None,
            fleet: None,
            rerun_of: None,
            ..job()
        };
        for job in [job(), least] {
            let bytes = job.encode();
            assert_eq!(Job::decode(&bytes), Ok(job));
            for cut in 0..bytes.len() {
                assert!(Job::decode(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn a_handle_is_a_word_on_every_command_line_and_no_path() {
        for good in ["a", "7", "backup.daily", "a_b-c", &"x".repeat(64)] {
            assert_eq!(good.parse::<Handle>().unwrap().as_str(), good);
        }
        for wrong in ["", "-a", ".", "..", "_a", "A", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(wrong.parse::<Handle>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_out_of_its_bounds_is_refused_by_name() {
        type Change = fn(&mut Job);
        let cases: [(&str, Change); 13] = [
            ("arguments", |job| job.args = vec![vec![b'x'; ARG_MAX + 1]]),
            ("arguments", |job| job.args = vec![vec![b'x'; ARG_MAX]; 3]),
            ("arguments", |job| job.args = vec![b"a\0b".to_vec()]),
            ("if ok", |job| job.turn.after.clear()),
            ("age", |job| job.turn.age_s = 0),
            ("not after", |job| job.turn.not_after = Some(1_799_999_999)),
            ("stdin", |job| job.stdin = Some(1)),
            ("stdin", |job| job.files = None),
            ("attachments", |job| job.files.as_mut().unwrap().text = Some("x".into())),
            ("attachments", |job| {
                job.files.as_mut().unwrap().files[0].path = vec!["a".into(), "b".into()];
            }),
            ("fleet", |job| job.fleet.as_mut().unwrap().place = 4),
            ("fleet", |job| job.fleet.as_mut().unwrap().canary = 5),
            ("fleet", |job| job.fleet.as_mut().unwrap().of = FLEET_MAX + 1),
        ];
        for (field, change) in cases {
            let mut job = job();
            change(&mut job);
            assert_eq!(Job::decode(&job.encode()), Err(PacketError::Field(field)));
        }
        for change in [(|job| job.args = vec![vec![]; ARGS_MAX + 1]) as Change, |job| {
            job.turn.after = vec![BundleId([1; 32]); AFTER_MAX + 1]
        }] {
            let mut job = job();
            change(&mut job);
            assert!(matches!(Job::decode(&job.encode()), Err(PacketError::Wire(_))));
        }
        // The most of everything that is within the bounds is within the body's, and no part more.
        let in_parts = |count: usize| {
            let (arg, total) = (vec![b'x'; ARGS_BYTES_MAX / ARGS_MAX], (count as u64) << 20);
            let name = "n".repeat(255);
            let mut entry = FileEntry { path: vec![name], ..job().files.unwrap().files.remove(0) };
            let mut files = vec![FileEntry { bytes: 0, ..entry.clone() }; JOB_FILES_MAX - 1];
            entry.bytes = total;
            files.push(entry);
            let content = Content::Parts(PartList {
                set: SetId([1; 16]),
                part_bytes: 1 << 20,
                total_bytes: total,
                hashes: vec![[1; 32]; count],
            });
            let files = Some(Manifest { text: None, files, content });
            Job::decode(&Job { args: vec![arg; ARGS_MAX], files, ..job() }.encode()).map(drop)
        };
        assert_eq!(in_parts(JOB_PARTS_MAX), Ok(()));
        assert_eq!(in_parts(JOB_PARTS_MAX + 1), Err(PacketError::Field("attachments")));
        let long = vec![0; JOB_MAX + 1];
        assert!(matches!(Job::decode(&long), Err(PacketError::TooLong { .. })));
    }
}
