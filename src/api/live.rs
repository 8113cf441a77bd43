//! Verbs that a running node answers, or answers better than a desk alone.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use postrider_base::{NodeId, link::Address};
use postrider_engine::router::{NoRoad, Road};
use tokio::time::{Duration, timeout};

use super::{At, bluetooth, outlook, ports};
use crate::{
    daemon::{LinkRow, Node, check_peer},
    desk::{
        Failure, FailureKind,
        reply::{
            DaemonLine, LinkLine, PeerLine, Ponged, PortLine, Queued, Reason, Received, Status,
            Tossed,
        },
    },
};

/// An answer that takes longer is none: the slowest links of today take some seconds.
const PING_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a call that goes on waits before it says that there is no link yet.
const CALL_PATIENCE: Duration = Duration::from_secs(15);
/// Addresses that a contact is called at, one after the other.
const ADDRESSES_MAX: usize = 8;

/// How the node is, with its links and the sticks that wait to be mounted.
pub(super) fn status(at: &At<'_>) -> Result<Status, Failure> {
    let mut status = at.desk.status(at.watch)?;
    if let Some((node, _)) = at.node {
        status.links = node.board.links().iter().map(|row| node.board.line(row)).collect();
        status.media = node.board.media();
        status.ports = ports::lines(node);
        status.bluetooth = Some(node.bluetooth.line());
        let healthy = Some(status.health.clone()).filter(|health| health != "ok");
        let ills: Vec<String> = healthy.into_iter().chain(node.board.ills()).collect();
        if !ills.is_empty() {
            status.health = ills.join("; ");
        }
    }
    Ok(status)
}

/// Links that are up, then neighbours that had one, the latest first.
pub(super) fn peers(at: &At<'_>) -> Result<Vec<PeerLine>, Failure> {
    let mut lines = Vec::new();
    let mut gone = BTreeMap::new();
    if let Some((node, _)) = at.node {
        lines.extend(node.board.links().iter().map(|row| node.board.line(row)));
        gone = node.board.unwritten();
    }
    for neighbour in at.desk.neighbours(at.watch)? {
        let id = neighbour.node.to_string();
        let unwritten_s = gone.remove(&neighbour.node);
        if lines.iter().any(|line| line.id.as_ref() == Some(&id)) {
            continue;
        }
        let last_seen_s = unwritten_s.unwrap_or(u64::MAX).min(neighbour.last_seen_s);
        let name = at.desk.name_of(&neighbour.node);
        lines.push(absent(id, name, neighbour.address, last_seen_s));
    }
    for (node, last_seen_s) in gone {
        let id = node.to_string();
        if !lines.iter().any(|line| line.id.as_ref() == Some(&id)) {
            lines.push(absent(id, at.desk.name_of(&node), String::new(), last_seen_s));
        }
    }
    Ok(lines)
}

fn absent(id: String, name: String, address: String, last_seen_s: u64) -> PeerLine {
    let (id, last_seen_s) = (Some(id), Some(last_seen_s));
    PeerLine { id, name, address, last_seen_s, ..PeerLine::default() }
}

