//! `add`, `contact`: whom I know.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand, ValueEnum};
use postrider_base::{Card, words};

use super::{Context, Ended, Stop, asker::Asker, failure::usage, text};
use crate::{
    api,
    desk::{
        ContactChange, Desk, Failure, FailureKind,
        reply::{ContactLine, Sent},
    },
};

/// A card is under a thousand bytes, as text; room for blank lines and a mail's quoting.
const CARD_TEXT_MAX: u64 = 64 * 1024;

/// Take somebody's card: from a file, a stick, standard input or a message
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider add bob.card --as Bob
  postrider add /media/me/STICK       every card that was left there, after asking
  postrider add 3f2a91bc              the card that came with this message")]
pub(super) struct Add {
    /// A card file, the directory of a stick, - for standard input, or a message's id
    #[arg(value_name = "CARD|STICK|-|MESSAGE-ID")]
    from: PathBuf,
    /// What to call them [default: the name that the card suggests]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
}

/// Name contacts, and say whom to trust
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider contact ls
  postrider contact verify Bob        after comparing the words by voice or in person
  postrider contact introduce Bob Carol --note 'she has the boat'
  postrider contact set Bob hidden=on")]
pub(super) struct Contact {
    #[command(subcommand)]
    verb: ContactVerb,
}

#[derive(Debug, Subcommand)]
enum ContactVerb {
    /// List everybody
    Ls,
    /// Show one, with the words to compare
    Show {
        /// A name or an id
        who: String,
    },
    /// Give another name
    Rename {
        /// A name or an id
        who: String,
        /// The new name
        name: String,
    },
    /// Say that the words were compared and are the same
    Verify {
        /// A name or an id
        who: String,
    },
    /// Take somebody who was introduced as a contact like any other
    Accept {
        /// A name or an id
        who: String,
    },
    /// Send one contact's card to another, with my word for it
    Introduce {
        /// Whose card: a name or an id
        who: String,
        /// To whom: a name or an id
        to: String,
        /// What to say of them
        #[arg(long)]
        note: Option<String>,
        /// The other way round as well
        #[arg(long)]
        both: bool,
    },
    /// Refuse what they send
    Block {
        /// A name or an id
        who: String,
        /// No longer
        #[arg(long)]
        off: bool,
    },
    /// Keep a choice for one contact: hidden=on, off or auto (as their card says); meets=daily,
    /// weekly, monthly, 3/week or off: how often we meet, for mail that others carry; label=NAME,…
    /// or off: by what run --on finds them
    Set {
        /// A name or an id
        who: String,
        /// What to set
        #[arg(value_name = "hidden=…|meets=…|label=…", value_parser = choice)]
        choice: Choice,
    },
    /// Forget them
    Rm {
        /// A name or an id
        who: String,
    },
}

