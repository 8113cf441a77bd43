//! What is told of serial ports: by `status`, by `doctor`, and by a test.

use std::sync::Arc;

use postrider_base::{Niceness, NodeId, link::Address, words::words};
use postrider_engine::{air::Lane, node::Row};
use postrider_transports::serial::look;
use tokio::time::Duration;

use super::{At, bluetooth};
use crate::{
    daemon::{LinkRow, Node, Port, check_peer, is_port_uri, probe},
    desk::{
        Event, Failure, FailureKind,
        reply::{Finding, LinkLine, PortFound, PortLine},
    },
};

/// Pings of a test: the fastest counts, for the others may have waited behind mail.
const PINGS: usize = 3;
/// Whoever waits no longer than this need not be told.
const RADIO_SOON: Duration = Duration::from_secs(120);
const PING_TIME_MAX: Duration = Duration::from_secs(20);

/// Whether an address is that of a port.
pub(super) fn is_port(uri: &str) -> bool {
    is_port_uri(uri)
}

/// The ports that are kept open, or would be.
pub(super) fn lines(node: &Node) -> Vec<PortLine> {
    let line = |port: &Arc<Port>| {
        let name = row_of(node, port).map(|row| node.board.line(&row).name);
        port.line(name.as_deref())
    };
    node.peers.ports().iter().map(line).collect()
}

fn row_of(node: &Node, port: &Port) -> Option<LinkRow> {
    node.board.links().into_iter().find(|row| row.facts.address == port.address)
}

/// Where radios are all there is, and a message takes long on each of them, that is said when it is sent: a
/// few words might go at once.
pub(super) fn warn_of_radio(at: &At<'_>, id: &str) {
    let Some((node, _)) = at.node else { return };
    if !node.board.links().is_empty() {
        return;
    }
    let rows = at.desk.rows(id, at.watch).unwrap_or_default();
    let Some(longest) = rows.into_iter().max_by_key(|row| row.length) else { return };
    let previews = previews(node, &longest);
    let soon = |took: &Option<Duration>| took.is_some_and(|took| took <= RADIO_SOON);
    if previews.iter().any(|(.., took)| soon(took)) {
        return;
    }
    // The soonest first, and what never goes last.
    let best = previews.into_iter().min_by_key(|(.., took)| (took.is_none(), *took));
    let Some((_, said, took)) = best else { return };
    let text = match took {
        Some(_) => format!(
            "no link is up; by radio: {said}. It waits for a link or a stick as well; a few words by \
             themselves go sooner"
        ),
        None => format!("no link is up; by radio: {said}"),
    };
    at.watch.event(Event::Warn(text));
}

/// What a bundle would take at each radio that may send.
pub(super) fn previews(node: &Node, row: &Row) -> Vec<(Address, String, Option<Duration>)> {
    let lane = Niceness::new(row.nice).map_or(Lane::Bulk, Lane::of);
    // Whoever wrote it stands there for strangers, unless it is hidden.
    let head_bytes = if row.source.is_some() { 151 } else { 20 };
    node.air_previews(row.length + head_bytes, lane)
}

/// What commonly goes wrong, and the ports.
pub(super) fn doctor(at: &At<'_>) -> Result<Vec<Finding>, Failure> {
    let mut found = at.desk.doctor(at.watch)?;
    let lines = match at.node {
        Some((node, _)) => lines(node),
        None => at.desk.home().config.peers.iter().filter_map(|uri| unopened(uri)).collect(),
    };
    let finding = |PortLine { address, state, why }: PortLine| {
        let is_well = ["open", "silent", "radio"].contains(&&*state);
        Finding {
            check: "port".into(),
            verdict: if is_well { "ok" } else { "warn" }.into(),
            detail: format!("{address}: {why}"),
            next: (!is_well).then(|| format!("postrider link test '{address}'")),
        }
    };
    found.extend(lines.into_iter().map(finding));
    found.push(bluetooth::doctor(at)?);
    Ok(found)
}

