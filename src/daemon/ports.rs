//! Ports that are kept open, or looked at once, and what people are told of them.
//!
//! A port is opened as soon as it is there, and again whenever it was gone. One that is not there, may
//! not be used or is in use costs a look every few seconds and is said once, in one line.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postrider_base::link::Address;
use postrider_engine::{
    air::{Lane, ledger::Ledger},
    carriage::line::{Caller, Line, State, Tally},
};
use postrider_transports::{
    contract::{Pipe, PortTrouble, Transport, TransportError},
    serial::{Driver, PortAddress, SAMPLE_BYTES, SerialTransport, looks_like},
};
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use super::{dialer::Peer, line_task, node::Node, radio_state::RadioState, radio_task};
use crate::desk::{
    Failure, FailureKind,
    reply::{PortFound, PortLine},
};

/// Between two tries where nobody tells that something changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A port that is gone again as soon as it is opened is not opened in a hurry.
const OPENS_APART: Duration = Duration::from_millis(100);
/// Nor is somebody called again who was busy, or has hung up: exchanges bar whoever calls too often.
const CALLS_APART: Duration = Duration::from_secs(60);
/// Noise of fewer bytes is what plugging in makes.
const NOISE_MIN: u64 = 16;

/// A port, and how it stands.
#[derive(Debug)]
pub struct Port {
    /// Where it is.
    pub address: Address,
    facts: Mutex<Facts>,
}

/// What is known of a port.
#[derive(Debug, Default)]
struct Facts {
    /// Why it is not open.
    trouble: Option<(PortTrouble, String)>,
    /// The session, once the port was open.
    session: Option<SessionFacts>,
    /// What came while no frame was whole.
    sample: Vec<u8>,
    /// How a radio stands.
    radio: Option<RadioState>,
    /// Why the last link came to nothing.
    failure: Option<String>,
    /// Nothing is said here, only heard.
    is_mute: bool,
    /// A test is over.
    is_kept: bool,
}

/// How a session stands.
#[derive(Clone, Copy, Debug)]
struct SessionFacts {
    state: State,
    caller: Option<Caller>,
    tally: Tally,
    trip_ms: Option<u64>,
}

impl Port {
    pub(super) fn new(address: Address) -> Self {
        Self { address, facts: Mutex::default() }
    }

    /// How the session stands now.
    pub(super) fn heard(&self, line: &Line) {
        let (state, caller, tally) = (line.state(), line.caller(), line.tally());
        let mut facts = self.lock();
        if facts.is_kept {
            return;
        }
        if tally.frames > tally.echoes {
            facts.sample.clear();
        }
        facts.session = Some(SessionFacts { state, caller, tally, trip_ms: line.trip_ms() });
    }

    /// What came, for people who ask what it looks like.
    pub(super) fn sample(&self, bytes: &[u8]) {
        let mut facts = self.lock();
        facts.sample.extend_from_slice(bytes);
        let old = facts.sample.len().saturating_sub(SAMPLE_BYTES);
        facts.sample.drain(..old);
    }

    /// What is known now stays: the session is ended only because it was a test.
    pub(super) fn keep_state(&self) {
        self.lock().is_kept = true;
    }

    /// A link came to nothing.
    pub(super) fn failed(&self, why: &str) {
        self.lock().failure = Some(why.to_owned());
    }

    /// Something about the radio there.
    pub(super) fn radio(&self, change: impl FnOnce(&mut RadioState)) {
        change(self.lock().radio.get_or_insert_default());
    }

    /// What a form of so many bytes would take at the radio there, if there is one that may send, and how
    /// long.
    pub fn preview(
        &self,
        form_bytes: u64,
        lane: Lane,
        ledger: &Ledger,
        now_ms: u64,
    ) -> Option<(String, Option<Duration>)> {
        self.lock().radio.as_ref()?.preview(form_bytes, lane, ledger, now_ms)
    }

    /// Notes why it is not open; whether that is news.
    fn shut(&self, trouble: PortTrouble, why: &str) -> bool {
        let mut facts = self.lock();
        let (trouble, before) = (Some((trouble, why.to_owned())), facts.trouble.take());
        let is_news = trouble != before;
        *facts = Facts { trouble, ..Facts::default() };
        is_news
    }

    /// A link was one.
    pub(super) fn went_well(&self) {
        self.lock().failure = None;
    }

    /// Whether it could not be opened.
    pub(super) fn is_shut(&self) -> bool {
        self.lock().trouble.is_some()
    }

