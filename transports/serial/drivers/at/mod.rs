//! Modems that are spoken to in lines. What they are told and what their answers mean stands in a profile, so a
//! further one needs a file and no code.
//!
//! - `profile`: a modem as a file; `options` what an address may say to it; `facts` the air behind it;
//! - `words`: what is said and heard, with places for values;
//! - `codec`, `pdu`: how a frame stands in that;
//! - `reading`: lines, prompts and binary out of whatever comes;
//! - `chat`: a talk, step by step; `preparing`: one over a port that is a pipe of bytes afterwards;
//! - `modem`: a profile at work;
//! - `shipped`: those that come with the program.

pub(super) mod chat;
mod codec;
mod facts;
mod modem;
mod options;
mod pdu;
pub(super) mod preparing;
mod profile;
mod reading;
pub(super) mod words;

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Read as _,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use self::{
    chat::Talk,
    modem::Modem,
    options::Chosen,
    preparing::Unprepared,
    profile::{Carries, FILE_BYTES_MAX, Profile},
};
use super::run;
use crate::{
    contract::{Pipe, PortTrouble, RadioFacts, StreamPipe, TransportError},
    serial::{address::PortAddress, paced::Paced, wires::Wires},
};

/// Profiles that come with the program.
const SHIPPED: [(&str, &str); 7] = [
    ("e22", include_str!("shipped/e22.toml")),
    ("hc-12", include_str!("shipped/hc-12.toml")),
    ("iridium", include_str!("shipped/iridium.toml")),
    ("rn2483", include_str!("shipped/rn2483.toml")),
    ("rylr998", include_str!("shipped/rylr998.toml")),
    ("sms", include_str!("shipped/sms.toml")),
    ("wio-e5", include_str!("shipped/wio-e5.toml")),
];

/// Codes that a modem refused, of one run of the program: a SIM card locks when it is told a wrong one
/// three times, and a port that cannot be used is opened again and again.
static REFUSED_CODES: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// Whether an address says what its profile takes, and the rate of the port that the profile thinks usual.
pub(super) fn check(of: &PortAddress) -> Result<Option<u32>, String> {
    Plan::of(of).map(|plan| plan.profile.rate)
}

/// Sets the modem up and makes a pipe of it.
pub(super) async fn start(
    mut port: Box<dyn StreamPipe>,
    of: &PortAddress,
    wires: Option<Wires>,
    place: &str,
) -> Result<Pipe, TransportError> {
    let plan = Plan::of(of).map_err(|detail| TransportError::Profile { detail })?;
    let trouble = |detail: String| TransportError::Port {
        trouble: PortTrouble::Other,
        detail: format!("{place}: {detail}"),
    };
    let codes = plan.codes(place);
    if codes.is_some_and(|codes| refused_codes().contains(&codes)) {
        return Err(trouble(
            "the code in its address was refused and is not said again, since a card locks after three; \
             change it, or start anew"
                .into(),
        ));
    }
    let is_secret = Arc::new(AtomicBool::new(false));
    let pipe = match (plan.profile.carries, plan.air) {
        (Carries::Frames(frames), Known::Frames(facts)) => {
            let told = Arc::clone(&is_secret);
            let modem = Modem::new(plan.profile.setup, *frames, plan.chosen, facts, told);
            run::open(port, Box::new(modem), place).await
        }
        (_, Known::Line { bits_per_s, turn_ms }) => {
            let setup = Arc::new(plan.profile.setup);
            let talk = Talk::new(setup, plan.chosen.values, Duration::ZERO);
            match preparing::hold(&mut port, talk, wires.as_ref()).await {
                Ok(_) => {
                    // The plug may be faster than the air.
                    let port = Box::new(Paced::new(port, bits_per_s, turn_ms.is_some()));
                    Ok(Pipe::Line { port, bits_per_s, turn_ms })
                }
                Err(why) => {
                    let secret = matches!(&why, Unprepared::Talk(failure) if failure.secret);
                    is_secret.store(secret, Ordering::Relaxed);
                    Err(trouble(why.to_string()))
                }
            }
        }
        (Carries::Line(_), Known::Frames(_)) => Err(trouble("it has no frames".into())),
    };
    if pipe.is_err() && is_secret.load(Ordering::Relaxed) {
        refused_codes().extend(codes);
    }
    pipe
}

/// A modem without a port, if it is one that takes frames.
pub(super) fn modem(of: &PortAddress) -> Result<Modem, String> {
    let Plan { profile, chosen, air } = Plan::of(of)?;
    match (profile.carries, air) {
        (Carries::Frames(frames), Known::Frames(facts)) => {
            Ok(Modem::new(profile.setup, *frames, chosen, facts, Arc::default()))
        }
        _ => Err(format!("{} has no frames", profile.name)),
    }
}

/// What is wrong with the text of a profile, if anything is; else its name.
pub fn read_profile(text: &str) -> Result<String, String> {
    Profile::parse(text).map(|profile| profile.name)
}

fn refused_codes() -> std::sync::MutexGuard<'static, BTreeSet<u64>> {
    REFUSED_CODES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A profile and what an address chose of it.
struct Plan {
    profile: Profile,
    chosen: Chosen,
    air: Known,
}

/// What the modem will be like.
enum Known {
    Line { bits_per_s: u32, turn_ms: Option<u32> },
    Frames(RadioFacts),
}

