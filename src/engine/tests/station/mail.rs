//! Forms as these tests have them: what radio forms have to a station, and a seal that nobody forges.
//!
//! ```text
//! 80 | hop 1 | age 1 | class 1 | from 1 | to 1 | number 4 | noise … | seal 8
//! ```

use postrider_base::bundle::Receipt;
use postrider_engine::{air::Lane, station::ItemId};

/// To everybody.
pub const ALL: u8 = 255;
const HEAD: usize = 10;
const SEAL: usize = 8;
/// A text of 100 characters as format.md measures it: 222 to 230, by a relay.
pub const TEXT_BYTES: usize = 226;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub from: u8,
    pub to: u8,
    pub lane: Lane,
    form: Vec<u8>,
}

impl Mail {
    pub fn new(from: usize, to: u8, lane: Lane, number: u32, bytes: usize) -> Self {
        let from = u8::try_from(from).unwrap();
        let class = Lane::ALL.iter().position(|other| *other == lane).unwrap();
        let mut form = vec![0x80, 0, 0, u8::try_from(class).unwrap(), from, to];
        form.extend_from_slice(&number.to_be_bytes());
        let mut noise = vec![0; bytes - HEAD - SEAL];
        blake3::Hasher::new().update(&form).finalize_xof().fill(&mut noise);
        form.extend_from_slice(&noise);
        let seal = seal(&form);
        form.extend_from_slice(&seal);
        Self { from, to, lane, form }
    }

    /// What a form holds, if nobody made it up.
    pub fn of(form: &[u8]) -> Option<Self> {
        let (content, sealed) = form.split_at_checked(form.len().checked_sub(SEAL)?)?;
        let [0x80, _, _, class, from, to, ..] = *content else { return None };
        let lane = *Lane::ALL.get(usize::from(class))?;
        let fine = content.len() >= HEAD && seal(content) == sealed;
        fine.then(|| Self { from, to, lane, form: form.to_vec() })
    }

    /// The form, as it leaves whoever it reached after so many others.
    pub fn form(&self) -> Vec<u8> {
        self.form.clone()
    }

    /// The same one node farther.
    pub fn farther(&self) -> Self {
        let mut farther = self.clone();
        farther.form[1] += 1;
        farther
    }

    pub fn id(&self) -> ItemId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"id").update(&self.form[3..]);
        ItemId(*hasher.finalize().as_bytes().first_chunk().unwrap())
    }
}

/// The one true receipt.
pub fn receipt(id: ItemId) -> Receipt {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"receipt").update(&id.0);
    Receipt { id_prefix: id.0, r: *hasher.finalize().as_bytes().first_chunk().unwrap() }
}

fn seal(content: &[u8]) -> [u8; SEAL] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"seal").update(&content[..1]).update(&content[3..]);
    *hasher.finalize().as_bytes().first_chunk().unwrap()
}
