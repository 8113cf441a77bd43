//! A node that meets its own key: itself, or somebody else who has the key too.

use std::collections::VecDeque;

use bytes::Bytes;
use postrider_base::{Address, link::LinkFacts};
use postrider_engine::node::{
    Answer, Ending, Engine, Input, Instance, LinkId, LinkPolicy, Now, Output,
};

use crate::{net::engine_of, store::node};

/// Ends of links that lead to each other: which engine, which link.
type End = (usize, LinkId);

/// Brings engines together that have one key; how their links end.
fn meet(mut engines: Vec<Engine>, links: &[(End, End)]) -> Vec<(usize, Ending)> {
    let mut endings = Vec::new();
    let mut inputs: VecDeque<(usize, Input)> = VecDeque::new();
    let ends: Vec<(End, End)> = links.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect();
    for (n, ((at, link), _)) in ends.iter().enumerate() {
        let address: Address = "tls://192.0.2.1:1".parse().unwrap();
        let up = Input::LinkUp {
            link: *link,
            facts: LinkFacts { peer: Some(node(1)), ..LinkFacts::stream(address) },
            policy: LinkPolicy::default(),
            room_bytes: 1 << 20,
            mine: None,
            theirs: None,
            random: [u8::try_from(n).unwrap(); 16],
        };
        inputs.push_back((*at, up));
    }
    while let Some((at, input)) = inputs.pop_front() {
        let now = Now { mono_ms: 1000, held_ms: 1000 };
        engines[at].handle(now, input);
        while let Some(output) = engines[at].poll() {
            match output {
                Output::Send { link, head, body } => {
                    let other = ends.iter().find(|(here, _)| *here == (at, link)).unwrap().1;
                    let unit = Bytes::from([head, body].concat());
                    inputs.push_back((other.0, Input::Unit { link: other.1, unit }));
                }
                Output::Close { why, .. } => endings.push((at, why)),
                Output::Since { ticket, .. } | Output::Page { ticket, .. } => {
                    let answer = Answer::Rows { rows: vec![], more: false, upto: 0 };
                    inputs.push_back((at, Input::Done { ticket, answer }));
                }
                Output::ReceiptsSince { ticket, .. } => {
                    let answer = Answer::Receipts { list: vec![], more: false, upto: 0 };
                    inputs.push_back((at, Input::Done { ticket, answer }));
                }
                _ => {}
            }
        }
    }
    endings
}

const HERE: Instance = Instance([1; 4]);

#[test]
fn a_node_that_dials_itself_is_no_duplicate() {
    let link = ((0, LinkId(1)), (0, LinkId(2)));
    let endings = meet(vec![engine_of(1, HERE)], &[link]);
    assert!(!endings.is_empty());
    let harmless = |why| matches!(why, Ending::Myself | Ending::Halted { reason: 16, .. });
    assert!(endings.iter().all(|(_, why)| harmless(*why)), "{endings:?}");
}

/// A home that was copied whole has the same numbering, too.
#[test]
fn another_node_with_the_same_key_is_noticed_at_both_ends() {
    for there in [HERE, Instance([2; 4])] {
        for links in [1, 2] {
            let engines = vec![engine_of(1, HERE), engine_of(1, there)];
            let links: Vec<_> = (1..=links).map(|n| ((0, LinkId(n)), (1, LinkId(n)))).collect();
            let endings = meet(engines, &links);
            let noticed = |at| endings.contains(&(at, Ending::Duplicate));
            assert!(noticed(0) && noticed(1), "{endings:?}");
            assert!(endings.iter().all(|(_, why)| *why == Ending::Duplicate), "{endings:?}");
        }
    }
}
