//! `roster`: which rosters I follow or make, and how a new one spreads.
//!
//! A node that follows a key holds one bundle of the newest roster that it has, and writes one where
//! there is none: so what was revoked stays revoked, however long ago that was.

use std::path::PathBuf;

use postrider_base::{
    Card, Lifetime, Niceness, NodeId, Roster,
    bundle::{Destination, Sequence},
    compose::{Letter, Padding, Privacy, To, seal},
    packet::{Body, Packet, Tail},
    roster::{Day, Entry, Member, RosterFacts, Standing},
};
use postrider_spool::{
    Body as SpoolBody, Change, Class, DurableSpool, Entry as Row, Queue, Spool, Why,
};
use serde::{Deserialize, Serialize};

use super::{
    Desk, Failure, FailureKind, Silent, Watch, clock, hex,
    incoming::{is_here, roster_of, whole},
    ledger::used,
    outgoing::compose_failure,
    people::name_of,
    reply::{MemberLine, RosterLine},
    store::own_bundle,
};
use crate::home::{Contacts, Followed, Rosters, Taken};

/// How long a bundle of a roster lives with those who do not follow it. Followers write another one
/// in time, so this is how long strangers carry what nobody wants.
const LIFETIME: Option<Lifetime> = Lifetime::new(365 * 86_400);
/// How long before its end an entry is spoken of.
pub(super) const WARN_DAYS: u32 = 21;
const PAGE: usize = 256;

/// A change to a roster.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RosterChange {
    /// A first, empty one.
    Begin,
    /// Somebody is on it, as this; what is left out stays as it was.
    Add {
        /// A contact's name, or a node's id.
        who: String,
        /// Their role; nothing takes it away.
        role: Option<String>,
        /// Their groups.
        groups: Option<Vec<String>>,
        /// The last day, since 1970; 0 is none.
        until: Option<u32>,
    },
    /// Somebody's key counts no more.
    Revoke {
        /// A contact's name, a node's id, or a name on the roster.
        who: String,
    },
}

impl Desk {
    /// Rosters that are followed.
    pub fn rosters(&self) -> Result<Vec<RosterLine>, Failure> {
        let contacts = self.home.contacts()?;
        Ok(contacts.rosters().iter().map(roster_line).collect())
    }

    /// Who is on a roster.
    pub fn roster_members(&self, which: Option<&str>) -> Result<Vec<MemberLine>, Failure> {
        let contacts = self.home.contacts()?;
        let followed = choose(contacts.rosters(), which)?;
        let Some(roster) = &followed.roster else { return Err(not_here(followed)) };
        let today = clock::today();
        let line = |entry| member_line(&contacts, followed, roster, entry, today);
        Ok(roster.entries.iter().map(line).collect())
    }

    /// The bytes of the newest of a roster.
    pub fn roster_bytes(&self, which: Option<&str>) -> Result<Vec<u8>, Failure> {
        let contacts = self.home.contacts()?;
        let followed = choose(contacts.rosters(), which)?;
        let roster = followed.roster.as_ref().ok_or_else(|| not_here(followed))?;
        Ok(roster.as_bytes().to_vec())
    }

    /// Begins a roster of one's own: signed with this node's key, or with one in a file elsewhere.
    pub fn begin_roster(
        &self,
        name: &str,
        with: Option<(NodeId, PathBuf)>,
    ) -> Result<RosterLine, Failure> {
        let (key, file) = match with {
            Some((key, file)) => (key, Some(file)),
            None => (self.home.card.node, None),
        };
        let made = self.home.contacts()?;
        if let Some(made) = made.rosters().of(&key).filter(|of| of.made_with.is_some()) {
            return Err(Failure::new(
                FailureKind::Usage,
                format!("that key makes the roster {} already", made.name),
            )
            .next("nothing was changed; another needs a key of its own: --key FILE"));
        }
        // What cannot be signed is said before anything is written.
        RosterFacts::decode(&first(key, name).encode())?;
        self.home.edit_rosters(|rosters| {
            rosters.follow(key, name)?;
            rosters.make_with(&key, file);
            Ok(())
        })?;
        self.change_roster(Some(&key.to_string()), &RosterChange::Begin, &Silent)
    }

