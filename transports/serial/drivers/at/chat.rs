//! A talk with a modem, step by step: what is said, what is waited for, what ends it.
//!
//! ```text
//! step   pause, then say, then wait for: a line | a prompt | bytes | an answer in binary | nothing
//!        the line that is waited for     -> its values are kept, the next step
//!        a line that means failure       -> said once more, or the talk has failed: which command, which answer
//!        nothing in time                 -> the same
//!        any other line                  -> not for us; whoever runs this looks at it
//! ```
//!
//! Time and pieces in, acts out; no port.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use super::{
    codec,
    reading::{Piece, Want},
    words::{Pattern, Template, Values, show},
};

/// A talk, as a profile describes it.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Script {
    pub(in super::super) steps: Vec<Step>,
}

/// One thing that is said, and what is waited for.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Step {
    pub(super) say: Option<Template>,
    /// What is said are digits of bytes.
    pub(super) is_hex: bool,
    pub(super) expect: Vec<Pattern>,
    /// Digits of bytes that are waited for.
    pub(super) bytes: Option<Template>,
    /// Bytes that mean failure while bytes are waited for.
    pub(super) aborts: Vec<Vec<u8>>,
    pub(super) prompt: Option<Vec<u8>>,
    pub(super) binary: bool,
    pub(super) fail: Vec<Pattern>,
    pub(super) within: Duration,
    pub(super) tries: u32,
    pub(super) pause: Duration,
    /// Left out if one of these does not hold.
    pub(super) only: Vec<Condition>,
    /// Left out if one of these holds.
    pub(super) unless: Vec<Condition>,
    /// The talk goes on when it fails.
    pub(super) optional: bool,
    /// With it a frame has gone, whatever comes behind.
    pub(super) sent: bool,
    pub(super) run: Option<usize>,
    pub(super) raise: Option<Template>,
    pub(super) lower: Option<Template>,
}

/// That a value is one of some.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) name: String,
    pub(super) values: Vec<String>,
}

impl Condition {
    fn holds(&self, values: &Values) -> bool {
        self.values.iter().any(|value| value.as_bytes() == values.value(&self.name))
    }
}

impl Step {
    /// The names that must be known when its time comes.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let templates = [&self.say, &self.bytes, &self.raise, &self.lower];
        let said = templates.into_iter().flatten().flat_map(Template::names);
        let asked = self.only.iter().chain(&self.unless).map(|condition| &*condition.name);
        said.chain(asked)
    }

    /// Says a line, or nothing, and waits for another, or for one of those that mean failure.
    pub(in super::super) fn ask(
        say: Option<Template>,
        expect: &[&str],
        fail: &[&str],
        within: Duration,
    ) -> Result<Self, String> {
        let patterns = |texts: &[&str]| -> Result<Vec<Pattern>, String> {
            texts.iter().map(|text| Pattern::parse(text)).collect()
        };
        let (expect, fail) = (patterns(expect)?, patterns(fail)?);
        Ok(Self { say, expect, fail, within, tries: 1, ..Self::default() })
    }

    /// Waits for bytes anywhere, or for some that mean failure.
    pub(in super::super) fn await_bytes(
        wanted: &[u8],
        aborts: &[Vec<u8>],
        within: Duration,
    ) -> Self {
        let bytes = Some(Template::of(codec::hex(wanted)));
        Self { bytes, aborts: aborts.to_vec(), within, tries: 1, ..Self::default() }
    }

    /// The same after a pause.
    pub(in super::super) fn after(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Only says something.
    pub(in super::super) fn say(say: Template) -> Self {
        Self { say: Some(say), tries: 1, ..Self::default() }
    }

    fn waits(&self) -> bool {
        !self.expect.is_empty() || self.bytes.is_some() || self.prompt.is_some() || self.binary
    }
}

/// What a talk wants done.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Act {
    Write(Vec<u8>),
    /// A modem line, by the name that an option gave it, and whether it is raised.
    Wire(String, bool),
    /// The modem gave this in binary.
    Came(Vec<u8>),
    /// Another talk is to follow, by its number, with what is known here.
    Run(usize),
    /// The frame has gone.
    Sent,
}

