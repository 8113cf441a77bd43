//! A talk over a port that is a pipe of bytes afterwards: a transparent radio is set up, a telephone is dialled.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, sleep_until, timeout},
};

use super::{
    chat::{Act, Failure, Talk},
    reading::Reading,
};
use crate::{
    contract::StreamPipe,
    serial::wires::{Wire, Wires},
};

/// A modem that does not take a command within that is none.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes read at once: commands are answered in fewer.
const READ_BYTES: usize = 256;

/// Why a port could not be prepared.
#[derive(Debug)]
pub(in super::super) enum Unprepared {
    /// What the modem answered, or did not.
    Talk(Failure),
    /// For people.
    Port(String),
}

impl std::fmt::Display for Unprepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Talk(failure) => failure.fmt(f),
            Self::Port(why) => f.write_str(why),
        }
    }
}

/// Holds a talk until its end, and gives back what came behind it.
pub(in super::super) async fn hold(
    port: &mut Box<dyn StreamPipe>,
    mut talk: Talk,
    wires: Option<&Wires>,
) -> Result<Vec<u8>, Unprepared> {
    let begun = Instant::now();
    let mut reading = Reading::default();
    let mut buffer = [0; READ_BYTES];
    let gone = |error: std::io::Error| Unprepared::Port(error.to_string());
    loop {
        while let Some(act) = talk.poll() {
            match act {
                Act::Write(bytes) => match timeout(WRITE_TIME_MAX, port.write_all(&bytes)).await {
                    Ok(wrote) => wrote.map_err(gone)?,
                    Err(_) => {
                        return Err(Unprepared::Port("the modem takes no bytes".into()));
                    }
                },
                Act::Wire(name, raised) => set(wires, &name, raised)?,
                // Nothing that a port of bytes has.
                Act::Came(_) | Act::Run(_) | Act::Sent => {}
            }
        }
        match talk.ended() {
            Some(Ok(())) => return Ok(reading.into_rest()),
            Some(Err(failure)) => return Err(Unprepared::Talk(failure.clone())),
            None => {}
        }
        let due = talk.poll_timeout().and_then(|at| begun.checked_add(at));
        let slept = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = port.read(&mut buffer) => {
                let read = read.map_err(gone)?;
                if read == 0 {
                    return Err(Unprepared::Port("the port is gone".into()));
                }
                let mut rest = &buffer[..read];
                while !rest.is_empty() {
                    let taken = reading.handle(rest);
                    rest = &rest[taken..];
                    while talk.ended().is_none()
                        && let Some(piece) = reading.poll(talk.want())
                    {
                        talk.handle_piece(begun.elapsed(), &piece);
                    }
                    if talk.ended().is_some() {
                        break;
                    }
                }
                // Of what came behind the last answer it has as much as it has room for: the rest of a
                // line that may lose bytes.
                reading.handle(rest);
            }
            () = slept => talk.handle_timeout(begun.elapsed()),
        }
    }
}

fn set(wires: Option<&Wires>, name: &str, raised: bool) -> Result<(), Unprepared> {
    let Some(wire) = Wire::named(name) else { return Ok(()) };
    let set = wires.map(|wires| wires.set(wire, raised));
    match set {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(Unprepared::Port(format!("{name} cannot be set: {error}"))),
        None => Err(Unprepared::Port(format!("this port has no {name} to set"))),
    }
}
