//! Every domain string of the format, in one place, so that no two uses can share one.
//!
//! A signature covers `D ‖ digest`: 32 bytes of domain, then a 32-byte digest. Every input that a
//! node key ever signs therefore starts with one of a few fixed, distinct 32-byte strings, which
//! keeps the key safe beside other programs that sign other things with it. The one other thing that
//! it signs is a TLS 1.3 handshake, which begins with 64 spaces: see [`is_tls_input`].

/// The domain of an open bundle's signature.
pub const BUNDLE_OPEN: [u8; 32] = domain(b"postrider bundle open v1");
/// The domain of a hidden bundle's inner signature.
pub const BUNDLE_HIDDEN: [u8; 32] = domain(b"postrider bundle hidden v1");
/// The domain of a contact card's signature.
pub const CARD: [u8; 32] = domain(b"postrider card v1");
/// The domain of a roster's signature.
pub const ROSTER: [u8; 32] = domain(b"postrider roster v1");
/// The domain of a stranger's signature under the greeting of a Noise link.
pub const NOISE: [u8; 32] = domain(b"postrider noise v1");

/// The domain of a signature under the head of an audit chain.
pub const AUDIT: [u8; 32] = domain(b"postrider audit v1");

/// BLAKE3 context of a bundle id.
pub const ID: &str = "postrider 2026 bundle id v1";
/// BLAKE3 context of the digest that a hidden bundle's author signs.
pub const HIDDEN: &str = "postrider 2026 hidden v1";
/// BLAKE3 context of the digest that a card's owner signs.
pub const CARD_DIGEST: &str = "postrider 2026 card v1";
/// BLAKE3 context of the digest that a roster's key signs.
pub const ROSTER_DIGEST: &str = "postrider 2026 roster v1";
/// BLAKE3 context of the group that a key's rosters are addressed to.
pub const ROSTER_GROUP: &str = "postrider 2026 roster group v1";
/// BLAKE3 context of a node's first seal key.
pub const SEAL_KEY: &str = "postrider 2026 seal key v1";
/// BLAKE3 context of a receipt lock.
pub const LOCK: &str = "postrider 2026 receipt lock v1";
/// BLAKE3 context of the key under which tags are computed.
pub const TAG_KEY: &str = "postrider 2026 tag key v1";
/// What a tag's input starts with.
pub const TAG: &[u8] = b"postrider tag v1";
/// BLAKE3 context of a sender hint.
pub const SENDER_HINT: &str = "postrider 2026 sender hint v1";
/// BLAKE3 context of the hedge behind a compact seal's ephemeral key.
pub const EPHEMERAL: &str = "postrider 2026 ephemeral v1";
/// BLAKE3 context of the random values that an age seal or a nonce needs.
pub const RANDOM: &str = "postrider 2026 random v1";
/// What the HPKE info of a compact seal starts with.
pub const COMPACT_INFO: &[u8] = b"postrider compact v1";
/// The HPKE export context of a compact seal's receipt secret.
pub const RECEIPT_EXPORT: &[u8] = b"postrider receipt v1";
/// What the prologue of a Noise link starts with.
pub const NOISE_PROLOGUE: &[u8] = b"postrider noise v1";
/// BLAKE3 context of the digest that a stranger signs on a Noise link.
pub const NOISE_INTRODUCTION: &str = "postrider 2026 noise introduction v1";
/// BLAKE3 context of the hedge behind a Noise link's ephemeral keys.
pub const NOISE_EPHEMERAL: &str = "postrider 2026 noise ephemeral v1";
/// BLAKE3 context of what somebody agrees to who approves of a job.
pub const APPROVAL: &str = "postrider 2026 job approval v1";

/// BLAKE3 context of a link of an audit chain.
pub const AUDIT_LINK: &str = "postrider 2026 audit link v1";

/// BLAKE3 context of the token by which a dialler shows that it knows whom it dials.
pub const DOOR: &str = "postrider 2026 door v1";

/// BLAKE3 context of the key under which a beacon's tag for holders of a card is computed.
pub const BEACON_CONTACT: &str = "postrider 2026 beacon contact v1";
/// BLAKE3 context of the key under which a beacon's place for a group is computed.
pub const BEACON_GROUP: &str = "postrider 2026 beacon group v1";
/// BLAKE3 context of the chance from which beacons and guest keys are drawn.
pub const BEACON_CHANCE: &str = "postrider 2026 beacon chance v1";

/// BLAKE3 context of the key under which a radio beacon's tag for holders of a card is computed.
pub const STATION_CONTACT: &str = "postrider 2026 station contact v1";

/// BLAKE3 context of the key under which holders of a card resolve what is said by Bluetooth.
pub const NEAR_CONTACT: &str = "postrider 2026 near contact v1";
/// BLAKE3 context of the key under which the members of a group resolve what one of them says there.
pub const NEAR_MEMBER: &str = "postrider 2026 near member v1";
/// BLAKE3 context of the order that says which of two dials first.
pub const NEAR_TURN: &str = "postrider 2026 near turn v1";

/// BLAKE3 context of what one end of a link over a local network gives the other, so that it tags what it
/// tells all there.
pub const CAST_EAR: &str = "postrider 2026 cast ear v1";
/// BLAKE3 context of the key of such a tag.
pub const CAST_TAG: &str = "postrider 2026 cast tag v1";
/// BLAKE3 context of the chance from which it is drawn when a node says what it has.
pub const CAST_CHANCE: &str = "postrider 2026 cast chance v1";

/// BLAKE3 in key derivation mode over the concatenation of `parts`.
pub fn derive(context: &'static str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// What is signed: the domain, then the digest.
pub fn signed_input(domain: &[u8; 32], digest: &[u8; 32]) -> [u8; 64] {
    let mut input = [0; 64];
    input[..32].copy_from_slice(domain);
    input[32..].copy_from_slice(digest);
    input
}

/// Whether these bytes are what a TLS 1.3 CertificateVerify signs (RFC 8446, section 4.4.3): 64
/// spaces, one of two contexts, a zero byte, a transcript hash of 32 or 48 bytes.
pub fn is_tls_input(message: &[u8]) -> bool {
    let Some((spaces, rest)) = message.split_at_checked(64) else { return false };
    let hash = rest
        .strip_prefix(b"TLS 1.3, server CertificateVerify\0")
        .or_else(|| rest.strip_prefix(b"TLS 1.3, client CertificateVerify\0"));
    spaces.iter().all(|byte| *byte == b' ') && hash.is_some_and(|h| matches!(h.len(), 32 | 48))
}

/// The first `N` bytes of a digest.
pub(crate) fn prefix<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&digest[..N]);
    out
}

const fn domain(ascii: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let mut i = 0;
    while i < ascii.len() {
        out[i] = ascii[i];
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_domains_are_distinct_and_start_like_no_other_protocol() {
        let all = [BUNDLE_OPEN, BUNDLE_HIDDEN, CARD, ROSTER, NOISE, AUDIT];
        for (i, a) in all.iter().enumerate() {
            assert!(
                a.starts_with(b"postrider "),
                "TLS starts with 64 spaces, Yggdrasil with a key"
            );
            for b in &all[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }
}
