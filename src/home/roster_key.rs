//! The file of a roster's key: the authority of an organisation, which need never be on a machine
//! that has links. Text, so that it can be printed, and enciphered with stock `age`.

use std::{fmt, io, path::Path};

use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};
use postrider_base::NodeSecret;
use zeroize::Zeroizing;

use super::replace;

/// A key file holds a few lines.
pub const BYTES_MAX: u64 = 4096;
const HRP: &str = "prrostersecret";
const AGE: [&str; 2] = ["age-encryption.org/v1", "-----BEGIN AGE ENCRYPTED FILE-----"];

/// The secret key of a roster. Never printed.
#[derive(Clone)]
pub struct RosterKey(pub NodeSecret);

/// Why a file is not a roster's key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RosterKeyError {
    /// It is enciphered.
    #[error("that key is enciphered with age")]
    Age,
    /// It is something else, or damaged.
    #[error("that is not the key of a roster, or it is damaged")]
    Damaged,
}

impl RosterKey {
    /// Writes a new key file, for its owner only; never over another.
    pub fn create(path: &Path, name: &str, seed: [u8; 32]) -> io::Result<Self> {
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let key = Self(NodeSecret::from_seed(seed));
        replace(path, key.to_text(name).as_bytes(), 0o600)?;
        Ok(key)
    }

    /// Reads the text of a key file.
    pub fn parse(text: &str) -> Result<Self, RosterKeyError> {
        if AGE.iter().any(|start| text.starts_with(start)) {
            return Err(RosterKeyError::Age);
        }
        let mut secrets = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.trim().strip_prefix("roster "));
        let (Some(secret), None) = (secrets.next(), secrets.next()) else {
            return Err(RosterKeyError::Damaged);
        };
        let checked =
            CheckedHrpstring::new::<Bech32m>(secret.trim()).map_err(|_| RosterKeyError::Damaged)?;
        if checked.hrp().as_str() != HRP {
            return Err(RosterKeyError::Damaged);
        }
        let bytes = Zeroizing::new(checked.byte_iter().collect::<Vec<u8>>());
        let seed = bytes.as_slice().try_into().map_err(|_| RosterKeyError::Damaged)?;
        Ok(Self(NodeSecret::from_seed(seed)))
    }

    fn to_text(&self, name: &str) -> Zeroizing<String> {
        let secret = bech32::encode::<Bech32m>(Hrp::parse_unchecked(HRP), self.0.seed());
        let secret = Zeroizing::new(secret.expect("32 bytes fit"));
        let line: String = name.chars().filter(|c| !c.is_control()).collect();
        Zeroizing::new(format!(
            "# Secret key of the roster {line}\n# Its public key is {}\n\
             # Who has this file decides who belongs to it. Keep it off machines with links: on a\n\
             # stick, or enciphered (age -p -o FILE.age FILE; age -d FILE.age | postrider roster … \
             --key -).\nroster {}\n",
            self.0.id(),
            *secret
        ))
    }
}

impl fmt::Debug for RosterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RosterKey({})", self.0.id())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_private_reads_back_and_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relief.key");
        let made = RosterKey::create(&path, "Relief\u{1b}[2J", [3; 32]).unwrap();
        let file = std::fs::metadata(&path).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(RosterKey::parse(&text).unwrap().0.id(), made.0.id());
        assert!(RosterKey::create(&path, "Relief", [4; 32]).is_err());
        let at = text.rfind("roster ").unwrap() + 20;
        for end in [at, text.len() - 2] {
            assert!(matches!(RosterKey::parse(&text[..end]), Err(RosterKeyError::Damaged)));
        }
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        assert!(matches!(
            RosterKey::parse("age-encryption.org/v1\n-> X"),
            Err(RosterKeyError::Age)
        ));
        for other in ["", "roster pr1qq", "roster x\nroster y", "# roster prrostersecret1"] {
            assert!(matches!(RosterKey::parse(other), Err(RosterKeyError::Damaged)), "{other}");
        }
    }
}
