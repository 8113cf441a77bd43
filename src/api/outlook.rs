//! What a bundle that waits may expect, in words: copies that are left, and when it arrives.

use postrider_engine::router::{Holder, Outlook};

use super::At;
use crate::desk::{Failure, Waiting};

/// What waits behind an id and when it may arrive; `None` where nothing can be said.
pub(super) fn of(at: &At<'_>, id: &str) -> Result<Option<(Waiting, Outlook)>, Failure> {
    let Some(waiting) = at.desk.waiting(id, at.watch)? else { return Ok(None) };
    let outlook = match at.node {
        Some((node, handle)) => {
            let row = waiting.row.clone();
            handle.block_on(node.look(move |engine| engine.outlook(&row))).flatten()
        }
        None => Some(at.desk.outlook(&waiting, at.watch)?),
    };
    Ok(outlook.map(|outlook| (waiting, outlook)))
}

/// What is left of a bundle's tokens here, and who was offered a copy.
pub(super) fn copies(waiting: &Waiting) -> Vec<String> {
    let (hop, name) = (waiting.row.hop, &waiting.name);
    let spare = hop.tokens.saturating_sub(1);
    let mut said = vec![match spare {
        0 => "no copies are left here to spare: over a link that has a price it goes only to whoever \
              is nearer to whom it is for"
            .to_owned(),
        1 => "1 more copy may leave here over links that have a price".to_owned(),
        n => format!("{n} more copies may leave here over links that have a price"),
    }];
    if let Outlook::Meets { every_s, .. } = Outlook::of(0, hop.level) {
        let every = about(every_s);
        said.push(format!("a copy was offered to somebody who meets {name} about every {every}"));
    }
    said
}

/// When it arrives, as far as anybody can say.
pub(super) fn sentence(waiting: &Waiting, outlook: Outlook, is_live: bool) -> String {
    let name = &waiting.name;
    match outlook {
        Outlook::Now => format!("a link to {name} is up: expect it to be there now"),
        Outlook::Meets { by, half_s, every_s } => {
            let who = match by {
                Holder::Here => "this node meets",
                Holder::Elsewhere => "somebody who was offered a copy meets",
            };
            let (every, half) = (about(every_s), about(half_s));
            format!(
                "{who} {name} about every {every}: expect it within about {half} (half of such \
                 messages)"
            )
        }
        Outlook::Unknown if is_live => {
            format!("nobody here has met {name} lately: when it arrives cannot be said")
        }
        Outlook::Unknown => format!(
            "nobody here has met {name} lately: when it arrives cannot be said; a running node also \
             knows whom its neighbours meet: postrider up"
        ),
    }
}

/// A span of time, roughly: the estimate is no better.
fn about(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let of = |unit: u64, word: &str| {
        let n = ((seconds + unit / 2) / unit).max(1);
        format!("{n} {word}{}", if n == 1 { "" } else { "s" })
    };
    match seconds {
        0..=5_399 => of(MINUTE, "minute"),
        5_400..=172_799 => of(HOUR, "hour"),
        _ => of(DAY, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_the_unit_that_fits() {
        for (seconds, said) in [
            (0, "1 minute"),
            (3600, "60 minutes"),
            (5400, "2 hours"),
            (100_000, "28 hours"),
            (172_800, "2 days"),
            (604_800, "7 days"),
            (u64::MAX / 2, "106751991167301 days"),
        ] {
            assert_eq!(about(seconds), said);
        }
    }
}
