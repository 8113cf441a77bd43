//! Contact traces: text that anybody may have written.

use std::collections::BTreeMap;

use postrider_world::{MEETINGS_MAX, Meetings, NODES_MAX};

/// What was accepted is a crowd that a world can play.
pub fn trace(input: &[u8]) -> bool {
    let Ok(meetings) = Meetings::read(input) else { return false };
    let (nodes, list) = (meetings.nodes(), meetings.list());
    assert!((2..=NODES_MAX).contains(&nodes) && (1..=MEETINGS_MAX).contains(&list.len()));
    assert!(list.is_sorted());
    let mut last: BTreeMap<[usize; 2], u64> = BTreeMap::new();
    for meeting in list {
        let [a, b] = meeting.ends;
        assert!(a < b && b < nodes && meeting.begin_ms < meeting.end_ms);
        let before = last.insert(meeting.ends, meeting.end_ms);
        assert!(
            before.is_none_or(|end_ms| end_ms < meeting.begin_ms),
            "a pair meets twice at once"
        );
    }
    let (begin_ms, end_ms) = meetings.span_ms();
    assert!(list.iter().all(|m| begin_ms <= m.begin_ms && m.end_ms <= end_ms));
    true
}

/// Both forms, and what stands between them.
pub fn trace_seeds() -> Vec<Vec<u8>> {
    [
        "0 20 1 2\n10.5 30 2 3\n# a remark\n\n15 40 1 2\n",
        "0 CONN a b up\n5 CONN b c up\n20.25 CONN b a down\n90 CONN c b down\n100 CONN a c up\n",
        "0 9 a b\n4 CONN c d up\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
