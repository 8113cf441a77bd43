//! A modem as a file: what it is asked, what its answers mean, how frames stand in its lines.
//!
//! `docs/modems.md` describes every key. What is read here holds together: every name in braces is one that
//! something gives, every script that is begun exists, every number is within its bounds. A file may come
//! from anybody, so it is small, and what it says can do no more than talk to a modem.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    chat::{Condition, Script, Step},
    codec::Data,
    facts::{Air, Line},
    options::Spec,
    words::{self, Pattern, Template},
};
use crate::contract::Refusal;

/// A profile is a page or two.
pub(super) const FILE_BYTES_MAX: usize = 64 << 10;
/// Options, rules, scripts, polls: of each.
const ITEMS_MAX: usize = 64;
/// Steps of a script.
const STEPS_MAX: usize = 48;
/// What a step waits, at most: a telephone that is dialled rings for two minutes.
const SECONDS_MAX: f64 = 600.0;
const TRIES_MAX: u32 = 20;
/// As an address has it.
const RATE: std::ops::RangeInclusive<u32> = 50..=12_000_000;
/// Rests between frames that found no network.
const RESTS_MAX: usize = 16;

/// A modem, as its profile describes it.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) name: String,
    /// Of its plug, in bits per second, where the address says nothing.
    pub(super) rate: Option<u32>,
    pub(super) options: BTreeMap<String, Spec>,
    pub(super) setup: Script,
    pub(super) carries: Carries,
}

/// What a modem is once it is set up.
#[derive(Debug)]
pub(super) enum Carries {
    /// A transparent radio: bytes.
    Line(Line),
    /// Frames, in its dialect.
    Frames(Box<Frames>),
}

/// How a modem sends and tells.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) air: Air,
    pub(super) data: Data,
    /// Bytes that the modem takes, coded as they are.
    pub(super) payload_bytes: usize,
    pub(super) tells_sent: bool,
    pub(super) send: Script,
    /// After each frame, whatever became of it.
    pub(super) after: Option<usize>,
    /// What is waited after frames that found no network, one after the other.
    pub(super) rests: Vec<Duration>,
    pub(super) heard: Vec<Rule>,
    pub(super) refused: Vec<(Pattern, Why)>,
    /// That it has begun anew, and forgotten what it was told.
    pub(super) anew: Vec<Pattern>,
    pub(super) scripts: Vec<Script>,
    /// What is asked from time to time, and how often: a number, or the name of an option; 0 is never.
    pub(super) polls: Vec<(usize, Amount)>,
    /// Whose messages are taken, where not everybody's: the option with a telephone number.
    pub(super) from: Option<String>,
}

/// What a line that nobody asked for means.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) line: Pattern,
    /// The frame is the line behind it.
    pub(super) next: bool,
    /// Begun whenever it comes.
    pub(super) run: Option<usize>,
    /// Begun when it was a frame of a node.
    pub(super) ours: Option<usize>,
}

/// Why a frame was not sent, as it stands in a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Why {
    TooLong,
    Busy,
    Duty,
    NoNetwork,
    Other,
}

impl Why {
    pub(super) fn refusal(self, said: &str) -> Refusal {
        match self {
            Self::TooLong => Refusal::TooLong,
            Self::Busy => Refusal::Busy,
            Self::Duty => Refusal::Duty,
            Self::NoNetwork => Refusal::NoNetwork,
            Self::Other => Refusal::Other(said.to_owned()),
        }
    }
}

/// A number, or the option that says it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Amount {
    Number(u64),
    Option(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    name: String,
    /// For whoever reads the file.
    #[serde(default)]
    #[allow(dead_code, reason = "a profile says whose it is, and nobody asks")]
    about: String,
    rate: Option<u32>,
    /// Behind each command.
    #[serde(default = "usual_end")]
    end: String,
    #[serde(default)]
    option: BTreeMap<String, Spec>,
    #[serde(default)]
    setup: Vec<WrittenStep>,
    line: Option<Line>,
    air: Option<Air>,
    send: Option<WrittenSend>,
    #[serde(default)]
    heard: Vec<WrittenRule>,
    #[serde(default)]
    refused: Vec<WrittenRefused>,
    #[serde(default)]
    anew: Vec<String>,
    #[serde(default)]
    script: BTreeMap<String, Vec<WrittenStep>>,
    #[serde(default)]
    poll: Vec<WrittenPoll>,
}

