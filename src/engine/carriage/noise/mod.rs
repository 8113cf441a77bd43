//! Noise IK over a stream: proof of who is at the other end, and secrecy, for links that bring
//! neither (serial lines, pipes, Bluetooth). `docs/noise.md` has the byte diagrams.
//!
//! ```text
//! initiator                                     responder
//! Initiator::start  -- e, es, s, ss, payload -->  Responder::accept    payload is early
//! Initiator::finish <-- e, ee, se, payload -----  Responder::reply
//! Transport         <-------- records --------->  Transport
//! ```
//!
//! One round trip greets, because both handshake messages carry a payload. That of the first
//! message is [early](Payload::early): whoever recorded it can send it again, so nothing may change
//! because of it except what is asked for. The responder knows that the initiator is really there
//! with the first record it opens.
//!
//! The pattern is `Noise_IK_25519_ChaChaPoly_SHA256`. The static keys are the node keys (base,
//! `agreement`), so the initiator must know the responder's id, and a responder tells nothing to
//! whoever does not. SHA-256 rather than BLAKE2s because ring brings it along, with the cipher.
//!
//! Everything that is written starts with its length in two bytes; [`first_message`] finds it in
//! what came. After any error the link is over: the order of records is part of their proof.
//!
//! ```
//! use postrider_base::NodeSecret;
//! use postrider_engine::carriage::noise::{
//!     HANDSHAKE_MESSAGE_MAX, Initiator, Introduction, RECORD_MAX, Responder, first_message,
//! };
//!
//! let (ours, theirs) = (NodeSecret::from_seed([1; 32]), NodeSecret::from_seed([2; 32]));
//! // The random bytes are random in earnest, and never used twice.
//! let (initiator, first) =
//!     Initiator::start(&ours, theirs.id(), [3; 32], Introduction::Known, b"hello")?;
//!
//! let first = first_message(&first, HANDSHAKE_MESSAGE_MAX)?.unwrap();
//! let (responder, greeting) = Responder::accept(&theirs, [4; 32], first)?;
//! assert_eq!(greeting.peer, ours.id());
//! assert!(greeting.payload.early);
//! let (second, mut there) = responder.reply(b"hello yourself")?;
//!
//! let second = first_message(&second, HANDSHAKE_MESSAGE_MAX)?.unwrap();
//! let (payload, mut here) = initiator.finish(second)?;
//! assert_eq!(payload.bytes, b"hello yourself");
//!
//! let (mut sent, mut received) = (Vec::new(), Vec::new());
//! here.seal(b"some units", &mut sent)?;
//! there.open(first_message(&sent, RECORD_MAX)?.unwrap(), &mut received)?;
//! assert_eq!(received, b"some units");
//! # Ok::<(), postrider_engine::carriage::noise::NoiseError>(())
//! ```

mod handshake;
mod suite;
mod transport;

pub use handshake::{
    FIRST_MESSAGE_BYTES, Greeting, HANDSHAKE_MESSAGE_MAX, HANDSHAKE_PAYLOAD_MAX,
    INTRODUCTION_BYTES, Initiator, Introduction, Payload, Responder, SECOND_MESSAGE_BYTES,
};
pub use transport::{RECORD_BYTES, RECORD_MAX, RECORD_PLAIN_MAX, RECORDS_MAX, Transport};

/// The length in front of every message.
pub const LENGTH_BYTES: usize = 2;
/// The cipher's proof behind every sealed piece.
const TAG_BYTES: usize = 16;

/// Why a handshake or a record is refused. No variant says more than the other end may know.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoiseError {
    /// A message shorter or longer than it can be.
    #[error("a message of {0} bytes")]
    Length(usize),
    /// A payload beyond [`HANDSHAKE_PAYLOAD_MAX`].
    #[error("a handshake payload of {0} bytes, more than {HANDSHAKE_PAYLOAD_MAX}")]
    Payload(usize),
    /// Not made with the right keys for this place, or changed on the way.
    #[error("not from whom it should be, or changed on the way")]
    Forged,
    /// The initiator's key belongs to no node, or its flags are none of this version.
    #[error("an initiator that is no node of this version")]
    Identity,
    /// The initiator's signature is not that of the node it claims to be.
    #[error("a false introduction")]
    Introduction,
    /// An earlier error, or [`RECORDS_MAX`] records, ended this link.
    #[error("the link has ended")]
    Ended,
}

/// The first message in what came, without its length; `None` while it is incomplete.
///
/// `most` is [`HANDSHAKE_MESSAGE_MAX`] or [`RECORD_MAX`], so that nobody unproven makes us wait for
/// more. Drop the message and [`LENGTH_BYTES`] from the buffer when it is dealt with.
pub fn first_message(bytes: &[u8], most: usize) -> Result<Option<&[u8]>, NoiseError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*length));
    // Said at once, not after waiting for the rest.
    if length < TAG_BYTES || length > most {
        return Err(NoiseError::Length(length));
    }
    Ok(rest.get(..length))
}