/// The desk's reasons, what is left of its copies, what routing says about every link, and when it
/// may arrive.
pub(super) fn why(at: &At<'_>, id: &str) -> Result<Vec<Reason>, Failure> {
    let mut reasons = at.desk.why(id, at.watch)?;
    let expected = outlook::of(at, id)?;
    if let Some((waiting, _)) = &expected {
        reasons.extend(outlook::copies(waiting));
    }
    let (mut goes, mut is_barred) = (false, false);
    if let Some((node, handle)) = at.node {
        let rows = at.desk.rows(id, at.watch).unwrap_or_default();
        let links = node.board.links();
        let lines = ports::lines(node);
        let has_radio = lines.iter().any(|port| port.state == "radio");
        if links.is_empty() && !rows.is_empty() && !has_radio {
            reasons.push("no link is up: postrider peers, postrider call".into());
        }
        reasons.extend(bluetooth::ill(at).filter(|_| !rows.is_empty()));
        let is_open = |port: &PortLine| ["open", "radio"].contains(&&*port.state);
        let shut = lines.into_iter().filter(|port| !is_open(port) && !rows.is_empty());
        reasons.extend(shut.map(|port| format!("no link over {}: {}", port.address, port.why)));
        // A message is there when the longest of its bundles is, which not every link takes.
        if let Some(row) = rows.into_iter().max_by_key(|row| row.length) {
            let previews = ports::previews(node, &row).into_iter();
            reasons.extend(previews.map(|(at, said, _)| format!("by radio at {at}: {said}")));
            for link in links {
                let (number, row) = (link.link, row.clone());
                let said = handle.block_on(node.look(move |engine| engine.why(number, &row)));
                if let Some(Some(said)) = said {
                    is_barred |= matches!(said, Err(NoRoad::Size | NoRoad::Nice));
                    goes |= said.is_ok();
                    reasons.push(sentence(&node.board.line(&link), said));
                }
            }
        }
    }
    let reason = |reason, eta_s| Reason { id: id.to_owned(), reason, eta_s };
    let mut reasons: Vec<Reason> = reasons.into_iter().map(|said| reason(said, None)).collect();
    if is_barred && !goes {
        let said =
            "what does not go waits for another link, a stick, or other [[links]] in config.toml";
        reasons.push(reason(said.to_owned(), None));
    } else if let Some((waiting, outlook)) = expected {
        let said = outlook::sentence(&waiting, outlook, at.node.is_some());
        reasons.push(reason(said, outlook.half_s()));
    }
    Ok(reasons)
}

/// One bundle that waits, and when it may arrive.
pub(super) fn queue_show(at: &At<'_>, id: &str) -> Result<Queued, Failure> {
    let shown = at.desk.queue_show(id, at.watch)?;
    let eta_s = outlook::of(at, id)?.and_then(|(_, outlook)| outlook.half_s());
    Ok(Queued { eta_s, ..shown })
}

fn sentence(link: &PeerLine, said: Result<Road, NoRoad>) -> String {
    let reason = match said {
        Ok(Road::Direct) => "it is on its way there: that is whom it is for",
        Ok(Road::Via) => "it is on its way there: that is the way you chose",
        Ok(Road::Flood) => "it goes there to be carried on",
        Err(NoRoad::Source) => "not there: that node wrote it",
        Err(NoRoad::Brought) => "not there: that node brought it",
        Err(NoRoad::Arrived) => "not there: it is for this node",
        Ok(Road::Free) => "it goes there to be carried on: a copy costs nothing on that link",
        Ok(Road::Spray) => "a copy goes there, with some of its tokens",
        Ok(Road::Delegate(_)) => "a copy goes there: that node is nearer to whom it is for",
        Err(NoRoad::Stranger) => {
            "not there: no copies are to spare for that link, and nobody there is nearer to whom it is \
             for"
        }
        Err(NoRoad::Hops) => "not there: it has passed too many nodes",
        Err(NoRoad::Nice) => "not there: that link carries nothing so nice",
        Err(NoRoad::Size) => "not there: that link carries nothing so long",
        Err(NoRoad::Transit) => "not there: that link carries nothing for third nodes",
        Err(NoRoad::Blocked) => "not there: somebody involved is blocked",
        Err(NoRoad::Expired) => "not there: its lifetime has ended",
    };
    format!("link to {} ({}): {reason}", link.name, link.address)
}

/// What a toss or a stream brought is told to those who listen.
pub(super) fn after_taking(at: &At<'_>, tossed: Tossed) -> Result<Tossed, Failure> {
    tell_messages(at, &tossed.messages, &tossed.delivered);
    Ok(tossed)
}

/// Messages that came another way than over a link.
pub(super) fn tell_messages(at: &At<'_>, messages: &[Received], delivered: &[String]) {
    if let Some((node, _)) = at.node {
        let ids = messages.iter().map(|message| message.id.clone());
        node.board.tell_news(ids.collect(), delivered.to_vec());
    }
}

