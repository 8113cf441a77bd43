//! The IPv6 address that follows from a node's key.
//!
//! The derivation is Yggdrasil's (0.4 and 0.5): a node that also runs Yggdrasil under the same key
//! has this very address there, and a neighbour's address follows from its key alone.

use std::net::Ipv6Addr;

use crate::id::NodeId;

/// The node's address in 200::/7.
///
/// All key bits are inverted; the count of leading ones becomes the second byte; those ones and the
/// zero behind them are dropped; the next 112 bits follow.
pub fn address(node: &NodeId) -> Ipv6Addr {
    let inverted = node.as_bytes().map(|byte| !byte);
    let bit = |at: usize| inverted.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let ones = (0..256).take_while(|&at| bit(at)).count();
    let mut out = [0_u8; 16];
    out[0] = 0x02;
    out[1] = u8::try_from(ones).unwrap_or(u8::MAX);
    for at in 0..112 {
        if bit(ones + 1 + at) {
            out[2 + at / 8] |= 0x80 >> (at % 8);
        }
    }
    Ipv6Addr::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NodeSecret;

    #[test]
    fn agrees_with_yggdrasil() {
        let counting: Vec<u8> = (0..32).collect();
        for (seed, expected) in [
            ([0; 32], "202:24ae:c219:8a4a:de94:eae2:b97e:ac87"),
            (counting.try_into().unwrap(), "206:2f7c:2006:18f7:a0f1:4791:738c:5a1f"),
            ([0xff; 32], "201:257a:9b7e:ed64:6c2b:bb66:90d6:3167"),
        ] {
            let node = NodeSecret::from_seed(seed).id();
            assert_eq!(address(&node), expected.parse::<Ipv6Addr>().unwrap());
        }
    }
}
