//! The key file: the only place where secrets stand.
//!
//! Text, so that it can be printed and typed in again; every secret carries a checksum (bech32), so
//! that a wrong character is an error and never another key.

use std::{
    io::{self, Read},
    path::Path,
};

use postrider_base::{NodeSecret, SealSecret};
use zeroize::Zeroizing;

use bech32::{Bech32, Bech32m, Hrp, primitives::decode::CheckedHrpstring};

/// A key file holds a few lines; anything longer is something else.
const BYTES_MAX: u64 = 16 * 1024;
const NODE_HRP: &str = "prsecret";

/// The secrets of a node.
#[derive(Debug)]
pub struct KeyFile {
    /// The identity.
    pub node: NodeSecret,
    /// Seal keys with their numbers, newest first; never empty.
    pub seal_keys: Vec<(u32, SealSecret)>,
    /// The number of the card that says all this.
    pub card_number: u64,
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is none.
    #[error("there is no key file")]
    Missing,
    /// It cannot be read.
    #[error("could not read the key file")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("the key file is damaged in line {0}; restore it from a backup")]
    Damaged(usize),
    /// A secret is not there.
    #[error("the key file is incomplete; restore it from a backup")]
    Incomplete,
}

impl KeyFile {
    /// A new identity with its first seal key.
    pub fn new(node: NodeSecret) -> Self {
        let seal_keys = vec![(1, node.first_seal_key())];
        Self { node, seal_keys, card_number: 1 }
    }

    /// Reads a key file.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let file = match std::fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyFileError::Missing);
            }
            file => file?,
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| KeyFileError::Damaged(1))?;
        Self::parse(text)
    }

    /// The secrets alone, newest first.
    pub fn seal_secrets(&self) -> Vec<SealSecret> {
        self.seal_keys.iter().map(|(_, secret)| secret.clone()).collect()
    }

    /// The file's text.
    pub fn to_text(&self) -> Zeroizing<String> {
        let hrp = Hrp::parse_unchecked(NODE_HRP);
        let node = bech32::encode::<Bech32m>(hrp, self.node.seed());
        let node = Zeroizing::new(node.expect("32 bytes fit"));
        let mut text = Zeroizing::new(format!(
            "# Secret key of {}\n# Who has this file is you. Back it up; show it to nobody.\n\
             version 1\ncard {}\nnode {}\n",
            self.node.id(),
            self.card_number,
            *node
        ));
        for (number, secret) in &self.seal_keys {
            text.push_str(&format!("seal {number} {}\n", secret.to_age_text()));
        }
        text
    }

    fn parse(text: &str) -> Result<Self, KeyFileError> {
        let (mut node, mut card_number, mut version) = (None, None, None);
        let mut seal_keys: Vec<(u32, SealSecret)> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let damaged = || KeyFileError::Damaged(n + 1);
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["version", "1"] if version.is_none() => version = Some(1),
                ["card", number] if card_number.is_none() => {
                    card_number = Some(number.parse().map_err(|_| damaged())?);
                }
                ["node", secret] if node.is_none() => {
                    let checked =
                        CheckedHrpstring::new::<Bech32m>(secret).map_err(|_| damaged())?;
                    if checked.hrp().as_str() != NODE_HRP {
                        return Err(damaged());
                    }
                    let seed = bytes_of(&checked).ok_or_else(damaged)?;
                    node = Some(NodeSecret::from_seed(*seed));
                }
                ["seal", number, secret] => {
                    let number = number.parse().map_err(|_| damaged())?;
                    let checked = CheckedHrpstring::new::<Bech32>(secret).map_err(|_| damaged())?;
                    if seal_keys.last().is_some_and(|(last, _)| *last <= number) {
                        return Err(damaged());
                    }
                    let secret = bytes_of(&checked).ok_or_else(damaged)?;
                    seal_keys.push((number, SealSecret::from_bytes(*secret)));
                }
                _ => return Err(damaged()),
            }
        }
        match (node, card_number, version) {
            (Some(node), Some(card_number), Some(_)) if !seal_keys.is_empty() => {
                Ok(Self { node, seal_keys, card_number })
            }
            _ => Err(KeyFileError::Incomplete),
        }
    }
}

fn bytes_of(checked: &CheckedHrpstring<'_>) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(checked.byte_iter().collect::<Vec<u8>>());
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Zeroizing<String> {
        let mut key = KeyFile::new(NodeSecret::from_seed([1; 32]));
        key.seal_keys.insert(0, (2, SealSecret::from_bytes([5; 32])));
        key.to_text()
    }

    #[test]
    fn round_trips() {
        let key = KeyFile::parse(&text()).unwrap();
        assert_eq!(key.node.id(), NodeSecret::from_seed([1; 32]).id());
        assert_eq!(key.seal_keys[0].1.as_bytes(), &[5; 32]);
        assert_eq!(key.to_text(), text());
    }

    #[test]
    fn a_flipped_bit_is_an_error_or_changes_no_secret() {
        let good = text();
        let (original, start) = (KeyFile::parse(&good).unwrap(), good.find("version").unwrap());
        for at in start * 8..good.len() * 8 {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            let Ok(text) = std::str::from_utf8(&bytes) else { continue };
            if let Ok(key) = KeyFile::parse(text) {
                assert_eq!(key.node.id(), original.node.id(), "bit {at}");
                let secrets = |key: &KeyFile| -> Vec<[u8; 32]> {
                    key.seal_keys.iter().map(|(_, secret)| *secret.as_bytes()).collect()
                };
                assert_eq!(secrets(&key), secrets(&original), "bit {at}");
            }
        }
    }

    #[test]
    fn a_missing_line_is_named_incomplete() {
        for line in ["version", "card", "node"] {
            let cut: String =
                text().lines().filter(|l| !l.starts_with(line)).map(|l| format!("{l}\n")).collect();
            assert!(matches!(KeyFile::parse(&cut), Err(KeyFileError::Incomplete)), "{line}");
        }
    }
}
