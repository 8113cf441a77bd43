//! Who reads a form: what is believed of the reader when it is made, what the reader has when it expands.

use crate::{
    bundle::{Destination, Header, resolve_tag},
    id::NodeId,
    key::SealPublic,
    unseal::Keyring,
};

/// What a sender believes of whoever reads. It decides only how short a form is; a reader that knows
/// less cannot expand it, says so, and is sent the form for strangers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader<'a> {
    /// Who it is, where one node reads and is known.
    pub node: Option<&'a NodeId>,
    /// Its seal keys, as its card has them.
    pub seal_keys: &'a [SealPublic],
    /// Nodes whose keys it has.
    pub nodes: &'a [NodeId],
    /// Groups that it knows.
    pub groups: &'a [[u8; 16]],
}

/// What whoever expands a form knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Knowledge<'a> {
    /// This node and its seal keys; without it, nothing that is for the reader can be expanded.
    pub me: Option<Keyring<'a>>,
    /// Nodes whose keys are here.
    pub nodes: &'a [NodeId],
    /// Groups that are known here.
    pub groups: &'a [[u8; 16]],
}

impl Reader<'_> {
    /// Somebody who knows nobody, or many who listen.
    pub const STRANGER: Self = Self { node: None, seal_keys: &[], nodes: &[], groups: &[] };

    /// Whether a bundle is for this reader, as far as its header and the reader's card tell.
    pub(super) fn is_addressed(&self, header: &Header) -> bool {
        match &header.destination {
            Destination::Node(node) => self.node == Some(node),
            Destination::Tag(_) => resolve_tag(header, self.seal_keys).is_some(),
            Destination::Group(_) => false,
        }
    }
}

impl Knowledge<'_> {
    /// The nodes that a hint may mean.
    pub(super) fn nodes_with(&self, hint: [u8; 4]) -> impl Iterator<Item = NodeId> {
        let me = self.me.as_ref().map(|ring| ring.node);
        self.nodes.iter().chain(me).filter(move |node| hint_of(node.as_bytes()) == hint).copied()
    }

    /// The groups that a hint may mean.
    pub(super) fn groups_with(&self, hint: [u8; 4]) -> impl Iterator<Item = [u8; 16]> {
        self.groups.iter().filter(move |group| hint_of(*group) == hint).copied()
    }
}

/// Four bytes that stand for a node or a group: its last ones. The first ones are what people search
/// keys by, for an address on a Yggdrasil network. Who searches for a key with somebody's last ones
/// makes a reader try two keys.
pub(super) fn hint_of(bytes: &[u8]) -> [u8; 4] {
    bytes.last_chunk().copied().unwrap_or_default()
}
