//! How much each of those who ask gets: bytes within a day, and answers that wait for a way.

use postrider_base::{BundleId, NodeId, packet::No};
use postrider_spool::{Change, DurableSpool, Spool};

use super::notes::{SpentNote, key, parts};
use crate::desk::{
    Desk, Failure, clock,
    ledger::{remove_note, set_note, space},
    queue::ended,
};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// What sending bytes to somebody changes.
pub(super) struct Spent {
    to: NodeId,
    level: u64,
    now_ms: u64,
    /// Files that are no longer on their way.
    arrived: Vec<Vec<u8>>,
}

impl Spent {
    pub fn changes(&self) -> Vec<Change> {
        let note = SpentNote::new(self.level, self.now_ms).encode();
        let level = set_note(space::SPENT, self.to.as_bytes(), note);
        let arrived = self.arrived.iter().map(|key| remove_note(space::GIVEN, key));
        arrived.chain([level]).collect()
    }
}

/// What sending these bytes to somebody changes, or why they are not sent now.
pub(super) fn spend(
    desk: &Desk,
    spool: &DurableSpool,
    to: &NodeId,
    bytes: u64,
) -> Result<Result<Spent, No>, Failure> {
    let most = &desk.home.config.files;
    let mut arrived = Vec::new();
    let mut waiting = 0;
    let page = usize::try_from(most.waiting).unwrap_or(usize::MAX).saturating_mul(2);
    let page = page.clamp(1, postrider_spool::contract::PAGE_MAX);
    for given in spool.notes(space::GIVEN, to.as_bytes(), None, page)? {
        let Some((_, message)) = parts(&given) else { continue };
        if ended(spool, message)?.is_some() {
            arrived.push(given);
        } else {
            waiting += 1;
        }
    }
    if waiting >= most.waiting {
        return Ok(Err(No::Waiting));
    }
    let now_ms = spool.held_ms(clock::now());
    let spent = spool.note(space::SPENT, to.as_bytes())?;
    let level = spent
        .as_deref()
        .and_then(SpentNote::read)
        .map_or(0, |spent| level(spent.1, now_ms.saturating_sub(spent.2), most.bytes_per_day));
    let level = level.saturating_add(bytes);
    if level > most.bytes_per_day {
        return Ok(Err(No::Spent));
    }
    Ok(Ok(Spent { to: *to, level, now_ms, arrived }))
}

/// What counts files as on their way to somebody.
pub(super) fn given(to: &NodeId, message: &BundleId) -> Change {
    set_note(space::GIVEN, &key(to, message), Vec::new())
}

/// How full a measure is after a time, that a whole day empties.
fn level(before: u64, passed_ms: u64, per_day: u64) -> u64 {
    let gone = u128::from(per_day) * u128::from(passed_ms) / u128::from(DAY_MS);
    before.saturating_sub(u64::try_from(gone).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_runs_empty_within_a_day_and_not_before() {
        for (before, passed_ms, left) in [
            (1000, 0, 1000),
            (1000, DAY_MS / 2, 500),
            (1000, DAY_MS - 1, 1),
            (1000, DAY_MS, 0),
            (400, DAY_MS / 2, 0),
        ] {
            assert_eq!(level(before, passed_ms, 1000), left, "{before} {passed_ms}");
        }
        assert_eq!(level(5, u64::MAX, u64::MAX), 0, "no sum overflows");
    }
}
