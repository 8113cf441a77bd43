//! The two messages before the records, each end as a value that is used up by its next step.
//!
//! ```text
//! prologue  "postrider noise v1"  responder's NodeId 32
//! first     e 32   s 32+16   { flags 1  [signature 64]  payload }+16
//! second    e 32             { payload }+16
//! flags     1 the sign of the initiator's id   2 a signature follows
//! ```
//!
//! The responder's id is in the prologue, the initiator's follows from s and the sign, and both
//! are so part of everything that the handshake hashes. The responder cannot have the initiator's
//! id in its prologue: it learns who calls from the first message, and nobody else shall.
//!
//! A stranger signs as well (`Introduction::Signed`), so that an identity that is met for the first
//! time is also proven in the way that bundles prove it. It signs the handshake's hash before the
//! first message, together with e, so the signature speaks for this responder and this handshake.
//! Whether a node that is neither known nor signed is let in, the caller decides by the greeting.
//!
//! Reading a first message takes four multiplications on the curve, before anything is proven: how
//! many are read at a time is for the caller to limit.

use std::fmt;

use postrider_base::{
    NodeId, NodeSecret,
    agreement::{AgreementSecret, Sign},
    domain,
};
use snow::{Builder, HandshakeState};

use super::{
    LENGTH_BYTES, NoiseError, TAG_BYTES,
    suite::Suite,
    transport::{Transport, put_length},
};

/// Payload of a handshake message. A hello and the first offers are some hundred bytes; and this is
/// what somebody unproven can make us read.
pub const HANDSHAKE_PAYLOAD_MAX: usize = 4096;
/// The first message without its payload, with its length: 99 bytes.
pub const FIRST_MESSAGE_BYTES: usize =
    LENGTH_BYTES + KEY_BYTES + KEY_BYTES + TAG_BYTES + FLAGS_BYTES + TAG_BYTES;
/// The second message without its payload, with its length: 50 bytes.
pub const SECOND_MESSAGE_BYTES: usize = LENGTH_BYTES + KEY_BYTES + TAG_BYTES;
/// What a signature adds to the first message.
pub const INTRODUCTION_BYTES: usize = 64;
/// The longest handshake message, without its length: what to buffer for somebody unproven.
pub const HANDSHAKE_MESSAGE_MAX: usize =
    FIRST_MESSAGE_BYTES - LENGTH_BYTES + INTRODUCTION_BYTES + HANDSHAKE_PAYLOAD_MAX;

const KEY_BYTES: usize = 32;
const FLAGS_BYTES: usize = 1;
const FLAG_ODD: u8 = 1;
const FLAG_SIGNED: u8 = 2;

/// Whether the initiator signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introduction {
    /// The responder has met us before.
    Known,
    /// We may be strangers: 64 bytes more.
    Signed,
}

/// What came in a handshake message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The bytes, at most [`HANDSHAKE_PAYLOAD_MAX`].
    pub bytes: Vec<u8>,
    /// They came in a first message, which can be a recorded one, sent again by anybody. Answer what
    /// they ask, change nothing because of them.
    pub early: bool,
}

/// What a first message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Who made the message, though perhaps not now.
    pub peer: NodeId,
    /// Whether it was signed. Without it, only known nodes are let in.
    pub introduction: Introduction,
    /// What it carried; early.
    pub payload: Payload,
}

/// The end that dials, after its first message.
pub struct Initiator {
    state: HandshakeState,
    peer: NodeId,
}

/// The end that was dialled, before its answer.
pub struct Responder {
    state: HandshakeState,
    peer: NodeId,
}

impl Initiator {
    /// Makes the first message for a node whose id is known.
    ///
    /// `random` must be fresh. Should it ever repeat, the payload is hashed into the ephemeral key,
    /// so that two different payloads are not sealed with one key.
    pub fn start(
        secret: &NodeSecret,
        responder: NodeId,
        random: [u8; 32],
        introduction: Introduction,
        payload: &[u8],
    ) -> Result<(Self, Vec<u8>), NoiseError> {
        check_payload(payload.len())?;
        let odd = secret.id().agreement_sign() == Sign::Odd;
        let signed = introduction == Introduction::Signed;
        let flags = (u8::from(odd) * FLAG_ODD) | (u8::from(signed) * FLAG_SIGNED);
        let context = [b"I", &responder.as_bytes()[..], &[flags], payload];
        let ephemeral = ephemeral(secret, &random, &context);
        let signed = signed.then(|| ephemeral.public());
        let theirs = responder.agreement_public();
        let mut state = build(secret, &responder, ephemeral, Some(&theirs));

        let mut content = Vec::with_capacity(FLAGS_BYTES + INTRODUCTION_BYTES + payload.len());
        content.push(flags);
        if let Some(ephemeral_public) = signed {
            let digest = introduction_digest(&state, &ephemeral_public);
            content.extend(secret.sign(&domain::NOISE, &digest));
        }
        content.extend(payload);
        let message = write(&mut state, &content, FIRST_MESSAGE_BYTES - FLAGS_BYTES)?;
        Ok((Self { state, peer: responder }, message))
    }

