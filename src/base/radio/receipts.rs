//! Receipts in a frame: the type once, then 24 bytes for each.
//!
//! ```text
//! receipts = 01 | (id[..8] | r 16) …        with one of them, exactly a receipt of docs/format.md
//! ```

use super::RECEIPTS;
use crate::bundle::Receipt;

/// Bytes of one receipt without the type.
const EACH: usize = 24;

/// A frame holds at most this many: as many as fit 1,024 bytes, and no narrow link has longer frames.
const RECEIPTS_MAX: usize = 42;

/// Why bytes are not a frame of receipts.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a frame of receipts")]
pub struct ReceiptsError;

/// Frames of at most `mtu` bytes with all of these; one receipt makes a frame however short it is to be.
pub fn pack(receipts: &[Receipt], mtu: usize) -> Vec<Vec<u8>> {
    let each = (mtu.saturating_sub(1) / EACH).clamp(1, RECEIPTS_MAX);
    let frame = |receipts: &[Receipt]| {
        let mut frame = vec![RECEIPTS];
        for receipt in receipts {
            frame.extend_from_slice(&receipt.encode()[1..]);
        }
        frame
    };
    receipts.chunks(each).map(frame).collect()
}

/// The receipts of a frame. Whether they are true is for [`Receipt::opens`] to say.
pub fn unpack(frame: &[u8]) -> Result<Vec<Receipt>, ReceiptsError> {
    let [RECEIPTS, receipts @ ..] = frame else { return Err(ReceiptsError) };
    let (receipts, rest) = receipts.as_chunks::<EACH>();
    if receipts.is_empty() || receipts.len() > RECEIPTS_MAX || !rest.is_empty() {
        return Err(ReceiptsError);
    }
    let read = |bytes: &[u8; EACH]| {
        Receipt::decode(&[&[RECEIPTS][..], bytes].concat()).map_err(|_| ReceiptsError)
    };
    receipts.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_come_back_in_as_few_frames_as_can_be() {
        let receipts: Vec<Receipt> =
            (0..100).map(|n| Receipt { id_prefix: [n; 8], r: [n ^ 0xff; 16] }).collect();
        for (mtu, each) in [(25, 1), (230, 9), (222, 9), (140, 5), (4096, RECEIPTS_MAX), (10, 1)] {
            let frames = pack(&receipts, mtu);
            assert_eq!(frames.len(), 100_usize.div_ceil(each), "frames of {mtu}");
            let back: Vec<Receipt> = frames.iter().flat_map(|f| unpack(f).unwrap()).collect();
            assert_eq!(back, receipts);
        }
        assert_eq!(pack(&receipts[..1], 230), [receipts[0].encode()]);
        assert!(pack(&[], 230).is_empty());
    }

    #[test]
    fn other_lengths_and_types_are_refused() {
        let frame = [&[RECEIPTS][..], &[7; EACH * RECEIPTS_MAX]].concat();
        assert_eq!(unpack(&frame).unwrap().len(), RECEIPTS_MAX);
        for cut in (0..frame.len()).filter(|cut| *cut < 25 || cut % EACH != 1) {
            assert_eq!(unpack(&frame[..cut]), Err(ReceiptsError), "{cut}");
        }
        assert_eq!(unpack(&[&frame[..], &[7; EACH]].concat()), Err(ReceiptsError));
        assert_eq!(unpack(&[2; 25]), Err(ReceiptsError));
    }
}