/// Why a talk ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Failure {
    /// What was said, for people.
    pub(in super::super) said: String,
    /// What came.
    pub(in super::super) answer: Answer,
    /// Something secret was said.
    pub(in super::super) secret: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Answer {
    /// A line that means failure.
    Line(Vec<u8>),
    /// In binary, and not what was meant.
    Damaged,
    /// Not what was waited for, within so long; the last line that came instead.
    Silence(Duration, Option<Vec<u8>>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = match &*self.said {
            "" => "what was waited for did not come:".to_owned(),
            said => format!("to \"{said}\""),
        };
        match &self.answer {
            Answer::Line(line) => write!(f, "{said} the modem answers \"{}\"", show(line)),
            Answer::Damaged => write!(f, "{said} the modem answers with damaged bytes"),
            Answer::Silence(within, None) => {
                write!(f, "{said} the modem answers nothing within {} s", within.as_secs_f32())
            }
            Answer::Silence(within, Some(last)) => {
                let within = within.as_secs_f32();
                write!(f, "{said} the modem gives no answer that is known within {within} s; ")?;
                write!(f, "the last it said is \"{}\"", show(last))
            }
        }
    }
}

/// A talk under way.
#[derive(Debug)]
pub(in super::super) struct Talk {
    script: Arc<Script>,
    values: Values,
    at: usize,
    state: State,
    tries_left: u32,
    /// As it was said, until something else is.
    said: Vec<u8>,
    /// Bytes that are waited for.
    wanted: Vec<u8>,
    last: Option<Vec<u8>>,
    acts: VecDeque<Act>,
}

#[derive(Debug)]
enum State {
    Pausing(Duration),
    Waiting(Duration),
    Ended(Result<(), Failure>),
}

impl Talk {
    /// Begins one. What is known may be said in it.
    pub(in super::super) fn new(script: Arc<Script>, values: Values, now: Duration) -> Self {
        let (state, acts) = (State::Pausing(now), VecDeque::new());
        let (said, wanted, last) = (Vec::new(), Vec::new(), None);
        let (at, tries_left) = (0, 0);
        let mut talk = Self { script, values, at, state, tries_left, said, wanted, last, acts };
        talk.begin(0, now);
        talk
    }

