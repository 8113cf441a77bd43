//! `toss`, `pack`, `unpack`: exchange with what can be carried.

use std::{
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;

use super::{
    Context, Ended, Stop,
    asker::{Asked, absolute},
    failure::usage,
    inbox,
    output::Loudness,
    parse, text,
};
use crate::{
    api,
    desk::{FailureKind, TossDirection, reply::Tossed},
};

/// Exchange with a stick, a memory card or a synced directory, both ways
#[derive(Debug, Args)]
#[command(after_help = "\
First what is on it is taken, then what others wait for is written. It may be
pulled at any moment: the next toss does the rest. Nothing that names anybody is
left on it.

Examples:
  postrider toss /media/me/STICK
  postrider toss /media/me/STICK --dry-run
  postrider toss ~/Sync --budget 500M")]
pub(super) struct Toss {
    /// The directory where it is mounted
    path: PathBuf,
    /// Only take
    #[arg(long = "in", conflicts_with = "out")]
    only_in: bool,
    /// Only write
    #[arg(long)]
    out: bool,
    /// Change nothing; say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Write at most so much: 2G, 500M
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    budget: Option<u64>,
    /// Prepare it even when there is nothing to write
    #[arg(long)]
    init: bool,
    /// Leave my card on it, for anybody to read
    #[arg(long)]
    with_card: bool,
}

/// Write what waits as one stream, for tape, disc or pipe
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider pack > bundles
  postrider pack Bob | ssh relay postrider unpack")]
pub(super) struct Pack {
    /// For whom [default: everything that a stick would get]
    whom: Vec<String>,
}

/// Take what another has packed, from standard input
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider unpack < bundles
  postrider unpack < /dev/st0")]
pub(super) struct Unpack {}

impl Toss {
    pub(super) fn run(self, context: &Context) -> Ended {
        let direction = match (self.only_in, self.out) {
            (true, _) => TossDirection::In,
            (false, true) => TossDirection::Out,
            (false, false) => TossDirection::Both,
        };
        let tossed = context.ask(api::TossVerb {
            path: absolute(&self.path)?,
            only_in: self.only_in,
            only_out: self.out,
            dry_run: self.dry_run,
            budget: self.budget,
            init: self.init,
            with_card: self.with_card,
        })?;
        context.out.object(&tossed)?;
        tell(context, &tossed, direction)?;
        if tossed.cards > 0 {
            let cards = text::count(tossed.cards, "card");
            let path = text::line(&self.path.display().to_string());
            context.out.hint(format!("{cards} on it: postrider add {path}"))?;
        }
        if tossed.safe_to_remove {
            context.out.hint("Safe to remove.")?;
        }
        Ok(exit_code(&tossed))
    }
}

impl Pack {
    pub(super) fn run(self, context: &Context) -> Ended {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(usage("this is no text for a terminal", "postrider pack > FILE"));
        }
        let mut out = BufWriter::with_capacity(1 << 16, stdout.lock());
        let packed = context.asker()?.of(|asked| match asked {
            Asked::Desk(desk) => desk.pack(&self.whom, &mut out, &context.watch),
            Asked::Daemon(client) => client.pack(&self.whom, &mut out, &context.watch),
        })?;
        out.flush()?;
        // Standard output is the stream itself.
        super::eprint_line(&format!(
            "packed {} ({})",
            text::count(packed.out, "bundle"),
            text::bytes(packed.bytes_out)
        ));
        Ok(ExitCode::SUCCESS)
    }
}

impl Unpack {
    pub(super) fn run(self, context: &Context) -> Ended {
        if io::stdin().is_terminal() {
            return Err(usage("there is no stream on standard input", "postrider unpack < FILE"));
        }
        let unpacked = context.asker()?.of(|asked| match asked {
            Asked::Desk(desk) => desk.unpack(&mut io::stdin().lock(), &context.watch),
            Asked::Daemon(client) => client.unpack(io::stdin(), &context.watch),
        })?;
        context.out.object(&unpacked)?;
        tell(context, &unpacked, TossDirection::In)?;
        Ok(exit_code(&unpacked))
    }
}

/// A short account of an exchange.
fn tell(context: &Context, tossed: &Tossed, direction: TossDirection) -> Result<(), Stop> {
    let out = &context.out;
    if out.loudness == Loudness::Quiet && tossed.damaged == 0 {
        return Ok(());
    }
    if direction != TossDirection::Out {
        let verb = if tossed.dry_run { "Would take" } else { "Took" };
        out.say(format!("{verb} {}.", amount(tossed.taken, tossed.bytes_in)))?;
        for message in &tossed.messages {
            out.say(format!("  {}", inbox::row(message)))?;
            if !message.known_sender {
                let id = text::short_id(&message.id);
                out.hint(format!("            a new sender; to answer: postrider add {id}"))?;
            }
        }
        if !tossed.delivered.is_empty() {
            let messages = text::count(tossed.delivered.len() as u64, "message");
            let ids: Vec<&str> = tossed.delivered.iter().map(|id| text::short_id(id)).collect();
            out.say(format!("  {messages} of mine arrived: {}", ids.join(" ")))?;
        }
    }
    if direction != TossDirection::In {
        let verb = if tossed.dry_run { "Would write" } else { "Wrote" };
        let receipts = match tossed.receipts_out {
            0 => String::new(),
            n => format!(", {}", text::count(n, "receipt")),
        };
        out.say(format!("{verb} {}{receipts}.", amount(tossed.out, tossed.bytes_out)))?;
    }
    if !tossed.left_out.is_empty() {
        out.say(format!("Left out {}:", text::count(tossed.skipped, "bundle")))?;
        for (reason, n) in &tossed.left_out {
            out.say(format!("  {n}  {}", text::line(reason)))?;
        }
    }
    if tossed.damaged > 0 {
        out.say(out.strong(&format!("Damaged: {}, not taken:", tossed.damaged)))?;
        for place in &tossed.damaged_list {
            out.say(format!("  {}", text::line(place)))?;
        }
        out.hint("  their senders still have them; the next visit brings them again")?;
    }
    Ok(())
}

fn amount(bundles: u64, bytes: u64) -> String {
    if bundles == 0 {
        "nothing".to_owned()
    } else {
        format!("{} ({})", text::count(bundles, "bundle"), text::bytes(bytes))
    }
}

/// Of several, 10 wins over 11, and 11 over 3. What is left out by choice (a budget, a share of
/// others) is listed and no fault.
fn exit_code(tossed: &Tossed) -> ExitCode {
    let kind = match tossed {
        Tossed { no_room: 1.., .. } => FailureKind::Full,
        Tossed { damaged: 1.., .. } => FailureKind::Damaged,
        Tossed { read_only: true, skipped: 1.., .. } => FailureKind::Partial,
        _ => return ExitCode::SUCCESS,
    };
    ExitCode::from(kind.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_medium_wins_over_damage_and_damage_over_a_read_only_one() {
        let mut tossed = Tossed { skipped: 2, ..Tossed::default() };
        assert_eq!(exit_code(&tossed), ExitCode::SUCCESS);
        tossed.read_only = true;
        assert_eq!(exit_code(&tossed), ExitCode::from(3));
        tossed.damaged = 1;
        assert_eq!(exit_code(&tossed), ExitCode::from(11));
        tossed.no_room = 1;
        assert_eq!(exit_code(&tossed), ExitCode::from(10));
    }
}