    /// Changes a roster. Where its key is this node's own the new one is signed and on its way; else
    /// the reply has what is to be signed, for [`Self::take_roster`].
    pub fn change_roster(
        &self,
        which: Option<&str>,
        change: &RosterChange,
        watch: &dyn Watch,
    ) -> Result<RosterLine, Failure> {
        let contacts = self.home.contacts()?;
        let followed = match which {
            Some(_) => choose(contacts.rosters(), which)?,
            None => choose_made(contacts.rosters())?,
        };
        let mut facts = match &followed.roster {
            Some(roster) if !matches!(change, RosterChange::Begin) => (**roster).clone(),
            Some(_) => return Ok(roster_line(followed)),
            None => first(followed.key, &followed.name),
        };
        if followed.roster.is_some() {
            facts.number = facts.number.saturating_add(1);
            // A clock that was set back does not make a roster older than it is.
            facts.issued = facts.issued.max(clock::today());
        }
        apply(&mut facts, &contacts, change, &self.home.card)?;
        if followed.key == self.home.card.node {
            let roster = Roster::sign(&facts, &self.home.key.node)?;
            return self.take_roster(&roster, watch);
        }
        RosterFacts::decode(&facts.encode())?;
        Ok(RosterLine { draft: Some(hex(&facts.encode())), ..roster_line(followed) })
    }

    /// Takes a roster that is followed, from a file or fresh from its key, and sends it on.
    pub fn take_roster(&self, roster: &Roster, watch: &dyn Watch) -> Result<RosterLine, Failure> {
        match self.home.take_roster(roster)? {
            Taken::NotFollowed => {
                return Err(Failure::new(
                    FailureKind::Refused,
                    format!("the roster {} is not followed", roster.name),
                )
                .next("nothing was changed; follow it: postrider roster follow FILE"));
            }
            Taken::Older => {
                return Err(Failure::new(FailureKind::Refused, "a newer one of it is known")
                    .next("nothing was changed; see it: postrider roster show"));
            }
            Taken::Same | Taken::Newer => {}
        }
        self.spread(self.spool(watch)?, &roster.key)?;
        self.line_of(&roster.key)
    }

    /// The roster in a message that a contact sent.
    pub fn roster_in_message(&self, id: &str, watch: &dyn Watch) -> Result<Roster, Failure> {
        match self.find_received(self.spool(watch)?, id)?.packet.body {
            Body::Roster(bytes) => Ok(Roster::decode(&bytes)?),
            _ => Err(Failure::new(FailureKind::Unknown, "no roster came with that message")
                .next("nothing was changed; see what came: postrider inbox")),
        }
    }

    /// Follows a key, and takes what is known of it: the roster that came with it, or one that is
    /// carried here already.
    pub fn follow_roster(
        &self,
        key: NodeId,
        roster: Option<&Roster>,
        watch: &dyn Watch,
    ) -> Result<RosterLine, Failure> {
        let name = roster.map_or_else(|| Followed::short(&key), |roster| roster.name.clone());
        self.home.edit_rosters(|rosters| rosters.follow(key, &name))?;
        if let Some(roster) = roster {
            self.home.take_roster(roster)?;
        }
        self.spread(self.spool(watch)?, &key)?;
        self.line_of(&key)
    }

    /// Follows a roster no more.
    pub fn leave_roster(&self, which: &str) -> Result<RosterLine, Failure> {
        let contacts = self.home.contacts()?;
        let followed = choose(contacts.rosters(), Some(which))?;
        self.home.leave_roster(&followed.key)?;
        Ok(roster_line(followed))
    }

    /// Writes a bundle of every roster of which there is none.
    pub(super) fn renew_rosters(&self, spool: &DurableSpool) -> Result<(), Failure> {
        let contacts = self.home.contacts()?;
        for followed in contacts.rosters().iter() {
            let Some(roster) = &followed.roster else { continue };
            if !is_here(spool, roster)? {
                self.spread(spool, &followed.key)?;
            }
        }
        Ok(())
    }