    /// Reads the answer, without its length. From here on the responder is proven.
    pub fn finish(mut self, message: &[u8]) -> Result<(Payload, Transport), NoiseError> {
        let least = SECOND_MESSAGE_BYTES - LENGTH_BYTES;
        check_length(message, least, least + HANDSHAKE_PAYLOAD_MAX)?;
        let bytes = read(&mut self.state, message)?;
        let transport = Transport::new(self.state, self.peer)?;
        Ok((Payload { bytes, early: false }, transport))
    }
}

impl Responder {
    /// Reads a first message, without its length.
    ///
    /// `random` must be fresh; as with the initiator, the message is hashed into the ephemeral key.
    pub fn accept(
        secret: &NodeSecret,
        random: [u8; 32],
        message: &[u8],
    ) -> Result<(Self, Greeting), NoiseError> {
        check_length(message, FIRST_MESSAGE_BYTES - LENGTH_BYTES, HANDSHAKE_MESSAGE_MAX)?;
        let ephemeral = ephemeral(secret, &random, &[b"R", message]);
        let mut state = build(secret, &secret.id(), ephemeral, None);
        let their_ephemeral = *message.first_chunk().ok_or(NoiseError::Length(message.len()))?;
        let digest = introduction_digest(&state, &their_ephemeral);
        let content = read(&mut state, message)?;

        let (&flags, content) = content.split_first().ok_or(NoiseError::Identity)?;
        if flags & !(FLAG_ODD | FLAG_SIGNED) != 0 {
            return Err(NoiseError::Identity);
        }
        let sign = if flags & FLAG_ODD == 0 { Sign::Even } else { Sign::Odd };
        let key = state.get_remote_static().and_then(|key| key.first_chunk());
        let peer = key.and_then(|key| NodeId::from_agreement(key, sign).ok());
        let peer = peer.ok_or(NoiseError::Identity)?;
        let (introduction, bytes) = if flags & FLAG_SIGNED == 0 {
            (Introduction::Known, content)
        } else {
            let (signature, rest) = content.split_first_chunk().ok_or(NoiseError::Introduction)?;
            if !peer.verify(&domain::NOISE, &digest, signature) {
                return Err(NoiseError::Introduction);
            }
            (Introduction::Signed, rest)
        };
        check_payload(bytes.len())?;
        let payload = Payload { bytes: bytes.to_vec(), early: true };
        Ok((Self { state, peer }, Greeting { peer, introduction, payload }))
    }

    /// Makes the answer. To answer nothing, drop the responder.
    pub fn reply(mut self, payload: &[u8]) -> Result<(Vec<u8>, Transport), NoiseError> {
        check_payload(payload.len())?;
        let message = write(&mut self.state, payload, SECOND_MESSAGE_BYTES)?;
        Ok((message, Transport::new(self.state, self.peer)?))
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("peer", &self.peer).finish_non_exhaustive()
    }
}

fn check_payload(length: usize) -> Result<(), NoiseError> {
    if length > HANDSHAKE_PAYLOAD_MAX { Err(NoiseError::Payload(length)) } else { Ok(()) }
}

/// Derived from the random bytes, our secret and what is at hand, so that bad randomness alone
/// gives nothing away. All but the last part have fixed lengths.
fn ephemeral(secret: &NodeSecret, random: &[u8; 32], context: &[&[u8]]) -> AgreementSecret {
    let mut parts: Vec<&[u8]> = vec![random, secret.seed()];
    parts.extend(context);
    AgreementSecret::from_bytes(domain::derive(domain::NOISE_EPHEMERAL, &parts))
}

/// What a stranger signs; the state is that before the first message.
fn introduction_digest(state: &HandshakeState, ephemeral: &[u8; 32]) -> [u8; 32] {
    domain::derive(domain::NOISE_INTRODUCTION, &[state.get_handshake_hash(), ephemeral])
}

fn build(
    secret: &NodeSecret,
    responder: &NodeId,
    ephemeral: AgreementSecret,
    theirs: Option<&[u8; 32]>,
) -> HandshakeState {
    let prologue = [domain::NOISE_PROLOGUE, responder.as_bytes()].concat();
    let ours = secret.agreement_secret();
    let suite = Suite::new(ephemeral);
    let name = Suite::NAME.parse().expect("a name that snow knows");
    let builder = Builder::with_resolver(name, Box::new(suite))
        .local_private_key(ours.as_bytes())
        .and_then(|builder| builder.prologue(&prologue))
        .expect("set once each");
    let built = match theirs {
        Some(theirs) => {
            builder.remote_public_key(theirs).and_then(|builder| builder.build_initiator())
        }
        None => builder.build_responder(),
    };
    built.expect("everything that the pattern asks for is there")
}

/// A message around `content`, behind its length. `around` is what it adds, the length included.
/// The keys were agreed on when the other message was read; an error here is not to be expected.
fn write(state: &mut HandshakeState, content: &[u8], around: usize) -> Result<Vec<u8>, NoiseError> {
    let mut out = vec![0; around + content.len()];
    let length =
        state.write_message(content, &mut out[LENGTH_BYTES..]).map_err(|_| NoiseError::Forged)?;
    out.truncate(LENGTH_BYTES + length);
    put_length(&mut out, 0, length);
    Ok(out)
}

