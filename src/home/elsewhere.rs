//! Which of the addresses on somebody's card are dialled: a card is somebody else's words.

use std::net::IpAddr;

use postrider_base::link::Address;

use super::Contact;

impl Contact {
    /// Where their card says that they can be dialled. Those are somebody else's words: no command,
    /// no proxy, and nothing of this machine or segment is dialled because of them.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        self.card.hints.iter().filter_map(|hint| hint.parse().ok()).filter(is_elsewhere)
    }
}

fn is_elsewhere(address: &Address) -> bool {
    let Some(place) = address.rest().strip_prefix("//") else { return false };
    if !["tls", "ygg"].contains(&address.scheme()) || place.contains(['?', '#', '/', '%']) {
        return false;
    }
    let host = match place.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => place.split(':').next(),
    };
    let host = host.unwrap_or_default();
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) => {
            let beside = match ip {
                IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
                IpAddr::V6(ip) => ip.is_unicast_link_local(),
            };
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || beside)
        }
        Err(_) => !host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_sends_nobody_to_commands_proxies_or_this_machine() {
        let address = |text: &str| is_elsewhere(&text.parse().unwrap());
        for good in ["tls://hub.example:443", "tls://10.0.0.7:1", "tls://[2001:db8::1]:7531"] {
            assert!(address(good), "{good}");
        }
        assert!(address("ygg://[202:24ae::1]:7531"));
        for bad in [
            "pipe:touch /tmp/owned",
            "tls:hub",
            "tls://hub?via=socks5://thief:1080",
            "tls://hub#Bob",
            "tls://localhost:22",
            "tls://127.0.0.1:22",
            "tls://[::1]:22",
            "tls://[::ffff:127.0.0.1]:22",
            "tls://0.0.0.0:22",
            "tls://169.254.169.254:80",
            "tls://[fe80::1%eth0]:22",
            "tls://[ff02::1]:22",
        ] {
            assert!(!address(bad), "{bad}");
        }
    }
}
