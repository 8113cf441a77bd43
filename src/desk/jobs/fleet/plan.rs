//! What comes next in a run over a fleet: decided in one place from what is durable and from what its
//! targets said, and nothing is done here.
//!
//! ```text
//! canaries -> all of them ended well, or a person says so -> everybody
//!          -> so many failures are known -> nobody else, and who has not ended is told
//! ```
//!
//! A shell makes [`Plan::stop`] durable and asks again; then it sends and takes back what the plan
//! says, each with the note that it was done in one group, and asks again until there is nothing.

/// What a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// So many of the first go ahead of the others.
    pub canary: u32,
    /// After so many failures nobody else begins; above 0.
    pub failures: u32,
}

/// What is durable of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub rules: Rules,
    /// A person let the rest go.
    pub released: bool,
    /// Why nobody else begins.
    pub stop: Option<Stop>,
    /// Whether nobody can begin any more, because all of its jobs are too old by now.
    pub late: bool,
}

/// Why nobody else begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// So many failures were known.
    Failures,
    /// A person took it back.
    Person {
        /// Also what runs.
        force: bool,
    },
    /// Its time was over before everybody was sent to.
    Late,
}

/// How far one target is, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// It was sent nothing.
    Unsent,
    /// It was sent its job, of which nothing shows that it has ended.
    Open(Back),
    /// Its command ended with 0.
    Well,
    /// It ended otherwise, or will not be.
    Badly,
    /// It was taken back here, and that came first.
    Back,
}

/// How firmly a target was told to let it be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Back {
    No,
    Told,
    /// Also if it runs.
    Forced,
}

/// What comes next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be made durable before anything else is done.
    pub stop: Option<Stop>,
    /// Places to which their jobs are to be sent.
    pub send: Vec<u32>,
    /// Places whose jobs are to be taken back, and how firmly.
    pub back: Vec<u32>,
    pub firmly: Option<Back>,
    pub phase: Phase,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// The canaries are on their way; the others wait for them.
    #[default]
    Canaries,
    /// A canary did not end well: a person must say what comes of the others.
    Waits,
    /// Everybody was sent to.
    Going,
    /// Everybody has ended.
    Done,
    /// Too many failures; not everybody who was sent to has answered.
    Halting,
    /// The same, and everybody has.
    Halted,
    /// A person took it back; not everybody who was sent to has answered.
    Cancelling,
    /// The same, and everybody has.
    Cancelled,
    /// Its time is over, and not everybody has ended, or was sent to.
    Expired,
}

impl Phase {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Canaries => "canaries",
            Self::Waits => "waits",
            Self::Going => "going",
            Self::Done => "done",
            Self::Halting => "halting",
            Self::Halted => "halted",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether nothing is left to be done here.
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Halted | Self::Cancelled | Self::Expired)
    }
}

impl Run {
    /// What comes next, with its targets in their places.
    pub(super) fn plan(&self, targets: &[At]) -> Plan {
        let places = |is: &dyn Fn(At) -> bool| -> Vec<u32> {
            (0..).zip(targets).filter(|(_, at)| is(**at)).map(|(place, _)| place).collect()
        };
        let is_open = |at: At| matches!(at, At::Open(_));
        let open = targets.iter().any(|at| is_open(*at));
        let unsent = targets.contains(&At::Unsent);
        if self.stop.is_none()
            && let Some(stop) = self.stops(targets, open, unsent)
        {
            return Plan {
                stop: Some(stop),
                phase: self.phase(targets, open, unsent),
                ..Plan::default()
            };
        }
        let phase = self.phase(targets, open, unsent);
        let send = match self.stop {
            Some(_) => Vec::new(),
            None if self.rest_goes(targets) => places(&|at| at == At::Unsent),
            None => {
                let canary = self.rules.canary;
                places(&|at| at == At::Unsent).into_iter().filter(|at| *at < canary).collect()
            }
        };
        let firmly = match self.stop {
            // Whoever is too old begins no more, whatever is said.
            _ if self.late => None,
            Some(Stop::Failures | Stop::Person { force: false }) => Some(Back::Told),
            Some(Stop::Person { force: true }) => Some(Back::Forced),
            Some(Stop::Late) | None => None,
        };
        let back = firmly.map_or_else(Vec::new, |firmly| {
            places(&|at| matches!(at, At::Open(told) if told < firmly))
        });
        Plan { stop: None, send, back, firmly, phase }
    }

    /// Whether nobody else is to begin from now on, and why.
    fn stops(&self, targets: &[At], open: bool, unsent: bool) -> Option<Stop> {
        let failed = targets.iter().filter(|at| **at == At::Badly).count() as u64;
        // Where everybody has ended there is nobody to be stopped.
        if failed >= u64::from(self.rules.failures.max(1)) && (open || unsent) {
            return Some(Stop::Failures);
        }
        (self.late && unsent).then_some(Stop::Late)
    }

    /// Whether those behind the canaries may be sent to.
    fn rest_goes(&self, targets: &[At]) -> bool {
        let canaries = targets.iter().zip(0..self.rules.canary);
        self.released || canaries.map(|(at, _)| at).all(|at| *at == At::Well)
    }

    fn phase(&self, targets: &[At], open: bool, unsent: bool) -> Phase {
        let open = open && !self.late;
        match self.stop {
            Some(Stop::Failures) if open => Phase::Halting,
            Some(Stop::Failures) => Phase::Halted,
            Some(Stop::Person { .. }) if open => Phase::Cancelling,
            Some(Stop::Person { .. }) => Phase::Cancelled,
            Some(Stop::Late) => Phase::Expired,
            None if !targets.iter().any(|at| matches!(at, At::Open(_) | At::Unsent)) => Phase::Done,
            None if self.late => Phase::Expired,
            None if !unsent || self.rest_goes(targets) => Phase::Going,
            None => {
                let mut canaries = targets.iter().zip(0..self.rules.canary).map(|(at, _)| *at);
                let waits = canaries.any(|at| matches!(at, At::Badly | At::Back));
                if waits { Phase::Waits } else { Phase::Canaries }
            }
        }
    }
}

#[cfg(test)]
mod tests;
