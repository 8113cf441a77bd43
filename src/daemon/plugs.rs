//! Which sticks with our label are to be mounted, and what became of those that were not.
//!
//! Once per plug: whoever plugs a stick in waits for one exchange; mounting it again after it was
//! unmounted, by us or by its owner, would take it out of the hand of whoever is pulling it.
//!
//! Decides only: what is plugged in and mounted is told, with the time; who asks for it to be mounted
//! tells how that ended.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use postrider_transports::media::{Mount, Stick};

use crate::desk::reply::MediumLine;

/// How long a stick stays untouched: a desktop that mounts by itself does so within a second, and
/// would find it gone again if we had been first.
const GRACE: Duration = Duration::from_secs(2);
/// How long udisks2 may take to come up at the start of a machine, before it is asked once more.
const AGAIN: Duration = Duration::from_secs(30);
/// A stick is gone when it was not there for so long: udev takes a link away and puts it back while
/// it reads a device again.
const GONE: Duration = Duration::from_secs(2);
/// Sticks that are remembered, those included that are gone since [`GONE`]. Beyond, new ones wait.
pub(super) const PLUGS_MAX: usize = 64;

/// How it ended that a stick was to be mounted and visited.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was visited; how it is still mounted, if it is.
    Visited(Option<Mount>),
    /// It was not.
    Not {
        /// Why, and what to do.
        why: String,
        /// Whether it may be different soon.
        may_change: bool,
        /// Whether people heard of it already.
        is_told: bool,
    },
}

/// The sticks that are plugged in.
#[derive(Debug)]
pub(super) struct Plugs {
    /// Whether sticks are to be mounted at all.
    is_asking: bool,
    plugs: BTreeMap<Stick, Plug>,
}

#[derive(Debug)]
struct Plug {
    seen: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Plugged in at this time, and not mounted.
    New(Instant),
    /// Being mounted and visited; whether for the second time.
    InHand { again: bool },
    /// Not mounted: why, and when it is tried once more.
    Refused { why: String, again: Option<Instant> },
    /// It was mounted, by whomever: nothing is left to do until it is plugged in again.
    Done,
}

impl Plugs {
    pub(super) fn new(is_asking: bool) -> Self {
        Self { is_asking, plugs: BTreeMap::new() }
    }

