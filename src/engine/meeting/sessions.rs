//! The links that are up on local segments.

use std::{collections::BTreeMap, net::Ipv6Addr};

use postrider_base::NodeId;

use super::{
    contract::InterfaceId,
    neighbours::{Neighbour, Spot},
};
use crate::node::LinkId;

/// One link.
#[derive(Debug)]
pub(super) struct Session {
    pub interface: InterfaceId,
    pub from: Ipv6Addr,
    /// The neighbour at its other end, once it is clear which.
    pub spot: Option<Spot>,
    pub node: NodeId,
    pub guest: bool,
    pub dialled: bool,
    pub up_ms: u64,
    /// The other end seems to have forgotten it.
    pub stale: bool,
}

impl Session {
    /// Whether it leads to that neighbour. An address proves nothing: it is enough only for
    /// somebody of whom nothing else is known.
    fn leads(&self, interface: InterfaceId, spot: &Spot, to: &Neighbour) -> bool {
        let there = self.interface == interface && self.spot.as_ref() == Some(spot);
        to.is(&self.node) || there && to.known.is_none()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sessions(pub BTreeMap<LinkId, Session>);

impl Sessions {
    /// Whether there is a link to a neighbour, on whatever interface; with `known`, under its own
    /// key.
    pub fn reach(&self, interface: InterfaceId, spot: &Spot, to: &Neighbour, known: bool) -> bool {
        let good = |session: &Session| !session.stale && (!known || !session.guest);
        self.0.values().any(|session| good(session) && session.leads(interface, spot, to))
    }

    pub fn on(&self, interface: InterfaceId) -> impl Iterator<Item = (&LinkId, &Session)> {
        self.0.iter().filter(move |(_, session)| session.interface == interface)
    }

    /// The links on `interface` to a spot, whatever their state.
    pub fn at(
        &self,
        interface: InterfaceId,
        spot: Spot,
    ) -> impl Iterator<Item = (&LinkId, &Session)> {
        self.on(interface).filter(move |(_, session)| session.spot == Some(spot))
    }
}
