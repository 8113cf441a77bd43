//! Which addresses may be dialled because somebody else says so.

use std::net::{IpAddr, SocketAddr};

/// Whether an address that was introduced may be dialled by, or told to, somebody whose own way to
/// the one between has `beside` at that one's end. Only what can belong to one node somewhere else:
/// nothing of this machine or segment, no groups. A private network's addresses only from within
/// one: to whoever comes over the Internet they would be somebody else's.
pub(super) fn may_be_dialled(at: SocketAddr, beside: IpAddr) -> bool {
    if at.port() == 0 {
        return false;
    }
    let usable = match at.ip() {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            // 0/8 is "this network", 240/4 was never given out (RFC 6890).
            !(ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || first == 0)
                && first < 240
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || ip.to_ipv4_mapped().is_some())
        }
    };
    usable && (!is_private(at.ip()) || is_private(beside))
}

/// RFC 1918, RFC 6598, RFC 4193.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private() || first == 100 && second & 0xc0 == 64
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_one_node_elsewhere_is_dialled() {
        let global: IpAddr = "203.0.113.1".parse().unwrap();
        let private: IpAddr = "192.168.0.1".parse().unwrap();
        for (at, from_global, from_private) in [
            ("198.51.100.7:40000", true, true),
            ("[2001:db8::7]:40000", true, true),
            ("198.51.100.7:0", false, false),
            ("127.0.0.1:22", false, false),
            ("0.0.0.0:22", false, false),
            ("169.254.1.1:22", false, false),
            ("224.0.0.1:22", false, false),
            ("255.255.255.255:22", false, false),
            ("240.0.0.1:22", false, false),
            ("[::1]:22", false, false),
            ("[::]:22", false, false),
            ("[fe80::1]:22", false, false),
            ("[ff02::1]:22", false, false),
            ("[::ffff:198.51.100.7]:22", false, false),
            ("192.168.0.7:22", false, true),
            ("10.0.0.7:22", false, true),
            ("172.16.0.7:22", false, true),
            ("100.64.0.7:22", false, true),
            ("100.128.0.7:22", true, true),
            ("[fd00::7]:22", false, true),
        ] {
            let at: SocketAddr = at.parse().unwrap();
            assert_eq!(may_be_dialled(at, global), from_global, "{at} from the Internet");
            assert_eq!(may_be_dialled(at, private), from_private, "{at} from within");
        }
    }
}
