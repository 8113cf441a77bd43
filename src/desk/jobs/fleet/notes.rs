//! What is remembered of runs over fleets: what was asked, whom, and what was done about each.

use postrider_base::{BundleId, NodeId, wire};
use serde_bytes::ByteBuf;

use super::plan::{Back, Rules, Run, Stop};

const VERSION: u8 = 1;

/// A run over a fleet. It is there once all of its targets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FleetNote {
    /// On whom, as it was said.
    pub on: Vec<String>,
    /// By which handle.
    pub handle: String,
    /// The custody clock when it was saved.
    pub begun_ms: u64,
    /// How old its jobs may be when they begin, counted from then.
    pub ttl_s: u32,
    pub canary: u32,
    pub failures: u32,
    pub of: u32,
    /// A person let those go that waited for the canaries.
    pub released: bool,
    pub(super) stop: u8,
    /// Nothing is left to be done here.
    pub over: bool,
}

/// One of its targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TargetNote {
    pub(super) node: ByteBuf,
    /// Its job, once that is durable.
    pub(super) job: Option<ByteBuf>,
    /// How firmly it was told to let it be.
    pub(super) back: u8,
    /// Why it could not be sent one.
    pub refused: Option<String>,
}

type FleetWire = (u8, Vec<String>, String, u64, u32, (u32, u32, u32), (bool, u8, bool));
type TargetWire = (u8, ByteBuf, Option<ByteBuf>, u8, Option<String>);

impl FleetNote {
    pub(super) fn new(on: &[String], handle: &str, (begun_ms, ttl_s): (u64, u32)) -> Self {
        Self {
            on: on.to_vec(),
            handle: handle.to_owned(),
            begun_ms,
            ttl_s,
            canary: 0,
            failures: 0,
            of: 0,
            released: false,
            stop: 0,
            over: false,
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (version, on, handle, begun_ms, ttl_s, (canary, failures, of), state): FleetWire =
            wire::decode(bytes).ok()?;
        let (released, stop, over) = state;
        let note = Self { on, handle, begun_ms, ttl_s, canary, failures, of, released, stop, over };
        (version == VERSION).then_some(note)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { on, handle, begun_ms, ttl_s, canary, failures, of, .. } = self.clone();
        let state = (self.released, self.stop, self.over);
        let numbers = (canary, failures, of);
        wire::encode::<FleetWire>(&(VERSION, on, handle, begun_ms, ttl_s, numbers, state))
    }

    pub(super) fn stop(&self) -> Option<Stop> {
        match self.stop {
            0 => None,
            1 => Some(Stop::Failures),
            2 => Some(Stop::Person { force: false }),
            3 => Some(Stop::Person { force: true }),
            _ => Some(Stop::Late),
        }
    }

    pub(super) fn stopped(self, stop: Stop) -> Self {
        let stop = match stop {
            Stop::Failures => 1,
            Stop::Person { force: false } => 2,
            Stop::Person { force: true } => 3,
            Stop::Late => 4,
        };
        Self { stop, ..self }
    }

    /// Milliseconds of its time that are left.
    pub(super) fn left_ms(&self, held_ms: u64) -> u64 {
        let end_ms = self.begun_ms.saturating_add(u64::from(self.ttl_s) * 1000);
        end_ms.saturating_sub(held_ms)
    }

    pub(super) fn run(&self, held_ms: u64) -> Run {
        Run {
            rules: Rules { canary: self.canary, failures: self.failures },
            released: self.released,
            stop: self.stop(),
            // A job must have a second to begin in.
            late: self.left_ms(held_ms) < 1000,
        }
    }
}

impl TargetNote {
    pub(super) fn new(node: &NodeId) -> Self {
        let node = ByteBuf::from(*node.as_bytes());
        Self { node, job: None, back: 0, refused: None }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (version, node, job, back, refused): TargetWire = wire::decode(bytes).ok()?;
        (version == VERSION).then_some(Self { node, job, back, refused })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { node, job, back, refused } = self.clone();
        wire::encode::<TargetWire>(&(VERSION, node, job, back, refused))
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        NodeId::from_bytes(&self.node).ok()
    }

    pub(super) fn job(&self) -> Option<BundleId> {
        Some(BundleId(self.job.as_ref()?.as_slice().try_into().ok()?))
    }

    pub(super) fn sent(self, job: &BundleId) -> Self {
        Self { job: Some(ByteBuf::from(job.0)), ..self }
    }

    pub(super) fn back(&self) -> Back {
        match self.back {
            0 => Back::No,
            1 => Back::Told,
            _ => Back::Forced,
        }
    }

    pub(super) fn told(self, firmly: Back) -> Self {
        Self { back: firmly as u8, ..self }
    }
}

/// The key of a target's note: names are as long as keys may be.
pub(super) fn target_key(name: &str, place: u32) -> [u8; 32] {
    let mut key = [0; 32];
    key[..28].copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..28]);
    key[28..].copy_from_slice(&place.to_be_bytes());
    key
}
