//! `init`, `id`, `key export`: who I am.

use std::path::{Path, PathBuf};

use postrider_base::{address, words};

use super::{Desk, Failure, FailureKind, clock, hex, reply::Identity};
use crate::home::{Created, Home, replace};

/// What `init` wants to know.
#[derive(Clone, Debug)]
pub struct InitRequest {
    /// Where.
    pub home: PathBuf,
    /// The name that my card suggests.
    pub name: Option<String>,
    /// Accept a file system that cannot keep the key private.
    pub even_if_public: bool,
}

impl Desk {
    /// Creates an identity and a home; changes nothing when there is one.
    pub fn init(request: &InitRequest) -> Result<(Self, Identity), Failure> {
        let seed = clock::random()?;
        let (_, how) =
            Home::create(&request.home, request.name.as_deref(), seed, request.even_if_public)?;
        let desk = Self::open(&request.home)?;
        let identity = Identity { new: Some(how == Created::New), ..desk.identity(false) };
        Ok((desk, identity))
    }

    /// Who I am; with the comparison words when asked (they take a tenth of a second).
    pub fn identity(&self, with_words: bool) -> Identity {
        let card = &self.home.card;
        let words = with_words.then(|| words::words(&card.node).map(str::to_owned).to_vec());
        Identity {
            name: card.name.clone(),
            id: card.node.to_string(),
            key: hex(card.node.as_bytes()),
            address: address::address(&card.node).to_string(),
            age: card.seal_key().to_string(),
            words,
            new: None,
            home: self.home.dir().display().to_string(),
        }
    }

    /// Writes my card to a file, as text.
    pub fn write_card(&self, path: &Path) -> Result<(), Failure> {
        let text = format!("{}\n", self.home.card);
        // A bare file name has no parent to sync; the current directory is meant.
        let path = if path.parent() == Some(Path::new("")) {
            Path::new(".").join(path)
        } else {
            path.to_owned()
        };
        replace(&path, text.as_bytes(), 0o644)
            .map_err(|error| Failure::file("write the card to", &path, error))
    }

    /// My seal keys as an age identity file, newest first.
    ///
    /// It opens everything that is sealed to me. It does not let anybody sign as me.
    pub fn export_age(&self) -> Result<String, Failure> {
        let mut text = format!(
            "# age identity of {} ({})\n# opens mail sealed to this node; cannot sign as it\n",
            self.home.card.node, self.home.card.name
        );
        for (number, secret) in &self.home.key.seal_keys {
            text.push_str(&format!("# seal key {number}: {}\n", secret.public()));
            text.push_str(&secret.to_age_text());
            text.push('\n');
        }
        if self.home.key.seal_keys.is_empty() {
            return Err(Failure::new(FailureKind::Fault, "there is no seal key"));
        }
        Ok(text)
    }
}