impl Plan {
    fn of(of: &PortAddress) -> Result<Self, String> {
        let (common, own): (Vec<_>, Vec<_>) = of
            .options
            .iter()
            .cloned()
            .partition(|(name, _)| matches!(name.as_str(), "profile" | "clear"));
        let common = |wanted: &str| {
            let mut all = common.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value);
            match (all.next(), all.next()) {
                (_, Some(_)) => Err(format!("{wanted} is said twice")),
                (one, None) => Ok(one),
            }
        };
        let names = || SHIPPED.map(|(name, _)| name).join(", ");
        let wanted = common("profile")?
            .ok_or_else(|| format!("driver=at needs a profile: {}, or a file's path", names()))?;
        let clear_only = match common("clear")?.map(String::as_str) {
            None | Some("no") => false,
            Some("yes") => true,
            Some(_) => return Err("clear is yes or no".into()),
        };
        let profile = match SHIPPED.iter().find(|(name, _)| name == wanted) {
            Some((_, text)) => Profile::parse(text),
            None if wanted.contains('/') => file(Path::new(wanted))
                .and_then(|text| Profile::parse(&text).map_err(|why| format!("{wanted}: {why}"))),
            None => Err(format!("there is no profile {wanted}; there are {}", names())),
        }?;
        let chosen = options::choose(&profile.name, &profile.options, &own)?;
        let wrong = |why| format!("{}: {why}", profile.name);
        let air = match &profile.carries {
            Carries::Line(_) if clear_only => {
                return Err(wrong("clear is for modems that take frames".into()));
            }
            Carries::Line(line) => Known::Line {
                bits_per_s: line.bits_per_s(&chosen).map_err(wrong)?,
                turn_ms: of.turn_ms.or(line.turn_ms(&chosen).map_err(wrong)?),
            },
            Carries::Frames(_) if of.turn_ms.is_some() => {
                return Err(wrong("duplex and turn say something of wires, not of radios".into()));
            }
            Carries::Frames(frames) => {
                let mtu_bytes = frames.data.room(frames.payload_bytes);
                let told = frames.tells_sent;
                let facts = frames.air.facts(&chosen, mtu_bytes, told, clear_only);
                Known::Frames(facts.map_err(wrong)?)
            }
        };
        Ok(Self { profile, chosen, air })
    }

    /// The secret options of an address at a place, as a number; nothing if there are none.
    fn codes(&self, place: &str) -> Option<u64> {
        let secret = self.profile.options.iter().filter(|(_, spec)| spec.is_secret());
        let values: Vec<&[u8]> = secret.map(|(name, _)| self.chosen.values.value(name)).collect();
        let mut hasher = DefaultHasher::new();
        (place, &values).hash(&mut hasher);
        values.iter().any(|value| !value.is_empty()).then(|| hasher.finish())
    }
}

/// A profile of somebody's own.
fn file(path: &Path) -> Result<String, String> {
    let failed = |why: std::io::Error| format!("{}: {why}", path.display());
    // A pipe or a device would hold everything up.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Modulated;

    fn of(options: &str) -> Result<PortAddress, String> {
        let text = format!("serial:///dev/ttyUSB0?driver=at&{options}");
        PortAddress::parse(&text.parse().unwrap()).map_err(|error| error.to_string())
    }

    fn facts(options: &str) -> RadioFacts {
        match Plan::of(&of(options).unwrap()).unwrap().air {
            Known::Frames(facts) => facts,
            Known::Line { .. } => panic!("{options} is a line"),
        }
    }

    #[test]
    fn every_shipped_profile_is_one_and_says_what_its_air_is_like() {
        for (name, _) in SHIPPED {
            let number = if name == "sms" { "&number=%2B49170" } else { "" };
            let number = number.replace("%2B", "+");
            assert!(of(&format!("profile={name}{number}")).is_ok(), "{name}");
        }
        let rylr = facts("profile=rylr998&freq=869.525MHz&sf=10&bw=250");
        assert_eq!((rylr.mtu_bytes, rylr.bandwidth_hz), (237, Some(250_000)));
        assert_eq!(rylr.frequency_hz, Some(869_525_000));
        let lora = Modulated::Lora { spreading: 10, coding: 5, preamble: 12 };
        assert_eq!((rylr.modulation, rylr.broadcasts, rylr.clear_only), (Some(lora), true, false));
        let sms = facts("profile=sms&number=+49170&cost=90&clear=yes");
        assert_eq!((sms.mtu_bytes, sms.tariff.unwrap().frame, sms.clear_only), (133, 90, true));
        assert_eq!(of("profile=wio-e5").unwrap().bits_per_s, 9_600);
        assert_eq!(of("profile=wio-e5&rate=19200").unwrap().bits_per_s, 19_200);
    }

    #[test]
    fn what_an_address_cannot_mean_is_refused_with_what_there_is() {
        for (options, word) in [
            ("", "rylr998"),
            ("profile=rylr", "rylr998"),
            ("profile=rylr998&speed=9", "network (3 to 18, else 18)"),
            ("profile=rylr998&sf=12", "sf (5 to 11"),
            ("profile=rylr998&profile=e22", "twice"),
            ("profile=rylr998&clear=perhaps", "clear"),
            ("profile=rylr998&duplex=half", "duplex"),
            ("profile=e22&clear=yes", "clear"),
            ("profile=sms", "number"),
            ("profile=/nowhere/at.toml", "/nowhere/at.toml"),
            ("profile=/dev/zero", "is not a file"),
        ] {
            let why = of(options).unwrap_err();
            assert!(why.contains(word), "{options}: {why}");
        }
        let why = of("profile=sms&number=1&pin=12x4").unwrap_err();
        assert!(!why.contains("12x4"), "{why}");
    }
}
