//! `roster`: who belongs to an organisation, and whose key counts no more.
//!
//! A roster's own key stays with this command: what answers, a daemon or a desk, gives it what is to
//! be signed and takes what was signed.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use postrider_base::{
    NodeId, Roster as SignedRoster,
    roster::{Day, ROSTER_MAX, RosterFacts},
};
use zeroize::Zeroizing;

use super::{
    Context, Ended, Stop,
    asker::{Asker, absolute},
    failure::usage,
    parse, text,
};
use crate::{
    api::{self, from_hex},
    desk::{
        Failure, FailureKind, RosterChange, day_of, hex,
        reply::{MemberLine, RosterLine},
        wall_s,
    },
    home::{ROSTER_KEY_MAX, RosterKey, RosterKeyError, replace},
};

/// Say who belongs to an organisation, and whose key counts no more
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider roster new Relief --key /media/me/SAFE/relief.key
  postrider roster add Bob --role medic --group field
  postrider roster revoke Bob         everybody who follows it refuses Bob from then on
  postrider roster follow relief.roster")]
pub(super) struct Roster {
    #[command(subcommand)]
    verb: RosterVerb,
}

#[derive(Debug, Subcommand)]
enum RosterVerb {
    /// Begin a roster of mine, signed with this node's key or with one in a file
    New {
        /// What it is called
        name: String,
        /// A key of its own, in this new file: on a stick, if you like
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// List the rosters that I follow
    Ls,
    /// Show who is on one
    Show {
        /// Its name or key; the only one by default
        name: Option<String>,
    },
    /// Put somebody on it, or change what they are there
    Add {
        /// A contact's name, or a node's id
        who: String,
        /// What they are, as medic or guest
        #[arg(long)]
        role: Option<String>,
        /// A group that they belong to, as often as needed
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// The last day on which that counts: 2027-01-31, 30d, or never
        #[arg(long, value_name = "DATE|30d|never", value_parser = last_day)]
        until: Option<LastDay>,
        #[command(flatten)]
        of: Of,
    },
    /// Say that a key counts no more
    Revoke {
        /// A contact's name, a node's id, or a name on the roster
        who: String,
        #[command(flatten)]
        of: Of,
    },
    /// Follow a roster: its members become contacts, its revoked keys are refused
    Follow {
        /// A file from `roster export`, a roster's key, or the message that it came with
        #[arg(value_name = "FILE|KEY|MESSAGE-ID")]
        from: PathBuf,
    },
    /// Send a contact the newest of one, for them to follow
    Send {
        /// A name or an id
        who: String,
        /// Which; the only one by default
        #[arg(long, value_name = "NAME")]
        roster: Option<String>,
    },
    /// Follow one no more
    Leave {
        /// Its name or key
        name: String,
    },
    /// Write the newest of one to a file, for others to follow
    Export {
        /// The file
        file: PathBuf,
        /// Which; the only one by default
        #[arg(long, value_name = "NAME")]
        roster: Option<String>,
    },
    /// Take a newer one that I follow from a file
    Import {
        /// The file
        file: PathBuf,
    },
}

/// Which roster is changed, and by which key.
#[derive(Debug, Args)]
struct Of {
    /// Which roster; the only one that is made here by default
    #[arg(long, value_name = "NAME")]
    roster: Option<String>,
    /// Where its key is now, or - for standard input [default: where it was made]
    #[arg(long, value_name = "FILE|-")]
    key: Option<PathBuf>,
}

/// The last day of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastDay {
    Never,
    On(Day),
    /// So many days from today.
    In(u32),
}

fn last_day(text: &str) -> Result<LastDay, String> {
    if text == "never" {
        return Ok(LastDay::Never);
    }
    if let Some(day) = day_of(text) {
        return Ok(LastDay::On(day));
    }
    parse::lifetime(text)
        .ok()
        .filter(|_| text.ends_with(['d', 'w']))
        .map(|span| LastDay::In(span.seconds() / 86_400))
        .ok_or_else(|| "give a day as 2027-01-31, a span as 30d, or never".into())
}

impl LastDay {
    /// As days since 1970, 0 for none.
    fn day(self) -> Result<u32, Stop> {
        match self {
            Self::Never => Ok(0),
            Self::On(day) => Ok(day.0.max(1)),
            Self::In(days) => {
                let today = wall_s() / 86_400;
                if wall_s() < crate::desk::BUILT_AFTER_S {
                    return Err(usage(
                        "the clock of this machine is wrong",
                        "nothing was changed; set it, or give the day itself: --until 2027-01-31",
                    ));
                }
                Ok(u32::try_from(today).unwrap_or(u32::MAX).saturating_add(days))
            }
        }
    }
}

