//! How a job of mine stands, from what its target said of it and what is known here: decided in one
//! place, and never more than is known.

use std::borrow::Cow;

use postrider_base::packet::State;

/// What is known of a job.
#[derive(Clone, Debug, Default)]
pub(super) struct Known<'a> {
    /// How it ended, and why, as its target said.
    pub result: Option<(State, Option<&'a str>)>,
    /// The last that its target said before that, and why.
    pub fact: Option<(&'a str, Option<&'a str>)>,
    /// How its bundle stands.
    pub sent: &'a str,
    /// Whether anything shows that a copy of it left this node.
    pub left: bool,
    /// Whether it was taken back here.
    pub taken_back: bool,
    /// Whether its time to begin is over, by this node's own clock.
    pub late: bool,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub state: &'static str,
    pub how: &'static str,
    pub exit_code: Option<u8>,
    pub signal: Option<u8>,
    pub why: Option<String>,
}

impl Known<'_> {
    /// How it stands. What its target said stands; without that a job ends only if
    /// nothing shows that a copy of it left this node.
    pub(super) fn standing(&self) -> Standing {
        if let Some((state, why)) = self.result {
            let (word, how) = ended(state);
            let said = why.map(Cow::from).or_else(|| usual_reason(state).map(Cow::from));
            return Standing {
                state: word,
                how,
                exit_code: if let State::Exited(code) = state { Some(code) } else { None },
                signal: if let State::Signalled(signal) = state { Some(signal) } else { None },
                why: said.map(Cow::into_owned),
            };
        }
        let never = |state| Standing {
            state,
            how: state,
            exit_code: None,
            signal: None,
            why: Some("no copy of it is known to have left this node".into()),
        };
        match (self.sent, self.left) {
            ("cancelled", false) => return never("cancelled"),
            ("expired", false) => return never("expired"),
            _ => {}
        }
        let state = match self.fact {
            Some(("held", _)) => "held",
            Some(("admitted", _)) => "admitted",
            Some(("running", _)) => "running",
            _ => "queued",
        };
        let mut reasons: Vec<&str> = Vec::new();
        reasons.extend(self.fact.and_then(|(_, why)| why));
        if self.taken_back {
            reasons.push("it was taken back here, and its target has not answered that");
        }
        if state == "queued" {
            reasons.extend(self.on_its_way());
        }
        if self.late && state != "running" {
            reasons
                .push("its time to begin is over, and its target has not said what became of it");
        }
        let why = (!reasons.is_empty()).then(|| reasons.join("; "));
        Standing { state, how: state, exit_code: None, signal: None, why }
    }

    fn on_its_way(&self) -> Option<&'static str> {
        Some(match (self.sent, self.left) {
            ("delivered", _) => "its target has it and has said nothing of it yet",
            ("refused", _) => "it stays here: the key of its target is revoked",
            ("cancelled", _) => "it was called back; a copy that had left may still arrive",
            ("expired", _) => "its bundle has expired here; a copy that had left may have arrived",
            ("carried", _) | (_, true) => "it is on its way",
            _ => "it has not left this node yet",
        })
    }
}

/// The word of an end, and how exactly a command ended.
fn ended(state: State) -> (&'static str, &'static str) {
    match state {
        State::Exited(_) => ("exited", "exited"),
        State::Signalled(_) => ("exited", "signalled"),
        State::Overran => ("exited", "overran"),
        State::Killed => ("exited", "killed"),
        State::Unknown => ("unknown", "unknown"),
        State::Refused => ("refused", "refused"),
        State::UnknownHandle => ("unknown-handle", "unknown-handle"),
        State::NotBegun => ("not-begun", "not-begun"),
        State::Expired => ("expired", "expired"),
        State::Cancelled => ("cancelled", "cancelled"),
        State::Superseded => ("superseded", "superseded"),
        State::Skipped => ("skipped", "skipped"),
        State::Undone => ("undone", "undone"),
    }
}