/// Before anything is computed for somebody unproven.
fn check_length(message: &[u8], least: usize, most: usize) -> Result<(), NoiseError> {
    let fits = (least..=most).contains(&message.len());
    if fits { Ok(()) } else { Err(NoiseError::Length(message.len())) }
}

/// The content of a message.
fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
    let mut content = vec![0; message.len()];
    let used = state.read_message(message, &mut content).map_err(|_| NoiseError::Forged)?;
    content.truncate(used);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(seed: u8) -> NodeSecret {
        NodeSecret::from_seed([seed; 32])
    }

    /// A first message of node 1 to node 2 with content of any kind, as a node that cheats makes it.
    fn crafted(content: impl FnOnce(&HandshakeState, &[u8; 32]) -> Vec<u8>) -> Vec<u8> {
        let ephemeral = AgreementSecret::from_bytes([9; 32]);
        let public = ephemeral.public();
        let theirs = secret(2).id();
        let mut state = build(&secret(1), &theirs, ephemeral, Some(&theirs.agreement_public()));
        let content = content(&state, &public);
        let message = write(&mut state, &content, FIRST_MESSAGE_BYTES - FLAGS_BYTES).unwrap();
        message[LENGTH_BYTES..].to_vec()
    }

    fn accepted(message: &[u8]) -> Result<Greeting, NoiseError> {
        Responder::accept(&secret(2), [4; 32], message).map(|(_, greeting)| greeting)
    }

    fn sign_flag(node: &NodeId) -> u8 {
        if node.agreement_sign() == Sign::Odd { FLAG_ODD } else { 0 }
    }

    #[test]
    fn the_other_id_of_ones_key_is_another_node_and_cannot_be_introduced() {
        let id = secret(1).id();
        let wrong = sign_flag(&id) ^ FLAG_ODD;
        let greeting = accepted(&crafted(|_, _| vec![wrong])).unwrap();
        assert_ne!(greeting.peer, id);
        assert_eq!(greeting.introduction, Introduction::Known);

        let signed = crafted(|state, ephemeral| {
            let digest = introduction_digest(state, ephemeral);
            let signature = secret(1).sign(&domain::NOISE, &digest);
            [&[wrong | FLAG_SIGNED], &signature[..]].concat()
        });
        assert_eq!(accepted(&signed), Err(NoiseError::Introduction));
    }

    #[test]
    fn an_introduction_to_another_handshake_is_refused() {
        let flags = sign_flag(&secret(1).id()) | FLAG_SIGNED;
        let other_ephemeral = crafted(|state, _| {
            let digest = introduction_digest(state, &[8; 32]);
            [&[flags], &secret(1).sign(&domain::NOISE, &digest)[..]].concat()
        });
        assert_eq!(accepted(&other_ephemeral), Err(NoiseError::Introduction));

        let other_responder = crafted(|_, ephemeral| {
            let third = secret(3).id();
            let key = third.agreement_public();
            let ours = AgreementSecret::from_bytes([9; 32]);
            let state = build(&secret(1), &third, ours, Some(&key));
            let digest = introduction_digest(&state, ephemeral);
            [&[flags], &secret(1).sign(&domain::NOISE, &digest)[..]].concat()
        });
        assert_eq!(accepted(&other_responder), Err(NoiseError::Introduction));

        let cut_short = crafted(|_, _| [&[flags], &[1; INTRODUCTION_BYTES - 1][..]].concat());
        assert_eq!(accepted(&cut_short), Err(NoiseError::Introduction));
    }

    #[test]
    fn unknown_flags_are_refused_and_so_are_none() {
        for bit in 2..8 {
            assert_eq!(accepted(&crafted(|_, _| vec![1 << bit])), Err(NoiseError::Identity));
        }
        let without = crafted(|_, _| Vec::new());
        assert_eq!(accepted(&without), Err(NoiseError::Length(without.len())));
    }

    #[test]
    fn a_payload_is_no_longer_for_lack_of_a_signature() {
        let flags = sign_flag(&secret(1).id());
        let long = crafted(|_, _| [&[flags], &[0; HANDSHAKE_PAYLOAD_MAX + 1][..]].concat());
        assert_eq!(accepted(&long), Err(NoiseError::Payload(HANDSHAKE_PAYLOAD_MAX + 1)));
    }

    #[test]
    fn what_is_sent_decides_the_ephemeral_key_as_well_as_chance() {
        let start = |payload: &[u8]| {
            let random = [3; 32];
            let known = Introduction::Known;
            Initiator::start(&secret(1), secret(2).id(), random, known, payload).unwrap().1
        };
        let ephemeral = LENGTH_BYTES..LENGTH_BYTES + KEY_BYTES;
        assert_eq!(start(b"a")[ephemeral.clone()], start(b"a")[ephemeral.clone()]);
        assert_ne!(start(b"a")[ephemeral.clone()], start(b"b")[ephemeral]);
    }
}
