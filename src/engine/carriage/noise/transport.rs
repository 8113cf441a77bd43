//! Records: after the handshake, a stream of bytes each way.
//!
//! ```text
//! record    length 2   { 1 to 65,519 bytes }+16
//! ```
//!
//! A record has no meaning of its own; the bytes in it are a piece of the stream. So whatever is
//! ready goes into one [`Transport::seal`]: every record costs [`RECORD_BYTES`].
//!
//! That a stream was cut short does not show here. The exchange says when it is over, and what it
//! did not settle was not delivered.

use std::fmt;

use postrider_base::NodeId;
use snow::{HandshakeState, TransportState};

use super::{LENGTH_BYTES, NoiseError, TAG_BYTES};

/// What a record adds to its bytes.
pub const RECORD_BYTES: usize = LENGTH_BYTES + TAG_BYTES;
/// The longest record, without its length: Noise's own limit, which the length can just express.
pub const RECORD_MAX: usize = 65_535;
/// The bytes in one record.
pub const RECORD_PLAIN_MAX: usize = RECORD_MAX - TAG_BYTES;
/// Records each way on one link. Never reached: full ones take a gigabyte a second 2 million years.
/// Far below 2^64, where the cipher's nonces end, so that nobody has to change keys.
pub const RECORDS_MAX: u64 = 1 << 60;

/// The two directions of a link that is proven and secret.
pub struct Transport {
    state: TransportState,
    peer: NodeId,
    sealed: u64,
    opened: u64,
    ended: bool,
}

impl Transport {
    pub(super) fn new(state: HandshakeState, peer: NodeId) -> Result<Self, NoiseError> {
        let state = state.into_transport_mode().map_err(|_| NoiseError::Ended)?;
        Ok(Self { state, peer, sealed: 0, opened: 0, ended: false })
    }

    /// Who is at the other end. At the responder this is proven by the first record that opens.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Appends `bytes` to `out` as records: one for each [`RECORD_PLAIN_MAX`] begun, none for nothing.
    pub fn seal(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        out.reserve(bytes.len() + bytes.len().div_ceil(RECORD_PLAIN_MAX) * RECORD_BYTES);
        for piece in bytes.chunks(RECORD_PLAIN_MAX) {
            self.go_on(self.sealed)?;
            self.sealed += 1;
            let at = out.len();
            let length = piece.len() + TAG_BYTES;
            out.resize(at + LENGTH_BYTES + length, 0);
            put_length(out, at, length);
            if self.state.write_message(piece, &mut out[at + LENGTH_BYTES..]).is_err() {
                out.truncate(at);
                return Err(self.end(NoiseError::Ended));
            }
        }
        Ok(())
    }

    /// Appends what is in a record, given without its length, to `out`.
    ///
    /// Records must come whole and in order. The first that does not open ends the link, and `out` is
    /// left as it was.
    pub fn open(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        self.go_on(self.opened)?;
        self.opened += 1;
        // An empty record would be a way to keep us busy for nothing.
        if record.len() <= TAG_BYTES || record.len() > RECORD_MAX {
            return Err(self.end(NoiseError::Length(record.len())));
        }
        let at = out.len();
        out.resize(at + record.len() - TAG_BYTES, 0);
        if self.state.read_message(record, &mut out[at..]).is_err() {
            out.truncate(at);
            return Err(self.end(NoiseError::Forged));
        }
        Ok(())
    }

    fn go_on(&mut self, records: u64) -> Result<(), NoiseError> {
        if records >= RECORDS_MAX {
            self.ended = true;
        }
        if self.ended { Err(NoiseError::Ended) } else { Ok(()) }
    }

    fn end(&mut self, why: NoiseError) -> NoiseError {
        self.ended = true;
        why
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Writes the length of a message at `at`.
pub(super) fn put_length(out: &mut [u8], at: usize, length: usize) {
    let length = u16::try_from(length).expect("a message has at most 65,535 bytes");
    out[at..at + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::{super::*, *};

    fn pair() -> (Transport, Transport) {
        let (a, b) = (NodeSecret::from_seed([1; 32]), NodeSecret::from_seed([2; 32]));
        let (initiator, first) =
            Initiator::start(&a, b.id(), [3; 32], Introduction::Known, b"").unwrap();
        let (responder, _) = Responder::accept(
            &b,
            [4; 32],
            first_message(&first, HANDSHAKE_MESSAGE_MAX).unwrap().unwrap(),
        )
        .unwrap();
        let (second, there) = responder.reply(b"").unwrap();
        let (_, here) = initiator
            .finish(first_message(&second, HANDSHAKE_MESSAGE_MAX).unwrap().unwrap())
            .unwrap();
        (here, there)
    }

    #[test]
    fn a_link_ends_at_its_limit_each_way() {
        let (mut here, mut there) = pair();
        here.sealed = RECORDS_MAX - 1;
        let mut out = Vec::new();
        here.seal(b"last", &mut out).unwrap();
        assert_eq!(here.seal(b"one more", &mut out), Err(NoiseError::Ended));
        there.opened = RECORDS_MAX - 1;
        let mut plain = Vec::new();
        there.open(&out[LENGTH_BYTES..], &mut plain).unwrap();
        assert_eq!(there.open(&out[LENGTH_BYTES..], &mut plain), Err(NoiseError::Ended));
    }

    #[test]
    fn a_record_that_fails_leaves_the_output_as_it_was_and_ends_the_link() {
        let (mut here, mut there) = pair();
        let (mut sent, mut plain) = (Vec::new(), b"before".to_vec());
        here.seal(b"good", &mut sent).unwrap();
        let mut bad = sent[LENGTH_BYTES..].to_vec();
        bad[0] ^= 1;
        assert_eq!(there.open(&bad, &mut plain), Err(NoiseError::Forged));
        assert_eq!(plain, b"before");
        assert_eq!(there.open(&sent[LENGTH_BYTES..], &mut plain), Err(NoiseError::Ended));
        assert_eq!(there.seal(b"answer", &mut sent), Err(NoiseError::Ended));
    }
}
