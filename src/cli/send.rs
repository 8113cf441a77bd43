//! `send`: queue a message.

use std::{
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use postrider_base::{BundleId, Lifetime, Niceness};

use super::{
    Context, Ended, Stop,
    asker::Asker,
    batch, draft,
    failure::{object_with_code, usage},
    output::Loudness,
    parse, text,
};
use crate::{
    api::{self, Events},
    desk::{Failure, FailureKind, SendRequest, reply::Sent},
};

/// How long `--wait` waits where nothing is said: a message over a link takes seconds.
pub(super) const WAIT_TIME: Duration = Duration::from_secs(60);
/// How often a message is looked at where there is no daemon to tell of it.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// `--wait` ran out; the message is queued. The desk waits for nothing, so the code is ours.
pub(super) const WAIT_RAN_OUT: u8 = 7;
/// A text is read up to here, to say how large it is; the desk's own limit is far lower.
const TEXT_READ_MAX: u64 = 4 << 20;

/// Queue a message, files or a directory; when this returns it survives power loss
#[derive(Debug, Args)]
#[command(after_help = "\
Without TEXT and FILE the text comes from standard input.

Examples:
  postrider send Bob 'We are at the school'
  postrider send Bob -f film.mkv -f photos/ --bulk --ttl 90d
  postrider send --batch < objects       one {\"to\":…, \"text\":… or \"file\":…} per line")]
pub(super) struct Send {
    /// To whom: a contact's name or id
    #[arg(required_unless_present = "batch")]
    who: Option<String>,
    #[command(flatten)]
    letter: Letter,
    /// The message that this answers
    #[arg(long, value_name = "ID")]
    reply: Option<String>,
    /// Through these, in this order
    #[arg(long, value_name = "A,B", hide = true)]
    via: Option<String>,
    /// Many messages: one JSON object per line on standard input, one per line back
    #[arg(
        long,
        conflicts_with_all = ["who", "text", "files", "reply", "supersede", "wait", "draft"]
    )]
    batch: bool,
}

/// What is sent, and how.
#[derive(Debug, Args)]
pub(super) struct Letter {
    /// The text (- is standard input)
    text: Option<String>,
    /// A file or directory to send; may be given several times
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    urgency: Urgency,
    /// How long it lives: 30d, 12h, 90m, 3600s [default: as configured]
    #[arg(long, value_name = "TIME", value_parser = parse::lifetime)]
    ttl: Option<Lifetime>,
    /// Let nobody on the way see who writes to whom
    #[arg(long)]
    hidden: bool,
    /// A message of mine whose place it takes, unless that was received
    #[arg(long, value_name = "ID")]
    supersede: Option<String>,
    /// Return when it is saved, carried or delivered [default: saved]
    #[arg(
        long,
        value_enum,
        value_name = "STATE",
        default_value_t = Wait::Saved,
        hide_default_value = true,
        hide_possible_values = true
    )]
    wait: Wait,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    timeout: Option<Duration>,
    /// Keep it as a draft, and send nothing
    #[arg(long, conflicts_with_all = ["supersede", "wait", "timeout"])]
    draft: bool,
}

/// How urgent something is.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Urgency {
    /// Niceness, 1 (first) to 255 (last) [default: 160]
    #[arg(long, value_name = "N", value_parser = parse::niceness)]
    nice: Option<Niceness>,
    /// A call for help: before everything else
    #[arg(long)]
    sos: bool,
    /// Before what is normal
    #[arg(long)]
    urgent: bool,
    /// When there is room
    #[arg(long)]
    bulk: bool,
}

/// The states that can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wait {
    Saved,
    Carried,
    Delivered,
}

impl Wait {
    const fn word(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Carried => "carried",
            Self::Delivered => "delivered",
        }
    }
}

impl Urgency {
    pub(super) fn niceness(&self) -> Option<Niceness> {
        let named = [
            (self.sos, Niceness::FLASH),
            (self.urgent, Niceness::PRIORITY),
            (self.bulk, Niceness::BULK),
        ];
        self.nice.or_else(|| named.into_iter().find(|(on, _)| *on).map(|(_, nice)| nice))
    }
}

impl Send {
    pub(super) fn run(self, context: &Context) -> Ended {
        if self.via.is_some() {
            return Err(usage(
                "a way cannot be chosen in this version",
                "nothing was sent; without --via the message goes with every stick that can help",
            ));
        }
        let asker = context.asker()?;
        let Some(who) = self.who else {
            let Letter { urgency, ttl: lifetime, hidden, .. } = &self.letter;
            let (nice, hidden) = (urgency.niceness(), hidden.then_some(true));
            return batch::run(
                &asker,
                &batch::Defaults { nice, lifetime: *lifetime, hidden },
                context,
            );
        };
        let text = self.letter.read_text()?;
        let answered = match &self.reply {
            Some(digits) => api::bundle_id(&asker.ask(api::MessageShow { id: digits.clone() })?.id),
            None => None,
        };
        self.letter.send(context, asker, who, text, answered)
    }
}

impl Letter {
    /// Only what it says.
    pub(super) fn plain(text: Option<String>, files: Vec<PathBuf>) -> Self {
        let urgency = Urgency { nice: None, sos: false, urgent: false, bulk: false };
        let (supersede, wait, draft) = (None, Wait::Saved, true);
        Self {
            text,
            files,
            urgency,
            ttl: None,
            hidden: false,
            supersede,
            wait,
            timeout: None,
            draft,
        }
    }

