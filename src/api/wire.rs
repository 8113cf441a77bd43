//! Replies as lines of JSON, there and back: the objects of the command line's contract.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::desk::{
    Event, Failure, FailureKind, Unit,
    reply::{
        AllowLine, AllowVerdict, AuditChecked, AuditLine, CardLine, Checked, Coming, ContactLine,
        DaemonLine, DraftLine, ErrorLine, Finding, FleetLine, Happening, Identity, JobLine,
        JobReleased, Line, LinkLine, MemberLine, OutputLine, PeerLine, Ponged, ProposalLine,
        Queued, Reason, Received, RequestLine, RosterFile, RosterLine, Said, Saved, Sent,
        ShareLine, Shown, Status, Summary, TargetLine, Tossed, Traced, TrialLine,
    },
};

/// Takes lines, each with its newline.
pub(super) type Out<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Failure>;
/// Gives lines without their newlines, progress left out, until there is none.
pub(super) type Lines<'a> = &'a mut dyn FnMut() -> Result<Option<Vec<u8>>, Failure>;

/// One object of the contract.
pub trait Object: Serialize + DeserializeOwned {
    /// Its `type`.
    const TYPE: &'static str;
}

macro_rules! objects {
    ($($object:ident $type:literal),+ $(,)?) => {
        $(impl Object for $object { const TYPE: &'static str = $type; })+
    };
}

objects! {
    AllowLine "allow", AllowVerdict "allow", AuditChecked "audit-checked", AuditLine "audit", CardLine "card", Checked "summary", ContactLine "contact", DaemonLine "daemon",
    Finding "finding", FleetLine "fleet", Happening "event", Identity "identity", JobLine "job", LinkLine "link",
    Coming "arriving", DraftLine "draft", Said "message",
    OutputLine "output", JobReleased "job-released", ProposalLine "proposal", TrialLine "trial",
    MemberLine "member", PeerLine "peer", RosterFile "roster-file", RosterLine "roster",
    Ponged "pong", Queued "bundle", Reason "reason", Received "message", Saved "saved",
    RequestLine "request", Sent "message", ShareLine "share", Shown "bundle", Status "status", TargetLine "target", Tossed "summary", Traced "event",
}

/// What a verb replies: one object, or a list that ends in a summary.
pub trait Reply: Sized {
    /// The `type` of its objects.
    const TYPE: &'static str;
    /// Whether there may be any number of them.
    const LIST: bool;

    /// Writes it.
    fn tell(&self, verb: &'static str, out: Out<'_>) -> Result<(), Failure>;

    /// Reads it.
    fn read(lines: Lines<'_>) -> Result<Self, Failure>;
}

impl<T: Object> Reply for T {
    const TYPE: &'static str = T::TYPE;
    const LIST: bool = false;

    fn tell(&self, _: &'static str, out: Out<'_>) -> Result<(), Failure> {
        out(&line(self)?)
    }

    fn read(lines: Lines<'_>) -> Result<Self, Failure> {
        let line = lines()?.ok_or_else(cut)?;
        match kind(&line)?.as_str() {
            "error" => Err(parse::<ErrorLine>(&line)?.into()),
            _ => parse(&line),
        }
    }
}

impl<T: Object> Reply for Vec<T> {
    const TYPE: &'static str = T::TYPE;
    const LIST: bool = true;

    fn tell(&self, verb: &'static str, out: Out<'_>) -> Result<(), Failure> {
        self.iter().try_for_each(|object| out(&line(object)?))?;
        out(&line(&Summary { verb: verb.into(), count: self.len() })?)
    }

    fn read(lines: Lines<'_>) -> Result<Self, Failure> {
        let mut all = Self::new();
        loop {
            let line = lines()?.ok_or_else(cut)?;
            match kind(&line)?.as_str() {
                "error" => return Err(parse::<ErrorLine>(&line)?.into()),
                "summary" => return Ok(all),
                _ => all.push(parse(&line)?),
            }
        }
    }
}

/// What became of the messages of a batch, in order.
#[derive(Debug)]
pub struct Outcomes(pub Vec<Result<Sent, Failure>>);

impl Reply for Outcomes {
    const TYPE: &'static str = "message";
    const LIST: bool = true;

    fn tell(&self, verb: &'static str, out: Out<'_>) -> Result<(), Failure> {
        for outcome in &self.0 {
            match outcome {
                Ok(sent) => out(&line(sent)?)?,
                Err(failure) => out(&line(&ErrorLine::from(failure))?)?,
            }
        }
        out(&line(&Summary { verb: verb.into(), count: self.0.len() })?)
    }

    fn read(lines: Lines<'_>) -> Result<Self, Failure> {
        let mut all = Vec::new();
        while let Some(line) = lines()? {
            match kind(&line)?.as_str() {
                "error" => all.push(Err(parse::<ErrorLine>(&line)?.into())),
                "summary" => return Ok(Self(all)),
                _ => all.push(Ok(parse(&line)?)),
            }
        }
        // Without a summary the last word is why the whole batch ended.
        Err(all.pop().and_then(Result::err).unwrap_or_else(cut))
    }
}

/// An object as a line.
pub(super) fn line<T: Serialize>(object: &T) -> Result<Vec<u8>, Failure> {
    let mut line = serde_json::to_vec(&Line::new(object)).map_err(|error| {
        Failure::new(FailureKind::Fault, "a reply cannot be written").because(error)
    })?;
    line.push(b'\n');
    Ok(line)
}

/// The `type` of a line.
pub(super) fn kind(line: &[u8]) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Typed {
        r#type: String,
    }
    parse::<Typed>(line).map(|typed| typed.r#type)
}

/// Reads a line.
pub(super) fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(line).map_err(|error| {
        Failure::new(FailureKind::Failed, "the daemon answers what this version does not know")
            .next("it may be another version: postrider down, then postrider up")
            .because(error)
    })
}

/// The answer ended before it was whole.
pub(super) fn cut() -> Failure {
    Failure::new(FailureKind::Failed, "the daemon went away before it had answered")
        .next("what was acknowledged is safe; see postrider status, and postrider up")
}

/// Progress on its way to who watches.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "type", rename = "progress")]
pub(super) struct Progress {
    #[serde(flatten)]
    event: Step,
}

#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Step {
    Begin { what: String, total: Option<u64>, unit: Counted },
    Advance { n: u64 },
    End,
    Waiting,
    Note { text: String },
    Warn { text: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Counted {
    Bytes,
    Items,
}

impl From<Event> for Progress {
    fn from(event: Event) -> Self {
        let event = match event {
            Event::Begin { what, total, unit: Unit::Bytes } => {
                Step::Begin { what, total, unit: Counted::Bytes }
            }
            Event::Begin { what, total, unit: Unit::Items } => {
                Step::Begin { what, total, unit: Counted::Items }
            }
            Event::Advance(n) => Step::Advance { n },
            Event::End => Step::End,
            Event::Waiting => Step::Waiting,
            Event::Note(text) => Step::Note { text },
            Event::Warn(text) => Step::Warn { text },
        };
        Self { event }
    }
}

impl From<Progress> for Event {
    fn from(progress: Progress) -> Self {
        match progress.event {
            Step::Begin { what, total, unit: Counted::Bytes } => {
                Self::Begin { what, total, unit: Unit::Bytes }
            }
            Step::Begin { what, total, unit: Counted::Items } => {
                Self::Begin { what, total, unit: Unit::Items }
            }
            Step::Advance { n } => Self::Advance(n),
            Step::End => Self::End,
            Step::Waiting => Self::Waiting,
            Step::Note { text } => Self::Note(text),
            Step::Warn { text } => Self::Warn(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(lines: &str) -> impl FnMut() -> Result<Option<Vec<u8>>, Failure> {
        let mut lines: Vec<Vec<u8>> = lines.lines().rev().map(|l| l.as_bytes().to_vec()).collect();
        move || Ok(lines.pop())
    }

    fn sent(id: &str) -> Sent {
        Sent { id: id.into(), to: "Bob".into(), state: "saved".into(), bytes: 2, supersedes: None }
    }

    fn told<R: Reply>(reply: &R) -> String {
        let mut all = Vec::new();
        reply
            .tell("verb", &mut |line| {
                all.extend_from_slice(line);
                Ok(())
            })
            .unwrap();
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn a_list_reads_back_and_ends_in_its_summary() {
        let list = vec![sent("aa"), sent("bb")];
        let lines = told(&list);
        assert_eq!(
            lines.lines().last().unwrap(),
            r#"{"v":1,"type":"summary","verb":"verb","count":2}"#
        );
        let read = Vec::<Sent>::read(&mut reader(&lines)).unwrap();
        assert_eq!(read.iter().map(|sent| &*sent.id).collect::<Vec<_>>(), ["aa", "bb"]);
        let cut = lines.lines().next().unwrap();
        assert!(Vec::<Sent>::read(&mut reader(cut)).is_err(), "without its summary it is no list");
    }

    #[test]
    fn a_failure_keeps_its_kind_its_causes_and_its_advice() {
        let cause = std::io::Error::other("the disk is on fire");
        let failure = Failure::new(FailureKind::Full, "no room").next("go away").because(cause);
        let lines = line(&ErrorLine::from(&failure)).unwrap();
        let read = Sent::read(&mut reader(std::str::from_utf8(&lines).unwrap())).unwrap_err();
        assert_eq!((read.kind, &*read.what), (FailureKind::Full, "no room"));
        assert_eq!(read.next.as_deref(), Some("go away"));
        assert_eq!(read.causes(), failure.causes());
    }

    #[test]
    fn a_batch_keeps_the_order_of_what_went_and_what_did_not() {
        let failure = Failure::new(FailureKind::Unknown, "no Carol");
        let lines = told(&Outcomes(vec![Ok(sent("aa")), Err(failure), Ok(sent("bb"))]));
        let read = Outcomes::read(&mut reader(&lines)).unwrap().0;
        assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        let alone = line(&ErrorLine::from(&Failure::new(FailureKind::Full, "full"))).unwrap();
        let whole = Outcomes::read(&mut reader(std::str::from_utf8(&alone).unwrap())).unwrap_err();
        assert_eq!(whole.kind, FailureKind::Full);
    }

    #[test]
    fn progress_reads_back() {
        for event in [
            Event::Begin { what: "x".into(), total: Some(3), unit: Unit::Bytes },
            Event::Begin { what: "x".into(), total: None, unit: Unit::Items },
            Event::Advance(7),
            Event::End,
            Event::Waiting,
            Event::Note("n".into()),
            Event::Warn("w".into()),
        ] {
            let line = line(&Progress::from(event.clone())).unwrap();
            assert_eq!(kind(&line).unwrap(), "progress");
            assert_eq!(Event::from(parse::<Progress>(&line).unwrap()), event);
        }
    }

    #[test]
    fn what_is_no_reply_is_a_failure() {
        for wrong in ["", "x", "{}", "[]", r#"{"type":7}"#, r#"{"type":"message"}"#] {
            assert!(Sent::read(&mut reader(wrong)).is_err(), "{wrong}");
        }
    }
}