/// To whom links are kept.
pub(super) fn link_ls(at: &At<'_>) -> Result<Vec<LinkLine>, Failure> {
    let kept = match at.node {
        Some((node, _)) => node.peers.list(node),
        None => at.desk.home().config.peers.iter().map(|uri| (uri.clone(), false)).collect(),
    };
    let ports = at.node.map(|(node, _)| ports::lines(node)).unwrap_or_default();
    let line = |(uri, up): (String, bool)| {
        let address = uri.split('#').next().unwrap_or_default();
        let port = ports.iter().find(|port| port.address == address && !up);
        let detail = port.map(|port| port.why.clone());
        LinkLine { uri, state: "configured".into(), up, detail, port: None, bluetooth: None }
    };
    Ok(kept.into_iter().map(line).collect())
}

/// Keeps a link from now on.
pub(super) fn link_add(at: &At<'_>, uri: &str) -> Result<LinkLine, Failure> {
    match at.node {
        Some((node, _)) => node.peers.check(at.desk, uri)?,
        None => check_peer(at.desk, uri)?,
    }
    if let Some((node, handle)) = at.node {
        let _context = handle.enter();
        node.peers.keep(node, uri)?;
    }
    let new = at.desk.home().edit_peers(|peers| {
        let new = !peers.iter().any(|peer| peer == uri);
        if new {
            peers.push(uri.to_owned());
        }
        new
    })?;
    let up = at.node.is_some_and(|(node, _)| node.peers.list(node).contains(&(uri.into(), true)));
    let detail = (!new).then(|| "it was there already".to_owned());
    Ok(LinkLine { uri: uri.into(), state: "added".into(), up, detail, port: None, bluetooth: None })
}

/// Keeps a link no longer.
pub(super) fn link_rm(at: &At<'_>, uri: &str) -> Result<LinkLine, Failure> {
    let dropped = at.node.is_some_and(|(node, _)| node.peers.drop_peer(node, uri));
    let removed = at.desk.home().edit_peers(|peers| {
        let before = peers.len();
        peers.retain(|peer| peer != uri);
        peers.len() < before
    })?;
    if !dropped && !removed {
        return Err(Failure::new(FailureKind::Unknown, format!("no link is kept to {uri}"))
            .next("nothing was changed; postrider link ls lists them"));
    }
    Ok(LinkLine {
        uri: uri.into(),
        state: "removed".into(),
        up: false,
        detail: None,
        port: None,
        bluetooth: None,
    })
}

/// Dials once, and says who answers; or what is at a port.
pub(super) fn link_test(at: &At<'_>, uri: &str, speak: bool) -> Result<LinkLine, Failure> {
    if ports::is_port(uri) {
        return ports::test(at, uri, speak);
    }
    if bluetooth::is_bluetooth(uri) {
        return bluetooth::test(at, uri);
    }
    let (node, handle) = at.live()?;
    node.peers.check(at.desk, uri)?;
    let row = handle.block_on(node.peers.call(node, uri))?;
    let line = node.board.line(&row);
    let mut detail = line.name;
    if let Some(rtt) = handle.block_on(node.ping(row.link, PING_TIME_MAX)) {
        // Writing to a text cannot fail.
        let _ = write!(detail, " answers in {:.1} ms", rtt.as_secs_f64() * 1000.0);
    }
    Ok(LinkLine {
        uri: uri.into(),
        state: "reached".into(),
        up: true,
        detail: Some(detail),
        port: None,
        bluetooth: None,
    })
}

/// Calls an address, or a contact at the addresses where it may be.
pub(super) fn call(at: &At<'_>, who: &str, once: bool) -> Result<PeerLine, Failure> {
    let (node, handle) = at.live()?;
    let uris = addresses(at, who)?;
    let mut last = None;
    for uri in &uris {
        let is_new = {
            let _context = handle.enter();
            !once && node.peers.keep(node, uri)?
        };
        // Whoever is kept already may be between two tries that are half a minute apart.
        let called = if is_new {
            handle.block_on(until_up(node, uri))
        } else {
            handle.block_on(node.peers.call(node, uri))
        };
        match called {
            Ok(row) => return Ok(node.board.line(&row)),
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| {
        Failure::new(FailureKind::Failed, format!("no address of {who} is known"))
            .next("give one: postrider call tls://HOST:7531#NAME")
    }))
}

