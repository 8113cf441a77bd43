//! The task that owns the local network: feeds the machine of meeting, obeys it.
//!
//! The `lan` transport says what is heard and which interfaces there are; `tls` makes the links;
//! whom to dial and what to say is decided by [`Meeting`].

use std::{collections::BTreeMap, net::SocketAddrV6, sync::Arc};

use postrider_base::{BundleId, NodeId, link::LinkFacts};
use postrider_engine::{
    meeting::{
        Came, Input, InterfaceId, Known, Local, Meeting, Output, Place, Role, beacon::ContactKey,
    },
    node::{LinkId, NetworkId},
};
use postrider_transports::{
    contract::Transport,
    lan::{Lan, LanEvent, address},
    tls::TlsTransport,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Duration, Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    cast::{self, Casting},
    node::Node,
};
use crate::home::Contacts;

/// Events and notices that wait; beacons beyond are lost, as on the air.
pub(super) const EVENTS_MAX: usize = 1024;
/// How often the contacts are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What became of links on local networks.
#[derive(Debug)]
pub(super) enum Notice {
    /// One is up; `end` ends it.
    Up { link: LinkId, node: NodeId, guest: bool, came: Came, end: CancellationToken },
    /// It is gone.
    Down { link: LinkId },
    /// The engine has something for all on a network.
    Cast { network: NetworkId, id: BundleId },
    /// It says there what this node has.
    Haves { network: NetworkId, said: Vec<u8> },
}

pub(super) struct LanTask {
    node: Arc<Node>,
    tls: Arc<TlsTransport>,
    lan: Arc<Lan>,
    meeting: Meeting,
    casting: Casting,
    links: BTreeMap<LinkId, CancellationToken>,
    contacts: Option<Arc<Contacts>>,
    dials: JoinSet<Option<Place>>,
    begun: Instant,
}

impl LanTask {
    /// `port` is where `tls` takes links.
    pub(super) fn new(
        node: Arc<Node>,
        tls: Arc<TlsTransport>,
        lan: Arc<Lan>,
        port: u16,
        seed: [u8; 32],
    ) -> Self {
        let home = node.desk.home();
        let local = Local {
            node: home.card.node,
            key: ContactKey::of(home.card.seal_key()),
            groups: Vec::new(),
            port,
            carrier: home.config.carry_strangers,
        };
        Self {
            meeting: Meeting::new(local, seed, 0),
            casting: Casting::new(Arc::clone(&node), Arc::clone(&lan)),
            node,
            tls,
            lan,
            links: BTreeMap::new(),
            contacts: None,
            dials: JoinSet::new(),
            begun: Instant::now(),
        }
    }

    /// Runs until told to stop.
    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<LanEvent>,
        mut notices: mpsc::Receiver<Notice>,
    ) {
        let stop = self.node.stop.clone();
        let mut looked = Instant::now();
        self.look_at_contacts();
        loop {
            self.obey();
            let due = self.begun + Duration::from_millis(self.meeting.poll_timeout());
            // Receiving, joining and sleeping lose nothing when another comes first.
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = events.recv() => self.event(event),
                Some(notice) = notices.recv() => self.notice(notice),
                Some(Ok(failed)) = self.dials.join_next() => {
                    if let Some(at) = failed {
                        self.handle(Input::DialFailed { at });
                    }
                }
                () = self.casting.next() => {
                    // Whoever was kept from looking has not heard nothing.
                    for _ in 0..EVENTS_MAX {
                        let Ok(event) = events.try_recv() else { break };
                        self.event(event);
                    }
                    self.casting.tick();
                }
                () = sleep_until(due.min(looked + LOOK_EVERY)) => {
                    self.handle(Input::Timeout);
                }
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.look_at_contacts();
            }
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.meeting.handle(now_ms, input);
    }

    fn event(&mut self, event: LanEvent) {
        match event {
            LanEvent::Up { interface, address, priority, beacons, name } => {
                tracing::debug!(name, %address, "a local network is there");
                self.casting.up(interface, beacons);
                let interface = InterfaceId(interface);
                self.handle(Input::InterfaceUp { interface, address, priority, beacons });
            }
            LanEvent::Down { interface } => {
                self.casting.down(interface);
                self.handle(Input::InterfaceDown { interface: InterfaceId(interface) });
            }
            LanEvent::Heard { interface, datagram, .. } if cast::is_one(&datagram) => {
                self.casting.heard(interface, datagram);
            }
            LanEvent::Heard { interface, from, datagram } => {
                let interface = InterfaceId(interface);
                self.handle(Input::Heard { interface, from, datagram: &datagram });
            }
            _ => {}
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Up { link, node, guest, came, end } => {
                self.links.insert(link, end);
                self.handle(Input::LinkUp { link, node, guest, came });
            }
            Notice::Down { link } => {
                self.links.remove(&link);
                self.handle(Input::LinkDown { link });
            }
            Notice::Cast { network, id } => self.casting.cast(network, id),
            Notice::Haves { network, said } => self.casting.say(network, &said),
        }
    }

    fn obey(&mut self) {
        while let Some(output) = self.meeting.poll() {
            match output {
                Output::Guest(secret) => self.tls.set_guest(Some(secret)),
                Output::SendBeacon { interface, datagram } => {
                    // Lost like any datagram; the next one comes soon.
                    let _ = self.lan.say(interface.0, &datagram[..]);
                }
                Output::Dial { at, expect, role } => self.dial(at, expect, role),
                Output::Close { link } => {
                    if let Some(end) = self.links.remove(&link) {
                        end.cancel();
                    }
                }
            }
        }
    }

    fn dial(&mut self, at: Place, expect: NodeId, role: Role) {
        let (node, tls) = (Arc::clone(&self.node), Arc::clone(&self.tls));
        let to = address(at.interface.0, at.address, at.port);
        self.dials.spawn(async move {
            let dialled = match role {
                Role::Known => tls.dial(&to, Some(expect)).await,
                Role::Guest => tls.dial_as_guest(&to, expect).await,
            };
            match dialled {
                Ok(link) => {
                    drop(node.adopt_from(link, Some(expect), Some(Came::Dialled(at))));
                    None
                }
                Err(error) => {
                    tracing::debug!(%to, %error, "no link to a neighbour");
                    Some(at)
                }
            }
        });
    }

    fn look_at_contacts(&mut self) {
        let Ok(contacts) = self.node.desk.home().contacts() else { return };
        if self.contacts.as_ref().is_some_and(|known| Arc::ptr_eq(known, &contacts)) {
            return;
        }
        let known = Known {
            contacts: contacts
                .linked()
                .map(|contact| (contact.card.node, *contact.card.seal_key()))
                .collect(),
            blocked: contacts.blocked().collect(),
        };
        self.contacts = Some(Arc::clone(&contacts));
        self.handle(Input::Known(known));
    }
}

/// How an accepted link came over a local network, if it did.
pub(super) fn accepted(facts: &LinkFacts) -> Option<Came> {
    let at = link_local(facts)?;
    Some(Came::Accepted { interface: InterfaceId(at.scope_id()), from: *at.ip() })
}

/// The local network that a link runs over, if it runs over one.
pub(super) fn network(facts: &LinkFacts) -> Option<NetworkId> {
    link_local(facts).map(|at| NetworkId(at.scope_id()))
}

fn link_local(facts: &LinkFacts) -> Option<SocketAddrV6> {
    let at: SocketAddrV6 = facts.address.as_str().strip_prefix("tls://")?.parse().ok()?;
    (at.ip().segments()[0] & 0xffc0 == 0xfe80).then_some(at)
}