/// What is said where the target gave no reason.
fn usual_reason(state: State) -> Option<&'static str> {
    match state {
        State::Overran => Some("it took longer than it may, and was ended"),
        State::Killed => Some("somebody ended it while it ran"),
        State::Unknown => Some("it was begun, and nobody can say how it ended"),
        State::UnknownHandle => Some("its target has nothing of that name"),
        State::Superseded => Some("a newer one took its place"),
        State::Undone => Some("what it changed did not stand its trial, and is as it was"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(sent: &str) -> Known<'_> {
        Known { sent, ..Known::default() }
    }

    #[test]
    fn every_end_has_its_word_and_only_an_own_end_has_a_status() {
        for (state, word, how, code, signal) in [
            (State::Exited(3), "exited", "exited", Some(3), None),
            (State::Signalled(9), "exited", "signalled", None, Some(9)),
            (State::Overran, "exited", "overran", None, None),
            (State::Killed, "exited", "killed", None, None),
            (State::Unknown, "unknown", "unknown", None, None),
            (State::Refused, "refused", "refused", None, None),
            (State::UnknownHandle, "unknown-handle", "unknown-handle", None, None),
            (State::NotBegun, "not-begun", "not-begun", None, None),
            (State::Expired, "expired", "expired", None, None),
            (State::Cancelled, "cancelled", "cancelled", None, None),
            (State::Superseded, "superseded", "superseded", None, None),
            (State::Skipped, "skipped", "skipped", None, None),
            (State::Undone, "undone", "undone", None, None),
        ] {
            // What is known here changes nothing of what the target said.
            let fact = Some(("running", Some("busy")));
            let known = Known { result: Some((state, None)), fact, late: true, ..known("expired") };
            let stands = known.standing();
            assert_eq!((stands.state, stands.how), (word, how));
            assert_eq!((stands.exit_code, stands.signal), (code, signal), "{word}");
            assert!(!stands.why.unwrap_or_default().contains("busy"));
        }
        let refused =
            Known { result: Some((State::Refused, Some("not you"))), ..known("delivered") };
        assert_eq!(refused.standing().why.as_deref(), Some("not you"));
    }

    #[test]
    fn without_its_targets_word_a_job_ends_only_where_no_copy_left() {
        for (sent, left, state, why) in [
            ("saved", false, "queued", "has not left"),
            ("saved", true, "queued", "on its way"),
            ("carried", true, "queued", "on its way"),
            ("delivered", true, "queued", "said nothing"),
            ("refused", false, "queued", "revoked"),
            ("cancelled", false, "cancelled", "no copy"),
            ("cancelled", true, "queued", "may still arrive"),
            ("expired", false, "expired", "no copy"),
            ("expired", true, "queued", "may have arrived"),
        ] {
            let stands = Known { left, ..known(sent) }.standing();
            assert_eq!(stands.state, state, "{sent} {left}");
            assert!(stands.why.unwrap().contains(why), "{sent} {left}");
        }
    }

    #[test]
    fn a_delivered_job_that_is_late_is_no_expired_one_and_says_so() {
        let late = Known { late: true, left: true, ..known("delivered") };
        let stands = late.standing();
        assert_eq!(stands.state, "queued");
        assert!(stands.why.unwrap().contains("its time to begin is over"));
        let fact = Some(("running", None));
        assert_eq!(Known { fact, ..late }.standing().why, None);
    }

    #[test]
    fn what_was_said_last_is_the_state_and_a_word_of_mine_is_none() {
        for (word, state) in
            [("held", "held"), ("admitted", "admitted"), ("running", "running"), ("odd", "queued")]
        {
            let fact = Some((word, Some("because")));
            let known = Known { fact, taken_back: true, left: true, ..known("delivered") };
            let stands = known.standing();
            assert_eq!(stands.state, state);
            let why = stands.why.unwrap();
            assert!(why.starts_with("because; it was taken back here"), "{why}");
        }
    }
}
