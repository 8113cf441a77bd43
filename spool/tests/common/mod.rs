//! What the spool's tests share: a small world of ids, random groups, and comparing two spools.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use std::sync::{Arc, Mutex};

use postrider_spool::{
    Body, BundleId, Change, Class, Delivered, Destination, Entropy, Entry, Hop, NewBundle, Now,
    Outcome, Queue, Quota, Quotas, Spool, Summary, Why, contract::BLOB_FROM,
};
use postrider_testkit::Seeded;

pub fn entropy(seed: u64) -> Entropy {
    let chance = Mutex::new(Seeded::new(seed ^ 0xfeed));
    Arc::new(move |out| chance.lock().unwrap().fill(out))
}

pub fn at(boot: u8, boottime_s: u64) -> Now {
    Now { boot: [boot; 16], boottime_ms: boottime_s * 1000 }
}

/// Ids differ in their first bytes in ways that make prefixes collide.
pub fn id(n: u64) -> BundleId {
    let mut bytes = [0xa5; 32];
    bytes[1] = u8::try_from(n % 3).unwrap();
    bytes[2] = u8::try_from(n % 7).unwrap();
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    BundleId(bytes)
}

pub fn node(n: u8) -> Destination {
    Destination::Node([n; 32])
}

/// Names the seed when a test ends in a panic that does not.
pub struct OnPanic(pub u64);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// A plain bundle for tests that care about something else.
pub fn bundle(n: u64, body: &[u8]) -> NewBundle {
    NewBundle {
        id: id(n),
        head: format!("head {n}").into_bytes(),
        summary: Summary {
            destination: node(1),
            source: Some([2; 32]),
            nice: 160,
            lifetime_s: 86_400,
            length: body.len() as u64,
        },
        hop: Hop { tokens: 8, hops: 0, age_s: 0, level: 0 },
        class: Class::Contact,
        worth: 0,
        from: None,
        own: None,
        body: Body::Inline(body.to_vec()),
    }
}

/// A change that can be made twice, for two spools.
#[derive(Clone, Debug)]
pub enum Spec {
    Bundle {
        n: u64,
        to: Destination,
        source: Option<[u8; 32]>,
        nice: u8,
        lifetime_s: u32,
        age_s: u32,
        class: Class,
        worth: u8,
        from: Option<[u8; 32]>,
        own: Option<Vec<u8>>,
        body: Vec<u8>,
        staged: bool,
    },
    Retire(u64, Why),
    Hop(u64, Hop, Class),
    Renew(u64, Hop),
    Delivered(Delivered),
    Note(u8, Vec<u8>, Option<Vec<u8>>),
}

impl Spec {
    pub fn build(&self, spool: &dyn Spool) -> Result<Change, postrider_spool::SpoolError> {
        Ok(match self.clone() {
            Self::Bundle {
                n,
                to,
                source,
                nice,
                lifetime_s,
                age_s,
                class,
                worth,
                from,
                own,
                body,
                staged,
            } => {
                let length = body.len() as u64;
                let body = if staged {
                    let mut staging = spool.stage()?;
                    for piece in body.chunks(100_000) {
                        staging.append(piece)?;
                    }
                    Body::Staged(staging.finish()?)
                } else {
                    Body::Inline(body)
                };
                Change::Bundle(NewBundle {
                    id: id(n),
                    head: format!("head {n}").into_bytes(),
                    summary: Summary { destination: to, source, nice, lifetime_s, length },
                    hop: Hop { tokens: 8, hops: 1, age_s, level: 0 },
                    class,
                    worth,
                    from,
                    own,
                    body,
                })
            }
            Self::Retire(n, why) => Change::Retire { id: id(n), why },
            Self::Hop(n, hop, class) => Change::Hop { id: id(n), hop, class },
            Self::Renew(n, hop) => Change::Renew { id: id(n), hop },
            Self::Delivered(d) => Change::Delivered(d),
            Self::Note(space, key, value) => Change::Note { space, key, value },
        })
    }
}

