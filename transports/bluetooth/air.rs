//! What one adapter says into the room, and whether it hears.

use std::{collections::BTreeMap, time::Duration};

use bluer::adv::{Advertisement, AdvertisementHandle, Type};
use tokio::time::{Instant, timeout};

use super::{
    SAID_BYTES, SERVICE,
    bus::{ANSWER_TIME_MAX, Calls},
};

/// After what BlueZ refused it is asked again, later each time.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The kernel is not free to begin for ten seconds at most.
const EAR_PAUSE_MAX: Duration = Duration::from_secs(2);
/// BlueZ answers at once that it hears already.
const HEAR_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What is said.
pub(super) struct Voice {
    adapter: bluer::Adapter,
    says: Option<[u8; SAID_BYTES]>,
    /// What was said until somebody connected.
    spent: Option<[u8; SAID_BYTES]>,
    /// Dropped, it is said no more.
    handle: Option<AdvertisementHandle>,
    retry: Retry,
}

impl Voice {
    pub(super) fn new(adapter: bluer::Adapter) -> Self {
        Self { adapter, says: None, spent: None, handle: None, retry: Retry::default() }
    }

    /// Says this, if it does not yet. With each change the old advertisement goes and a new one comes,
    /// never one in place of the other: an address of its own comes with a new one only.
    pub(super) async fn say(&mut self, said: Option<[u8; SAID_BYTES]>) {
        let said = said.filter(|said| self.spent.as_ref() != Some(said));
        if self.says != said {
            self.handle = None;
            self.says = said;
            self.retry = Retry::default();
        }
        let Some(said) = said else { return };
        if self.handle.is_some() || !self.retry.is_due() {
            return;
        }
        // The old one is taken back by a task of bluer's; that should be asked first.
        tokio::task::yield_now().await;
        match timeout(ANSWER_TIME_MAX, self.adapter.advertise(advertisement(said))).await {
            Ok(Ok(handle)) => self.handle = Some(handle),
            Ok(Err(_)) | Err(_) => self.retry.later(PAUSE_MAX),
        }
    }

    /// Whatever it says it says no more: a controller stops to advertise when somebody connects, and the
    /// kernel begins again when that one has left. Whether it said anything.
    pub(super) fn fall_silent(&mut self) -> bool {
        let spoke = self.handle.take().is_some();
        if spoke {
            self.spent = self.says.take();
        }
        spoke
    }

    /// Whether it says what it should.
    pub(super) fn is_heard(&self) -> bool {
        self.says.is_none() || self.handle.is_some()
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        if self.is_heard() { None } else { self.retry.at }
    }
}

/// Connectable and no more: no name, no power, not "discoverable".
fn advertisement(said: [u8; SAID_BYTES]) -> Advertisement {
    Advertisement {
        advertisement_type: Type::Peripheral,
        service_data: BTreeMap::from([(SERVICE, said.to_vec())]),
        discoverable: Some(false),
        ..Advertisement::default()
    }
}

/// What hears.
pub(super) struct Ear {
    calls: Calls,
    adapter: u16,
    hears: bool,
    /// When BlueZ is asked again though it hears: nobody tells when a machine that slept has forgotten.
    again: Instant,
    retry: Retry,
}

impl Ear {
    pub(super) fn new(calls: Calls, adapter: u16) -> Self {
        Self { calls, adapter, hears: false, again: Instant::now(), retry: Retry::default() }
    }

    /// Hears or not, if it does not yet.
    pub(super) async fn listen(&mut self, on: bool) {
        if on {
            let is_due =
                if self.hears { self.again <= Instant::now() } else { self.retry.is_due() };
            if !is_due {
                return;
            }
            let begun = self.calls.start_hearing(self.adapter, self.hears).await;
            self.hears = begun.is_ok();
            if self.hears {
                self.retry = Retry::default();
                self.again = Instant::now() + HEAR_AGAIN_AFTER;
            } else {
                self.retry.later(EAR_PAUSE_MAX);
            }
        } else {
            self.retry = Retry::default();
            if self.hears {
                // An error means that it did not hear anyway.
                let _ = self.calls.stop_hearing(self.adapter).await;
                self.hears = false;
            }
        }
    }

    pub(super) fn hears(&self) -> bool {
        self.hears
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        if self.hears { Some(self.again) } else { self.retry.at }
    }
}

/// When what was refused is asked for again.
#[derive(Default)]
struct Retry {
    at: Option<Instant>,
    pause: Duration,
}

impl Retry {
    fn is_due(&self) -> bool {
        self.at.is_none_or(|at| at <= Instant::now())
    }

    fn later(&mut self, most: Duration) {
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, most);
        self.at = Some(Instant::now() + self.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_fits_and_tells_nothing_else() {
        let says = advertisement([7; SAID_BYTES]);
        // Length and type, the UUID, and what is said; the flags are the controller's.
        assert_eq!(3 + 2 + 16 + says.service_data[&SERVICE].len(), 31);
        assert_eq!(says.local_name, None);
        assert!(says.service_uuids.is_empty() && says.system_includes.is_empty());
        assert_eq!(says.discoverable, Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_up_to_half_a_minute() {
        let mut retry = Retry::default();
        assert!(retry.is_due());
        for _ in 0..10 {
            retry.later(PAUSE_MAX);
        }
        assert!(!retry.is_due());
        assert_eq!(retry.pause, PAUSE_MAX);
        tokio::time::advance(PAUSE_MAX).await;
        assert!(retry.is_due());
    }
}
