//! `simulate`: predict a network.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use postrider_base::Lifetime;
use postrider_spool::Dropping;
use postrider_world::{Mobility, Scheme};

use super::{Context, Ended, parse};
use crate::{
    desk::Failure,
    simulate::{BYTES_DEFAULT, RATE_DEFAULT, Simulated, Simulation, crowd, plot, read_trace, run},
};

/// Predict what mail would arrive where people meet as a trace lists
#[derive(Debug, Args)]
#[command(after_help = "\
A line of a trace: start end a b (seconds, two nodes), or an event of the ONE simulator.
Schemes: ours is what nodes do, epidemic floods; spray, prophet, and direct, which waits.

Examples:
  postrider simulate town:200:2d
  postrider simulate trace.gz --scheme ours --scheme direct --svg out.svg")]
pub(super) struct Simulate {
    /// A file, - for standard input, or {town,commuters,disaster,conference}:PEOPLE:TIME
    #[arg(value_parser = source)]
    trace: Source,
    /// How nodes route; repeat to compare
    #[arg(long, value_enum, hide_possible_values = true, default_values_t = [Named::Ours])]
    scheme: Vec<Named>,
    /// Messages, written in the middle half of the trace
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// How long each lives
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = parse::lifetime)]
    ttl: Lifetime,
    /// Copies of a message that `ours` and `spray` begin with
    #[arg(long, value_name = "L", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=16))]
    copies: u8,
    /// Bundles that a node has room for; any number if not given
    #[arg(long, value_name = "N")]
    buffer: Option<u64>,
    /// How room is made for one more [default: fair for ours, published for others]
    #[arg(long, value_enum, value_name = "HOW")]
    drop: Option<Drop>,
    /// Copies stay until their lifetime ends: receipts free none
    #[arg(long)]
    no_receipts: bool,
    /// Nodes that write four times as much as all others together
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=100))]
    attackers: u16,
    /// Keys with which each attacker writes
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    keys: u16,
    /// Bytes of a message, sealed
    #[arg(long, value_name = "BYTES", default_value_t = BYTES_DEFAULT, value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    size: u32,
    /// Bits per second between two who meet, each way
    #[arg(long, value_name = "BPS", default_value_t = RATE_DEFAULT, value_parser = clap::value_parser!(u64).range(100..))]
    rate: u64,
    /// What decides everything that chance decides
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Draw how the mail arrives over time
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Where meetings come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    /// So many people, for so many hours.
    Crowd(Mobility, usize, u64),
}

/// Hours of a made-up crowd: a year.
const HOURS_MAX: u64 = 366 * 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Drop {
    // Not documented for the command's help, which would become longer than a screen.
    // As nodes do: what is worth least.
    Fair,
    // The oldest that is carried for others.
    Oldest,
    // The oldest of all that is held, own mail too; it may come again.
    Published,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Named {
    Ours,
    Epidemic,
    Spray,
    Prophet,
    Direct,
}

impl Simulate {
    pub(super) fn run(self, context: &Context) -> Ended {
        let meetings = match &self.trace {
            Source::File(path) => read_trace(path)?,
            Source::Crowd(mobility, people, hours) => crowd(*mobility, *people, *hours, self.seed)?,
        };
        let (nodes, count) = (meetings.nodes(), meetings.list().len());
        context.out.say(format!(
            "{nodes} nodes, {count} meetings, {} messages of {} bytes that live {} s, {} bit/s, seed {}",
            self.messages, self.size, self.ttl.seconds(), self.rate, self.seed
        ))?;
        context.out.say(format!(
            "{:10} {:>9} {:>15} {:>11} {:>11} {:>12}",
            "scheme", "arrived", "sent for each", "half after", "95 % after", "copies held"
        ))?;
        let mut runs = Vec::with_capacity(self.scheme.len());
        for named in &self.scheme {
            let of = Simulation {
                scheme: named.scheme(self.copies),
                messages: usize::try_from(self.messages).unwrap_or(usize::MAX),
                ttl: self.ttl,
                buffer: self.buffer,
                dropping: self.drop.map(Drop::dropping),
                receipts: !self.no_receipts,
                attackers: usize::from(self.attackers),
                keys: usize::from(self.keys),
                bytes: usize::try_from(self.size).unwrap_or(usize::MAX),
                rate_bps: self.rate,
                seed: self.seed,
            };
            let told = run(&meetings, &of, &context.watch)?;
            context.out.object(&told)?;
            context.out.say(line(&told))?;
            runs.push(told);
        }
        if let Some(path) = &self.svg {
            fs::write(path, plot(&runs)).map_err(|error| Failure::file("write", path, error))?;
            context.out.say(format!("drawn in {}", path.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Drop {
    fn dropping(self) -> Dropping {
        match self {
            Self::Fair => Dropping::Fair,
            Self::Oldest => Dropping::Oldest,
            Self::Published => Dropping::Published,
        }
    }
}

impl Named {
    fn scheme(self, copies: u8) -> (&'static str, Scheme) {
        match self {
            Self::Ours => ("ours", Scheme::Ours { copies }),
            Self::Prophet => ("prophet", Scheme::Prophet),
            Self::Epidemic => ("epidemic", Scheme::Epidemic),
            Self::Spray => ("spray", Scheme::Spray { copies }),
            Self::Direct => ("direct", Scheme::Direct),
        }
    }
}

/// A file may have any name; one that begins like a crowd's is meant with `./`.
fn source(text: &str) -> Result<Source, String> {
    let Some((mobility, rest)) = text.split_once(':').and_then(|(name, rest)| {
        let (_, mobility) = Mobility::ALL.into_iter().find(|(known, _)| *known == name)?;
        Some((mobility, rest))
    }) else {
        return Ok(Source::File(text.into()));
    };
    rest.split_once(':')
        .and_then(|(people, time)| {
            let hours = u64::from(parse::lifetime(time).ok()?.seconds()) / 3600;
            let people = people.parse().ok().filter(|people| *people >= 2)?;
            let hours = Some(hours).filter(|hours| (1..=HOURS_MAX).contains(hours))?;
            Some(Source::Crowd(mobility, people, hours))
        })
        .ok_or_else(|| "give two people or more, and an hour up to a year: town:200:2d".into())
}

fn line(told: &Simulated) -> String {
    let after = |delay: Option<f64>| delay.map_or("-".into(), |s| format!("{s:.0} s"));
    format!(
        "{:10} {:>7.1} % {:>15.1} {:>11} {:>11} {:>12.0}",
        told.scheme,
        told.delivered * 100.0,
        told.transmissions_per_message,
        after(told.delay_p50_s),
        after(told.delay_p95_s),
        told.copies_mean
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_has_a_name_a_size_and_a_time_and_all_else_is_a_file() {
        let two_days = Source::Crowd(Mobility::Town, 200, 48);
        assert_eq!(source("town:200:2d"), Ok(two_days));
        for file in ["-", "trace.gz", "./town:200:2d", "city:1:1d"] {
            assert_eq!(source(file), Ok(Source::File(file.into())));
        }
        for wrong in ["town:1:1d", "town:50", "town:x:1d", "town:5:59m", "town:5:367d", "town::"] {
            assert!(source(wrong).is_err(), "{wrong}");
        }
    }
}