    /// Keeps it as a draft.
    pub(super) fn keep(&self, context: &Context, to: String) -> Ended {
        let text = self.read_text()?;
        self.send(context, context.asker()?, to, text, None)
    }

    /// Sends it, or keeps it as a draft.
    pub(super) fn send(
        &self,
        context: &Context,
        asker: Asker<'_>,
        to: String,
        text: Option<String>,
        reply_to: Option<BundleId>,
    ) -> Ended {
        let request = SendRequest {
            to,
            text,
            files: self.files.clone(),
            nice: self.urgency.niceness(),
            lifetime: self.ttl,
            hidden: self.hidden.then_some(true),
            reply_to,
            supersede: self.supersede.clone(),
        };
        if self.draft {
            return draft::write(context, &asker, request);
        }
        // Before it is sent, so that nothing that happens to it is missed.
        let events = match asker.daemon() {
            Some(client) if self.wait != Wait::Saved => Some(client.events()?),
            _ => None,
        };
        let sent = asker.ask(batch::one(request)?)?;
        let goes = if asker.daemon().is_some() {
            "it goes by itself when there is a way"
        } else {
            "it goes with the next stick: postrider toss PATH"
        };
        // Whoever waits for the spool need not wait for our reader.
        drop(asker);
        context.out.object(&sent)?;
        self.say(&sent, goes, context)?;
        if self.wait == Wait::Saved {
            return Ok(ExitCode::SUCCESS);
        }
        self.wait(sent, events, context)
    }

    /// Waits until the message has come as far as was asked, and tells every step.
    fn wait(&self, sent: Sent, events: Option<Events>, context: &Context) -> Ended {
        let until = Instant::now() + self.timeout.unwrap_or(WAIT_TIME);
        let mut state = sent.state.clone();
        // Without a daemon and without a time nothing will happen that is worth waiting for.
        let mut worth_it = events.is_some() || self.timeout.is_some();
        while worth_it {
            let now = context.ask(api::SendState { id: sent.id.clone() })?;
            if now.state != state {
                state = now.state.clone();
                context.out.object(&now)?;
                context.out.say(format!("{state} {}", now.id))?;
            }
            let reached = match &*state {
                "delivered" => true,
                "carried" => self.wait == Wait::Carried,
                "saved" => false,
                _ => return Ok(ExitCode::from(FailureKind::Ended.exit_code())),
            };
            if reached {
                return Ok(ExitCode::SUCCESS);
            }
            worth_it = match &events {
                Some(events) => loop {
                    match events.next(Some(until))? {
                        Some(happening) if happening.id.as_ref() == Some(&sent.id) => break true,
                        Some(_) => {}
                        None => break false,
                    }
                },
                None => {
                    thread::sleep(LOOK_AGAIN.min(until.saturating_duration_since(Instant::now())));
                    Instant::now() < until
                }
            };
        }
        let id = text::short_id(&sent.id);
        let (what, next) = if events.is_some() {
            (
                format!("the message is {state} and not yet {}", self.wait.word()),
                format!("it goes on by itself: postrider why {id}, postrider trace {id}"),
            )
        } else {
            (
                "no daemon runs, so nothing carries it by itself".to_owned(),
                format!(
                    "the message is saved and waits: postrider up, or postrider toss STICK; then \
                     postrider trace {id}"
                ),
            )
        };
        if context.out.is_json() {
            object_with_code("wait-ran-out", &what, &next)?;
        } else {
            super::eprint_line(&format!("{what}\n  next: {next}"));
        }
        Ok(ExitCode::from(WAIT_RAN_OUT))
    }

    fn say(&self, sent: &Sent, goes: &str, context: &Context) -> Result<(), Stop> {
        if context.out.loudness == Loudness::Quiet {
            return context.out.say(&sent.id);
        }
        context.out.say(format!("saved {}", sent.id))?;
        context.out.say(format!(
            "  {} for {}; {goes}",
            text::bytes(sent.bytes),
            text::line(&sent.to)
        ))?;
        match &sent.supersedes {
            Some(old) => {
                context.out.say(format!("  it takes the place of {}", text::short_id(old)))
            }
            None => Ok(()),
        }
    }

    /// The text: the argument; standard input for `-`, or when there is nothing else to send and
    /// standard input is no terminal.
    pub(super) fn read_text(&self) -> Result<Option<String>, Stop> {
        let nothing = || {
            usage(
                "there is nothing to send",
                "give a text, -f FILE, or - and the text on standard input",
            )
        };
        let text = match self.text.as_deref() {
            Some("-") => read_text(io::stdin().lock())?,
            Some(text) => text.to_owned(),
            None if !self.files.is_empty() => return Ok(None),
            None if io::stdin().is_terminal() => return Err(nothing()),
            None => read_text(io::stdin().lock())?,
        };
        if text.is_empty() && self.files.is_empty() { Err(nothing()) } else { Ok(Some(text)) }
    }
}

fn read_text(input: impl Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    input
        .take(TEXT_READ_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file("read", Path::new("standard input"), error))?;
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(FailureKind::Usage, "what came on standard input is no text")
            .next("nothing was sent; send it as a file: postrider send WHO -f FILE")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_standard_input_is_taken_as_it_is() {
        assert_eq!(read_text(&b"a\n"[..]).unwrap(), "a\n");
        assert_eq!(read_text(&b"\xff"[..]).unwrap_err().kind, FailureKind::Usage);
    }
}
