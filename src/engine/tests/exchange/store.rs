//! A spool's double: maps in memory behind the engine's contract, with nothing durable about it.

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use postrider_base::{
    BundleId, Head, Header, Lifetime, Niceness, NodeId, NodeSecret,
    bundle::{self, Hop, LockField, Origin, Receipt, SMALL_PAYLOAD_MAX, SealKind, Sequence},
};
use postrider_engine::node::{
    Answer, Body, Class, Destination, Instance, Kept, Known, Loaded, NewBundle, Now, Output, Place,
    Row, Seen, ShortId, TransferId,
};

#[derive(Clone, Debug)]
pub struct Stored {
    pub row: Row,
    pub head: Bytes,
    pub body: Bytes,
}

#[derive(Debug)]
pub struct Store {
    pub instance: Instance,
    pub live: BTreeMap<u64, Stored>,
    pub known: BTreeMap<ShortId, Option<u64>>,
    pub staged: BTreeMap<TransferId, Vec<u8>>,
    pub receipts: Vec<Receipt>,
    pub cursors: BTreeMap<NodeId, (Option<Seen>, Option<Seen>)>,
    /// Every admission, and every bundle that came although it was known.
    pub admitted: Vec<BundleId>,
    pub twice: Vec<BundleId>,
    /// What `Keep` answers, if not by itself.
    pub keep_answer: Option<Kept>,
    /// Rows that were asked for by arrival number.
    pub rows_read: usize,
    next_arrival: u64,
}

/// A bundle as its author makes it.
#[derive(Clone, Debug)]
pub struct Made {
    pub id: BundleId,
    pub head: Bytes,
    pub body: Bytes,
    pub header: Header,
}

/// An open bundle of `length` bytes from node `from` to node `to`.
pub fn made(from: u8, to: u8, nice: u8, length: usize, counter: u64) -> Made {
    let author = NodeSecret::from_seed([from; 32]);
    let mut body = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[from, to]).update(&counter.to_be_bytes());
    hasher.finalize_xof().fill(&mut body);
    let small = length as u64 <= SMALL_PAYLOAD_MAX;
    let header = Header {
        destination: bundle::Destination::Node(node(to)),
        lifetime: Lifetime::DEFAULT,
        nice: Niceness::new(nice).unwrap(),
        seal: SealKind::None,
        lock: LockField::None,
        origin: Origin::Open {
            source: author.id(),
            sequence: Sequence { epoch: 7, counter },
            created: 1_800_000_000,
        },
        length: length as u64,
        hash: (!small).then(|| *blake3::hash(&body).as_bytes()),
    };
    let head = Head::sign(header.clone(), &body, &author);
    Made { id: head.id(&body), head: head.encode().into(), body: body.into(), header }
}

/// An open bundle of `length` bytes from a node to a group.
pub fn made_for_all(from: u8, length: usize, counter: u64) -> Made {
    let author = NodeSecret::from_seed([from; 32]);
    let clear = made(from, from + 1, 160, length, counter);
    let header = Header { destination: bundle::Destination::Group([7; 16]), ..clear.header };
    let head = Head::sign(header.clone(), &clear.body, &author);
    Made { id: head.id(&clear.body), head: head.encode().into(), body: clear.body, header }
}

/// A small one that says it is sealed; nobody here opens it.
pub fn made_sealed(from: u8, to: u8, length: usize, counter: u64) -> Made {
    let author = NodeSecret::from_seed([from; 32]);
    let clear = made(from, to, 160, length, counter);
    let lock = LockField::Compact([3; 8]);
    let header = Header { seal: SealKind::Compact, lock, ..clear.header };
    let head = Head::sign(header.clone(), &clear.body, &author);
    Made { id: head.id(&clear.body), head: head.encode().into(), body: clear.body, header }
}

pub fn node(n: u8) -> NodeId {
    static NODES: LazyLock<Vec<NodeId>> =
        LazyLock::new(|| (0..16).map(|n| NodeSecret::from_seed([n; 32]).id()).collect());
    NODES[usize::from(n)]
}

impl Store {
    pub fn new(n: u8) -> Self {
        Self {
            instance: Instance([n; 4]),
            live: BTreeMap::new(),
            known: BTreeMap::new(),
            staged: BTreeMap::new(),
            receipts: Vec::new(),
            cursors: BTreeMap::new(),
            admitted: Vec::new(),
            twice: Vec::new(),
            keep_answer: None,
            rows_read: 0,
            next_arrival: 0,
        }
    }