    /// Brings the spool and what is known of a roster together: the newest is taken, one bundle of it
    /// stays or is written, and all others are let go.
    fn spread(&self, spool: &DurableSpool, key: &NodeId) -> Result<(), Failure> {
        let queue = match self.home.contacts()?.rosters().of(key) {
            Some(followed) => queue_of(followed),
            None => return Ok(()),
        };
        let mut here = Vec::new();
        let mut cursor = None;
        loop {
            let page = spool.page(queue, cursor, PAGE)?;
            cursor = page.last().map(Row::cursor);
            let done = page.len() < PAGE;
            for row in page {
                let found = whole(spool, &row)?;
                let roster = found.and_then(|(head, payload)| roster_of(&head, &payload));
                if let Some(roster) = &roster {
                    self.home.take_roster(roster)?;
                }
                here.push((row.id, roster.map(|roster| roster.number)));
            }
            if done {
                break;
            }
        }
        let contacts = self.home.contacts()?;
        let newest = contacts.rosters().of(key).and_then(|followed| followed.roster.as_ref());
        let number = newest.map(|roster| roster.number);
        let kept = here.iter().find(|(_, of)| of.is_some() && *of == number).map(|(id, _)| *id);
        let gone = here.iter().filter(|(id, _)| Some(*id) != kept);
        let retire = gone.map(|(id, _)| Change::Retire { id: *id, why: Why::Cancelled });
        let retire: Vec<Change> = retire.collect();
        let mut rest = retire.into_iter().peekable();
        while rest.peek().is_some() {
            spool.commit(clock::now(), rest.by_ref().take(1024).collect())?;
        }
        match newest {
            Some(roster) if kept.is_none() => self.publish(spool, roster),
            _ => Ok(()),
        }
    }

    /// A bundle of a roster for whoever follows it, open, so that anybody carries it.
    fn publish(&self, spool: &DurableSpool, roster: &Roster) -> Result<(), Failure> {
        let group = Destination::Group(roster.group());
        let sequence = spool.take_sequence(&group.into())?;
        let letter = Letter {
            author: &self.home.key.node,
            to: To::Public(group),
            sequence: Sequence::from(sequence),
            created: clock::wall_s(),
            lifetime: LIFETIME.unwrap_or(Lifetime::DEFAULT),
            nice: Niceness::PRIORITY,
            privacy: Privacy::Open,
            padding: Padding::Bare,
        };
        let body = Body::Roster(roster.as_bytes().to_vec());
        let packet = Packet { body, tail: Tail::default() }.encode();
        let sealed = seal(&letter, &packet, &clock::random()?).map_err(compose_failure)?;
        let mut bundle =
            own_bundle(sealed.id, &sealed.head, SpoolBody::Inline(sealed.payload), Vec::new());
        // Nobody waits for a receipt of it: it is carried as everybody's is who follows the same.
        (bundle.class, bundle.own) = (Class::Contact, None);
        let changes = used(sequence).into_iter().chain([Change::Bundle(bundle)]).collect();
        spool.commit(clock::now(), changes)?;
        Ok(())
    }

    fn line_of(&self, key: &NodeId) -> Result<RosterLine, Failure> {
        let contacts = self.home.contacts()?;
        let gone = || Failure::new(FailureKind::Unknown, "that roster is no longer followed");
        Ok(roster_line(contacts.rosters().of(key).ok_or_else(gone)?))
    }

    /// What is to be said of rosters where this node's health is asked for.
    pub(super) fn roster_ills(&self, contacts: &Contacts) -> Vec<String> {
        let (me, today) = (self.home.card.node, clock::today());
        let rosters = contacts.rosters();
        let mut ills = Vec::new();
        if rosters.damaged() > 0 {
            ills.push("a roster's file is damaged; the one before is used".to_owned());
        }
        for followed in rosters.iter() {
            let Some(roster) = &followed.roster else { continue };
            let name = &followed.name;
            if let Some(mine) = roster.entry(&me) {
                match (roster.standing(mine, today), mine.until) {
                    (Standing::Revoked, _) => ills.push(format!(
                        "this node's key is revoked by {name}: its followers refuse what it sends"
                    )),
                    (Standing::Ended, _) => {
                        ills.push(format!("this node's place in {name} has ended"));
                    }
                    (Standing::Good, Some(until)) if ends_soon(roster, until, today) => {
                        let days = until.0.saturating_sub(today.0);
                        ills.push(format!("this node's place in {name} ends in {days} days"));
                    }
                    _ => {}
                }
            }
            if followed.made_with.is_some() {
                let soon = roster.entries.iter().filter(|entry| {
                    entry.node() != me
                        && roster.standing(entry, today) == Standing::Good
                        && entry.until.is_some_and(|until| ends_soon(roster, until, today))
                });
                match soon.count() {
                    0 => {}
                    n => ills.push(format!("{n} on the roster {name} end within {WARN_DAYS} days")),
                }
            }
        }
        ills
    }
}

