//! Who is meant by the words behind `--on`: decided once, when a run is made.
//!
//! ```text
//! role=pump-station @pump-station @Relief/pump-station    that role on a roster that I follow
//! group=north       %north                                that group there
//! label=pumps                                             contacts to whom I gave that label
//! pumps                                                   the same; or, where nobody has it, a name
//! ```

use postrider_base::{NodeId, roster::Day};

use crate::{
    desk::{Failure, FailureKind, jobs::issue::NOTHING_SENT},
    home::{Acl, Contact, Contacts},
};

/// Somebody who is meant, and why they are left out, if they are.
pub(super) struct Meant<'a> {
    pub contact: &'a Contact,
    pub left_out: Option<&'static str>,
}

/// Everybody who is meant, in the order of the words and each once.
pub(super) fn meant<'a>(
    contacts: &'a Contacts,
    on: &[String],
    today: Day,
) -> Result<Vec<Meant<'a>>, Failure> {
    let mut all: Vec<Meant<'a>> = Vec::new();
    for word in on.iter().flat_map(|words| words.split(',')).map(str::trim) {
        let found = of_word(contacts, word, today)?;
        if found.is_empty() {
            let what = format!("nobody here is meant by {word:?}");
            return Err(Failure::new(FailureKind::Unknown, what).next(format!(
                "{NOTHING_SENT}; role=ROLE and group=GROUP stand on a roster, label=LABEL is given: \
                 postrider contact set WHO label=LABEL"
            )));
        }
        for meant in found {
            let node: &NodeId = &meant.contact.card.node;
            if !all.iter().any(|known| known.contact.card.node == *node) {
                all.push(meant);
            }
        }
    }
    Ok(all)
}

fn of_word<'a>(contacts: &'a Contacts, word: &str, today: Day) -> Result<Vec<Meant<'a>>, Failure> {
    let shut = |contact: &Contact| {
        let node = &contact.card.node;
        match contacts.rosters().revoked_by(node) {
            Some(_) => Some("a roster revokes their key"),
            None if contact.blocked => Some("you block them"),
            None => None,
        }
    };
    // Whom a roster names is meant by what it says of them, accepted or not: it was followed for that.
    let rosters = |word: String| -> Vec<Meant<'a>> {
        let is = |contact: &&Contact| {
            Acl::means(std::slice::from_ref(&word), contacts, Some(&contact.card.node), today)
        };
        contacts
            .iter()
            .filter(is)
            .map(|contact| Meant { contact, left_out: shut(contact) })
            .collect()
    };
    // My own words for them count for those whom I chose.
    let mine = |contact: &'a Contact| {
        let waits =
            contact.pending.then_some("they were introduced, and you have not accepted them");
        Meant { contact, left_out: shut(contact).or(waits) }
    };
    let labelled = |label: &str| -> Vec<Meant<'a>> {
        contacts.iter().filter(|it| it.labels.iter().any(|it| it == label)).map(mine).collect()
    };
    Ok(match word.split_once('=') {
        Some(("role", role)) => rosters(format!("@{role}")),
        Some(("group", group)) => rosters(format!("%{group}")),
        Some(("label", label)) => labelled(label),
        _ if word.starts_with(['@', '%']) => rosters(word.to_owned()),
        _ => match labelled(word) {
            all if all.is_empty() => contacts.resolve(word).ok().map(mine).into_iter().collect(),
            all => all,
        },
    })
}