    /// Replaces what rides beside a bundle; whether it is live.
    pub fn change(&mut self, id: &BundleId, hop: Hop) -> bool {
        let at = self.known.get(&ShortId::of(id)).copied().flatten();
        let live = at.and_then(|at| self.live.get_mut(&at));
        live.map(|stored| stored.row.hop = hop).is_some()
    }

    /// Raises what a bundle remembers of whom it was offered to.
    pub fn raise(&mut self, id: &BundleId, level: u8) {
        let hop = self.get(id).map(|stored| stored.row.hop);
        let raised = hop.map(|hop| Hop { level: level.max(hop.level), ..hop });
        raised.iter().for_each(|hop| {
            self.change(id, *hop);
        });
    }

    /// Gives a bundle tokens anew and the next arrival number.
    pub fn renew(&mut self, id: &BundleId, tokens: u8) {
        let before = self.get(id).unwrap().row.arrival;
        let mut stored = self.live.remove(&before).unwrap();
        self.next_arrival += 1;
        (stored.row.hop.tokens, stored.row.arrival) = (tokens, self.next_arrival);
        self.known.insert(ShortId::of(id), Some(self.next_arrival));
        self.live.insert(self.next_arrival, stored);
    }

    /// As a send on this node does.
    pub fn put(&mut self, now: Now, made: &Made, hop: Hop, class: Class) {
        let row = Row {
            id: made.id,
            destination: match made.header.destination {
                bundle::Destination::Node(node) => Destination::Node(*node.as_bytes()),
                bundle::Destination::Group(group) => Destination::Group(group),
                other => panic!("{other:?}"),
            },
            tagged_for: None,
            source: made.header.source().map(|(source, _)| *source.as_bytes()),
            nice: made.header.nice.value(),
            lifetime_s: made.header.lifetime.seconds(),
            length: made.header.length,
            hop,
            class,
            from: None,
            arrived_held_ms: 0,
            arrival: 0,
        };
        self.insert(now, row, made.head.clone(), made.body.clone());
    }

    /// As one that was heard, from whomever.
    pub fn put_heard(&mut self, now: Now, heard: &Stored) {
        let hop = Hop { hops: heard.row.hop.hops + 1, ..heard.row.hop };
        let row = Row { hop, class: Class::Stranger, from: None, ..heard.row.clone() };
        self.insert(now, row, heard.head.clone(), heard.body.clone());
    }

