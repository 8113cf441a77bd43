//! A modem of a telephone line, or whatever behaves like one: it dials or it answers, and is a line then.
//!
//! ```text
//! driver=hayes&number=0301234567        dials as soon as the port is there, and again when it was hung up
//! driver=hayes&answer=yes               waits until somebody calls
//! ```
//!
//! When to dial again is decided by whoever opens the port. `login`: what is said to whoever answers; `carrier`:
//! the line until it is hung up.

mod carrier;
mod login;

use std::{sync::Arc, time::Duration};

use self::carrier::{Connected, GUARD};
use super::at::{
    chat::{Answer, Script, Step, Talk},
    preparing::{Unprepared, hold},
    words::{Template, Values},
};
use crate::{
    contract::{Pipe, PortTrouble, StreamPipe, TransportError},
    serial::{
        address::PortAddress,
        wires::{Wire, Wires},
    },
};

/// A command is answered within this.
const COMMAND: Duration = Duration::from_secs(3);
/// A modem that resets.
const RESET: Duration = Duration::from_secs(5);
/// Modems wait a minute for a carrier by themselves (S7), and dial before that.
const DIAL_USUAL_S: u64 = 90;
const DIAL_MAX_S: u64 = 300;
/// The carrier of whoever calls.
const ANSWER: Duration = Duration::from_secs(90);
/// Until somebody calls: for ever, nearly.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);
/// A line that is put down is noticed within this.
const DTR_LOW: Duration = Duration::from_millis(600);
/// Digits, and what a modem is told between them.
const NUMBER_MAX: usize = 40;
const INIT_MAX: usize = 64;
const CALL_FAILS: [&str; 10] = [
    "BUSY",
    "NO CARRIER",
    "NO DIALTONE",
    "NO DIAL TONE",
    "NO ANSWER",
    "VOICE",
    "DELAYED{}",
    "BLACKLISTED",
    "CONNECTION FAILED",
    "ERROR",
];
const OPTIONS: &str =
    "driver=hayes has the options number or answer=yes, dial (tone or pulse), wait, init and chat";

/// Whether an address says what this driver takes.
pub(super) fn check(of: &PortAddress) -> Result<(), String> {
    Call::of(of).map(drop)
}

/// Dials, or waits for a call, and makes a pipe of the line.
pub(super) async fn start(
    mut port: Box<dyn StreamPipe>,
    of: &PortAddress,
    wires: Option<Wires>,
    place: &str,
) -> Result<Pipe, TransportError> {
    let call = Call::of(of).map_err(|detail| TransportError::Profile { detail })?;
    let trouble = |why: Unprepared| TransportError::Port {
        trouble: PortTrouble::Other,
        detail: format!("{place}: {}", told(&why)),
    };
    let (rest, shows) = call.connect(&mut port, wires.as_ref()).await.map_err(trouble)?;
    let port = Box::new(Connected::new(port, wires, shows, rest));
    Ok(Pipe::Line { port, bits_per_s: of.bits_per_s, turn_ms: of.turn_ms })
}

/// What to do with a modem that was reset: one talk, since whoever calls or answers does not wait for the next.
struct Call(Script);

impl Call {
    fn of(of: &PortAddress) -> Result<Self, String> {
        let (mut number, mut answers, mut dial, mut wait_s) = (None, false, "T", DIAL_USUAL_S);
        let (mut inits, mut login) = (Vec::new(), Script::default());
        for (at, (name, value)) in of.options.iter().enumerate() {
            if of.options[..at].iter().any(|(before, _)| before == name) && name != "init" {
                return Err(format!("{name} is said twice"));
            }
            match (name.as_str(), value.as_str()) {
                ("number", value) => number = Some(checked_number(value)?),
                ("answer", "yes") => answers = true,
                ("answer", "no") => answers = false,
                ("answer", _) => return Err("answer is yes or no".into()),
                ("dial", "tone") => dial = "T",
                ("dial", "pulse") => dial = "P",
                ("dial", _) => return Err("dial is tone or pulse".into()),
                ("wait", value) => {
                    let seconds = value.parse().ok().filter(|s| (1..=DIAL_MAX_S).contains(s));
                    wait_s = seconds.ok_or("wait is in seconds, 1 to 300")?;
                }
                ("init", value) if value.len() <= INIT_MAX => {
                    inits.push(login::command(value)?);
                }
                ("init", _) => return Err("init is a command of at most 64 characters".into()),
                ("chat", value) => login = login::script(value)?,
                (name, _) => return Err(format!("there is no option {name}: {OPTIONS}")),
            }
        }
        let ask = |line: &[u8], fail: &[&str], within| {
            let line = [line, b"\r"].concat();
            Step::ask(Some(Template::of(line)), &["OK"], fail, within)
        };
        // Echo off, words as results, no answering by itself.
        let usual: [&[u8]; 2] = [b"ATE0Q0V1", b"ATS0=0"];
        let steps = usual.into_iter().chain(inits.iter().map(|init| &**init));
        let mut steps =
            steps.map(|line| ask(line, &["ERROR"], COMMAND)).collect::<Result<Vec<_>, _>>()?;
        let connected = ["CONNECT", "CONNECT {rate}"];
        steps.extend(match (number, answers) {
            (Some(number), false) => {
                let line = format!("ATD{dial}{number}\r").into_bytes();
                let within = Duration::from_secs(wait_s);
                vec![Step::ask(Some(Template::of(line)), &connected, &CALL_FAILS, within)?]
            }
            (None, true) => {
                let ring = Step::ask(None, &["RING"], &[], FOR_EVER)?;
                let line = Template::of(b"ATA\r".to_vec());
                vec![ring, Step::ask(Some(line), &connected, &CALL_FAILS, ANSWER)?]
            }
            _ => return Err(format!("either number or answer=yes: {OPTIONS}")),
        });
        steps.extend(login.steps);
        Ok(Self(Script { steps }))
    }