impl Roster {
    pub(super) fn run(self, context: &Context) -> Ended {
        let asker = context.asker()?;
        match self.verb {
            RosterVerb::New { name, key } => begin(context, &asker, &name, key.as_deref())?,
            RosterVerb::Ls => list(context, &asker.ask(api::RosterLs::default())?)?,
            RosterVerb::Show { name } => {
                show(context, &asker.ask(api::RosterShow { roster: name })?)?;
            }
            RosterVerb::Add { who, role, groups, until, of } => {
                let groups = (!groups.is_empty()).then_some(groups);
                let until = until.map(LastDay::day).transpose()?;
                let change = RosterChange::Add { who: who.clone(), role, groups, until };
                let line = change_roster(&asker, change, &of)?;
                let said = format!("{} is on {}.", text::line(&who), text::line(&line.name));
                tell(context, &line, &said)?;
            }
            RosterVerb::Revoke { who, of } => {
                if !context.confirm(&format!("Revoke the key of {}?", text::line(&who))) {
                    return Err(usage("nothing was revoked", "--yes asks no question"));
                }
                let line = change_roster(&asker, RosterChange::Revoke { who: who.clone() }, &of)?;
                let said = format!(
                    "The key of {} counts no more with those who follow {}.",
                    text::line(&who),
                    text::line(&line.name)
                );
                tell(context, &line, &said)?;
            }
            RosterVerb::Follow { from } => {
                let line = asker.ask(followed(&from)?)?;
                let said = match line.number {
                    0 => format!("Following {}; it has not come yet.", line.name),
                    _ => format!("Following {}.", line.name),
                };
                tell(context, &line, &text::line(&said))?;
            }
            RosterVerb::Send { who, roster } => {
                let sent = asker.ask(api::RosterSend { to: who, roster })?;
                context.out.object(&sent)?;
                let to = text::line(&sent.to);
                context.out.say(format!("{}  for {to}", text::short_id(&sent.id)))?;
                context.out.hint("Saved. They decide themselves whether to follow it.")?;
            }
            RosterVerb::Leave { name } => {
                let line = asker.ask(api::RosterLeave { roster: name })?;
                let said = format!("{} is not followed any more.", text::line(&line.name));
                context.out.object(&line)?;
                context.out.hint(said)?;
            }
            RosterVerb::Export { file, roster } => {
                let found = asker.ask(api::RosterExport { roster })?;
                let bytes = from_hex(&found.roster).ok_or_else(garbled)?;
                replace(&absolute(&file)?, &bytes, 0o644)
                    .map_err(|error| Failure::file("write", &file, error))?;
                context.out.object(&found)?;
                context.out.hint(format!(
                    "Written. Others follow it: postrider roster follow {}",
                    text::line(&file.display().to_string())
                ))?;
            }
            RosterVerb::Import { file } => {
                let roster = hex(read_roster(&file)?.as_bytes());
                let line = asker.ask(api::RosterTake { roster })?;
                tell(context, &line, &format!("Taken: {}.", text::line(&line.name)))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn begin(
    context: &Context,
    asker: &Asker<'_>,
    name: &str,
    file: Option<&Path>,
) -> Result<(), Stop> {
    let request = api::RosterNew { name: name.to_owned(), ..api::RosterNew::default() };
    let line = match file {
        None => asker.ask(request)?,
        Some(file) => {
            let file = absolute(file)?;
            let mut seed = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *seed).map_err(|error| {
                Failure::new(FailureKind::Failed, "the system gives no random numbers")
                    .because(error)
            })?;
            let key = RosterKey::create(&file, name, *seed)
                .map_err(|error| Failure::file("write", &file, error))?;
            let id = key.0.id().to_string();
            let line = asker.ask(api::RosterNew { key: Some(id), file: Some(file), ..request })?;
            sign(asker, line, &key)?
        }
    };
    tell(context, &line, &format!("{} is begun.", text::line(&line.name)))?;
    context.out.hint("Put somebody on it: postrider roster add WHO")?;
    match &line.key_file {
        Some(file) => context.out.hint(format!(
            "Who has {} decides who belongs to it: keep it off machines with links, and a copy.",
            text::line(file)
        )),
        None => Ok(()),
    }
}

fn change_roster(asker: &Asker<'_>, change: RosterChange, of: &Of) -> Result<RosterLine, Stop> {
    let roster = of.roster.clone();
    let line = asker.ask(api::RosterEdit { roster, change: Some(change) })?;
    if line.draft.is_none() {
        return Ok(line);
    }
    let at = of.key.clone().or_else(|| line.key_file.clone().map(PathBuf::from));
    let at = at.ok_or_else(|| {
        usage("the roster's key is not here", "nothing was changed; say where: --key FILE")
    })?;
    let key = read_key(&at)?;
    sign(asker, line, &key)
}

/// Signs what is to be signed, and gives it back.
fn sign(asker: &Asker<'_>, line: RosterLine, key: &RosterKey) -> Result<RosterLine, Stop> {
    let Some(draft) = &line.draft else { return Ok(line) };
    let facts = from_hex(draft).ok_or_else(garbled)?;
    let facts = RosterFacts::decode(&facts).map_err(Failure::from)?;
    if facts.key != key.0.id() {
        return Err(usage(
            "that is the key of another roster",
            "nothing was changed; give the file that was made with it: --key FILE",
        ));
    }
    let roster = SignedRoster::sign(&facts, &key.0).map_err(Failure::from)?;
    Ok(asker.ask(api::RosterTake { roster: hex(roster.as_bytes()) })?)
}

fn read_key(at: &Path) -> Result<RosterKey, Stop> {
    let mut text = Zeroizing::new(String::new());
    let read = if at.as_os_str() == "-" {
        io::stdin().lock().take(ROSTER_KEY_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(at).and_then(|file| file.take(ROSTER_KEY_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| {
        Failure::file("read the roster's key in", at, error)
            .next("nothing was changed; plug in what it is on, or say where: --key FILE")
    })?;
    RosterKey::parse(&text).map_err(|error| {
        let next = match error {
            RosterKeyError::Age => "nothing was changed; age -d FILE | postrider roster … --key -",
            _ => "nothing was changed",
        };
        usage(error.to_string(), next)
    })
}

/// What is to be followed: a key, the message that it came with, or a file with a roster.
fn followed(from: &Path) -> Result<api::RosterFollow, Stop> {
    let key: Result<NodeId, _> = from.to_string_lossy().parse();
    if let (Ok(key), false) = (&key, from.exists()) {
        return Ok(api::RosterFollow { key: Some(key.to_string()), ..Default::default() });
    }
    let typed = from.to_string_lossy();
    if !from.exists() && typed.len() >= 4 && typed.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(api::RosterFollow { message: Some(typed.into_owned()), ..Default::default() });
    }
    let roster = read_roster(from)?;
    let (key, roster) = (roster.key.to_string(), hex(roster.as_bytes()));
    Ok(api::RosterFollow { key: Some(key), roster: Some(roster), message: None })
}

fn read_roster(file: &Path) -> Result<SignedRoster, Stop> {
    let mut bytes = Vec::new();
    let most = ROSTER_MAX as u64 + 1;
    let read = if file.as_os_str() == "-" {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::file("read", file, error))?;
    Ok(SignedRoster::decode(&bytes).map_err(Failure::from)?)
}

fn garbled() -> Failure {
    Failure::new(FailureKind::Failed, "the daemon answers what this version does not know")
}

fn tell(context: &Context, line: &RosterLine, said: &str) -> Result<(), Stop> {
    context.out.object(line)?;
    context.out.hint(said)?;
    if line.number > 0 {
        let on = text::count(line.members, "member");
        context.out.hint(format!("  number {}, {on}, {} revoked", line.number, line.revoked))?;
    }
    Ok(())
}

fn list(context: &Context, lines: &[RosterLine]) -> Result<(), Stop> {
    let out = &context.out;
    out.list("roster ls", lines)?;
    if lines.is_empty() {
        out.hint("None. Follow one: postrider roster follow FILE")?;
    }
    for line in lines {
        let state = match &line.issued {
            None => "has not come yet".to_owned(),
            Some(issued) => format!(
                "number {} of {issued}, {}, {} revoked{}",
                line.number,
                text::count(line.members, "member"),
                line.revoked,
                if line.made_here { ", made here" } else { "" }
            ),
        };
        out.say(format!("{}  {state}", text::column(&text::line(&line.name), 20)))?;
        out.hint(format!("{}  {}", text::column("", 20), line.key))?;
    }
    Ok(())
}

fn show(context: &Context, members: &[MemberLine]) -> Result<(), Stop> {
    let out = &context.out;
    out.list("roster show", members)?;
    if members.is_empty() {
        out.hint("Nobody yet: postrider roster add WHO")?;
    }
    for member in members {
        let name = match &member.contact {
            Some(contact) if *contact != member.name => format!("{} ({contact})", member.name),
            _ => member.name.clone(),
        };
        let until = match &member.until {
            Some(day) if member.state == "good" => format!("until {day}"),
            _ => String::new(),
        };
        let words: Vec<String> = [member.role.clone()]
            .into_iter()
            .chain(member.groups.iter().map(|group| format!("%{group}")))
            .chain([until])
            .filter(|word| !word.is_empty())
            .collect();
        let state = text::column(&member.state, 7);
        let state = if member.state == "good" { state } else { out.strong(&state) };
        out.say(format!(
            "{}  {state}  {}",
            text::column(&text::line(&name), 24),
            text::line(&words.join(" "))
        ))?;
        out.hint(format!("{}  {}", text::column("", 24), member.id))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_day_is_a_date_a_span_or_none() {
        for (text, day) in [
            ("never", LastDay::Never),
            ("2026-11-28", LastDay::On(Day(20_785))),
            ("30d", LastDay::In(30)),
            ("2w", LastDay::In(14)),
        ] {
            assert_eq!(last_day(text), Ok(day), "{text}");
        }
        for wrong in ["", "soon", "2026-02-30", "30", "12h", "0d", "28.11.2026"] {
            assert!(last_day(wrong).is_err(), "{wrong}");
        }
    }
}