    /// Bundles that only count: nobody can send them.
    pub fn fill(&mut self, now: Now, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let row = Row {
                id: BundleId(*blake3::hash(&number.to_be_bytes()).as_bytes()),
                destination: Destination::Node([8; 32]),
                tagged_for: None,
                source: None,
                nice: 160,
                lifetime_s: 1_000_000,
                length: 1,
                hop: Hop::fresh(),
                class: Class::Stranger,
                from: None,
                arrived_held_ms: 0,
                arrival: 0,
            };
            self.insert(now, row, Bytes::new(), Bytes::from_static(&[0]));
        }
    }

    /// A bundle is lost, and nobody remembers it.
    pub fn lose(&mut self, id: &BundleId) {
        self.retire(id);
        self.known.remove(&ShortId::of(id));
    }

    pub fn has(&self, id: &BundleId) -> bool {
        self.known.contains_key(&ShortId::of(id))
    }

    pub fn get(&self, id: &BundleId) -> Option<&Stored> {
        self.live.get(&self.known.get(&ShortId::of(id)).copied()??)
    }

    pub fn retire(&mut self, id: &BundleId) {
        if let Some(arrival) = self.known.get_mut(&ShortId::of(id)).and_then(Option::take) {
            self.live.remove(&arrival);
        }
    }

    fn insert(&mut self, now: Now, row: Row, head: Bytes, body: Bytes) {
        self.next_arrival += 1;
        let arrival = self.next_arrival;
        let row = Row { arrival, arrived_held_ms: now.held_ms, ..row };
        assert_eq!(row.length, body.len() as u64);
        self.known.insert(row.short(), Some(arrival));
        self.live.insert(arrival, Stored { row, head, body });
    }

    fn keep(&mut self, now: Now, bundle: NewBundle) -> Kept {
        let body = match bundle.body {
            Body::Inline(bytes) => bytes,
            Body::Staged(transfer) => match self.staged.remove(&transfer) {
                Some(bytes) => bytes.into(),
                None => return Kept::Full,
            },
        };
        if let Some(answer) = self.keep_answer {
            return answer;
        }
        let id = bundle.row.id;
        if self.has(&id) {
            self.twice.push(id);
            return Kept::Known;
        }
        self.admitted.push(id);
        self.insert(now, bundle.row, bundle.head, body);
        Kept::Kept
    }

    /// Answers a question; receipts retire what they name.
    pub fn answer(&mut self, now: Now, question: Output) -> Answer {
        match question {
            Output::Since { after, limit, .. } => {
                let mut rows = self.live.range(after + 1..).map(|(_, s)| s.row.clone());
                let page: Vec<Row> = rows.by_ref().take(limit).collect();
                let more = rows.next().is_some();
                self.rows_read += page.len();
                Answer::Rows { rows: page, more, upto: self.next_arrival }
            }
            Output::Page { class, after, limit, .. } => {
                let place = |r: &Row| Place { nice: r.nice, arrival: r.arrival };
                let all = self.live.values().map(|s| &s.row);
                let mut rows: Vec<Row> = all
                    .filter(|r| r.class == class && after.is_none_or(|a| place(r) > a))
                    .cloned()
                    .collect();
                rows.sort_by_key(place);
                let more = rows.len() > limit;
                rows.truncate(limit);
                Answer::Rows { rows, more, upto: self.next_arrival }
            }
            Output::Toward { nodes, after, limit, .. } => {
                let place = |r: &Row| Place { nice: r.nice, arrival: r.arrival };
                let mut rows = Vec::new();
                for (n, hint) in nodes.iter().enumerate() {
                    let is_for = |r: &&Row| match r.destination {
                        Destination::Node(node) => node.starts_with(hint),
                        _ => false,
                    };
                    let beyond = |r: &&Row| n > 0 || after.is_none_or(|a| place(r) > a);
                    let all = self.live.values().map(|s| &s.row);
                    let mut some: Vec<Row> = all.filter(is_for).filter(beyond).cloned().collect();
                    some.sort_by_key(place);
                    rows.extend(some);
                }
                let more = rows.len() >= limit;
                rows.truncate(limit);
                self.rows_read += rows.len();
                Answer::Rows { rows, more, upto: self.next_arrival }
            }
            Output::Look { ids, .. } => {
                let known = |id: &ShortId| {
                    if self.known.contains_key(id) { Known::Known } else { Known::Unknown }
                };
                Answer::Looked(ids.iter().map(known).collect())
            }
            Output::Load { id, .. } => Answer::Loaded(self.get(&id).map(|stored| Loaded {
                head: stored.head.clone(),
                hop: stored.row.hop,
                arrived_held_ms: stored.row.arrived_held_ms,
                payload: if stored.row.length <= SMALL_PAYLOAD_MAX {
                    stored.body.clone()
                } else {
                    Bytes::new()
                },
            })),
            Output::Read { id, at, bytes, .. } => {
                let at = usize::try_from(at).unwrap();
                Answer::Read(self.get(&id).map(|stored| stored.body.slice(at..at + bytes)))
            }
            Output::Keep { bundle, .. } => Answer::Kept(self.keep(now, *bundle)),
            Output::TakeReceipts { list, .. } => {
                let news: Vec<Receipt> =
                    list.into_iter().filter(|r| !self.receipts.contains(r)).collect();
                let count = news.len();
                news.into_iter().for_each(|receipt| self.take_receipt(receipt));
                Answer::Taken { news: count }
            }
            Output::ReceiptsSince { after, limit, .. } => {
                let numbered = (1..).zip(&self.receipts).map(|(n, r)| (n, *r));
                let after = usize::try_from(after).unwrap();
                let list: Vec<(u64, Receipt)> = numbered.skip(after).take(limit).collect();
                let more = self.receipts.len() > after + list.len();
                Answer::Receipts { list, more, upto: self.receipts.len() as u64 }
            }
            other => panic!("no question: {other:?}"),
        }
    }

    pub fn take_receipt(&mut self, receipt: Receipt) {
        self.receipts.push(receipt);
        let ids: Vec<BundleId> = self.live.values().map(|stored| stored.row.id).collect();
        for id in ids.iter().filter(|id| id.prefix() == receipt.id_prefix) {
            self.retire(id);
        }
    }
}