/// A choice kept for a contact.
#[derive(Clone, Debug)]
enum Choice {
    Labels(Vec<String>),
    Hidden(Tristate),
    /// Times a month.
    Meets(Option<u16>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tristate {
    On,
    Off,
    Auto,
}

fn choice(text: &str) -> Result<Choice, String> {
    if let Some(often) = text.strip_prefix("meets=") {
        return meets(often).map(Choice::Meets).ok_or_else(|| {
            "meets is daily, weekly, monthly, N/day, N/week, N/month or off".into()
        });
    }
    if let Some(labels) = text.strip_prefix("label=") {
        let all = if labels == "off" { "" } else { labels };
        let each = all.split(',').filter(|label| !label.is_empty()).map(Into::into);
        return Ok(Choice::Labels(each.collect()));
    }
    let value = text.strip_prefix("hidden=").ok_or("only hidden, meets and label can be set")?;
    Tristate::from_str(value, true)
        .map(Choice::Hidden)
        .map_err(|_| "hidden is on, off or auto".into())
}

/// Times a month; nothing for "off".
fn meets(often: &str) -> Option<Option<u16>> {
    let (times, unit) = match often {
        "off" => return Some(None),
        "daily" => (1, "day"),
        "weekly" => (1, "week"),
        "monthly" => (1, "month"),
        _ => {
            let (times, unit) = often.split_once('/')?;
            (times.parse().ok().filter(|times| (1..=48).contains(times))?, unit)
        }
    };
    let per_month = match unit {
        "day" => times * 30,
        "week" => u16::div_ceil(times * 30, 7),
        "month" => times,
        _ => return None,
    };
    Some(Some(per_month))
}

impl Add {
    pub(super) fn run(self, context: &Context) -> Ended {
        let asker = context.asker()?;
        let cards = self.cards(&asker)?;
        let chosen = match cards.len() {
            0 => {
                return Err(Failure::new(FailureKind::Unknown, "there is no card")
                    .next("its owner writes one: postrider id --card FILE, or toss --with-card")
                    .into());
            }
            1 => cards,
            _ => self.choose(&asker, cards, context)?,
        };
        if chosen.len() > 1 && self.name.is_some() {
            return Err(usage(
                format!("one name for {} cards", chosen.len()),
                "nothing was added; choose one card, or leave --as out",
            ));
        }
        for card in chosen {
            let add = api::Add { card: card.to_string(), name: self.name.clone() };
            let line = asker.ask(add)?;
            context.out.object(&line)?;
            show_added(context, &line)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn cards(&self, asker: &Asker<'_>) -> Result<Vec<Card>, Stop> {
        if self.from.as_os_str() == "-" {
            let mut file = Vec::new();
            let input = io::stdin().lock().take(CARD_TEXT_MAX).read_to_end(&mut file);
            input.map_err(|e| Failure::file("read", Path::new("standard input"), e))?;
            return Ok(vec![Card::read(&file).map_err(Failure::from)?]);
        }
        if self.from.exists() {
            let cards = Desk::cards_on(&self.from)?;
            // A stick that carries cards carries mine too, when I left it there.
            if cards.len() < 2 {
                return Ok(cards);
            }
            let me = asker.ask(api::Id::default())?.id;
            return Ok(cards.into_iter().filter(|card| card.node.to_string() != me).collect());
        }
        let typed = self.from.to_string_lossy();
        if typed.to_ascii_lowercase().starts_with("prcard1") {
            return Ok(vec![Card::read(typed.as_bytes()).map_err(Failure::from)?]);
        }
        if typed.len() >= 4 && typed.bytes().all(|b| b.is_ascii_hexdigit()) {
            let found = asker.ask(api::MessageCard { id: typed.into_owned() })?;
            return Ok(vec![Card::read(found.card.as_bytes()).map_err(Failure::from)?]);
        }
        Err(usage(
            format!("there is nothing at {typed}"),
            "nothing was added; give a card file, the directory of a stick, or a message's id",
        ))
    }

    /// Which of several cards. Anybody may have dropped a card on a stick, so a person says which.
    fn choose(
        &self,
        asker: &Asker<'_>,
        cards: Vec<Card>,
        context: &Context,
    ) -> Result<Vec<Card>, Stop> {
        if context.yes {
            return Ok(cards);
        }
        let contacts = asker.ask(api::ContactLs::default())?;
        let known = |card: &Card| contacts.iter().any(|c| c.id == card.node.to_string());
        for (n, card) in cards.iter().enumerate() {
            let name = if card.name.is_empty() { "(no name)" } else { &card.name };
            context.out.say(format!(
                "{:>3}  {}  {}{}",
                n + 1,
                text::column(&text::line(name), 20),
                words::words(&card.node).join(" "),
                if known(card) { "  (known)" } else { "" }
            ))?;
        }
        let all = cards.len();
        let hint = "nothing was added; --yes takes all, or name one card file";
        if !context.can_ask() {
            return Err(usage(format!("there are {all} cards; which of them?"), hint));
        }
        let answer = context.ask_person("Which? (numbers, all, or none)").unwrap_or_default();
        match answer.to_lowercase().as_str() {
            "" | "none" | "n" => Err(usage("no card was chosen", hint)),
            "all" | "a" => Ok(cards),
            numbers => {
                let chosen: Option<Vec<Card>> = numbers
                    .split([',', ' '])
                    .filter(|word| !word.is_empty())
                    .map(|word| word.parse::<usize>().ok()?.checked_sub(1))
                    .map(|at| at.and_then(|at| cards.get(at).cloned()))
                    .collect();
                chosen
                    .ok_or_else(|| usage(format!("not all of {numbers:?} are numbers above"), hint))
            }
        }
    }
}

impl Contact {
    pub(super) fn run(self, context: &Context) -> Ended {
        let asker = context.asker()?;
        let out = &context.out;
        let (who, change) = match self.verb {
            ContactVerb::Ls => return list(context, &asker.ask(api::ContactLs::default())?),
            ContactVerb::Show { who } => {
                let line = asker.ask(api::ContactShow { who })?;
                out.object(&line)?;
                show(context, &line)?;
                return Ok(ExitCode::SUCCESS);
            }
            ContactVerb::Rename { who, name } => (who, ContactChange::Rename(name)),
            ContactVerb::Verify { who } => {
                if context.can_ask() && !context.yes {
                    show(context, &asker.ask(api::ContactShow { who: who.clone() })?)?;
                }
                if !context
                    .confirm("Have you compared these words with theirs, and are they the same?")
                {
                    return Err(usage("not verified", "compare the words by voice or in person"));
                }
                (who, ContactChange::Verify)
            }
            ContactVerb::Accept { who } => (who, ContactChange::Accept),
            ContactVerb::Introduce { who, to, note, both } => {
                let sent = asker.ask(api::Introduce { who, to, note, both })?;
                return introduced(context, &sent);
            }
            ContactVerb::Block { who, off } => (who, ContactChange::Block(!off)),
            ContactVerb::Set { who, choice: Choice::Hidden(choice) } => {
                let hidden = match choice {
                    Tristate::On => Some(true),
                    Tristate::Off => Some(false),
                    Tristate::Auto => None,
                };
                (who, ContactChange::Hidden(hidden))
            }
            ContactVerb::Set { who, choice: Choice::Meets(meets) } => {
                (who, ContactChange::Meets(meets))
            }
            ContactVerb::Set { who, choice: Choice::Labels(labels) } => {
                (who, ContactChange::Labels(labels))
            }
            ContactVerb::Rm { who } => {
                let name = text::line(&asker.ask(api::ContactShow { who: who.clone() })?.name);
                if !context.confirm(&format!("Forget {name}?")) {
                    return Err(usage("nobody was forgotten", "--yes asks no question"));
                }
                (who, ContactChange::Remove)
            }
        };
        let line = asker.ask(api::ContactChangeVerb { who, change: Some(change.clone()) })?;
        out.object(&line)?;
        let name = text::line(&line.name);
        out.hint(match change {
            ContactChange::Rename(_) => format!("They are called {name} now."),
            ContactChange::Verify => format!("{name} is verified."),
            ContactChange::Accept => format!("{name} is a contact now."),
            ContactChange::Block(true) => format!("What {name} sends is refused."),
            ContactChange::Block(false) => format!("What {name} sends is taken again."),
            ContactChange::Hidden(_) if line.hidden => {
                format!("Nobody on the way sees that mail to {name} is from you or for them.")
            }
            ContactChange::Hidden(_) => {
                format!("Those who carry mail to {name} see who writes to whom.")
            }
            ContactChange::Meets(Some(_)) => {
                format!("Mail for {name} goes by this node, where it cannot go straight.")
            }
            ContactChange::Meets(None) => {
                format!("How often {name} is met is counted, and nothing else.")
            }
            ContactChange::Labels(labels) if labels.is_empty() => {
                format!("{name} has no labels.")
            }
            ContactChange::Labels(labels) => {
                format!(
                    "{name} has {}: postrider run --on {}",
                    text::count(labels.len() as u64, "label"),
                    labels[0]
                )
            }
            ContactChange::Remove => format!("{name} is forgotten."),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn introduced(context: &Context, sent: &[Sent]) -> Ended {
    context.out.list("contact introduce", sent)?;
    for sent in sent {
        let (id, to) = (text::short_id(&sent.id), text::line(&sent.to));
        context.out.say(format!("{id}  for {to}"))?;
    }
    context.out.hint("Saved. They decide themselves whether to take the card.")?;
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, contacts: &[ContactLine]) -> Ended {
    let out = &context.out;
    out.list("contact ls", contacts)?;
    if contacts.is_empty() {
        out.hint("Nobody yet. Take a card: postrider add FILE")?;
    }
    for line in contacts {
        out.say(format!(
            "{}  {}  {}{}{}{}",
            text::column(&text::line(&line.name), 20),
            text::column(trust(line), 10),
            line.id,
            if line.hidden { "  hidden" } else { "" },
            if line.blocked { "  blocked" } else { "" },
            standing(line),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_added(context: &Context, line: &ContactLine) -> Result<(), Stop> {
    let (out, name) = (&context.out, text::line(&line.name));
    match line.added.as_deref() {
        Some("known") => return out.hint(format!("{name} is known already; nothing was changed.")),
        Some("updated") => return out.hint(format!("{name} has a newer card now.")),
        _ => out.hint(format!("Added {name}, unverified."))?,
    }
    if let Some(words) = &line.words {
        out.hint(format!("  words: {}", words.join(" ")))?;
        out.hint(format!(
            "  When {name} reads you the same words: postrider contact verify {}",
            quoted(&line.name)
        ))?;
    }
    Ok(())
}

fn show(context: &Context, line: &ContactLine) -> Result<(), Stop> {
    let out = &context.out;
    out.say(out.strong(&text::line(&line.name)))?;
    out.say(format!("  trust    {}", trust(line)))?;
    out.say(format!("  id       {}", line.id))?;
    if let Some(words) = &line.words {
        out.say(format!("  words    {}", words.join(" ")))?;
    }
    out.say(format!("  hidden   {}", if line.hidden { "on" } else { "off" }))?;
    if !line.labels.is_empty() {
        out.say(format!("  labels   {}", text::line(&line.labels.join(", "))))?;
    }
    if line.blocked {
        out.say("  blocked  what they send is refused")?;
    }
    let standing = standing(line);
    if !standing.is_empty() {
        out.say(format!("  standing{standing}"))?;
    }
    Ok(())
}

/// Who introduced them, and which roster revokes their key.
fn standing(line: &ContactLine) -> String {
    let revoked = line.revoked_by.as_ref().map(|of| format!("REVOKED by {}", text::line(of)));
    let by = line.by.as_ref().map(|by| {
        let wait = if line.pending { ", not yet accepted" } else { "" };
        format!("introduced by {}{wait}", text::line(by))
    });
    let words: Vec<String> = revoked.into_iter().chain(by).collect();
    if words.is_empty() { String::new() } else { format!("  {}", words.join("; ")) }
}

fn trust(line: &ContactLine) -> &'static str {
    use crate::home::Trust;
    match line.trust {
        Trust::Unverified => "unverified",
        Trust::Introduced => "introduced",
        Trust::Verified => "verified",
        Trust::Changed => "CHANGED",
    }
}

/// A name as an argument of a shell.
fn quoted(name: &str) -> String {
    let name = text::line(name);
    if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) {
        name
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_to_paste_into_a_shell() {
        for (name, argument) in [
            ("Bob", "Bob"),
            ("Bob 2", "'Bob 2'"),
            ("$(rm -rf ~)", "'$(rm -rf ~)'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(name), argument);
        }
    }

    #[test]
    fn only_hidden_can_be_set() {
        let labels = |text| match choice(text) {
            Ok(Choice::Labels(labels)) => labels.join("+"),
            _ => panic!("{text}"),
        };
        assert_eq!(labels("label=pumps,north"), "pumps+north");
        assert_eq!((labels("label=off"), labels("label=")), (String::new(), String::new()));
        assert!(matches!(choice("hidden=on"), Ok(Choice::Hidden(Tristate::On))));
        for (often, per_month) in
            [("daily", Some(30)), ("weekly", Some(5)), ("3/week", Some(13)), ("off", None)]
        {
            let said = choice(&format!("meets={often}"));
            assert!(matches!(said, Ok(Choice::Meets(n)) if n == per_month), "{often}");
        }
        for wrong in
            ["hidden", "hidden=", "hidden=yes", "trust=on", "meets=", "meets=0/day", "meets=5"]
        {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
    }
}
