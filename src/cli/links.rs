//! `peers`, `link`, `call`, `ping`, `log`: neighbours, and links to them.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Context, Ended, Stop, audit, text};
use crate::{
    api,
    desk::reply::{Happening, LinkLine, PeerLine},
};

/// List neighbours: who has a link now, and who had one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider peers
  postrider peers --json | jq 'select(.up)'")]
pub(super) struct Peers {}

/// Say to whom links are kept
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider link add tls://hub.example:7531#Hub
  postrider link add 'pipe:ssh hub postrider daemon --stdio#Hub'
  postrider link add 'serial:///dev/ttyUSB0?rate=115200#Bob'
  postrider link test 'serial:///dev/ttyUSB0?rate=9600'
  postrider link test bluetooth")]
pub(super) struct Link {
    #[command(subcommand)]
    verb: LinkVerb,
}

#[derive(Debug, Subcommand)]
enum LinkVerb {
    /// List them
    Ls,
    /// Keep a link, now and after every start
    Add {
        /// An address, and behind a # a contact's name or a node's id
        uri: String,
    },
    /// Keep it no longer
    Rm {
        /// As it was added
        uri: String,
    },
    /// Dial once and say who answers; or listen, at a port or by Bluetooth, and say what is there
    Test {
        /// An address, and behind a # a contact's name or a node's id; or bluetooth
        uri: String,
        /// Say hello at a port to which no link is kept, whatever is there
        #[arg(long)]
        speak: bool,
    },
}

/// Call somebody now: a contact where it was last, or an address
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider call Bob
  postrider call tls://192.0.2.7:7531#Bob --once")]
pub(super) struct Call {
    /// A contact's name, a node's id, or an address as for link add
    #[arg(value_name = "WHO|URI")]
    who: String,
    /// Not again when the link ends [default: again and again until the daemon ends]
    #[arg(long)]
    once: bool,
}

/// See how long a neighbour takes to answer over its link
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider ping Bob
  postrider ping Bob --json | jq .rtt_ms")]
pub(super) struct Ping {
    /// A contact's name or a node's id
    who: String,
}

/// Show what happened lately
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider log --follow --json
  postrider log --audit --json > audit    what was done here for others, to keep elsewhere
  postrider log --audit --verify --has 9b1d…    as job show says it where that job came from")]
pub(super) struct Log {
    /// Go on showing what happens, until interrupted
    #[arg(long, conflicts_with = "audit")]
    follow: bool,
    /// Show what was done here for others instead: jobs, who agreed, changes of the allow-list
    #[arg(long)]
    audit: bool,
    /// Check that nothing in it was changed, left out or cut off; ends with 11 if something was
    #[arg(long, requires = "audit")]
    verify: bool,
    /// And that it has this link, which somebody else has kept
    #[arg(long, value_name = "LINK", requires = "verify")]
    has: Option<String>,
}

impl Peers {
    pub(super) fn run(self, context: &Context) -> Ended {
        let peers = context.ask(api::PeersLs::default())?;
        context.out.list("peers", &peers)?;
        for peer in &peers {
            show(context, peer)?;
        }
        if peers.is_empty() {
            context.out.hint("Nobody yet. Keep a link: postrider link add tls://HOST:7531#NAME")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Link {
    pub(super) fn run(self, context: &Context) -> Ended {
        let out = &context.out;
        let line = match self.verb {
            LinkVerb::Ls => {
                let links = context.ask(api::LinkLs::default())?;
                out.list("link ls", &links)?;
                for LinkLine { uri, up, detail, .. } in &links {
                    let up = if *up { "up" } else { "down" };
                    let why = detail.iter().map(|detail| format!("  ({})", text::line(detail)));
                    let why: String = why.collect();
                    out.say(format!("{}  {}{why}", text::column(up, 4), text::line(uri)))?;
                }
                if links.is_empty() {
                    out.hint("None. Keep one: postrider link add tls://HOST:7531#NAME")?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            LinkVerb::Add { uri } => context.ask(api::LinkAdd { uri })?,
            LinkVerb::Rm { uri } => context.ask(api::LinkRm { uri })?,
            LinkVerb::Test { uri, speak } => context.ask(api::LinkTest { uri, speak })?,
        };
        out.object(&line)?;
        let detail = line.detail.map_or_else(String::new, |detail| format!(": {detail}"));
        out.say(text::line(&format!("{} {}{detail}", line.state, line.uri)))?;
        // What was found is said; that nobody was is the answer to whoever asked in a script.
        Ok(if line.state == "tested" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

impl Call {
    pub(super) fn run(self, context: &Context) -> Ended {
        let peer = context.ask(api::Call { who: self.who, once: self.once })?;
        context.out.object(&peer)?;
        show(context, &peer)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Ping {
    pub(super) fn run(self, context: &Context) -> Ended {
        let pong = context.ask(api::Ping { who: self.who })?;
        context.out.object(&pong)?;
        let (name, address) = (text::line(&pong.name), text::line(&pong.address));
        context.out.say(format!("{name} answers in {:.1} ms over {address}", pong.rtt_ms))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Log {
    pub(super) fn run(self, context: &Context) -> Ended {
        if self.verify {
            return audit::verify(context, self.has);
        }
        if self.audit {
            return audit::show(context);
        }
        let asker = context.asker()?;
        // Before the first look, so that nothing comes in between.
        let events = match asker.daemon() {
            Some(client) if self.follow => Some(client.events()?),
            _ => None,
        };
        let past = asker.ask(api::Log::default())?;
        let Some(events) = events else {
            context.out.list("log", &past)?;
            past.iter().try_for_each(|happening| say(context, happening))?;
            return Ok(ExitCode::SUCCESS);
        };
        let mut last = 0;
        for happening in past {
            last = happening.number;
            context.out.object(&happening)?;
            say(context, &happening)?;
        }
        while let Some(happening) = events.next(None)? {
            if happening.number > last {
                context.out.object(&happening)?;
                say(context, &happening)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(context: &Context, peer: &PeerLine) -> Result<(), Stop> {
    let state = match (peer.up, peer.rtt_ms, peer.last_seen_s) {
        (true, Some(rtt_ms), _) => format!("up, {rtt_ms:.1} ms"),
        (true, None, _) => "up".to_owned(),
        (false, _, Some(seconds)) => text::ago(seconds),
        (false, _, None) => "never".to_owned(),
    };
    context.out.say(format!(
        "{}  {}  {}",
        text::column(&text::line(&peer.name), 20),
        text::column(&state, 16),
        text::line(&peer.address),
    ))
}

fn say(context: &Context, happening: &Happening) -> Result<(), Stop> {
    let now_s = crate::desk::wall_s();
    let id = happening.id.as_deref().map(text::short_id).unwrap_or_default();
    let who = happening.who.as_deref().unwrap_or_default();
    let detail = happening.detail.as_deref().unwrap_or_default();
    let words: Vec<&str> = [id, who, detail].into_iter().filter(|word| !word.is_empty()).collect();
    context.out.say(format!(
        "{}  {}  {}",
        text::column(&text::ago(now_s.saturating_sub(happening.time)), 16),
        text::column(&text::line(&happening.what), 10),
        text::line(&words.join("  ")),
    ))
}
