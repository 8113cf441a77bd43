//! Who may do what here: one table for all rights, asked of whoever signed, however many nodes they
//! are away.
//!
//! A list in the settings names contacts, `@role` and `%group` of the rosters that are followed
//! (`@Relief/medic` of one of them alone), `contacts`, or `*`. Only a contact that I chose myself is
//! meant by its name: whoever introduces somebody also suggests what they are called.

use postrider_base::{NodeId, roster::Day};
use serde::{Deserialize, Serialize};

use super::Contacts;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Have mail delivered to me.
    Reach,
    /// Have mail carried by me, from them or for them.
    Relay,
    /// Have jobs run here.
    Run,
    /// Ask for files.
    Files,
    /// End the jobs of others here.
    Admin,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 5] = [Self::Reach, Self::Relay, Self::Run, Self::Files, Self::Admin];
}

/// Who may do what. Whom I block may nothing, whatever stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Acl {
    /// Whose mail is delivered.
    pub reach: Vec<String>,
    /// Whose mail is carried.
    pub relay: Vec<String>,
    /// Whose jobs are run.
    pub run: Vec<String>,
    /// Who may ask for files.
    pub files: Vec<String>,
    /// Who may end the jobs of others.
    pub admin: Vec<String>,
}

impl Default for Acl {
    fn default() -> Self {
        let everybody = || vec!["*".to_owned()];
        Self {
            reach: everybody(),
            relay: everybody(),
            run: Vec::new(),
            files: Vec::new(),
            admin: Vec::new(),
        }
    }
}

impl Acl {
    /// Whether somebody may do something. Nobody is known where an envelope hides its author.
    pub fn may(&self, contacts: &Contacts, who: Option<&NodeId>, right: Right, today: Day) -> bool {
        Self::means(self.list(right), contacts, who, today)
    }

    /// Whether somebody is meant by one of these words. Whom I block is meant by none.
    pub fn means(words: &[String], contacts: &Contacts, who: Option<&NodeId>, today: Day) -> bool {
        if who.is_some_and(|who| contacts.is_blocked(who)) {
            return false;
        }
        words.iter().any(|word| match who {
            _ if word == "*" => true,
            Some(who) => is_meant(word, contacts, who, today),
            None => false,
        })
    }

    /// The first word that can mean nobody, if there is one.
    pub(super) fn wrong_word(&self) -> Option<&str> {
        let words = Right::ALL.into_iter().flat_map(|right| self.list(right));
        words.map(String::as_str).find(|word| wrong_word(word))
    }

    fn list(&self, right: Right) -> &[String] {
        match right {
            Right::Reach => &self.reach,
            Right::Relay => &self.relay,
            Right::Run => &self.run,
            Right::Files => &self.files,
            Right::Admin => &self.admin,
        }
    }
}

/// Whether a word can mean nobody.
pub(super) fn wrong_word(word: &str) -> bool {
    let bare = word.strip_prefix(['@', '%']).unwrap_or(word);
    bare.is_empty() || bare.ends_with('/') || bare.trim() != bare
}

