//! Whether a job's time has come: its age, its hours, those before it.

use postrider_base::packet::{Fact, Then};

use super::contract::{Asked, How, Now, Record};

/// With a clock that cannot be trusted, what waits for an hour is looked at so often.
const CLOCK_MS: u64 = 60_000;

/// What a job's turn says of it now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Readiness {
    /// It may begin, up to this time.
    Ready { until_ms: Option<u64> },
    /// Not yet; to be looked at again then.
    Wait { fact: Fact, why: &'static str, until_ms: Option<u64> },
    /// Not any more.
    Over(How),
}

/// Whether a job's time has come. `before`: how those stand that it waits for, as
/// [`super::Scheduler`] knows them: not at all, not ended, ended well or not.
pub(super) fn readiness(
    now: Now,
    asked: &Asked,
    record: &Record,
    before: &[Option<Option<bool>>],
) -> Readiness {
    let turn = &asked.turn;
    let left_ms = u64::from(turn.age_s.saturating_sub(asked.age_s)) * 1000;
    let over_ms = asked.arrived_ms.saturating_add(left_ms);
    if now.held_ms >= over_ms {
        return Readiness::Over(How::Expired("it is older than it may be when it begins"));
    }
    let at_the_latest = |ms: u64| Some(over_ms.min(ms));
    let window = turn.not_before.is_some() || turn.not_after.is_some();
    match now.wall_s {
        // Nobody here can say that it is the hour for which somebody asked, but a person.
        None if window && !record.released => {
            let until_ms = at_the_latest(now.held_ms.saturating_add(CLOCK_MS));
            let why = "it asks for a time, and this node's clock cannot be trusted";
            return Readiness::Wait { fact: Fact::Held, why, until_ms };
        }
        Some(wall_s) => {
            if turn.not_after.is_some_and(|last_s| wall_s > last_s) {
                return Readiness::Over(How::Expired("it came to its turn after its last hour"));
            }
            if let Some(first_s) = turn.not_before.filter(|first_s| wall_s < *first_s) {
                let wait_ms = (first_s - wall_s).saturating_mul(1000).min(CLOCK_MS);
                let until_ms = at_the_latest(now.held_ms.saturating_add(wait_ms));
                let why = "its first hour has not come";
                return Readiness::Wait { fact: Fact::Admitted, why, until_ms };
            }
        }
        None => {}
    }
    if turn.if_ok && before.contains(&Some(Some(false))) {
        return Readiness::Over(How::Skipped("a job before it did not end well"));
    }
    if before.iter().all(|stands| stands.is_some_and(|ended| ended.is_some())) {
        return Readiness::Ready { until_ms: Some(over_ms) };
    }
    // One that is here and has not ended will; how long that takes is no loss of patience.
    let here = before.iter().all(Option::is_some);
    let patience_ms = asked.arrived_ms.saturating_add(u64::from(turn.patience_s) * 1000);
    if here || now.held_ms < patience_ms {
        let until_ms = if here { Some(over_ms) } else { at_the_latest(patience_ms) };
        let why = "jobs before it have not ended";
        return Readiness::Wait { fact: Fact::Admitted, why, until_ms };
    }
    match turn.then {
        Then::Skip => Readiness::Over(How::Skipped("a job before it did not come in time")),
        Then::Run if turn.if_ok => {
            Readiness::Over(How::Skipped("a job that must end well before it did not come"))
        }
        Then::Hold if !record.released => {
            let why = "a job before it did not come; somebody must let it go on";
            Readiness::Wait { fact: Fact::Held, why, until_ms: Some(over_ms) }
        }
        // Those that are here still come first.
        Then::Run | Then::Hold if before.contains(&Some(None)) => {
            let why = "jobs before it have not ended";
            Readiness::Wait { fact: Fact::Admitted, why, until_ms: Some(over_ms) }
        }
        Then::Run | Then::Hold => Readiness::Ready { until_ms: Some(over_ms) },
    }
}