fn usual_end() -> String {
    "\r\n".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenSend {
    #[serde(default)]
    data: Data,
    payload: usize,
    #[serde(default)]
    tells_sent: bool,
    steps: Vec<WrittenStep>,
    after: Option<String>,
    #[serde(default)]
    rest_seconds: Vec<f64>,
    from: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenStep {
    say: Option<String>,
    raw: Option<String>,
    hex: Option<String>,
    #[serde(default)]
    expect: OneOrMore,
    expect_hex: Option<String>,
    prompt: Option<String>,
    #[serde(default)]
    binary: bool,
    #[serde(default)]
    fail: OneOrMore,
    #[serde(default = "usual_seconds")]
    seconds: f64,
    #[serde(default = "once")]
    tries: u32,
    #[serde(default)]
    pause: f64,
    #[serde(default)]
    only: BTreeMap<String, OneOrMore>,
    #[serde(default)]
    unless: BTreeMap<String, OneOrMore>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    sent: bool,
    run: Option<String>,
    raise: Option<String>,
    lower: Option<String>,
}

fn usual_seconds() -> f64 {
    2.0
}

fn once() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenRule {
    line: String,
    #[serde(default)]
    next: bool,
    run: Option<String>,
    ours: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRefused {
    line: String,
    why: Why,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPoll {
    run: String,
    every: Amount,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    #[default]
    None,
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn all(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

impl Profile {
    /// Reads a profile. What is wrong with it is for people.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > FILE_BYTES_MAX {
            return Err(format!("a profile has at most {FILE_BYTES_MAX} bytes"));
        }
        let written: Written = read(text)?;
        for (name, spec) in &written.option {
            spec.check(name)?;
        }
        let reader = Reader::new(&written);
        let profile = reader.profile(&written)?;
        reader.check_names(&profile)?;
        Ok(profile)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
}

/// What is needed to read the parts of a profile.
struct Reader<'a> {
    end: &'a str,
    scripts: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    fn new(written: &'a Written) -> Self {
        Self { end: &written.end, scripts: written.script.keys().map(|name| &**name).collect() }
    }

    fn profile(&self, written: &Written) -> Result<Profile, String> {
        let counts = [
            written.option.len(),
            written.heard.len(),
            written.refused.len(),
            written.anew.len(),
            written.script.len(),
            written.poll.len(),
        ];
        if counts.iter().any(|count| *count > ITEMS_MAX) {
            return Err(format!("at most {ITEMS_MAX} of anything"));
        }
        let fine = written.name.len() <= 32 && !written.name.is_empty();
        if !fine || !written.name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("its name is a word of at most 32 characters".into());
        }
        if written.rate.is_some_and(|rate| !RATE.contains(&rate)) {
            return Err("rate is in bits per second, 50 to 12000000".into());
        }
        let carries = match (&written.line, &written.send) {
            (Some(line), None) => {
                line.check(&written.option)?;
                Carries::Line(line.clone())
            }
            (None, Some(send)) => Carries::Frames(Box::new(self.frames(written, send)?)),
            _ => return Err("it has either [line] or [send]".into()),
        };
        Ok(Profile {
            name: written.name.clone(),
            rate: written.rate,
            options: written.option.clone(),
            setup: self.script("setup", &written.setup)?,
            carries,
        })
    }

    fn frames(&self, written: &Written, send: &WrittenSend) -> Result<Frames, String> {
        let air = written.air.clone().ok_or("[send] needs [air]")?;
        air.check(&written.option)?;
        if !(1..=crate::frames::FRAME_MAX).contains(&send.payload) {
            return Err(format!("payload is 1 to {} bytes", crate::frames::FRAME_MAX));
        }
        if send.rest_seconds.len() > RESTS_MAX {
            return Err(format!("rest-seconds are at most {RESTS_MAX}"));
        }
        if let Some(from) = &send.from
            && !written.option.contains_key(from)
        {
            return Err(format!("from: there is no option {from}"));
        }
        if send.data == Data::Sms && send.from.is_none() {
            return Err("data = \"sms\" needs from: the option with the number".into());
        }
        let scripts = written.script.iter().map(|(name, steps)| self.script(name, steps));
        let refused = written.refused.iter().map(|it| Ok((Pattern::parse(&it.line)?, it.why)));
        let polls = written.poll.iter().map(|poll| {
            poll.every.check(&written.option)?;
            Ok((self.named(&poll.run)?, poll.every.clone()))
        });
        Ok(Frames {
            air,
            data: send.data,
            payload_bytes: send.payload,
            tells_sent: send.tells_sent,
            send: self.script("send", &send.steps)?,
            after: send.after.as_ref().map(|name| self.named(name)).transpose()?,
            rests: send.rest_seconds.iter().map(|it| seconds(*it)).collect::<Result<_, _>>()?,
            heard: written.heard.iter().map(|it| self.rule(it)).collect::<Result<_, String>>()?,
            refused: refused.collect::<Result<_, String>>()?,
            anew: written.anew.iter().map(|it| Pattern::parse(it)).collect::<Result<_, _>>()?,
            scripts: scripts.collect::<Result<_, String>>()?,
            polls: polls.collect::<Result<_, String>>()?,
            from: send.from.clone(),
        })
    }

    fn rule(&self, written: &WrittenRule) -> Result<Rule, String> {
        let named = |name: &Option<String>| name.as_ref().map(|it| self.named(it)).transpose();
        let line = Pattern::parse(&written.line)?;
        if written.next && line.has(words::DATA) {
            return Err(format!("{:?}: the frame stands in it or in the next line", line.text()));
        }
        let (run, ours) = (named(&written.run)?, named(&written.ours)?);
        Ok(Rule { line, next: written.next, run, ours })
    }

    fn named(&self, name: &str) -> Result<usize, String> {
        let at = self.scripts.iter().position(|script| *script == name);
        at.ok_or_else(|| format!("there is no script {name}"))
    }

    fn script(&self, name: &str, steps: &[WrittenStep]) -> Result<Script, String> {
        if steps.len() > STEPS_MAX {
            return Err(format!("{name}: at most {STEPS_MAX} steps"));
        }
        let steps = steps.iter().enumerate().map(|(at, step)| {
            self.step(step).map_err(|why| format!("step {} of {name}: {why}", at + 1))
        });
        Ok(Script { steps: steps.collect::<Result<_, String>>()? })
    }

    fn step(&self, written: &WrittenStep) -> Result<Step, String> {
        let (say, is_hex) = match (&written.say, &written.raw, &written.hex) {
            (Some(line), None, None) => (Some(format!("{line}{}", self.end)), false),
            (None, Some(raw), None) => (Some(raw.clone()), false),
            (None, None, Some(hex)) => (Some(hex.replace(' ', "")), true),
            (None, None, None) => (None, false),
            _ => return Err("say, raw and hex are three ways to say one thing".into()),
        };
        let patterns = |texts: &OneOrMore| -> Result<Vec<Pattern>, String> {
            texts.all().iter().map(|text| Pattern::parse(text)).collect()
        };
        let wire = |name: &Option<String>| name.as_deref().map(Template::parse).transpose();
        let expect = patterns(&written.expect)?;
        let ways = [
            !expect.is_empty(),
            written.expect_hex.is_some(),
            written.prompt.is_some(),
            written.binary,
        ];
        if ways.iter().filter(|way| **way).count() > 1 {
            return Err("it waits for one thing: expect, expect-hex, prompt or binary".into());
        }
        if !(1..=TRIES_MAX).contains(&written.tries) {
            return Err(format!("tries are 1 to {TRIES_MAX}"));
        }
        let bytes = written.expect_hex.as_ref().map(|hex| hex.replace(' ', ""));
        Ok(Step {
            say: say.as_deref().map(Template::parse).transpose()?,
            is_hex,
            expect,
            bytes: bytes.as_deref().map(Template::parse).transpose()?,
            aborts: Vec::new(),
            prompt: written.prompt.as_ref().map(|prompt| prompt.as_bytes().to_vec()),
            binary: written.binary,
            fail: patterns(&written.fail)?,
            within: seconds(written.seconds)?,
            tries: written.tries,
            pause: seconds(written.pause)?,
            only: conditions(&written.only),
            unless: conditions(&written.unless),
            optional: written.optional,
            sent: written.sent,
            run: written.run.as_ref().map(|name| self.named(name)).transpose()?,
            raise: wire(&written.raise)?,
            lower: wire(&written.lower)?,
        })
    }

    /// Every name in braces is one that something gives.
    fn check_names(&self, profile: &Profile) -> Result<(), String> {
        let mut scripts = vec![&profile.setup];
        let mut given = vec![words::DATA, words::LEN];
        given.extend(profile.options.keys().map(|name| &**name));
        if let Carries::Frames(frames) = &profile.carries {
            scripts.push(&frames.send);
            scripts.extend(&frames.scripts);
            given.extend(frames.heard.iter().flat_map(|rule| rule.line.names()));
        }
        let steps = || scripts.iter().flat_map(|script| &script.steps);
        given.extend(steps().flat_map(|step| step.expect.iter().flat_map(Pattern::names)));
        let mut asked = steps().flat_map(Step::names);
        let is_line = matches!(profile.carries, Carries::Line(_));
        let for_lines = |step: &Step| step.raise.is_some() || step.lower.is_some();
        let for_frames = |step: &Step| step.run.is_some() || step.binary || step.sent;
        let stray = |step: &Step| if is_line { for_frames(step) } else { for_lines(step) };
        if steps().any(stray) {
            return Err("raise and lower belong to [line]; run, binary and sent to [send]".into());
        }
        match asked.find(|name| !given.contains(name)) {
            Some(name) => Err(format!("nothing gives {{{name}}}")),
            None => Ok(()),
        }
    }
}

fn conditions(written: &BTreeMap<String, OneOrMore>) -> Vec<Condition> {
    let one = |(name, values): (&String, &OneOrMore)| Condition {
        name: name.clone(),
        values: values.all().to_vec(),
    };
    written.iter().map(one).collect()
}

fn seconds(seconds: f64) -> Result<Duration, String> {
    match (0.0..=SECONDS_MAX).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(format!("a time is 0 to {SECONDS_MAX} seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = r#"
        name = "m"
        air = {}
        send = { payload = 20, steps = [{ say = "S {data}", expect = "OK" }] }
        heard = [{ line = "H {data}" }]
    "#;

    #[test]
    fn the_smallest_profile_has_a_name_a_way_to_send_and_a_way_to_hear() {
        let profile = Profile::parse(SMALLEST).unwrap();
        assert_eq!((&*profile.name, profile.rate, profile.setup.steps.len()), ("m", None, 0));
        let Carries::Frames(frames) = profile.carries else { panic!("a line") };
        assert_eq!((frames.data, frames.payload_bytes, frames.heard.len()), (Data::Plain, 20, 1));
    }

    #[test]
    fn the_example_of_the_documentation_is_a_profile() {
        let page = include_str!("../../../../docs/modems.md");
        let (_, behind) = page.split_once("```toml\n").unwrap();
        let (example, _) = behind.split_once("```").unwrap();
        assert_eq!(Profile::parse(example).unwrap().name, "shouter");
    }

    #[test]
    fn what_does_not_hold_together_is_refused_and_named() {
        for (old, new, word) in [
            ("name = \"m\"", "", "name"),
            ("name = \"m\"", "name = \"a b\"", "a word"),
            ("payload = 20", "payload = 0", "payload"),
            ("payload = 20", "payload = 9999", "payload"),
            ("air = {}", "air = {}\nrate = 0", "rate"),
            ("air = {}", "", "[air]"),
            ("air = {}", "air = { lora = {} }", "spreading"),
            ("air = {}", "air = { bits-per-s = \"speed\" }", "no option speed"),
            ("air = {}", "air = {}\nwind = 1", "wind"),
            ("air = {}", "air = {}\nline = { bits-per-s = 1 }", "either [line] or [send]"),
            ("{data}\", expect", "{dada}\", expect", "nothing gives {dada}"),
            ("expect = \"OK\"", "expect = \"\"", "empty pattern"),
            ("expect = \"OK\"", "expect = \"{a}{b}\"", "text between"),
            ("expect = \"OK\"", "expect = \"OK\", prompt = \">\"", "one thing"),
            ("expect = \"OK\"", "expect = \"OK\", hex = \"00\"", "three ways"),
            ("expect = \"OK\"", "expect = \"OK\", seconds = 601", "0 to 600"),
            ("expect = \"OK\"", "expect = \"OK\", seconds = nan", "0 to 600"),
            ("expect = \"OK\"", "expect = \"OK\", tries = 0", "tries"),
            ("expect = \"OK\"", "expect = \"OK\", run = \"x\"", "no script x"),
            ("expect = \"OK\"", "expect = \"OK\", raise = \"rts\"", "[line]"),
            ("payload = 20", "payload = 20, after = \"x\"", "no script x"),
            ("payload = 20", "payload = 20, data = \"sms\"", "needs from"),
            ("payload = 20", "payload = 20, from = \"x\"", "no option x"),
            ("payload = 20", "payload = 20, data = \"morse\"", "morse"),
            ("{ line = \"H {data}\" }", "{ line = \"H {data}\", next = true }", "next line"),
        ] {
            let text = SMALLEST.replacen(old, new, 1);
            assert_ne!(text, SMALLEST, "{old}");
            let why = Profile::parse(&text).unwrap_err();
            assert!(why.contains(word), "{new}: {why}");
        }
        let steps = "{ say = \"x\" }, ".repeat(STEPS_MAX + 1);
        let long = format!("{SMALLEST}\nsetup = [{steps}]");
        assert!(Profile::parse(&long).unwrap_err().contains("at most"));
        assert!(Profile::parse(&"#".repeat(FILE_BYTES_MAX + 1)).is_err());
        let deep = format!("a = {}", "[".repeat(10_000));
        assert!(Profile::parse(&deep).is_err());
    }
}