fn is_meant(word: &str, contacts: &Contacts, who: &NodeId, today: Day) -> bool {
    let rosters = |word: &str, role: bool| {
        let (of, word) = word.rsplit_once('/').map_or((None, word), |(of, word)| (Some(of), word));
        contacts.rosters().standing_of(who, today).any(|(roster, entry)| {
            let same =
                if role { entry.role == word } else { entry.groups.iter().any(|g| g == word) };
            same && of.is_none_or(|of| roster.name.to_lowercase() == of.to_lowercase())
        })
    };
    match word.split_at_checked(1) {
        Some(("@", role)) => rosters(role, true),
        Some(("%", group)) => rosters(group, false),
        _ if !contacts.is_chosen(who) => false,
        _ if word == "contacts" => true,
        _ => contacts.resolve(word).is_ok_and(|contact| contact.card.node == *who),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use postrider_base::{
        Card, NodeSecret, Roster,
        card::Facts,
        roster::{Entry, Member, RosterFacts},
    };

    use super::*;
    use crate::home::{Rosters, Trust};

    fn node(n: u8) -> NodeId {
        NodeSecret::from_seed([n; 32]).id()
    }

    fn card(n: u8, name: &str) -> Card {
        let secret = NodeSecret::from_seed([n; 32]);
        let seal_keys = vec![(1, secret.first_seal_key().public())];
        let (node, name, hints) = (secret.id(), name.to_owned(), vec![]);
        let facts = Facts { node, number: 1, seal_keys, name, hints, features: 0 };
        Card::sign(facts, &secret).unwrap()
    }

    /// Bob (2) is a contact, Mallory (6) a blocked one, Carol (3) was introduced as "Boss", Dora (4)
    /// a medic until day 110, Nick (5) a medic whose key is revoked, 9 a stranger.
    fn contacts() -> Contacts {
        let mut contacts = Contacts::default();
        contacts.add(card(2, "Bob"), None, Trust::Verified).unwrap();
        contacts.add(card(6, "Mallory"), None, Trust::Verified).unwrap();
        contacts.change(&node(6), |contact| contact.blocked = true);
        contacts.introduce(card(3, "Boss"), &node(2));
        let mut facts = RosterFacts {
            key: node(1),
            number: 1,
            issued: Day(100),
            name: "Relief".into(),
            entries: vec![],
        };
        for (n, revoked) in [(4, false), (5, true)] {
            facts.put(Entry {
                who: Member::Key(node(n)),
                name: format!("N{n}"),
                role: "medic".into(),
                groups: vec!["field".into()],
                until: Some(Day(110)),
                revoked,
            });
        }
        let roster = Roster::sign(&facts, &NodeSecret::from_seed([1; 32])).unwrap();
        let mut rosters = Rosters::default();
        rosters.follow(node(1), "Relief").unwrap();
        rosters.take(&roster);
        contacts.beside(Arc::new(rosters))
    }

    #[test]
    fn every_word_means_whom_it_should_and_nobody_else() {
        let contacts = contacts();
        // Bob, Carol (introduced), Dora (medic), Dora later, Nick (revoked), Mallory (blocked), a
        // stranger, nobody.
        for (words, allowed) in [
            (&["*"][..], [true, true, true, true, false, false, true, true]),
            (&[], [false; 8]),
            (&["contacts"], [true, false, false, false, false, false, false, false]),
            (&["bob"], [true, false, false, false, false, false, false, false]),
            (&["Boss"], [false; 8]),
            (&["Mallory"], [false; 8]),
            (&["@medic"], [false, false, true, false, false, false, false, false]),
            (&["@Relief/medic"], [false, false, true, false, false, false, false, false]),
            (&["@Other/medic"], [false; 8]),
            (&["@guest"], [false; 8]),
            (&["%field"], [false, false, true, false, false, false, false, false]),
            (&["%medic", "@field"], [false; 8]),
            (&["contacts", "@medic"], [true, false, true, false, false, false, false, false]),
        ] {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            let acl = Acl { reach: words.clone(), relay: vec![], ..Acl::default() };
            let asked = [(2, 110), (3, 110), (4, 110), (4, 111), (5, 110), (6, 110), (9, 110)];
            let mut said: Vec<bool> = asked
                .iter()
                .map(|(n, day)| acl.may(&contacts, Some(&node(*n)), Right::Reach, Day(*day)))
                .collect();
            said.push(acl.may(&contacts, None, Right::Reach, Day(110)));
            assert_eq!(said, allowed, "{words:?}");
            for other in [Right::Relay, Right::Run, Right::Files] {
                assert!(!acl.may(&contacts, Some(&node(2)), other, Day(110)));
            }
        }
    }

    #[test]
    fn everybody_may_reach_and_relay_and_nobody_may_more_unless_it_is_said() {
        let (acl, contacts) = (Acl::default(), contacts());
        for (right, stranger) in
            [(Right::Reach, true), (Right::Relay, true), (Right::Run, false), (Right::Files, false)]
        {
            assert_eq!(acl.may(&contacts, Some(&node(9)), right, Day(0)), stranger, "{right:?}");
            assert!(!acl.may(&contacts, Some(&node(6)), right, Day(0)), "{right:?}: blocked");
            assert!(!acl.may(&contacts, Some(&node(5)), right, Day(0)), "{right:?}: revoked");
        }
    }

    /// A clock that stands before the roster was made takes nothing from anybody.
    #[test]
    fn a_clock_in_1970_cuts_nobody_off() {
        let acl = Acl { run: vec!["@medic".into()], ..Acl::default() };
        for (today, may) in [(0, true), (99, true), (100, true), (110, true), (111, false)] {
            let said = acl.may(&contacts(), Some(&node(4)), Right::Run, Day(today));
            assert_eq!(said, may, "{today}");
        }
    }
}
