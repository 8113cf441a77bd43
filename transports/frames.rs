//! The contract of a radio: frames go out one by one, and what was heard comes in.
//!
//! - A frame that is put into [`FramePort::to_air`] is taken when the modem is ready for it, and not
//!   before: there is room for one, so that what is urgent never stands behind a queue.
//! - Of every frame that was taken the fate is told: [`Heard::Sent`] or [`Heard::Refused`], in the order
//!   in which they were given. What a modem says of itself is believed, within the frames that it has.
//! - [`Heard::Frame`] is what anybody sent: damaged perhaps, forged perhaps, twice perhaps, and no longer
//!   than [`FRAME_MAX`].
//! - When the receiver ends the port is gone; the last it says is [`Heard::Ended`]. Dropping the port
//!   ends it, and what the modem was given before may still go.
//! - Nothing is queued without bound: what is heard and not taken in time is lost, as on the air.

use std::io;

use postrider_base::air::{RadioFacts, Strength};
use tokio::sync::mpsc;

/// No frame is longer, whatever a modem takes.
pub const FRAME_MAX: usize = 2_048;
/// What was heard and waits to be taken.
pub const HEARD_MAX: usize = 64;

/// A radio that is ready, as whoever decides what it sends sees it.
#[derive(Debug)]
pub struct FramePort {
    /// What it is like.
    pub facts: RadioFacts,
    /// Where frames go out.
    pub to_air: mpsc::Sender<OutFrame>,
    /// What comes in.
    pub heard: mpsc::Receiver<Heard>,
}

/// The same, as the driver sees it.
#[derive(Debug)]
pub struct FrameDriver {
    /// The next frame to be sent.
    pub to_air: mpsc::Receiver<OutFrame>,
    /// Where to tell what was heard.
    pub heard: mpsc::Sender<Heard>,
}

/// A frame on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutFrame {
    /// Tells frames of one port apart.
    pub number: u32,
    /// At most as long as the facts say.
    pub bytes: Vec<u8>,
}

/// What a radio tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum Heard {
    /// Somebody's frame.
    Frame {
        /// It.
        bytes: Vec<u8>,
        /// How well it was heard, where the modem says so.
        strength: Strength,
    },
    /// A frame of ours has left the antenna, or the modem can take the next.
    Sent {
        /// Which.
        number: u32,
    },
    /// A frame of ours was not sent.
    Refused {
        /// Which.
        number: u32,
        /// Why.
        why: Refusal,
    },
    /// Somebody began to send, or the channel is free again, where the modem tells.
    Carrier {
        /// Whether somebody sends.
        busy: bool,
    },
    /// The port is gone, and why.
    Ended(io::Error),
}

/// Why a modem did not send a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is too long for it.
    TooLong,
    /// It is busy still, or the channel is.
    Busy,
    /// It has sent as much as it may for now.
    Duty,
    /// It has no network: no signal, no satellite in sight.
    NoNetwork,
    /// It did not answer, or in no words that are known.
    Silent,
    /// Something else, for people.
    Other(String),
}

/// Both ends of a port.
pub fn port(facts: RadioFacts) -> (FramePort, FrameDriver) {
    let (to_air, frames) = mpsc::channel(1);
    let (told, heard) = mpsc::channel(HEARD_MAX);
    (FramePort { facts, to_air, heard }, FrameDriver { to_air: frames, heard: told })
}
