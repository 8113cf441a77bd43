//! The head of a bundle: its header and, where the envelope is open, the author's signature.

use serde_bytes::ByteBuf;

use super::{HEAD_MAX, Header, HeaderError, Origin, SMALL_PAYLOAD_MAX};
use crate::{
    domain,
    id::BundleId,
    key::NodeSecret,
    wire::{self, WireError},
};

/// A header with the exact bytes it came in, and its signature.
///
/// The id and the signature cover those bytes; a relay forwards them unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    header: Header,
    header_bytes: Vec<u8>,
    signature: Option<[u8; 64]>,
}

/// A whole bundle whose payload is small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallBundle {
    /// Header and signature.
    pub head: Head,
    /// The sealed payload, as long as the header says.
    pub payload: Vec<u8>,
}

/// Why bytes are not (the head of) a bundle, or not an authentic one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// Not canonical CBOR of the right shape.
    #[error("the envelope is malformed: {0}")]
    Wire(#[from] WireError),
    /// Longer than [`HEAD_MAX`].
    #[error("a head of {0} bytes is too long")]
    TooLong(usize),
    /// The header is not one.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A signature where none belongs, none where one belongs, or not of 64 bytes.
    #[error("the envelope does not fit its header")]
    Shape,
    /// The payload is not as long as the header says.
    #[error("the payload has {got} bytes, its header says {said}")]
    Length {
        /// What the header says.
        said: u64,
        /// What is there.
        got: u64,
    },
    /// The payload's hash is not the header's.
    #[error("the payload is damaged: its hash does not match")]
    Hash,
    /// The author's signature does not hold.
    #[error("forged or damaged: the author's signature does not hold")]
    Signature,
}

impl Head {
    /// Signs a header whose length and hash are final; for hidden headers `secret` is not used.
    ///
    /// `payload` is the payload when it is small, else empty.
    pub fn sign(header: Header, payload: &[u8], secret: &NodeSecret) -> Self {
        let header_bytes = header.encode();
        let id = id_of(&header_bytes, if header.is_small() { payload } else { &[] });
        let signature = match header.origin {
            Origin::Open { .. } => Some(secret.sign(&domain::BUNDLE_OPEN, &id.0)),
            Origin::Hidden => None,
        };
        Self { header, header_bytes, signature }
    }

    /// Reads `[bstr header, bstr signature]` or `[bstr header]`.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        if bytes.len() > HEAD_MAX {
            return Err(HeadError::TooLong(bytes.len()));
        }
        Self::from_elements(wire::decode::<Vec<ByteBuf>>(bytes)?)
    }

    /// The head as it is stored and sent in front of a large payload.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(&self.elements())
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The header's exact bytes.
    pub fn header_bytes(&self) -> &[u8] {
        &self.header_bytes
    }

    /// The author's signature, where the envelope is open.
    pub fn signature(&self) -> Option<&[u8; 64]> {
        self.signature.as_ref()
    }

    /// Checks a bundle taken whole: length, and the signature where the envelope is open.
    ///
    /// For a hidden bundle the id is all that a relay can compute; it proves nothing but itself.
    pub fn verify_small(&self, payload: &[u8]) -> Result<BundleId, HeadError> {
        let got = payload.len() as u64;
        if got != self.header.length || !self.header.is_small() {
            return Err(HeadError::Length { said: self.header.length, got });
        }
        self.verify_id(id_of(&self.header_bytes, payload))
    }

    /// Checks the head of a large bundle before a byte of its body is kept. The body must then be
    /// compared with [`Header::hash`] as it streams.
    pub fn verify_large(&self) -> Result<BundleId, HeadError> {
        if self.header.is_small() {
            return Err(HeadError::Length { said: self.header.length, got: 0 });
        }
        self.verify_id(id_of(&self.header_bytes, &[]))
    }

    /// The id of this head with this payload (ignored when large), without checking anything.
    pub fn id(&self, payload: &[u8]) -> BundleId {
        id_of(&self.header_bytes, if self.header.is_small() { payload } else { &[] })
    }

    fn verify_id(&self, id: BundleId) -> Result<BundleId, HeadError> {
        if let Origin::Open { source, .. } = &self.header.origin {
            let signature = self.signature.as_ref().ok_or(HeadError::Shape)?;
            if !source.verify(&domain::BUNDLE_OPEN, &id.0, signature) {
                return Err(HeadError::Signature);
            }
        }
        Ok(id)
    }

    fn elements(&self) -> Vec<ByteBuf> {
        let header = ByteBuf::from(self.header_bytes.clone());
        std::iter::once(header).chain(self.signature.map(|s| ByteBuf::from(s.to_vec()))).collect()
    }

    fn from_elements(elements: Vec<ByteBuf>) -> Result<Self, HeadError> {
        let mut elements = elements.into_iter();
        let header_bytes = elements.next().ok_or(HeadError::Shape)?.into_vec();
        let signature = match elements.next() {
            Some(bytes) => Some(bytes.as_slice().try_into().map_err(|_| HeadError::Shape)?),
            None => None,
        };
        let header = Header::decode(&header_bytes)?;
        let hidden = header.origin == Origin::Hidden;
        if elements.next().is_some() || signature.is_some() == hidden {
            return Err(HeadError::Shape);
        }
        Ok(Self { header, header_bytes, signature })
    }
}

