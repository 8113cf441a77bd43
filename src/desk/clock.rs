//! The clocks and the randomness of the system, read in one place.

use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use postrider_base::roster::Day;
use postrider_spool::Now;
use rustix::time::{ClockId, clock_gettime};

use super::Failure;
use crate::desk::FailureKind;

/// A process sees one boot.
static BOOT: OnceLock<[u8; 16]> = OnceLock::new();

/// The monotonic clock that also counts suspension, and which boot it belongs to.
pub(super) fn now() -> Now {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    Now { boot: *BOOT.get_or_init(boot_id), boottime_ms: seconds * 1000 + millis }
}

/// Unix seconds by the wall clock; for display only, 0 when it stands before 1970.
pub(crate) fn wall_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// The day by the wall clock: for what a roster says of days, and nothing else.
pub(super) fn today() -> Day {
    Day(u32::try_from(wall_s() / 86_400).unwrap_or(u32::MAX))
}

/// By how much the wall clock may go ahead of the other, or fall behind it, in seconds, and still be the
/// same clock.
const STEP_S: u64 = 120;
/// After a step it must have gone evenly for so long.
const EVEN_S: u64 = 3600;
/// The first of January 2026: a clock that stands before this was never set.
const WRITTEN_S: u64 = 1_767_225_600;

/// Unix seconds, where they can be believed: the clock stands after this program was written, and has
/// not been stepped for an hour, as far as this process has seen. For jobs that ask for an hour of the
/// day, and nothing else.
pub(super) fn trusted_wall_s() -> Option<u64> {
    static SEEN: Mutex<Option<(u64, u64)>> = Mutex::new(None);
    let (wall_s, boot_s) = (wall_s(), now().boottime_ms / 1000);
    let ahead_s = wall_s.saturating_sub(boot_s);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (base_s, even_from_s) = seen.unwrap_or((ahead_s, 0));
    let stepped = ahead_s.abs_diff(base_s) > STEP_S;
    let even_from_s = if stepped { boot_s.saturating_add(EVEN_S) } else { even_from_s };
    *seen = Some((if stepped { ahead_s } else { base_s }, even_from_s));
    (wall_s >= WRITTEN_S && boot_s >= even_from_s).then_some(wall_s)
}

/// Random bytes for a key, an id or a nonce.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(FailureKind::Failed, "the system gives no random numbers")
            .next("nothing was changed; try again")
            .because(error)
    })?;
    Ok(bytes)
}

/// The kernel's boot id. Without one (no /proc) every process counts as a boot of its own: then
/// time between processes does not count, and lifetimes only grow.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let mut id = [0; 16];
    match digits.as_chunks::<2>() {
        (pairs, []) if pairs.len() == 16 => {
            for (byte, [high, low]) in id.iter_mut().zip(pairs) {
                *byte = high << 4 | low;
            }
        }
        _ => {
            id[..4].copy_from_slice(&std::process::id().to_be_bytes());
            id[8..].copy_from_slice(&wall_s().to_be_bytes());
        }
    }
    id
}