pub fn build(
    spool: &dyn Spool,
    specs: &[Spec],
) -> Result<Vec<Change>, postrider_spool::SpoolError> {
    specs.iter().map(|spec| spec.build(spool)).collect()
}

/// Ids, destinations and names the random groups draw from.
pub const IDS: u64 = 24;

fn destination(chance: &mut Seeded) -> Destination {
    match chance.below(4) {
        0 => Destination::Tag([9; 8]),
        1 => Destination::Group([9; 16]),
        n => node(u8::try_from(n).unwrap()),
    }
}

fn class(chance: &mut Seeded) -> Class {
    Class::ALL[chance.index(4)]
}

pub fn random_spec(chance: &mut Seeded) -> Spec {
    let n = chance.below(IDS);
    match chance.below(20) {
        0..=8 => {
            // An id stands for its bytes, so a bundle that comes again brings the same ones.
            let mut bytes = Seeded::new(n);
            let len = match n {
                5 => BLOB_FROM + bytes.index(1000),
                6..=9 => bytes.index(6000),
                _ => bytes.index(300),
            };
            Spec::Bundle {
                n,
                to: destination(chance),
                source: [None, Some([7; 32]), Some([5; 32])][chance.index(3)],
                nice: [32, 160, 160, 224][chance.index(4)],
                lifetime_s: u32::try_from(60 + chance.below(4000)).unwrap(),
                age_s: u32::try_from(chance.below(200)).unwrap(),
                class: class(chance),
                worth: [0, 0, 7, 9][chance.index(4)],
                from: [None, Some([8; 32]), Some([6; 32])][chance.index(3)],
                own: chance.chance(1, 3).then(|| b"own".to_vec()),
                body: bytes.bytes(len),
                staged: chance.chance(1, 3),
            }
        }
        9..=12 => {
            Spec::Retire(n, [Why::Read, Why::Receipt, Why::Expired, Why::Damaged][chance.index(4)])
        }
        13..=14 => {
            let hop = Hop {
                tokens: u8::try_from(chance.below(8)).unwrap(),
                hops: 2,
                age_s: u32::try_from(chance.below(400)).unwrap(),
                level: u8::try_from(chance.below(9)).unwrap(),
            };
            match chance.chance(1, 2) {
                true => Spec::Hop(n, hop, class(chance)),
                false => Spec::Renew(n, hop),
            }
        }
        15..=16 => Spec::Delivered(delivery(chance)),
        _ => {
            let key = [&b"a"[..], b"ab", b"abc", b"b", b""][chance.index(5)].to_vec();
            let len = chance.index(400);
            let value = chance.chance(3, 4).then(|| chance.bytes(len));
            Spec::Note(u8::try_from(chance.below(2)).unwrap(), key, value)
        }
    }
}

fn delivery(chance: &mut Seeded) -> Delivered {
    Delivered {
        source: [u8::try_from(chance.below(2)).unwrap(); 32],
        epoch: u32::try_from(chance.below(2)).unwrap(),
        counter: 1 + chance.below(6),
        id8: [u8::try_from(chance.below(3)).unwrap(); 8],
    }
}

/// Quotas that random groups run into, or none.
pub fn random_quotas(chance: &mut Seeded) -> Quotas {
    if chance.chance(1, 2) {
        return Quotas::UNLIMITED;
    }
    let mut quota = || Quota { bytes: 500 + chance.below(12_000), bundles: 1 + chance.below(8) };
    Quotas { contact: quota(), friend: quota(), stranger: quota() }
}

pub fn random_group(chance: &mut Seeded) -> Vec<Spec> {
    (0..1 + chance.below(4)).map(|_| random_spec(chance)).collect()
}