impl SmallBundle {
    /// Reads a whole small bundle: the head's array with the payload as its last element.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        if bytes.len() as u64 > SMALL_PAYLOAD_MAX + HEAD_MAX as u64 {
            return Err(HeadError::TooLong(bytes.len()));
        }
        let mut elements: Vec<ByteBuf> = wire::decode(bytes)?;
        let payload = elements.pop().ok_or(HeadError::Shape)?.into_vec();
        Ok(Self { head: Head::from_elements(elements)?, payload })
    }

    /// The bundle's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut elements = self.head.elements();
        elements.push(ByteBuf::from(self.payload.clone()));
        wire::encode(&elements)
    }
}

fn id_of(header_bytes: &[u8], small_payload: &[u8]) -> BundleId {
    BundleId(domain::derive(domain::ID, &[header_bytes, small_payload]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Destination, LockField, SealKind, Sequence};

    fn bundle() -> SmallBundle {
        let secret = NodeSecret::from_seed([1; 32]);
        let header = Header {
            destination: Destination::Group([2; 16]),
            lifetime: crate::Lifetime::DEFAULT,
            nice: crate::Niceness::NORMAL,
            seal: SealKind::None,
            lock: LockField::None,
            origin: Origin::Open {
                source: secret.id(),
                sequence: Sequence { epoch: 1, counter: 1 },
                created: 0,
            },
            length: 5,
            hash: None,
        };
        SmallBundle { head: Head::sign(header, b"hello", &secret), payload: b"hello".to_vec() }
    }

    #[test]
    fn a_bundle_verifies_and_round_trips() {
        let bundle = bundle();
        assert!(bundle.head.verify_small(&bundle.payload).is_ok());
        assert_eq!(SmallBundle::decode(&bundle.encode()), Ok(bundle.clone()));
        assert_eq!(Head::decode(&bundle.head.encode()), Ok(bundle.head));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = bundle().encode();
        for at in 0..bytes.len() * 8 {
            let mut spoiled = bytes.clone();
            spoiled[at / 8] ^= 1 << (at % 8);
            let verdict =
                SmallBundle::decode(&spoiled).and_then(|b| b.head.verify_small(&b.payload));
            assert!(verdict.is_err(), "bit {at}");
        }
    }

    #[test]
    fn another_authors_signature_is_refused() {
        let ours = bundle();
        let mallory = NodeSecret::from_seed([6; 32]);
        let forged = Head::sign(ours.head.header.clone(), &ours.payload, &mallory);
        assert_eq!(forged.verify_small(&ours.payload), Err(HeadError::Signature));
    }
}