    /// What the next piece must be read as.
    pub(super) fn want(&self) -> Want<'_> {
        match (&self.state, self.step()) {
            (State::Waiting(_), Some(Step { binary: true, .. })) => {
                Want::Binary { said: &self.said }
            }
            (State::Waiting(_), Some(Step { prompt: Some(prompt), .. })) => Want::Prompt(prompt),
            (State::Waiting(_), Some(Step { bytes: Some(_), aborts, .. })) => {
                Want::Bytes { wanted: &self.wanted, aborts }
            }
            _ => Want::Lines,
        }
    }

    /// Takes a piece if it is for this talk.
    pub(super) fn handle_piece(&mut self, now: Duration, piece: &Piece) -> bool {
        let State::Waiting(_) = self.state else { return false };
        let Some(step) = self.script.steps.get(self.at) else { return false };
        match piece {
            Piece::Prompt | Piece::Bytes => self.go_on(now),
            Piece::Binary(bytes) => {
                self.acts.push_back(Act::Came(bytes.clone()));
                self.go_on(now);
            }
            Piece::Abort(bytes) => self.fail(now, Answer::Line(bytes.clone())),
            Piece::Damaged => self.fail(now, Answer::Damaged),
            Piece::Line(line) => {
                if !self.said.is_empty() && line == self.said.trim_ascii() {
                    // The modem repeats what it is told.
                    return true;
                }
                if let Some(taken) = step.expect.iter().find_map(|pattern| pattern.take(line)) {
                    self.values.take_all(taken);
                    self.go_on(now);
                } else if step.fail.iter().any(|pattern| pattern.take(line).is_some()) {
                    self.fail(now, Answer::Line(line.clone()));
                } else {
                    self.last = Some(line.clone());
                    return false;
                }
            }
        }
        true
    }

    /// A line came that ends the talk, whatever is waited for.
    pub(super) fn refuse(&mut self, line: &[u8]) {
        let answer = Answer::Line(line.to_vec());
        self.end(Err(self.failure(answer)));
    }

    pub(in super::super) fn handle_timeout(&mut self, now: Duration) {
        match self.state {
            State::Pausing(until) if until <= now => self.say(now),
            State::Waiting(until) if until <= now => {
                let within = self.step().map(|step| step.within).unwrap_or_default();
                let last = self.last.take();
                self.fail(now, Answer::Silence(within, last));
            }
            _ => {}
        }
    }

    pub(in super::super) fn poll_timeout(&self) -> Option<Duration> {
        match self.state {
            State::Pausing(until) | State::Waiting(until) => Some(until),
            State::Ended(_) => None,
        }
    }

    pub(in super::super) fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// How it ended, if it has.
    pub(in super::super) fn ended(&self) -> Option<&Result<(), Failure>> {
        match &self.state {
            State::Ended(how) => Some(how),
            _ => None,
        }
    }

    pub(super) fn values(&self) -> &Values {
        &self.values
    }

    fn step(&self) -> Option<&Step> {
        self.script.steps.get(self.at)
    }

    /// Goes to the next step that is not left out, from `at` on.
    fn begin(&mut self, at: usize, now: Duration) {
        let holds = |condition: &Condition| condition.holds(&self.values);
        let script = Arc::clone(&self.script);
        let mut steps = script.steps.iter().enumerate().skip(at);
        let next =
            steps.find(|(_, step)| step.only.iter().all(holds) && !step.unless.iter().any(holds));
        let Some((at, step)) = next else {
            self.end(Ok(()));
            return;
        };
        (self.at, self.tries_left) = (at, step.tries);
        self.wait(step.pause, now);
    }

    fn wait(&mut self, pause: Duration, now: Duration) {
        match pause {
            Duration::ZERO => self.say(now),
            pause => self.state = State::Pausing(now + pause),
        }
    }

    fn say(&mut self, now: Duration) {
        let script = Arc::clone(&self.script);
        let Some(step) = script.steps.get(self.at) else { return };
        self.tries_left = self.tries_left.saturating_sub(1);
        for (wire, raised) in [(&step.raise, true), (&step.lower, false)] {
            if let Some(wire) = wire {
                let name = String::from_utf8_lossy(&wire.fill(&self.values)).into_owned();
                self.acts.push_back(Act::Wire(name, raised));
            }
        }
        if let Some(template) = &step.say {
            let said = template.fill(&self.values);
            let said = if step.is_hex { codec::from_hex(&said).unwrap_or_default() } else { said };
            self.said.clone_from(&said);
            self.last = None;
            self.acts.push_back(Act::Write(said));
        }
        if let Some(hex) = &step.bytes {
            self.wanted = codec::from_hex(&hex.fill(&self.values)).unwrap_or_default();
        }
        match step.waits() {
            true => self.state = State::Waiting(now + step.within),
            false => self.go_on(now),
        }
    }

    fn go_on(&mut self, now: Duration) {
        let script = Arc::clone(&self.script);
        if let Some(step) = script.steps.get(self.at) {
            self.acts.extend(step.sent.then_some(Act::Sent));
            self.acts.extend(step.run.map(Act::Run));
        }
        self.begin(self.at + 1, now);
    }

    fn fail(&mut self, now: Duration, answer: Answer) {
        let script = Arc::clone(&self.script);
        let Some(step) = script.steps.get(self.at) else { return };
        if self.tries_left > 0 {
            self.wait(step.pause, now);
        } else if step.optional {
            self.begin(self.at + 1, now);
        } else {
            self.end(Err(self.failure(answer)));
        }
    }

    fn failure(&self, answer: Answer) -> Failure {
        // What waits without a word waits for an answer to what was said before.
        let steps = self.script.steps.iter().take(self.at + 1).rev();
        let said = steps.filter_map(|step| step.say.as_ref()).next();
        let secret = |say: &Template| say.names().any(|name| self.values.is_secret(name));
        match said {
            Some(say) => Failure { said: say.show(&self.values), answer, secret: secret(say) },
            None => Failure { said: String::new(), answer, secret: false },
        }
    }

    fn end(&mut self, how: Result<(), Failure>) {
        self.state = State::Ended(how);
    }
}
