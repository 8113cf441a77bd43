//! A word about a job that is under way: between whoever wants it, who runs it, and who must agree.
//!
//! ```text
//! word = [job, 0, force]                       take it back; with force, end its command
//!      | [job, 1, approval]                    I agree to what this hash is of
//!      | [job, 2, answer]                      say again what became of it
//!      | [job, 3, fact, age s, why | null]     how it stands: held, admitted, started
//!      | [job, 4, issuer, handle, [word, ...], [blake3, ...], needed]    agree to this?
//! ```

use serde_bytes::ByteBuf;

use super::{
    PacketError,
    fields::{Few, digest, few, flag, holds, id, is_line},
    job::{ARGS_BYTES_MAX, Answer, Handle, JOB_FILES_MAX},
    result::WHY_MAX,
};
use crate::{
    domain,
    id::{BundleId, NodeId},
    wire,
};

/// A word's body is at most this long: a proposal's longest command, and the hashes of attachments.
pub const WORD_MAX: usize = 320 * 1024;
/// A command has at most so many words.
pub const ARGV_MAX: usize = 512;
/// A command's words are together at most this long: what its arguments may be, and as much again.
pub const ARGV_BYTES_MAX: usize = 2 * ARGS_BYTES_MAX;

/// Something said about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// About which.
    pub job: BundleId,
    /// What.
    pub said: Said,
}

/// What is said about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// By its issuer, or who may: take it back.
    Cancel {
        /// Also when its command runs.
        force: bool,
    },
    /// By one who must agree: yes to [`approval_of`].
    Approve([u8; 32]),
    /// By its issuer: say again what became of it.
    Ask(Answer),
    /// By its target: how it stands.
    Notice {
        /// What is so.
        fact: Fact,
        /// Since how many seconds.
        age_s: u64,
        /// Why, for a person, on one line.
        why: Option<String>,
    },
    /// By its target, to those who must agree.
    Propose(Proposal),
}

/// How a job stands that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It waits until somebody agrees or the clock is right.
    Held,
    /// It will be run when its turn comes.
    Admitted,
    /// Its command runs.
    Started,
}

/// What somebody must agree to: the command as it would run, which only the target knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Who wants it.
    pub issuer: NodeId,
    /// By which handle.
    pub handle: Handle,
    /// The command, as it would run.
    pub argv: Vec<Vec<u8>>,
    /// BLAKE3 of each attachment, standard input included.
    pub given: Vec<[u8; 32]>,
    /// How many must agree.
    pub needed: u8,
}

/// What one agrees to: this job, which says its attachments, and this command.
pub fn approval_of(job: &BundleId, argv: &[Vec<u8>]) -> [u8; 32] {
    // As a list of CBOR, in which no other words give the same bytes.
    let words: Vec<&serde_bytes::Bytes> =
        argv.iter().map(|word| serde_bytes::Bytes::new(word)).collect();
    domain::derive(domain::APPROVAL, &[&job.0, &wire::encode(&words)])
}

type Short<T> = (ByteBuf, u8, T);
type NoticeWire = (ByteBuf, u8, u8, u64, Option<String>);
type ProposalWire =
    (ByteBuf, u8, ByteBuf, String, Few<ByteBuf, ARGV_MAX>, Few<ByteBuf, JOB_FILES_MAX>, u8);

/// Where the number of what is said stands: behind the array's head and 32 bytes with theirs.
const NUMBER_AT: usize = 35;

impl Word {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let job = ByteBuf::from(self.job.0);
        match &self.said {
            Said::Cancel { force } => wire::encode::<Short<u8>>(&(job, 0, u8::from(*force))),
            Said::Approve(hash) => wire::encode::<Short<_>>(&(job, 1, ByteBuf::from(hash))),
            Said::Ask(answer) => wire::encode::<Short<u8>>(&(job, 2, answer.number())),
            Said::Notice { fact, age_s, why } => {
                wire::encode::<NoticeWire>(&(job, 3, fact.number(), *age_s, why.clone()))
            }
            Said::Propose(proposal) => wire::encode::<ProposalWire>(&(
                job,
                4,
                ByteBuf::from(*proposal.issuer.as_bytes()),
                proposal.handle.to_string(),
                few(&proposal.argv),
                few(&proposal.given),
                proposal.needed,
            )),
        }
    }

    /// Reads a body and checks every length in it.
    pub fn decode(body: &[u8]) -> Result<Self, PacketError> {
        if body.len() > WORD_MAX {
            return Err(PacketError::TooLong { limit: WORD_MAX, got: body.len() });
        }
        let (job, said) = match body.get(NUMBER_AT) {
            Some(0) => {
                let (job, _, force): Short<u8> = wire::decode(body)?;
                (job, Said::Cancel { force: flag(force, "force")? })
            }
            Some(1) => {
                let (job, _, hash): Short<ByteBuf> = wire::decode(body)?;
                (job, Said::Approve(digest(&hash, "approval")?))
            }
            Some(2) => {
                let (job, _, answer): Short<u8> = wire::decode(body)?;
                (job, Said::Ask(Answer::of(answer)?))
            }
            Some(3) => {
                let (job, _, fact, age_s, why): NoticeWire = wire::decode(body)?;
                (job, Said::Notice { fact: Fact::of(fact)?, age_s, why })
            }
            Some(4) => {
                let wire: ProposalWire = wire::decode(body)?;
                (wire.0.clone(), Said::Propose(Proposal::from_wire(wire)?))
            }
            _ => return Err(PacketError::Field("word")),
        };
        // Elsewhere the number would not have stood there.
        let word = Self { job: id(&job, "job")?, said };
        word.check()?;
        Ok(word)
    }

    /// Whether all that is within its bounds.
    pub fn check(&self) -> Result<(), PacketError> {
        match &self.said {
            Said::Cancel { .. } | Said::Approve(_) | Said::Ask(_) => Ok(()),
            Said::Notice { why, .. } => {
                holds(why.as_ref().is_none_or(|why| is_line(why, WHY_MAX)), "why")
            }
            Said::Propose(proposal) => {
                let argv = &proposal.argv;
                let bytes: usize = argv.iter().map(Vec::len).sum();
                let fits = (1..=ARGV_MAX).contains(&argv.len())
                    && bytes <= ARGV_BYTES_MAX
                    && !argv.iter().any(|word| word.contains(&0));
                holds(fits, "command")?;
                holds(proposal.given.len() <= JOB_FILES_MAX, "given")?;
                holds(proposal.needed > 0, "needed")
            }
        }
    }
}