    /// Whether nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.plugs.is_empty()
    }

    /// Takes in what is plugged in and what is mounted; returns those that are to be mounted now.
    /// Each of them is in hand until [`Self::ended`].
    pub(super) fn look(
        &mut self,
        now: Instant,
        sticks: Vec<Stick>,
        is_mounted: impl Fn(&Stick) -> bool,
    ) -> Vec<Stick> {
        for stick in sticks {
            if let Some(plug) = self.plugs.get_mut(&stick) {
                plug.seen = now;
            } else if self.plugs.len() < PLUGS_MAX {
                self.plugs.insert(stick, Plug { seen: now, state: State::New(now) });
            }
        }
        self.plugs.retain(|_, plug| {
            matches!(plug.state, State::InHand { .. }) || now.duration_since(plug.seen) < GONE
        });
        let mut wanted = Vec::new();
        for (stick, plug) in &mut self.plugs {
            match &plug.state {
                State::InHand { .. } | State::Done => continue,
                State::New(_) | State::Refused { .. } if is_mounted(stick) => {
                    plug.state = State::Done
                }
                // Away for a moment, perhaps for good.
                State::New(_) | State::Refused { .. } if plug.seen < now => {}
                State::New(since) if now.duration_since(*since) >= GRACE => {
                    if self.is_asking {
                        plug.state = State::InHand { again: false };
                        wanted.push(stick.clone());
                    } else {
                        let why = "mount-media is off in the settings; mount it by hand";
                        plug.state = State::Refused { why: why.into(), again: None };
                    }
                }
                State::Refused { again: Some(at), .. } if *at <= now => {
                    plug.state = State::InHand { again: true };
                    wanted.push(stick.clone());
                }
                State::New(_) | State::Refused { .. } => {}
            }
        }
        wanted
    }

    /// Whether one that is meant is in hand: whoever has it there visits it too.
    pub(super) fn holds(&self, is_meant: impl Fn(&Stick) -> bool) -> bool {
        let mut plugs = self.plugs.iter();
        plugs.any(|(stick, plug)| matches!(plug.state, State::InHand { .. }) && is_meant(stick))
    }

    /// Takes in how it ended with a stick in hand; returns why it was not mounted, if people should
    /// hear of it: once per plug.
    pub(super) fn ended(&mut self, now: Instant, stick: &Stick, ended: &Ended) -> Option<String> {
        let plug = self.plugs.get_mut(stick)?;
        let was_again = matches!(plug.state, State::InHand { again: true });
        match ended {
            Ended::Visited(_) => {
                plug.state = State::Done;
                None
            }
            Ended::Not { why, may_change, is_told } => {
                let again = (*may_change && !was_again).then(|| now + AGAIN);
                plug.state = State::Refused { why: why.clone(), again };
                (!was_again && !is_told).then(|| why.clone())
            }
        }
    }

    /// The sticks that are plugged in and not mounted, for people.
    pub(super) fn lines(&self) -> Vec<MediumLine> {
        let lines = self.plugs.iter().filter_map(|(stick, plug)| match &plug.state {
            State::Refused { why, .. } => Some(MediumLine {
                device: stick.node.display().to_string(),
                label: stick.label.clone(),
                state: "unmounted".into(),
                why: why.clone(),
            }),
            State::New(_) | State::InHand { .. } | State::Done => None,
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stick(plug: u64) -> Stick {
        Stick { device: (8, 17), node: "/dev/sdb1".into(), label: "POSTRIDER".into(), plug }
    }

    fn refused(may_change: bool) -> Ended {
        Ended::Not { why: "no".into(), may_change, is_told: false }
    }

    /// Sticks that are looked at in steps.
    struct Told {
        plugs: Plugs,
        now: Instant,
    }

    impl Told {
        fn new() -> Self {
            Self { plugs: Plugs::new(true), now: Instant::now() }
        }

        /// How many are wanted now, when these are plugged in and not mounted.
        fn look(&mut self, sticks: &[Stick]) -> usize {
            self.plugs.look(self.now, sticks.to_vec(), |_| false).len()
        }

        fn later(&mut self, by: Duration) -> &mut Self {
            self.now += by;
            self
        }

        /// Up to the point where it is in hand.
        fn in_hand(stick: &Stick) -> Self {
            let mut told = Self::new();
            told.look(std::slice::from_ref(stick));
            assert_eq!(told.later(GRACE).look(std::slice::from_ref(stick)), 1);
            told
        }

        fn ended(&mut self, stick: &Stick, ended: &Ended) -> Option<String> {
            self.plugs.ended(self.now, stick, ended)
        }
    }

    #[test]
    fn a_stick_is_left_to_others_for_a_moment_and_wanted_then_once() {
        let (mut told, stick) = (Told::new(), [stick(1)]);
        assert_eq!(told.look(&stick), 0);
        assert_eq!(told.later(GRACE / 2).look(&stick), 0);
        assert_eq!(told.later(GRACE / 2).look(&stick), 1);
        assert_eq!(told.later(GRACE).look(&stick), 0);
        assert!(told.plugs.holds(|held| held == &stick[0]));
    }

    #[test]
    fn one_that_somebody_mounted_is_not_wanted_even_when_they_unmount_it() {
        let (mut told, stick) = (Told::new(), vec![stick(1)]);
        assert!(told.plugs.look(told.now, stick.clone(), |_| true).is_empty());
        assert_eq!(told.later(GRACE).look(&stick), 0);
        assert_eq!(told.later(GRACE).look(&stick), 0);
        assert!(!told.plugs.holds(|_| true));
    }

    #[test]
    fn one_that_was_visited_is_wanted_again_when_it_was_gone() {
        let stick = stick(0);
        let mut told = Told::in_hand(&stick);
        assert_eq!(told.ended(&stick, &Ended::Visited(None)), None);
        let here = [stick];
        assert_eq!(told.later(GRACE).look(&here), 0);
        // udev reads it anew.
        assert_eq!(told.later(SECOND).look(&[]), 0);
        assert_eq!(told.later(SECOND / 2).look(&here), 0);
        assert_eq!(told.later(GRACE).look(&here), 0);
        told.later(GONE).look(&[]);
        assert!(told.plugs.is_empty());
        told.look(&here);
        assert_eq!(told.later(GRACE).look(&here), 1);
    }

    #[test]
    fn one_that_was_plugged_in_again_quickly_is_another() {
        let first = stick(1);
        let mut told = Told::in_hand(&first);
        told.ended(&first, &Ended::Visited(None));
        told.look(&[stick(2)]);
        assert_eq!(told.later(GRACE).look(&[stick(2)]), 1);
    }

    #[test]
    fn a_refusal_is_told_once_and_shown_until_it_is_pulled_out() {
        let stick = stick(1);
        let mut told = Told::in_hand(&stick);
        assert_eq!(told.ended(&stick, &refused(false)).as_deref(), Some("no"));
        let here = [stick];
        assert_eq!(told.later(2 * AGAIN).look(&here), 0);
        let lines = told.plugs.lines();
        assert_eq!(
            (&*lines[0].device, &*lines[0].label, &*lines[0].state, &*lines[0].why),
            ("/dev/sdb1", "POSTRIDER", "unmounted", "no")
        );
        told.later(GONE).look(&[]);
        assert!(told.plugs.lines().is_empty());
    }

    #[test]
    fn what_people_heard_of_is_shown_and_not_told_again() {
        let stick = stick(1);
        let mut told = Told::in_hand(&stick);
        let ended = Ended::Not { why: "no".into(), may_change: false, is_told: true };
        assert_eq!(told.ended(&stick, &ended), None);
        assert_eq!(told.plugs.lines().len(), 1);
    }

    #[test]
    fn what_may_change_is_tried_once_more_without_another_word() {
        let stick = stick(1);
        let mut told = Told::in_hand(&stick);
        assert!(told.ended(&stick, &refused(true)).is_some());
        let here = [stick.clone()];
        assert_eq!(told.later(AGAIN / 2).look(&here), 0);
        assert_eq!(told.later(AGAIN / 2).look(&here), 1);
        assert!(told.plugs.lines().is_empty());
        assert_eq!(told.ended(&stick, &refused(true)), None);
        assert_eq!(told.plugs.lines().len(), 1);
        assert_eq!(told.later(AGAIN).look(&here), 0);
    }

    #[test]
    fn one_that_is_mounted_by_hand_after_a_refusal_is_not_shown() {
        let stick = stick(1);
        let mut told = Told::in_hand(&stick);
        told.ended(&stick, &refused(true));
        let here = vec![stick];
        assert!(told.plugs.look(told.now, here.clone(), |_| true).is_empty());
        assert!(told.plugs.lines().is_empty());
        assert_eq!(told.later(AGAIN).look(&here), 0);
    }

    #[test]
    fn where_nothing_is_to_be_mounted_it_is_shown_only() {
        let mut told = Told { plugs: Plugs::new(false), ..Told::new() };
        told.look(&[stick(1)]);
        assert_eq!(told.later(GRACE).look(&[stick(1)]), 0);
        assert!(told.plugs.lines()[0].why.contains("mount-media"));
    }

    #[test]
    fn more_plugs_than_are_remembered_wait() {
        let mut told = Told::new();
        let many: Vec<Stick> = (0..=PLUGS_MAX as u64).map(stick).collect();
        told.look(&many);
        assert_eq!(told.later(GRACE).look(&many), PLUGS_MAX);
    }
}
