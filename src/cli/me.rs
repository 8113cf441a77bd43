//! `init`, `id`, `key`: who I am.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Context, Ended, Stop, output::Loudness, text};
use crate::desk::{Desk, Failure, FailureKind, InitRequest, reply::Identity};

/// Create an identity and a home; changes nothing when there is one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider init --name Alice
  postrider --home /media/me/STICK/home init --name Alice")]
pub(super) struct Init {
    /// The name that my card suggests to others
    #[arg(long)]
    name: Option<String>,
}

/// Show who I am, or write my card for others
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider id --card alice.card      give this file to those who are to write to me
  postrider id --words                compare the words by voice or in person")]
pub(super) struct Id {
    /// Write my card to a file (- is standard output)
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// Show my card as a QR code
    #[arg(long)]
    qr: bool,
    /// Show the six words that others compare
    #[arg(long)]
    words: bool,
    /// Show only the recipient that stock age can encrypt to
    #[arg(long)]
    age: bool,
}

/// Take the seal key out, for stock age
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider key export --age > seal.key       keep it as secret as the mail itself
  postrider bundle export ID --payload | age -d -i seal.key > packet")]
pub(super) struct Key {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Debug, Subcommand)]
enum KeyVerb {
    /// Write the seal key to standard output: it opens everything that is sealed to me, and signs
    /// nothing
    Export {
        /// As an age identity file
        #[arg(long, required = true)]
        age: bool,
    },
}

/// The exported key as an object.
#[derive(Serialize)]
#[serde(tag = "type", rename = "key")]
struct ExportedKey {
    age: String,
}

impl Init {
    pub(super) fn run(self, context: &Context) -> Ended {
        let request =
            InitRequest { home: context.home()?, name: self.name, even_if_public: context.yes };
        let (_, identity) = Desk::init(&request)?;
        context.out.object(&identity)?;
        if identity.new == Some(false) {
            context.out.hint("There is an identity here already; nothing was changed.")?;
        }
        show(context, &identity)?;
        if identity.new == Some(true) {
            context.out.hint("\nNext, give your card to others: postrider id --card FILE")?;
            context.out.hint("and take theirs: postrider add FILE")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Id {
    pub(super) fn run(self, context: &Context) -> Ended {
        let desk = context.desk()?;
        let identity = desk.identity(self.words);
        if let Some(path) = &self.card {
            if path.as_os_str() == "-" {
                let card = desk.home().card.to_string();
                if !context.out.is_json() {
                    context.out.say(card)?;
                    return Ok(ExitCode::SUCCESS);
                }
            } else {
                desk.write_card(path)?;
                let path = text::line(&path.display().to_string());
                context.out.hint(format!("My card is in {path}; give it to others."))?;
                if !context.out.is_json() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
        context.out.object(&identity)?;
        if self.age {
            context.out.say(&identity.age)?;
        } else {
            show(context, &identity)?;
        }
        if self.qr {
            context.out.say(qr(&desk.home().card.to_string())?)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Key {
    pub(super) fn run(self, context: &Context) -> Ended {
        let KeyVerb::Export { age: _ } = self.verb;
        let age = context.desk()?.export_age()?;
        context.out.say(age.trim_end())?;
        context.out.object(&ExportedKey { age })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn show(context: &Context, identity: &Identity) -> Result<(), Stop> {
    let out = &context.out;
    if out.loudness == Loudness::Quiet && identity.words.is_none() {
        return out.say(&identity.id);
    }
    let name = if identity.name.is_empty() { "(no name)" } else { &identity.name };
    out.say(out.strong(&text::line(name)))?;
    out.say(format!("  id       {}", identity.id))?;
    out.say(format!("  address  {}", identity.address))?;
    out.say(format!("  age      {}", identity.age))?;
    out.say(format!("  home     {}", text::line(&identity.home)))?;
    if let Some(words) = &identity.words {
        out.say(format!("  words    {}", words.join(" ")))?;
    }
    Ok(())
}

/// A QR code of half blocks. Upper case, because a code of capitals and digits alone is smaller.
fn qr(card: &str) -> Result<String, Failure> {
    let code = qrcode::QrCode::new(card.to_ascii_uppercase()).map_err(|error| {
        Failure::new(FailureKind::Failed, "the card is too large for a QR code")
            .next("give it as a file: postrider id --card FILE")
            .because(error)
    })?;
    Ok(code.render::<qrcode::render::unicode::Dense1x2>().quiet_zone(true).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_card_fits_a_qr_code() {
        assert!(qr(&"q".repeat(1000)).is_ok());
        assert_eq!(qr(&"q".repeat(10_000)).unwrap_err().kind, FailureKind::Failed);
    }
}
