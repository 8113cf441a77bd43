//! Which interfaces have a link-local address at the moment, as Linux tells in `/proc` and `/sys`.
//!
//! Both are memory of the kernel: reading them does not block.

use std::{collections::BTreeMap, fs, net::Ipv6Addr, path::Path};

/// Longest list that is read: 64 bytes to an address, so far more of them than there are.
const LIST_MAX_BYTES: usize = 256 << 10;
/// `IFA_F_DADFAILED` and `IFA_F_TENTATIVE` of `<linux/if_addr.h>`: not ours, or not yet.
const UNUSABLE: u8 = 0x08 | 0x40;
/// The scope of link-local addresses in that file.
const LINK: u8 = 0x20;

/// An interface that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub index: u32,
    pub name: String,
    /// All its usable link-local addresses; never empty.
    pub addresses: Vec<Ipv6Addr>,
}

/// All that can be used; none where IPv6 is switched off.
pub(super) fn list() -> Vec<Interface> {
    let text = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut interfaces = parse(&text);
    interfaces.retain(|interface| has_carrier(Path::new("/sys/class/net"), &interface.name));
    interfaces
}

/// One address to a line: address, number, prefix length, scope, flags, name; all but the last in
/// hexadecimal.
fn parse(text: &str) -> Vec<Interface> {
    let mut found: BTreeMap<u32, Interface> = BTreeMap::new();
    let text = text.get(..text.len().min(LIST_MAX_BYTES)).unwrap_or_default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let mut word = || words.next().unwrap_or_default();
        let address = u128::from_str_radix(word(), 16).map(Ipv6Addr::from);
        let index = u32::from_str_radix(word(), 16);
        let _prefix_length = word();
        let scope = u8::from_str_radix(word(), 16);
        let flags = u8::from_str_radix(word(), 16);
        let name = word();
        let (Ok(address), Ok(index), Ok(LINK), Ok(flags)) = (address, index, scope, flags) else {
            continue;
        };
        if flags & UNUSABLE != 0 || index == 0 || !address.is_unicast_link_local() {
            continue;
        }
        let new = || Interface { index, name: name.to_owned(), addresses: Vec::new() };
        found.entry(index).or_insert_with(new).addresses.push(address);
    }
    found.into_values().collect()
}

/// Whether a cable is in, so to say. What cannot be asked counts as in: an address it has.
fn has_carrier(devices: &Path, name: &str) -> bool {
    fs::read_to_string(devices.join(name).join("carrier")).map_or(true, |text| text.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
fe8000000000000000000000000000aa 02 40 20 80     eth0
fe8000000000000000000000000000ab 02 40 20 80     eth0
fe8000000000000000000000000000bb 0d 40 20 c0    wlan0
fe8000000000000000000000000000cc 0e 40 20 88    wlan1
20010db8000000000000000000000001 02 40 00 80     eth0
";

    #[test]
    fn only_usable_link_local_addresses_count() {
        let found = parse(LIST);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].index, &*found[0].name), (2, "eth0"));
        let last = found[0].addresses.iter().map(|address| address.segments()[7]);
        assert_eq!(last.collect::<Vec<_>>(), [0xaa, 0xab]);
    }

    #[test]
    fn an_unknown_line_is_passed_over() {
        for text in ["", "\n", "fe80", "x y z", "fe8000000000000000000000000000aa 00 40 20 80 e"] {
            assert_eq!(parse(text), [], "{text}");
        }
    }

    #[test]
    fn a_pulled_cable_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("eth0")).unwrap();
        for (carrier, has) in [("1\n", true), ("0\n", false)] {
            fs::write(dir.path().join("eth0/carrier"), carrier).unwrap();
            assert_eq!(has_carrier(dir.path(), "eth0"), has);
        }
        assert!(has_carrier(dir.path(), "eth1"));
    }
}
