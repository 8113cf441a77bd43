//! Guest keys: throw-away identities under which strangers meet on a local network.
//!
//! A beacon shows a guest key to everybody, so everybody may open its door and learns nothing. The
//! key is replaced often; the one before stays good until the next, for who heard it a moment ago.

use std::sync::{Arc, Mutex, PoisonError};

use postrider_base::NodeSecret;

use super::{door, identity::Identity};

/// The newest key and the one before.
const KEPT: usize = 2;

/// Newest first.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<Vec<Arc<Identity>>>);

impl Guests {
    /// Replaces the newest key, or forgets all.
    pub fn set(&self, secret: Option<NodeSecret>) {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match secret {
            Some(secret) => {
                guests.insert(0, Arc::new(Identity::new(Arc::new(secret))));
                guests.truncate(KEPT);
            }
            None => guests.clear(),
        }
    }

    /// Under which key a guest dials.
    pub fn newest(&self) -> Option<Arc<Identity>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// Whose door a server name opens.
    pub fn opened_by(&self, name: &str) -> Option<Arc<Identity>> {
        let guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guests.iter().find(|guest| door::opens(name, &guest.id())).cloned()
    }
}
