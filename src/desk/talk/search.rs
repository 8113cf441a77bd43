//! `search`: which messages say something. It reads the notes one after the other; there is no index
//! of what anybody wrote.

use std::collections::BTreeMap;

use postrider_base::{BundleId, NodeId};

use crate::{
    desk::{Desk, Event, Failure, FailureKind, Watch, reply::Said},
    home::Contacts,
};

/// Most messages that are shown, and most bytes of them in memory: the newest.
const FOUND_MAX: usize = 1000;
const FOUND_BYTES: usize = 16 << 20;

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct SearchRequest {
    /// All of these stand in its text or the names of its files.
    pub words: Vec<String>,
    /// By whom: a contact, or `me`.
    pub from: Option<String>,
    /// To whom: a contact, or `me`.
    pub to: Option<String>,
}

/// Somebody at one end of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Me,
    Them(NodeId),
}

/// The newest of what was found.
#[derive(Default)]
struct Found {
    said: BTreeMap<(u64, BundleId), Said>,
    bytes: usize,
    left_out: u64,
}

impl Desk {
    /// The messages that say all of some words, newest last.
    pub fn search(&self, request: &SearchRequest, watch: &dyn Watch) -> Result<Vec<Said>, Failure> {
        let words: Vec<String> =
            request.words.iter().map(|word| fold(word)).filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            return Err(Failure::new(FailureKind::Usage, "there is no word to look for")
                .next("postrider search WORDS"));
        }
        let spool = self.spool(watch)?;
        let contacts = self.home.contacts()?;
        let from = request.from.as_deref().map(|who| meant(&contacts, who)).transpose()?;
        let to = request.to.as_deref().map(|who| meant(&contacts, who)).transpose()?;
        let wanted = |author: Who, reader: Who| {
            from.is_none_or(|from| from == author) && to.is_none_or(|to| to == reader)
        };
        let mut found = Found::default();
        self.each_received(spool, &mut |kept| {
            if wanted(Who::Them(kept.author), Who::Me) {
                let said = self.said_to_me(spool, &contacts, &kept)?;
                if says(&words, &said.text, said.files.iter().map(|file| &*file.name)) {
                    found.add((kept.note.3, kept.id), said);
                }
            }
            Ok(())
        })?;
        self.each_written(spool, &mut |mine| {
            // Before it is asked how it stands, which takes longer.
            if wanted(Who::Me, Who::Them(mine.to))
                && says(&words, mine.note.text(), mine.note.files().map(|(name, ..)| name))
            {
                found.add((mine.sent.2, mine.id), self.said_by_me(spool, &contacts, &mine)?);
            }
            Ok(())
        })?;
        if found.left_out > 0 {
            let older = found.left_out;
            watch
                .event(Event::Note(format!("{older} older messages are left out: say more words")));
        }
        Ok(found.said.into_values().collect())
    }
}

impl Found {
    fn add(&mut self, key: (u64, BundleId), said: Said) {
        self.bytes += size(&said);
        if let Some(same) = self.said.insert(key, said) {
            self.bytes = self.bytes.saturating_sub(size(&same));
        }
        // The newest stays, whatever it takes.
        while self.said.len() > FOUND_MAX || self.bytes > FOUND_BYTES && self.said.len() > 1 {
            if let Some((_, oldest)) = self.said.pop_first() {
                self.bytes = self.bytes.saturating_sub(size(&oldest));
                self.left_out += 1;
            }
        }
    }
}

/// Whether all words stand in a text or in names.
fn says<'a>(words: &[String], text: &str, names: impl Iterator<Item = &'a str>) -> bool {
    let text = fold(text);
    let names: Vec<String> = names.map(fold).collect();
    let stands = |word: &str| text.contains(word) || names.iter().any(|name| name.contains(word));
    words.iter().all(|word| stands(word))
}

/// What a message takes in memory, roughly.
fn size(said: &Said) -> usize {
    /// Ids, names, hashes.
    const REST: usize = 512;
    /// A hash in digits, and what holds it.
    const FILE: usize = 128;
    REST + said.text.len() + said.files.iter().map(|file| file.name.len() + FILE).sum::<usize>()
}

/// A text for comparing: without a difference of case in any script. By characters, so that a final
/// sigma is as any other.
fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

fn meant(contacts: &Contacts, who: &str) -> Result<Who, Failure> {
    match contacts.resolve(who) {
        Ok(contact) => Ok(Who::Them(contact.card.node)),
        Err(_) if who == "me" => Ok(Who::Me),
        // Whoever wrote and is no contact.
        Err(error) => who.parse().map(Who::Them).map_err(|_| error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_no_difference_in_any_script() {
        for (a, b) in
            [("STRASSE", "Straße"), ("ΟΔΟΣ", "οδος"), ("Žluťoučký", "žLUŤOUČKÝ"), ("ДОМ", "дом")]
        {
            assert_eq!(fold(a), fold(b), "{a} {b}");
        }
        assert_ne!(fold("a"), fold("ä"));
    }

    #[test]
    fn the_newest_that_fit_are_kept() {
        let said = |n: usize| Said {
            id: n.to_string(),
            from: String::new(),
            to: String::new(),
            kind: "mail".into(),
            text: format!("word {}", "x".repeat(60_000)),
            files: Vec::new(),
            age_s: 0,
            read: true,
            state: "saved".into(),
            reply_to: None,
            answered_is_here: false,
            mine: true,
            peer: String::new(),
            known_peer: true,
        };
        let mut found = Found::default();
        for n in 0..600 {
            found.add((n, BundleId([0; 32])), said(usize::try_from(n).unwrap()));
        }
        assert!(found.bytes <= FOUND_BYTES && found.said.len() > 200);
        assert_eq!(found.said.len() as u64 + found.left_out, 600);
        assert_eq!(found.said.last_key_value().unwrap().0.0, 599);
    }
}
