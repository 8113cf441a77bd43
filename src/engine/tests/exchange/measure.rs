//! How fast two engines are, without disks and links: `--ignored --nocapture`, in release.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use postrider_base::{bundle::Hop, link::LinkFacts};
use postrider_engine::node::{
    Answer, Class, Engine, Input, Kept, Known, LinkId, LinkPolicy, Loaded, Now, Output, Row, Seen,
};

use crate::{
    net::engine,
    store::{Made, Store, made, node},
};

const LINK: LinkId = LinkId(1);

struct End {
    engine: Engine,
    took: Duration,
    inputs: VecDeque<Input>,
}

/// Moves all bundles from one engine to the other; what each engine took.
fn moved(bundles: &[Made]) -> [Duration; 2] {
    let mut store = Store::new(1);
    let now = Now { mono_ms: 1, held_ms: 1 };
    bundles.iter().for_each(|bundle| store.put(now, bundle, Hop::fresh(), Class::Own));
    let rows: Vec<Row> = store.live.values().map(|stored| stored.row.clone()).collect();
    let mut ends = [1, 2].map(|n| {
        let facts = LinkFacts::stream("pipe:".parse().unwrap());
        let facts = LinkFacts { peer: Some(node(3 - n)), ..facts };
        let (policy, random) = (LinkPolicy::default(), [0; 16]);
        // It knows that it has seen nothing: then nothing is reconciled.
        let mine = Some(Seen { instance: Store::new(3 - n).instance, ..Seen::default() });
        let (room_bytes, theirs) = (4 << 20, None);
        let up = Input::LinkUp { link: LINK, facts, policy, room_bytes, mine, theirs, random };
        End { engine: engine(n), took: Duration::ZERO, inputs: [up].into() }
    });
    let (mut kept, mut upto, begun) = (0, 0, Instant::now());
    while kept < bundles.len() {
        for at in 0..2 {
            let mono_ms = u64::try_from(begun.elapsed().as_millis()).unwrap();
            let now = Now { mono_ms, held_ms: mono_ms };
            while let Some(input) = ends[at].inputs.pop_front() {
                let start = Instant::now();
                ends[at].engine.handle(now, input);
                let mut outputs = Vec::new();
                while let Some(output) = ends[at].engine.poll() {
                    outputs.push(output);
                }
                ends[at].took += start.elapsed();
                for output in outputs {
                    let (ticket, answer) = match output {
                        Output::Send { head, body, .. } => {
                            let unit: Bytes = [head, body].concat().into();
                            let bytes = unit.len() as u64;
                            ends[1 - at].inputs.push_back(Input::Unit { link: LINK, unit });
                            ends[at].inputs.push_back(Input::Room { link: LINK, bytes });
                            continue;
                        }
                        Output::Since { ticket, after, limit } if at == 0 => {
                            let from = usize::try_from(after).unwrap();
                            let rows: Vec<Row> = rows[from..].iter().take(limit).cloned().collect();
                            upto = rows.last().map_or(upto, |row| row.arrival);
                            let more = (upto as usize) < bundles.len();
                            (ticket, Answer::Rows { rows, more, upto: bundles.len() as u64 })
                        }
                        Output::Since { ticket, .. } => {
                            (ticket, Answer::Rows { rows: vec![], more: false, upto: kept as u64 })
                        }
                        Output::Page { .. } | Output::Load { .. } | Output::Read { .. } => {
                            read(&store, now, output)
                        }
                        Output::Look { ticket, ids } => {
                            (ticket, Answer::Looked(vec![Known::Unknown; ids.len()]))
                        }
                        Output::Keep { ticket, .. } => {
                            kept += 1;
                            (ticket, Answer::Kept(Kept::Kept))
                        }
                        Output::ReceiptsSince { ticket, .. } => {
                            (ticket, Answer::Receipts { list: vec![], more: false, upto: 0 })
                        }
                        Output::Close { why, .. } => panic!("{why:?}"),
                        _ => continue,
                    };
                    ends[at].inputs.push_back(Input::Done { ticket, answer });
                }
            }
        }
    }
    ends.map(|end| end.took)
}

fn read(store: &Store, now: Now, output: Output) -> (postrider_engine::node::Ticket, Answer) {
    match output {
        Output::Load { ticket, id } => {
            let stored = store.get(&id).unwrap();
            let small = stored.body.len() <= 4096;
            let payload = if small { stored.body.clone() } else { Bytes::new() };
            let (hop, arrived_held_ms) = (stored.row.hop, now.held_ms);
            let head = stored.head.clone();
            (ticket, Answer::Loaded(Some(Loaded { head, hop, arrived_held_ms, payload })))
        }
        Output::Read { ticket, id, at, bytes } => {
            let at = usize::try_from(at).unwrap();
            let body = &store.get(&id).unwrap().body;
            (ticket, Answer::Read(Some(body.slice(at..at + bytes))))
        }
        other => panic!("not expected: {other:?}"),
    }
}

#[test]
#[ignore = "a measurement, for a quiet machine"]
fn engine_to_engine() {
    let large: Vec<Made> = (1..=16).map(|n| made(1, 2, 160, 64 << 20, n)).collect();
    let megabytes = 16.0 * f64::from(64 << 20) / 1e6;
    let [out, into] = moved(&large).map(|took| megabytes / took.as_secs_f64());
    println!("1 GiB in bundles of 64 MiB: {out:.0} MB/s out, {into:.0} MB/s in");
    drop(large);
    // Few enough to be sorted at once, so that only engines are measured.
    let small: Vec<Made> = (1..=4000).map(|n| made(1, 2, 160, 1024, n)).collect();
    let mut took = [Duration::ZERO; 2];
    for _ in 0..5 {
        let one = moved(&small);
        took = [took[0] + one[0], took[1] + one[1]];
    }
    let [out, into] = took.map(|took| 20_000.0 / took.as_secs_f64());
    println!("20,000 bundles of 1 KiB: {out:.0}/s out, {into:.0}/s in");
}
