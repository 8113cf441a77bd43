//! What is told of what happens: every step for the history, and the first law that did not hold.

use postrider_engine::node::{Answer, Input, LinkId, ShortId};

use crate::{
    history::{Broken, SHOWN, Trace},
    world::World,
};

impl World {
    pub(crate) fn trace(
        &mut self,
        at: usize,
        what: &'static str,
        link: LinkId,
        id: ShortId,
        number: u64,
    ) {
        let mut short = [0; 4];
        short.copy_from_slice(&id.0[..4]);
        let node = u32::try_from(at).unwrap_or(u32::MAX);
        let (step, at_ms) = (self.step, self.time.now_ms());
        let trace = Trace { step, at_ms, node, what, link: link.0, id: short, number };
        self.digest.add(&trace);
        self.nodes[at].history.push(trace);
    }

    /// A law does not hold; the first one is told, with what its node and those next to it did.
    pub(crate) fn fault(&mut self, at: usize, what: String) {
        if self.broken.is_some() {
            return;
        }
        let near = self.roads.roads.iter().filter(|road| road.ends.contains(&at));
        let visited = self.couriers.iter().map(|courier| &courier.walk.route);
        let visited = visited.filter(|route| route.contains(&at)).flatten().copied();
        let mut near: Vec<usize> =
            near.flat_map(|road| road.ends).chain(visited).chain([at]).collect();
        near.sort_unstable();
        near.dedup();
        let all = near.iter().flat_map(|at| self.nodes[*at].history.lines());
        let mut lines: Vec<(u64, String)> = all.collect();
        lines.sort();
        let from = lines.len().saturating_sub(SHOWN);
        let history = lines.into_iter().skip(from).map(|(_, line)| line).collect();
        let (seed, step, at_ms) = (self.seed, self.step, self.time.now_ms());
        self.broken = Some(Broken { seed, step, at_ms, what, history });
    }
}

/// What a unit is, for the history.
pub(crate) fn unit_name(unit: &[u8]) -> &'static str {
    const NAMES: [&str; 19] = [
        "> hello",
        "> offer",
        "> want",
        "> begin",
        "> data",
        "> settle",
        "> receipt",
        "> mark",
        "> sketch",
        "> ping",
        "> pong",
        "> halt",
        "> stop",
        "> withdraw",
        "> ?",
        "> ?",
        "> reach",
        "> introduce",
        "> meets",
    ];
    unit.first().and_then(|first| NAMES.get(usize::from(*first))).copied().unwrap_or("> ?")
}

/// What an input is, for the history.
pub(crate) fn describe(input: &Input) -> (&'static str, LinkId, ShortId, u64) {
    let none = ShortId([0; 16]);
    match input {
        Input::LinkUp { link, .. } => ("link up", *link, none, 0),
        Input::LinkDown { link } => ("link down", *link, none, 0),
        Input::Unit { link, unit } => {
            let what = postrider_engine::exchange::Unit::name(unit).unwrap_or("?");
            (what, *link, none, unit.len() as u64)
        }
        Input::Early { link, unit } => ("early", *link, none, unit.len() as u64),
        Input::Flush { link } => ("flush", *link, none, 0),
        Input::Room { link, bytes } => ("room", *link, none, *bytes),
        Input::Arrived { id } => ("arrived", LinkId(0), ShortId::of(id), 0),
        Input::Gone { id } => ("gone", LinkId(0), ShortId::of(id), 0),
        Input::Pressure(pressed) => ("pressure", LinkId(0), none, u64::from(*pressed)),
        Input::Receipts => ("receipts", LinkId(0), none, 0),
        Input::People(_) => ("people", LinkId(0), none, 0),
        Input::StageLost { transfer, .. } => ("stage lost", LinkId(0), none, transfer.0),
        Input::Done { ticket, answer } => {
            let what = match answer {
                Answer::Rows { .. } => "rows",
                Answer::Looked(_) => "looked",
                Answer::Loaded(_) => "loaded",
                Answer::Read(_) => "read",
                Answer::Changed(_) => "changed",
                Answer::Kept(_) => "kept",
                Answer::Taken { .. } => "taken",
                Answer::Receipts { .. } => "some receipts",
                Answer::Sketched(_) => "sketched",
                Answer::Failed => "failed",
            };
            (what, LinkId(0), none, ticket.0)
        }
        Input::Ping { link, nonce } => ("ping", *link, none, *nonce),
        Input::MeetFailed { .. } => ("no meeting", LinkId(0), none, 0),
        Input::CastHeard { id, .. } => ("cast heard", LinkId(0), ShortId::of(id), 0),
        Input::Haves { .. } => ("haves", LinkId(0), none, 0),
        Input::Timeout => ("timeout", LinkId(0), none, 0),
    }
}
