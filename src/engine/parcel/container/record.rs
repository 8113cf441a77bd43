//! One record: a bundle with its hop data, and the checks around it.

use super::Keys;
use postrider_base::bundle::{HEAD_MAX, Hop, PAYLOAD_MAX};

/// Begins every record.
pub(super) const MAGIC: [u8; 4] = *b"PRR1";
/// The fixed part before the head: magic 4, tokens 1, hops 1, age 4, lengths 2 + 8, check 8.
pub(super) const FIXED_BYTES: usize = 28;
/// What the head check covers of it, beside the head.
const CHECKED_BYTES: usize = 20;
/// The check after the body.
pub(super) const CHECK_BYTES: usize = 8;
/// The most that must be read to judge a head.
pub(super) const PROBE_BYTES: usize = FIXED_BYTES + HEAD_MAX;
/// No record is shorter: an envelope head has at least a byte.
pub(super) const RECORD_MIN_BYTES: u64 = (FIXED_BYTES + 1 + CHECK_BYTES) as u64;
/// No record is longer.
pub(super) const RECORD_MAX_BYTES: u64 = (PROBE_BYTES + CHECK_BYTES) as u64 + PAYLOAD_MAX;

/// How long the record of a bundle is; saturates for lengths that no bundle has.
pub const fn record_bytes(head_bytes: usize, body_bytes: u64) -> u64 {
    body_bytes.saturating_add(head_bytes as u64).saturating_add((FIXED_BYTES + CHECK_BYTES) as u64)
}

/// The front of a record, whose head check held. Its body is still unread, and the bundle is not
/// to be believed before it verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it begins in the container.
    pub offset: u64,
    /// Hop data, as stated; believed only within bounds.
    pub hop: Hop,
    /// The envelope without its payload.
    pub head: Vec<u8>,
    /// The length of the payload.
    pub body_bytes: u64,
}

impl Record {
    /// Where the payload begins.
    pub fn body_offset(&self) -> u64 {
        self.offset + (FIXED_BYTES + self.head.len()) as u64
    }

    /// Where the next record begins.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(record_bytes(self.head.len(), self.body_bytes))
    }

    /// The fixed part and the head, as they stand in the container.
    pub(super) fn encode_front(
        keys: &Keys,
        hop: Hop,
        head: &[u8],
        body_bytes: u64,
    ) -> Option<Vec<u8>> {
        let head_len = u16::try_from(head.len()).ok()?;
        if head.is_empty() || head.len() > HEAD_MAX || body_bytes > PAYLOAD_MAX {
            return None;
        }
        let mut out = Vec::with_capacity(FIXED_BYTES + head.len());
        out.extend(MAGIC);
        out.extend([hop.tokens, hop.hops]);
        out.extend(hop.age_s.to_be_bytes());
        out.extend(head_len.to_be_bytes());
        out.extend(body_bytes.to_be_bytes());
        let check = keys.check(&[&out, head]);
        out.extend(check);
        out.extend(head);
        Some(out)
    }

    /// Reads the front of a record from `bytes`, which begin at `offset` in the container.
    ///
    /// The cheap questions come first: a hostile container can be full of magics.
    pub(super) fn decode_front(keys: &Keys, offset: u64, bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; FIXED_BYTES] = bytes.first_chunk()?;
        let (checked, check) = fixed.split_at(CHECKED_BYTES);
        let (magic, rest) = checked.split_first_chunk::<4>()?;
        let ([tokens, hops], rest) = rest.split_first_chunk::<2>()?;
        let (age, rest) = rest.split_first_chunk::<4>()?;
        let (head_len, body_len) = rest.split_first_chunk::<2>()?;
        let head_len = usize::from(u16::from_be_bytes(*head_len));
        let body_bytes = u64::from_be_bytes(*body_len.first_chunk()?);
        if *magic != MAGIC || !(1..=HEAD_MAX).contains(&head_len) || body_bytes > PAYLOAD_MAX {
            return None;
        }
        let head = bytes.get(FIXED_BYTES..FIXED_BYTES + head_len)?;
        if keys.check(&[checked, head]) != *check {
            return None;
        }
        let hop = Hop { tokens: *tokens, hops: *hops, age_s: u32::from_be_bytes(*age), level: 0 };
        Some(Self { offset, hop, head: head.to_vec(), body_bytes })
    }
}