/// Whether a last day is near. Of a clock that stands before the roster nothing is believed.
fn ends_soon(roster: &RosterFacts, until: Day, today: Day) -> bool {
    today >= roster.issued && until.0.saturating_sub(today.0) <= WARN_DAYS
}

fn queue_of(followed: &Followed) -> Queue {
    Queue::Destination(postrider_spool::Destination::Group(followed.group()))
}

fn choose<'a>(rosters: &'a Rosters, which: Option<&str>) -> Result<&'a Followed, Failure> {
    let all = "see them: postrider roster ls";
    match which {
        Some(which) => rosters.resolve(which).ok_or_else(|| {
            Failure::new(FailureKind::Unknown, format!("no roster is called {which}")).next(all)
        }),
        None => {
            let mut several = rosters.iter();
            match (several.next(), several.next()) {
                (Some(only), None) => Ok(only),
                (None, _) => Err(Failure::new(FailureKind::Unknown, "no roster is followed").next(
                    "follow one: postrider roster follow FILE; make one: postrider roster new NAME",
                )),
                _ => {
                    Err(Failure::new(FailureKind::Usage, "several rosters are followed").next(all))
                }
            }
        }
    }
}

fn choose_made(rosters: &Rosters) -> Result<&Followed, Failure> {
    let mut made = rosters.iter().filter(|followed| followed.made_with.is_some());
    match (made.next(), made.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Failure::new(FailureKind::Unknown, "no roster is made here")
            .next("make one: postrider roster new NAME")),
        _ => Err(Failure::new(FailureKind::Usage, "several rosters are made here")
            .next("nothing was changed; say which: --roster NAME")),
    }
}

fn not_here(followed: &Followed) -> Failure {
    Failure::new(FailureKind::Failed, format!("no roster of {} has come yet", followed.name))
        .next("it comes with the next link or stick of anybody who has it")
}

/// A first roster, with nobody on it.
fn first(key: NodeId, name: &str) -> RosterFacts {
    let (name, issued) = (name.to_owned(), clock::today());
    RosterFacts { key, number: 1, issued, name, entries: Vec::new() }
}

/// Makes a change to what a roster says.
fn apply(
    facts: &mut RosterFacts,
    contacts: &Contacts,
    change: &RosterChange,
    me: &Card,
) -> Result<(), Failure> {
    match change {
        RosterChange::Begin => {}
        RosterChange::Add { who, role, groups, until } => {
            let mut entry = entry_of(facts, contacts, who, me)?;
            entry.revoked = false;
            entry.role = role.clone().unwrap_or(entry.role);
            entry.groups = groups.clone().unwrap_or(entry.groups);
            entry.until = match until {
                None => entry.until,
                Some(0) => None,
                Some(day) => Some(Day(*day)),
            };
            facts.put(entry);
        }
        RosterChange::Revoke { who } => {
            let entry = entry_of(facts, contacts, who, me)?;
            let node = entry.node();
            if node == me.node {
                return Err(Failure::new(FailureKind::Usage, "that is this node itself")
                    .next("nothing was changed; another who has the roster's key can do that"));
            }
            // Without the card: nobody need write to them by it.
            facts.put(Entry { who: Member::Key(node), revoked: true, ..entry });
        }
    }
    Ok(())
}