    /// Until the line is connected. What came behind that is given back, and whether the carrier line shows
    /// that it is.
    async fn connect(
        self,
        port: &mut Box<dyn StreamPipe>,
        wires: Option<&Wires>,
    ) -> Result<(Vec<u8>, bool), Unprepared> {
        if let Some(wires) = wires {
            // A line that another run of the program left.
            let _ = wires.set(Wire::Dtr, false);
            tokio::time::sleep(DTR_LOW).await;
            let _ = wires.set(Wire::Dtr, true);
        }
        let reset = |within| {
            let line = Template::of(b"ATZ\r".to_vec());
            Step::ask(Some(line), &["OK"], &["ERROR"], within).map_err(Unprepared::Port)
        };
        let first = Script { steps: vec![reset(COMMAND)?] };
        if talk(port, first, wires).await.is_err() {
            // It is connected still, and took that for data.
            let say = |bytes: &[u8]| Step::say(Template::of(bytes.to_vec())).after(GUARD);
            let steps = vec![say(b"+++"), say(b"ATH0\r"), reset(RESET)?.after(GUARD)];
            talk(port, Script { steps }, wires).await?;
        }
        // One that is always raised says nothing.
        let was_raised = wires.is_none_or(Wires::has_carrier);
        let rest = talk(port, self.0, wires).await?;
        Ok((rest, !was_raised && wires.is_some_and(Wires::has_carrier)))
    }
}

async fn talk(
    port: &mut Box<dyn StreamPipe>,
    script: Script,
    wires: Option<&Wires>,
) -> Result<Vec<u8>, Unprepared> {
    let talk = Talk::new(Arc::new(script), Values::default(), Duration::ZERO);
    hold(port, talk, wires).await
}

/// What a modem answers to a call, in words.
fn told(why: &Unprepared) -> String {
    if let Unprepared::Talk(failure) = why
        && let Answer::Line(line) = &failure.answer
        && failure.said.starts_with("ATD")
    {
        let words = match &**line {
            b"BUSY" => "the number is busy",
            b"NO CARRIER" => "nobody answers there who is a modem, or the line was cut",
            b"NO DIALTONE" | b"NO DIAL TONE" => "there is no dial tone: is the line connected?",
            b"NO ANSWER" => "nobody answers",
            b"VOICE" => "a person answers there, or a machine that speaks",
            _ => return why.to_string(),
        };
        return format!("{words} ({why})");
    }
    why.to_string()
}

fn checked_number(number: &str) -> Result<&str, String> {
    // Pauses, dial tones, hooks, and keys beyond ten; nothing that ends the command or begins another.
    let may = |byte: u8| byte.is_ascii_digit() || b"+*#,-.()@!ABCDPTW".contains(&byte);
    match (1..=NUMBER_MAX).contains(&number.len()) && number.bytes().all(may) {
        true => Ok(number),
        false => Err("number holds digits and + * , - . ( ) @ ! W, at most 40".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(options: &str) -> Result<(), String> {
        let text = format!("serial:///dev/ttyS0?driver=hayes&{options}");
        PortAddress::parse(&text.parse().unwrap()).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_a_port_is_opened() {
        for fine in [
            "number=0301234567",
            "number=0,030-123W*5&wait=60&dial=pulse&init=AT\\x26K3",
            "answer=yes",
        ] {
            check_text(fine).unwrap();
        }
        for (text, word) in [
            ("", "number or answer=yes"),
            ("number=1&answer=yes", "either number or answer=yes"),
            ("number=12;ATZ", "number"),
            ("number=", "number"),
            ("number=1&number=2", "twice"),
            ("answer=maybe", "yes or no"),
            ("number=1&wait=0", "wait"),
            ("number=1&dial=rotary", "dial"),
            ("number=1&baud=9600", "number or answer=yes"),
            ("number=1&init=\\r", "init"),
            ("number=1&chat=a \\q", "chat knows"),
        ] {
            let why = check_text(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
        let why = check_text("number=1&chat=ogin: secret&speed=1").unwrap_err();
        assert!(!why.contains("secret"), "{why}");
    }
}
