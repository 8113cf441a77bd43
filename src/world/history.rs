//! What happened: the last of it for whoever looks for a fault, and a digest of all of it.

use std::{collections::VecDeque, fmt};

use blake3::Hasher;

/// Events of a node that are kept to be shown.
pub const SHOWN: usize = 50;

/// One thing that happened at a node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace {
    pub step: u64,
    pub at_ms: u64,
    pub node: u32,
    pub what: &'static str,
    pub link: u64,
    pub id: [u8; 4],
    pub number: u64,
}

/// The last events of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    last: VecDeque<Trace>,
}

impl History {
    pub fn push(&mut self, trace: Trace) {
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(trace);
    }

    pub fn lines(&self) -> impl Iterator<Item = (u64, String)> {
        self.last.iter().map(|trace| (trace.step, trace.to_string()))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, at_ms, node, what, link, id, number } = self;
        let id = u32::from_be_bytes(*id);
        write!(
            f,
            "{step:>8} {at_ms:>9} ms  node {node:<3} {what:<14} link {link:<5} {id:08x} {number}"
        )
    }
}

/// Over everything that has happened in a world: equal for equal seeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digest(Hasher);

impl Digest {
    pub fn add(&mut self, trace: &Trace) {
        let mut bytes = [0; 52];
        bytes[..8].copy_from_slice(&trace.step.to_be_bytes());
        bytes[8..16].copy_from_slice(&trace.at_ms.to_be_bytes());
        bytes[16..20].copy_from_slice(&trace.node.to_be_bytes());
        bytes[20..28].copy_from_slice(&trace.link.to_be_bytes());
        bytes[28..32].copy_from_slice(&trace.id);
        bytes[32..40].copy_from_slice(&trace.number.to_be_bytes());
        let name = trace.what.as_bytes();
        let length = name.len().min(12);
        bytes[40..40 + length].copy_from_slice(&name[..length]);
        self.0.update(&bytes);
    }

    pub fn value(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// A law of the world does not hold.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Broken {
    /// What decides everything.
    pub seed: u64,
    /// The step after which it was noticed.
    pub step: u64,
    /// The world's time.
    pub at_ms: u64,
    /// Which law, and where.
    pub what: String,
    /// The last events of the nodes involved, in order.
    pub history: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.history {
            writeln!(f, "{line}")?;
        }
        let Self { seed, step, at_ms, what, .. } = self;
        writeln!(f, "seed {seed}, step {step}, {at_ms} ms: {what}")?;
        write!(f, "POSTRIDER_SEED={seed} runs it again")
    }
}