    fn opened(&self) -> bool {
        let mut facts = self.lock();
        facts.trouble.take().is_some()
    }

    /// For people: what it is like. `linked`: a link is up over it, to that node.
    pub fn line(&self, linked: Option<&str>) -> PortLine {
        let facts = self.lock();
        let (state, why) = match linked {
            Some(name) => ("open", format!("a link to {name}")),
            None => facts.words(),
        };
        PortLine { address: self.address.to_string(), state: state.into(), why }
    }

    /// The same, with all that is known in numbers.
    pub fn found(&self, linked: Option<&str>) -> PortFound {
        let PortLine { state, why, .. } = self.line(linked);
        let bits_per_s = PortAddress::parse(&self.address).map_or(0, |of| of.bits_per_s);
        let session = self.lock().session;
        let Tally { mut bytes, mut frames, damaged, arrived, lost, .. } =
            session.map(|session| session.tally).unwrap_or_default();
        if let Some(radio) = &self.lock().radio {
            (bytes, frames) = radio.heard();
        }
        let rtt_ms = session.and_then(|session| session.trip_ms);
        let rtt_ms = rtt_ms.and_then(|ms| u32::try_from(ms).ok()).map(f64::from);
        PortFound {
            state,
            why,
            bits_per_s,
            rtt_ms,
            bytes,
            frames,
            damaged,
            arrived,
            lost,
            ..PortFound::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    fn words(&self) -> (&'static str, String) {
        if let Some((trouble, detail)) = &self.trouble {
            let state = match trouble {
                PortTrouble::Absent => "absent",
                PortTrouble::Forbidden => "forbidden",
                PortTrouble::Busy => "busy",
                _ => "unusable",
            };
            return (state, detail.clone());
        }
        if let Some(radio) = &self.radio {
            return radio.words(self.failure.as_deref());
        }
        let Some(session) = self.session else { return ("silent", "it is being opened".into()) };
        if session.state == State::Open && session.caller == Some(Caller::Nobody) {
            let why = "another node answers, and neither end is told whom to call: \
                       write #NAME behind the address at one end, or at both";
            return ("nobody-calls", why.into());
        }
        if let Some(failure) = &self.failure {
            return ("refused", failure.clone());
        }
        if session.state == State::Open {
            return ("node", "another node answers".into());
        }
        if session.tally.frames > session.tally.echoes {
            if self.is_mute {
                return ("node", "another node says hello there".into());
            }
            let why =
                "another node is heard and does not hear this one: is its end of the wire in?";
            return ("one-way", why.into());
        }
        if session.tally.echoes > 0 {
            let why = "it gives back what it is given: a loop, or something that echoes";
            return ("echo", why.into());
        }
        if session.tally.bytes >= NOISE_MIN && !self.sample.is_empty() {
            let why = format!("no node, but something speaks there: {}", looks_like(&self.sample));
            return ("noise", why);
        }
        let why = match self.is_mute {
            true => "nobody says anything there; nothing was written to it (--speak says hello)",
            false => "nobody answers",
        };
        ("silent", why.into())
    }
}

/// Opens a port that is not kept, for once, and says what is there. Without `speaks` it only listens:
/// nothing is written to what may be anything.
pub async fn probe(address: &str, speaks: bool) -> Result<PortFound, Failure> {
    let wrong = || Failure::new(FailureKind::Usage, format!("{address} is not an address"));
    let at: Address = address.parse().map_err(|_| wrong())?;
    let of = PortAddress::parse(&at).ok();
    if of.as_ref().is_some_and(PortAddress::dials) && !speaks {
        let what = "to find out who is there somebody must be called";
        return Err(Failure::new(FailureKind::Usage, what)
            .next("nothing was written to it; --speak calls, and may cost money"));
    }
    let is_wire = of.is_some_and(|of| of.driver == Driver::Wire);
    let failed = |error: TransportError| {
        let next = match is_wire {
            true => "nothing was written to it; docs/radio.md describes ports",
            // Whoever names a modem has it spoken to.
            false => "docs/radio.md describes ports and modems",
        };
        Failure::new(FailureKind::Failed, error.to_string()).next(next)
    };
    let transports = SerialTransport::all();
    let transport = transports.iter().find(|transport| transport.scheme() == at.scheme());
    let link = transport.ok_or_else(wrong)?.dial(&at, None).await.map_err(failed)?;
    let port = Port::new(at);
    port.lock().is_mute = !speaks;
    // One that goes away meanwhile has told what it had.
    let _ = match link.pipe {
        Pipe::Frames(frames) => radio_task::probe(frames, &port).await,
        _ => line_task::probe(link, &port, speaks).await,
    };
    Ok(port.found(None))
}

/// Keeps a port open until told to stop; with `once` until the first link over it has ended, or it
/// could not be opened.
pub(super) async fn keep(
    node: Arc<Node>,
    transport: Arc<dyn Transport>,
    peer: Peer,
    port: Arc<Port>,
    once: bool,
    stop: CancellationToken,
) {
    let dials = PortAddress::parse(&peer.address).is_ok_and(|of| of.dials());
    loop {
        // What changes from here on may be what is waited for.
        let changed = transport.until_changed(&peer.address);
        let opened = tokio::select! {
            () = stop.cancelled() => return,
            opened = transport.dial(&peer.address, peer.node) => opened,
        };
        match opened {
            Ok(link) => {
                if port.opened() {
                    tell(&node, &port, "it is open");
                }
                let ended = match link.pipe {
                    Pipe::Frames(_) => radio_task::run(&node, link, &port, &stop).await,
                    _ => line_task::run(&node, link, peer.node, &port, once, &stop).await,
                };
                if stop.is_cancelled() || once && ended.is_ok() {
                    return;
                }
                let why = ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                tracing::debug!(address = %port.address, %why, "a port is gone");
                let apart = if dials { CALLS_APART } else { OPENS_APART };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(apart) => {}
                }
            }
            Err(error) => {
                let (trouble, why) = match error {
                    TransportError::Port { trouble, detail } => (trouble, detail),
                    error => (PortTrouble::Other, with_cause(&error)),
                };
                if port.shut(trouble, &why) {
                    tell(&node, &port, &why);
                }
                if once {
                    return;
                }
                let looks = async {
                    match trouble {
                        PortTrouble::Absent => std::future::pending().await,
                        _ if dials => sleep(CALLS_APART).await,
                        _ => sleep(LOOK_EVERY).await,
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = changed => {}
                    () = looks => {}
                }
            }
        }
    }
}

fn tell(node: &Node, port: &Port, what: &str) {
    node.board.happened("port", None, Some(port.address.to_string()), Some(what.to_owned()));
}

fn with_cause(error: &TransportError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use postrider_engine::carriage::line::Settings;

    use super::*;

    fn port() -> Port {
        Port::new("serial:///dev/ttyUSB0".parse().unwrap())
    }

    fn line(n: u8, calls: bool) -> Line {
        Line::new(Settings { calls, ..Settings::new(115_200) }, [n; 16], 0)
    }

    /// What `from` has to say goes to the other end of its port.
    fn speak(from: &mut Line, to: &mut Line, now_ms: u64) {
        let mut out = Vec::new();
        from.transmit(now_ms, 4096, &mut out);
        to.receive(now_ms, &out);
    }

    #[test]
    fn a_port_that_cannot_be_opened_is_told_once_and_shown_with_its_reason() {
        let port = port();
        assert!(port.shut(PortTrouble::Busy, "in use by another"));
        assert!(!port.shut(PortTrouble::Busy, "in use by another"));
        let shown = port.line(None);
        assert_eq!((&*shown.state, &*shown.why), ("busy", "in use by another"));
        assert!(port.opened() && !port.opened());
    }

    #[test]
    fn what_is_at_the_other_end_is_said() {
        let port = port();
        let [mut ours, mut theirs] = [2, 4].map(|n| line(n, false));
        port.heard(&ours);
        assert_eq!(port.line(None).why, "nobody answers");
        let noise = b"temp 21.5, hum 40\r\n";
        ours.receive(0, noise);
        port.sample(noise);
        port.heard(&ours);
        let shown = port.line(None);
        assert!(shown.state == "noise" && shown.why.contains("temp 21.5"), "{shown:?}");
        for now_ms in 0..100 {
            speak(&mut ours, &mut theirs, now_ms);
            speak(&mut theirs, &mut ours, now_ms);
        }
        port.heard(&ours);
        assert_eq!(port.line(None).state, "nobody-calls");
        assert_eq!(port.line(Some("Bob")).why, "a link to Bob");
    }

    #[test]
    fn an_echo_is_not_taken_for_somebody() {
        let (port, mut ours) = (port(), line(2, true));
        let mut out = Vec::new();
        ours.transmit(0, 4096, &mut out);
        ours.receive(1, &out);
        port.sample(&out);
        port.heard(&ours);
        assert_eq!(port.line(None).state, "echo");
    }
}
