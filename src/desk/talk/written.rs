//! What this node remembers of its own messages and of others' numbers: seals keep neither for it.

use postrider_base::{
    BundleId,
    bundle::Sequence,
    packet::{Body, Manifest, Packet},
    wire,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::super::{
    inbox::wants,
    ledger::{set_note, space},
};
use postrider_spool::Change;

/// Most bytes of file names in a note: a manifest may be longer than any note.
const NAMES_BYTES: usize = 192 << 10;
/// What a name costs beside its bytes, and more.
const NAME_COST: usize = 64;

/// A message that this node wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::desk) struct WrittenNote(
    u8,
    /// Its number: epoch and counter.
    u32,
    u64,
    /// The message it answers.
    Option<ByteBuf>,
    /// What it is.
    String,
    /// Its text.
    String,
    /// Its files: name, length, hash.
    Vec<(String, u64, ByteBuf)>,
);

impl WrittenNote {
    pub(in crate::desk) fn read(bytes: &[u8]) -> Option<Self> {
        wire::decode(bytes).ok()
    }

    pub(in crate::desk) fn number(&self) -> (u32, u64) {
        (self.1, self.2)
    }

    pub(in crate::desk) fn answers(&self) -> Option<BundleId> {
        Some(BundleId(self.3.as_ref()?.as_slice().try_into().ok()?))
    }

    pub(in crate::desk) fn kind(&self) -> &str {
        &self.4
    }

    pub(in crate::desk) fn text(&self) -> &str {
        &self.5
    }

    pub(in crate::desk) fn files(&self) -> impl Iterator<Item = (&str, u64, &[u8])> {
        self.6.iter().map(|(name, bytes, hash)| (&**name, *bytes, hash.as_slice()))
    }
}

/// What is kept of a message that is sent; nothing of what is no part of a conversation.
pub(in crate::desk) fn written(
    id: &BundleId,
    sequence: Sequence,
    packet: &Packet,
) -> Option<Change> {
    let (kind, text, manifest) = match &packet.body {
        Body::Mail(text) => ("mail", text.clone(), None),
        Body::Files(manifest) => {
            ("file", manifest.text.clone().unwrap_or_default(), Some(manifest))
        }
        Body::Job(job) => ("job", wants(job), job.files.as_ref()),
        _ => return None,
    };
    let note = WrittenNote(
        1,
        sequence.epoch,
        sequence.counter,
        packet.tail.reply_to.map(|id| ByteBuf::from(id.0)),
        kind.into(),
        text,
        manifest.map(names).unwrap_or_default(),
    );
    Some(set_note(space::WRITTEN, &id.0, wire::encode(&note)))
}

/// The first files of a manifest, as many as a note has room for.
fn names(manifest: &Manifest) -> Vec<(String, u64, ByteBuf)> {
    let mut room = NAMES_BYTES;
    let files = manifest.files.iter().filter(|file| !file.directory);
    files
        .map_while(|file| {
            let name = file.path.join("/");
            room = room.checked_sub(name.len() + NAME_COST)?;
            Some((name, file.bytes, ByteBuf::from(file.blake3)))
        })
        .collect()
}

/// What is kept of the number of a message that came.
pub(in crate::desk) fn numbered(id: &BundleId, sequence: Sequence) -> Change {
    let value = [&sequence.epoch.to_be_bytes()[..], &sequence.counter.to_be_bytes()].concat();
    set_note(space::NUMBER, &id.0, value)
}

/// The number that was kept: epoch and counter.
pub(in crate::desk) fn number_of(value: &[u8]) -> Option<(u32, u64)> {
    let (epoch, counter) = value.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*epoch), u64::from_be_bytes(counter.try_into().ok()?)))
}