impl Fact {
    fn number(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Admitted => 1,
            Self::Started => 2,
        }
    }

    fn of(number: u8) -> Result<Self, PacketError> {
        Ok(match number {
            0 => Self::Held,
            1 => Self::Admitted,
            2 => Self::Started,
            _ => return Err(PacketError::Field("fact")),
        })
    }
}

impl Proposal {
    fn from_wire(wire: ProposalWire) -> Result<Self, PacketError> {
        let (_, _, issuer, handle, argv, given, needed) = wire;
        Ok(Self {
            issuer: NodeId::from_bytes(&issuer).map_err(|_| PacketError::Field("issuer"))?,
            handle: handle.parse()?,
            argv: argv.0.into_iter().map(ByteBuf::into_vec).collect(),
            given: given.0.iter().map(|hash| digest(hash, "given")).collect::<Result<_, _>>()?,
            needed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeSecret;

    fn proposal() -> Proposal {
        Proposal {
            issuer: NodeSecret::from_seed([1; 32]).id(),
            handle: "pump.restart".parse().unwrap(),
            argv: vec![b"/usr/bin/pump".to_vec(), b"".to_vec(), b"\xff\n".to_vec()],
            given: vec![[7; 32], [8; 32]],
            needed: 2,
        }
    }

    fn word(said: Said) -> Word {
        Word { job: BundleId([5; 32]), said }
    }

    #[test]
    fn every_word_round_trips_and_no_prefix_of_one_is_one() {
        let notice = |fact| Said::Notice { fact, age_s: 10_800, why: None };
        for said in [
            Said::Cancel { force: false },
            Said::Cancel { force: true },
            Said::Approve([3; 32]),
            Said::Ask(Answer::Full),
            Said::Ask(Answer::Brief),
            Said::Notice { fact: Fact::Held, age_s: 0, why: Some("1 of 2 agree".into()) },
            notice(Fact::Admitted),
            notice(Fact::Started),
            Said::Propose(proposal()),
        ] {
            let bytes = word(said.clone()).encode();
            assert_eq!(Word::decode(&bytes), Ok(word(said)));
            for cut in 0..bytes.len() {
                assert!(Word::decode(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_out_of_its_bounds_is_refused() {
        type Change = fn(&mut Proposal);
        let cases: [(&str, Change); 4] = [
            ("command", |it| it.argv.clear()),
            ("command", |it| it.argv = vec![vec![b'x'; ARGV_BYTES_MAX + 1]]),
            ("command", |it| it.argv[1] = vec![0]),
            ("needed", |it| it.needed = 0),
        ];
        for (field, change) in cases {
            let mut proposal = proposal();
            change(&mut proposal);
            let bytes = word(Said::Propose(proposal)).encode();
            assert_eq!(Word::decode(&bytes), Err(PacketError::Field(field)));
        }
        let notice = Said::Notice { fact: Fact::Held, age_s: 0, why: Some("a\rb".into()) };
        assert_eq!(Word::decode(&word(notice).encode()), Err(PacketError::Field("why")));
        let mut unknown = word(Said::Ask(Answer::Full)).encode();
        unknown[NUMBER_AT] = 5;
        assert_eq!(Word::decode(&unknown), Err(PacketError::Field("word")));
    }

    #[test]
    fn an_approval_is_of_one_job_and_one_command() {
        let argv = |words: &[&str]| words.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
        let of = |job: u8, words: &[&str]| approval_of(&BundleId([job; 32]), &argv(words));
        let this = of(1, &["/bin/a", "b", "c"]);
        assert_eq!(this, of(1, &["/bin/a", "b", "c"]));
        for other in [
            of(2, &["/bin/a", "b", "c"]),
            of(1, &["/bin/a", "bc"]),
            of(1, &["/bin/a", "b", "", "c"]),
            of(1, &["/bin/a", "c", "b"]),
        ] {
            assert_ne!(this, other);
        }
    }
}