async fn until_up(node: &Arc<Node>, uri: &str) -> Result<LinkRow, Failure> {
    let mut heard = node.board.listen();
    let up = async {
        loop {
            if let Some(row) = node.peers.link_to(node, uri) {
                return Some(row);
            }
            if let Err(tokio::sync::broadcast::error::RecvError::Closed) = heard.recv().await {
                return None;
            }
        }
    };
    timeout(CALL_PATIENCE, up).await.ok().flatten().ok_or_else(|| {
        let failure = Failure::new(FailureKind::Failed, format!("there is no link to {uri} yet"));
        // Whoever listens is silent to those who do not know its key, unless it is public.
        failure.next(if uri.starts_with("tls:") && !uri.contains('#') {
            format!(
                "most nodes answer only to their name: postrider call {uri}#NAME; this one is tried \
                 again until postrider link rm {uri}"
            )
        } else {
            "it is tried again as long as the daemon runs; postrider link rm ends that".into()
        })
    })
}

/// Where to call: what was said, or what is kept, remembered and hinted of a node.
fn addresses(at: &At<'_>, who: &str) -> Result<Vec<String>, Failure> {
    if who.split_once('#').map_or(who, |(address, _)| address).parse::<Address>().is_ok() {
        return Ok(vec![who.to_owned()]);
    }
    let node = node_of(at, who)?;
    let mut found: Vec<String> = Vec::new();
    let mut add = |address: &str| {
        let uri = format!("{address}#{node}");
        let known = found.contains(&uri) || found.len() >= ADDRESSES_MAX;
        if !known && address.parse::<Address>().is_ok() {
            found.push(uri);
        }
    };
    let contacts = at.desk.home().contacts()?;
    for (uri, _) in at.node.map(|(node, _)| node.peers.list(node)).unwrap_or_default() {
        if let Some((address, name)) = uri.rsplit_once('#')
            && node_of(at, name).is_ok_and(|named| named == node)
        {
            add(address);
        }
    }
    let neighbours = at.desk.neighbours(at.watch)?;
    if let Some(neighbour) = neighbours.iter().find(|neighbour| neighbour.node == node) {
        add(&neighbour.address);
    }
    if let Some(contact) = contacts.of(&node) {
        contact.addresses().for_each(|address| add(address.as_str()));
    }
    Ok(found)
}

/// The round trip over the link to somebody.
pub(super) fn ping(at: &At<'_>, who: &str) -> Result<Ponged, Failure> {
    let (node, handle) = at.live()?;
    let peer = node_of(at, who)?;
    let links = node.board.links();
    let Some(row) = links.into_iter().find(|row| row.facts.peer == Some(peer)) else {
        return Err(Failure::new(
            FailureKind::Failed,
            format!("there is no link to {} now", at.desk.name_of(&peer)),
        )
        .next("what you send waits and goes when there is one: postrider call, postrider peers"));
    };
    let rtt = handle.block_on(node.ping(row.link, PING_TIME_MAX)).ok_or_else(|| {
        Failure::new(
            FailureKind::Failed,
            format!("{} does not answer over {}", at.desk.name_of(&peer), row.facts.address),
        )
        .next("the link is dialled again when it is silent for long; postrider peers")
    })?;
    Ok(Ponged {
        id: peer.to_string(),
        name: at.desk.name_of(&peer),
        link: row.link.0,
        address: row.facts.address.to_string(),
        rtt_ms: rtt.as_secs_f64() * 1000.0,
    })
}

fn node_of(at: &At<'_>, who: &str) -> Result<NodeId, Failure> {
    match who.parse() {
        Ok(node) => Ok(node),
        Err(_) => Ok(at.desk.home().contacts()?.resolve(who)?.card.node),
    }
}

/// Asks the daemon to end.
pub(super) fn down(at: &At<'_>) -> Result<DaemonLine, Failure> {
    let line = daemon(at, "stopping")?;
    at.live()?.0.request_stop();
    Ok(line)
}

/// The daemon itself.
pub(super) fn daemon(at: &At<'_>, state: &'static str) -> Result<DaemonLine, Failure> {
    let (node, _) = at.live()?;
    Ok(DaemonLine {
        state: state.into(),
        pid: std::process::id(),
        home: at.desk.home().dir().display().to_string(),
        listening: node.listening.iter().map(ToString::to_string).collect(),
    })
}