/// The same without a daemon, as far as it shows without opening the port.
fn unopened(uri: &str) -> Option<PortLine> {
    let address = uri.split('#').next().unwrap_or_default();
    let at = address.parse::<Address>().ok().filter(|at| at.scheme() == "serial")?;
    let (state, why) = match look(&at) {
        Ok(()) => ("silent", "it is there; no daemon runs that would open it".to_owned()),
        Err(error) => ("unusable", error.to_string()),
    };
    Some(PortLine { address: address.to_owned(), state: state.into(), why })
}

/// Says what is at a port. One to which a link is kept is looked at where it is open; another is
/// opened, listened to, and spoken to only if that was asked for.
pub(super) fn test(at: &At<'_>, uri: &str, speak: bool) -> Result<LinkLine, Failure> {
    check_peer(at.desk, uri)?;
    let address = uri.split('#').next().unwrap_or_default();
    let kept = at.node.and_then(|(node, handle)| {
        let ports = node.peers.ports();
        let port = ports.into_iter().find(|port| port.address.as_str() == address)?;
        Some((node, handle, port))
    });
    let (found, name) = match kept {
        Some((node, handle, port)) => match row_of(node, &port) {
            Some(row) => {
                let rtt =
                    (0..PINGS).filter_map(|_| handle.block_on(node.ping(row.link, PING_TIME_MAX)));
                let rtt_ms = rtt.min().map(|rtt| rtt.as_secs_f64() * 1000.0);
                let name = node.board.line(&row).name;
                let found = port.found(Some(&name));
                (PortFound { rtt_ms: rtt_ms.or(found.rtt_ms), ..found.of(row.facts.peer) }, name)
            }
            None => (port.found(None), String::new()),
        },
        None => (opened(at, address, speak)?, String::new()),
    };
    let up = found.state == "open";
    let state = if up || found.state == "node" { "reached" } else { "tested" };
    let detail = Some(sentence(&found, &name));
    Ok(LinkLine {
        uri: uri.to_owned(),
        state: state.into(),
        up,
        detail,
        port: Some(found),
        bluetooth: None,
    })
}

fn opened(at: &At<'_>, address: &str, speak: bool) -> Result<PortFound, Failure> {
    let failed = |error| Failure::new(FailureKind::Failed, "the test cannot run").because(error);
    match at.node {
        Some((_, handle)) => handle.block_on(probe(address, speak)),
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(failed)?.block_on(probe(address, speak))
        }
    }
}

impl PortFound {
    fn of(self, peer: Option<NodeId>) -> Self {
        let id = peer.map(|peer| peer.to_string());
        let words = peer.map(|peer| words(&peer).map(str::to_owned).to_vec()).unwrap_or_default();
        Self { id, words, ..self }
    }
}

/// All of it for a person.
fn sentence(found: &PortFound, name: &str) -> String {
    let mut said = vec![match (&*found.state, &found.words[..]) {
        ("open", words @ [_, ..]) => format!("{name} answers ({})", words.join(" ")),
        _ => found.why.clone(),
    }];
    if let Some(rtt_ms) = found.rtt_ms {
        said.push(format!("round trip {rtt_ms:.1} ms at {} bit/s", found.bits_per_s));
    }
    if found.frames > 0 {
        let whole = found.frames + found.damaged;
        said.push(format!("{} of {whole} frames that came were damaged", found.damaged));
    }
    if found.arrived > 0 {
        said.push(format!("{} of {} that went were lost", found.lost, found.arrived + found.lost));
    }
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_found_port_is_said_in_one_line() {
        let nobody = PortFound {
            state: "silent".into(),
            why: "nobody answers".into(),
            bits_per_s: 9600,
            ..PortFound::default()
        };
        assert_eq!(sentence(&nobody, ""), "nobody answers");
        let bob = PortFound {
            state: "open".into(),
            words: ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec(),
            rtt_ms: Some(18.44),
            frames: 97,
            damaged: 3,
            arrived: 50,
            ..nobody
        };
        assert_eq!(
            sentence(&bob, "Bob"),
            "Bob answers (a b c d e f); round trip 18.4 ms at 9600 bit/s; 3 of 100 frames that came \
             were damaged; 0 of 50 that went were lost"
        );
    }
}
