//! When an adapter listens.
//!
//! Saying costs little and is heard by whoever listens; so of two it is enough that one does. Whoever
//! has just come up listens without a pause, and is itself heard by those who listen now and then.

use super::contract::Profile;

/// What a profile means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After coming up, and after the last neighbour was lost, it listens so long without a pause.
    pub search_ms: u64,
    /// From then on it listens so long...
    pub listen_ms: u64,
    /// ...in every such period.
    pub period_ms: u64,
    /// When there is mail for somebody who is not heard, it listens so long at once...
    pub mail_ms: u64,
    /// ...but not more often than this.
    pub mail_gap_ms: u64,
    /// Who is not heard for so long is gone: three periods.
    pub expires_ms: u64,
    /// Who is heard after it was not for so much listening has come back.
    pub silence_ms: u64,
    /// A neighbour that was visited and has no mail is visited again after this.
    pub visit_ms: u64,
    /// A link that has nothing to say ends after this, even if nobody needs its place.
    pub idle_ms: Option<u64>,
}

/// Half of the time, in stretches that BlueZ's discovery can follow.
const QUICK: Pace = Pace {
    search_ms: 60_000,
    listen_ms: 4_000,
    period_ms: 8_000,
    mail_ms: 10_000,
    mail_gap_ms: 20_000,
    expires_ms: 30_000,
    silence_ms: 8_000,
    visit_ms: 60_000,
    idle_ms: None,
};

/// A tenth of the time.
const SAVER: Pace = Pace {
    search_ms: 10_000,
    listen_ms: 2_000,
    period_ms: 20_000,
    mail_ms: 6_000,
    mail_gap_ms: 60_000,
    expires_ms: 70_000,
    silence_ms: 5_000,
    visit_ms: 5 * 60_000,
    idle_ms: Some(20_000),
};

impl Profile {
    /// What it means; `None`: nothing is done.
    pub fn pace(self) -> Option<Pace> {
        match self {
            Self::Quick => Some(QUICK),
            Self::Saver => Some(SAVER),
            Self::Off => None,
        }
    }
}

/// When one adapter listens.
#[derive(Debug)]
pub(super) struct Duty {
    /// Without a pause until then.
    search_until_ms: u64,
    /// When the period began.
    begun_ms: u64,
    mail_next_ms: u64,
}

impl Duty {
    pub fn new(now_ms: u64, pace: Option<Pace>) -> Self {
        let mut duty = Self { search_until_ms: 0, begun_ms: now_ms, mail_next_ms: 0 };
        duty.search(now_ms, pace);
        duty
    }

    /// Somebody may be there who was not.
    pub fn search(&mut self, now_ms: u64, pace: Option<Pace>) {
        let until_ms = pace.map_or(0, |pace| now_ms + pace.search_ms);
        self.search_until_ms = self.search_until_ms.max(until_ms);
        self.begun_ms = self.search_until_ms;
    }

    /// There is mail for somebody who is not heard.
    pub fn mail(&mut self, now_ms: u64, pace: Pace) {
        if now_ms >= self.mail_next_ms {
            self.mail_next_ms = now_ms + pace.mail_gap_ms;
            self.search_until_ms = self.search_until_ms.max(now_ms + pace.mail_ms);
        }
    }

    /// The profile changed.
    pub fn begin(&mut self, now_ms: u64, pace: Option<Pace>) {
        *self = Self { mail_next_ms: self.mail_next_ms, ..Self::new(now_ms, pace) };
    }

    /// Whether it listens, and when that is to be asked again.
    pub fn listens(&self, now_ms: u64, pace: Pace) -> (bool, u64) {
        if now_ms < self.search_until_ms {
            return (true, self.search_until_ms);
        }
        let within = now_ms.saturating_sub(self.begun_ms) % pace.period_ms;
        if within < pace.listen_ms {
            (true, now_ms + pace.listen_ms - within)
        } else {
            (false, now_ms + pace.period_ms - within)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listened(duty: &Duty, pace: Pace, from_ms: u64, to_ms: u64) -> usize {
        (from_ms..to_ms).step_by(100).filter(|now| duty.listens(*now, pace).0).count()
    }

    #[test]
    fn each_profile_keeps_its_share_after_the_search() {
        for (profile, one_in) in [(Profile::Quick, 2), (Profile::Saver, 10)] {
            let pace = profile.pace().unwrap();
            let duty = Duty::new(5_000, Some(pace));
            let search = 5_000 + pace.search_ms;
            assert_eq!(listened(&duty, pace, 5_000, search) as u64, pace.search_ms / 100);
            let hour = listened(&duty, pace, search, search + 3_600_000);
            assert_eq!(hour, 36_000 / one_in);
        }
    }

    #[test]
    fn it_is_asked_again_just_when_it_changes() {
        let pace = SAVER;
        let duty = Duty::new(0, Some(pace));
        let (mut now, mut changes) = (0, 0);
        while now < 100_000 {
            let (on, next) = duty.listens(now, pace);
            assert!(next > now);
            assert!((now..next).all(|at| duty.listens(at, pace).0 == on));
            (now, changes) = (next, changes + 1);
        }
        // The search runs on into the first stretch; then two changes in each period.
        assert_eq!(changes, 11);
    }

    #[test]
    fn mail_makes_it_listen_at_once_but_not_for_ever() {
        let pace = SAVER;
        let mut duty = Duty::new(0, Some(pace));
        // Mail for somebody new each second, who is not here.
        let mut on = 0;
        for now in (15_000..615_000).step_by(1_000) {
            duty.mail(now, pace);
            on += usize::from(duty.listens(now, pace).0);
        }
        assert!(duty.mail_next_ms > 615_000 - 60_000);
        assert!((90..=130).contains(&on), "{on} of 600 s");
    }
}