/// The entry of somebody, with their newest card, or a new one.
fn entry_of(
    facts: &RosterFacts,
    contacts: &Contacts,
    who: &str,
    me: &Card,
) -> Result<Entry, Failure> {
    let listed = || {
        let mut same = facts.entries.iter().filter(|entry| entry.name == who);
        same.next().filter(|_| same.next().is_none()).map(Entry::node)
    };
    let node = match (who.parse::<NodeId>(), contacts.resolve(who)) {
        (Ok(node), _) => node,
        (_, Ok(contact)) => contact.card.node,
        (_, Err(error)) => listed().ok_or(error)?,
    };
    let contact = contacts.of(&node);
    let known = facts.entry(&node).cloned();
    let mine = contact.map(|contact| &contact.card).or((node == me.node).then_some(me));
    let card = match (mine, known.as_ref().and_then(Entry::card)) {
        (Some(mine), Some(theirs)) if theirs.number > mine.number => Some(theirs),
        (mine, theirs) => mine.or(theirs),
    };
    let who = card.map_or(Member::Key(node), |card| Member::Card(Box::new(card.clone())));
    let name = || match contact {
        Some(contact) => contact.name.clone(),
        None if node == me.node && !me.name.trim().is_empty() => me.name.trim().to_owned(),
        None => Followed::short(&node),
    };
    Ok(match known {
        Some(entry) => Entry { who, ..entry },
        None => Entry {
            who,
            name: name(),
            role: String::new(),
            groups: Vec::new(),
            until: None,
            revoked: false,
        },
    })
}

fn roster_line(followed: &Followed) -> RosterLine {
    let roster = followed.roster.as_ref();
    let count = |revoked| {
        let entries = roster.into_iter().flat_map(|roster| &roster.entries);
        entries.filter(|entry| entry.revoked == revoked).count()
    };
    let file = followed.made_with.as_ref().and_then(Option::as_ref);
    RosterLine {
        name: followed.name.clone(),
        key: followed.key.to_string(),
        number: roster.map_or(0, |roster| roster.number),
        issued: roster.map(|roster| date(roster.issued)),
        members: count(false) as u64,
        revoked: count(true) as u64,
        made_here: followed.made_with.is_some(),
        key_file: file.map(|file| file.display().to_string()),
        draft: None,
    }
}

fn member_line(
    contacts: &Contacts,
    followed: &Followed,
    roster: &RosterFacts,
    entry: &Entry,
    today: Day,
) -> MemberLine {
    let state = match roster.standing(entry, today) {
        Standing::Good => "good",
        Standing::Ended => "ended",
        Standing::Revoked => "revoked",
    };
    MemberLine {
        roster: followed.name.clone(),
        name: entry.name.clone(),
        id: entry.node().to_string(),
        contact: contacts.of(&entry.node()).map(|_| name_of(contacts, &entry.node())),
        role: entry.role.clone(),
        groups: entry.groups.clone(),
        until: entry.until.map(date),
        state: state.into(),
    }
}

/// A day as people write it, by the proleptic Gregorian calendar.
pub(crate) fn date(day: Day) -> String {
    // Days to a civil date: years begin in March, so that the leap day is the last of its year.
    let shifted = u64::from(day.0) + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{of_month:02}")
}

/// The day of a date such as 2026-12-31.
pub fn day_of(text: &str) -> Option<Day> {
    let mut parts = text.split('-').map(|part| part.parse::<u32>().ok());
    let (Some(Some(year)), Some(Some(month)), Some(Some(of_month)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || of_month == 0 {
        return None;
    }
    let (year, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * shifted + 2) / 5 + of_month - 1;
    let (era, year_of_era) = (year / 400, year % 400);
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let day = Day((era * 146_097 + of_era).checked_sub(719_468)?);
    // A 31st of April is no day.
    (date(day) == text).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates_and_back() {
        for (day, text) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (20_785, "2026-11-28"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(Day(day)), text);
            assert_eq!(day_of(text), Some(Day(day)), "{text}");
        }
        for wrong in ["", "2026", "2026-02-29", "2026-13-01", "2026-1-1", "1969-12-31", "x-y-z"] {
            assert_eq!(day_of(wrong), None, "{wrong}");
        }
        (0..60_000).for_each(|day| assert_eq!(day_of(&date(Day(day))), Some(Day(day))));
    }
}