/// Whether any of a group's outcomes means that something was written.
pub fn wrote(outcomes: &[Outcome]) -> bool {
    outcomes.iter().any(|outcome| {
        matches!(outcome, Outcome::Admitted | Outcome::Done | Outcome::New | Outcome::Equivocation)
    })
}

/// Everything two spools can be asked, as text to compare. The order of admission counts, the
/// numbers that express it do not.
pub fn picture(spool: &dyn Spool, now: Now) -> Vec<String> {
    let mut out = vec![format!("held {}", spool.held_ms(now))];
    let entry = |e: &Entry| {
        let Entry { id, summary, hop, class, worth, from, arrived_held_ms, arrival: _ } = e;
        format!("{id} {summary:?} {hop:?} {class:?} {worth} {from:?} {arrived_held_ms}")
    };
    for n in 0..IDS {
        let id = id(n);
        out.push(format!("seen {n} {:?}", spool.seen(&id).unwrap()));
        out.push(format!("entry {n} {:?}", spool.entry(&id).unwrap().as_ref().map(entry)));
        out.push(format!("envelope {n} {:?}", spool.envelope(&id).unwrap()));
        out.push(format!("body {n} {:?}", body_of(spool, &id).map(|b| xxh(&b))));
    }
    let mut queues: Vec<Queue> = Class::ALL.into_iter().map(Queue::Class).collect();
    queues.extend(
        [Destination::Tag([9; 8]), Destination::Group([9; 16]), node(2), node(3)]
            .map(Queue::Destination),
    );
    queues.extend([[9; 8], [2; 8], [3; 8]].map(Queue::Toward));
    for queue in queues {
        let mut after = None;
        let mut ids = Vec::new();
        loop {
            let page = spool.page(queue, after, 3).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.cursor());
            ids.extend(page.iter().map(|e| e.id));
        }
        out.push(format!("{queue:?} {ids:?}"));
    }
    for space in 0..2 {
        for prefix in ["", "a", "ab"] {
            let mut after: Option<Vec<u8>> = None;
            let mut keys = Vec::new();
            loop {
                let page = spool.notes(space, prefix.as_bytes(), after.as_deref(), 2).unwrap();
                let Some(last) = page.last() else { break };
                after = Some(last.clone());
                keys.extend(page);
            }
            out.push(format!("notes {space} {prefix} {keys:?}"));
            for key in keys {
                let value = spool.note(space, &key).unwrap();
                out.push(format!("note {space} {key:?} {:?}", value.map(|v| xxh(&v))));
            }
        }
    }
    for source in 0..2 {
        for epoch in 0..2 {
            for counter in 1..7 {
                let ids = spool.delivered(&[source; 32], epoch, counter).unwrap();
                out.push(format!("delivered {source} {epoch} {counter} {ids:?}"));
            }
        }
    }
    for prefix in ["a500", "A50102", "a5010203", &id(3).to_string()] {
        out.push(format!("resolve {prefix} {:?}", spool.resolve(prefix).unwrap()));
    }
    out.push(format!("stats {:?}", spool.stats().unwrap()));
    out.push(format!("expired {:?}", spool.expired(now, 100).unwrap()));
    out
}

pub fn body_of(spool: &dyn Spool, id: &BundleId) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let mut piece = vec![0; 70_001];
    loop {
        match spool.read(id, body.len() as u64, &mut piece).unwrap()? {
            0 => return Some(body),
            n => body.extend_from_slice(&piece[..n]),
        }
    }
}

fn xxh(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0u64, |sum, b| sum.rotate_left(5) ^ u64::from(*b));
    format!("{} bytes, {sum:016x}", bytes.len())
}

/// The first line in which two pictures differ.
pub fn difference(a: &[String], b: &[String]) -> Option<String> {
    let at = a.iter().zip(b).position(|(a, b)| a != b);
    match at {
        Some(i) => Some(format!("left:  {}\nright: {}", a[i], b[i])),
        None if a.len() != b.len() => Some("pictures of different length".to_owned()),
        None => None,
    }
}
