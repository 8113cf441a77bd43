//! Size classes: what an observer may learn of a length.

/// Payload sizes of small bundles (docs/format.md: 202 and 210 are the largest that fit one radio frame
/// of 222 and of 230 bytes).
const CLASSES: [usize; 10] = [114, 146, 178, 202, 210, 256, 512, 1024, 2048, 4096];

/// The class that a small payload of `bytes` is padded to; `bytes` itself above the largest.
pub fn payload_class(bytes: usize) -> usize {
    CLASSES.into_iter().find(|class| *class >= bytes).unwrap_or(bytes)
}

/// The Padmé class of a length: at most 12 % more, and O(log log n) bits of the length stay visible
/// (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", PETS 2019).
pub fn padme(bytes: u64) -> u64 {
    if bytes < 2 {
        return bytes;
    }
    let exponent = bytes.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1_u64 << exponent.saturating_sub(kept)) - 1;
    bytes.saturating_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_never_smaller_and_padme_adds_at_most_an_eighth() {
        for bytes in (1..70_000_u64).chain([(8 << 20) - 1, 8 << 20, (8 << 20) + 1, 1 << 40]) {
            let padded = padme(bytes);
            assert!(padded >= bytes && (padded - bytes) * 8 <= bytes, "{bytes} -> {padded}");
            assert_eq!(padme(padded), padded);
        }
        assert_eq!(padme(8 << 20), 8 << 20);
        assert_eq!((payload_class(1), payload_class(115), payload_class(4096)), (114, 146, 4096));
    }
}
