//! The desk's half of a radio: what may go on the air and in which form, what is taken from there, and
//! the ledger of what was sent.
//!
//! A frame on the air is like a stick that many find: writing to it spends no tokens, and what others
//! hear of it carries few. So mail of this node, and what came to it by another way, goes on the air for
//! anybody; what it heard there is passed on if it carries more than one token, and else kept for whom
//! it is for. Flooding ends with that.

use std::collections::{BTreeMap, BTreeSet};

use postrider_base::{
    BundleId, Head, NodeId,
    bundle::{Hop, LockField, SMALL_PAYLOAD_MAX, SmallBundle},
    link::LinkFacts,
    packet::Packet,
    radio::{FormError, FrameType, Knowledge, Reader, expand, may_go_clear, pack, shrink, unpack},
    unseal::Keyring,
};
use postrider_engine::{
    air::{Lane, Span, ledger::Ledger, regions::Region},
    node::Answer,
    station::{Asks, Item, ItemId, Repeats, Source, To, Verdict, beacon::ContactKey},
};
use postrider_spool::{Class, Cursor, DurableSpool, Entry, Queue, Spool};

use super::{
    Desk, Failure, Silent, carry, clock,
    incoming::{Intake, Refusal, lock},
    ledger::{set_note, space},
    live::{Live, News},
    outlook::row_for,
    people::Shut,
};
use crate::home::{Contacts, LinkRule};

/// Bundles of one class that are on offer at a time: a channel carries some hundred in a day.
const ITEMS_MAX: usize = 64;
/// Rows that are looked at for them: what is too long for a radio does not hide the rest.
const ROWS_MAX: usize = 1024;
/// Copies that others may make of what goes to anybody: whoever hears it may pass one on.
const TOKENS: u8 = 2;
/// Receipts that are looked at for that of a bundle that just came: others may have come meanwhile.
const RECEIPTS_MAX: usize = 64;
/// A frame for one receipt.
const ONE_RECEIPT: usize = 32;

/// A radio as the desk sees it.
#[derive(Clone, Debug)]
pub struct OnAir {
    /// What the settings' rules for links go by.
    pub facts: LinkFacts,
    /// Contacts that are heard there.
    pub neighbours: BTreeSet<NodeId>,
    /// What came from there.
    pub heard: BTreeSet<ItemId>,
    /// What the radio has to send already, and to whom.
    pub given: BTreeMap<ItemId, To>,
    /// What somebody could not read in the form for whom it is: it goes in that for strangers.
    pub unread: BTreeSet<ItemId>,
}

/// What may go on the air now.
#[derive(Debug, Default)]
pub struct ForAir {
    /// All of it.
    pub wanted: BTreeMap<ItemId, BundleId>,
    /// What the radio has not got yet, or for somebody else.
    pub items: Vec<Item>,
}

/// For whom a form is made.
#[derive(Clone, Copy)]
struct For<'a> {
    to: To,
    contacts: &'a Contacts,
    /// The licensed stations, where nothing may be enciphered.
    clear: Option<&'a [NodeId]>,
}

impl Desk {
    /// Whose rules hold for radios, if that is said.
    pub fn air_region(&self) -> Option<Region> {
        self.home.config.air.region()
    }

    /// What this node's radios have spent within an hour, which is airtime, or a day, which is money;
    /// nothing where that cannot be read any more. Then all is taken for spent that may be.
    pub fn air_ledger(&self, span: Span) -> Result<Option<Ledger>, Failure> {
        let spool = self.spool(&Silent)?;
        let now_ms = spool.held_ms(clock::now());
        match spool.note(space::AIR, &ledger_key(span))? {
            None => Ok(Some(Ledger::new(span, now_ms))),
            Some(note) => Ok(Ledger::decode(&note, span, now_ms).ok()),
        }
    }

    /// Makes a ledger durable.
    pub fn keep_air_ledger(&self, span: Span, bytes: Vec<u8>) -> Result<(), Failure> {
        let spool = self.spool(&Silent)?;
        spool.commit(clock::now(), vec![set_note(space::AIR, &ledger_key(span), bytes)])?;
        Ok(())
    }

    /// By what radios know contacts.
    pub fn station_contacts(&self) -> Result<Vec<(NodeId, ContactKey)>, Failure> {
        let contacts = self.home.contacts()?;
        let chosen = contacts.iter().filter(|contact| contacts.is_known(&contact.card.node));
        Ok(chosen
            .map(|contact| (contact.card.node, ContactKey::of(contact.card.seal_key())))
            .collect())
    }

    /// What this node has, the newest last.
    pub fn held_for_air(&self, most: usize) -> Result<Vec<ItemId>, Failure> {
        let spool = self.spool(&Silent)?;
        let latest = spool.numbering().latest;
        let entries = spool.since(latest.saturating_sub(most as u64), most)?;
        Ok(entries.iter().map(|entry| ItemId::of(&entry.id)).collect())
    }

    /// What may go on the air there.
    pub fn for_air(&self, on: &OnAir) -> Result<ForAir, Failure> {
        let spool = self.spool(&Silent)?;
        let contacts = self.home.contacts()?;
        let rule = self.link_rule(&on.facts)?;
        let stations = on.facts.clear_only.then(|| self.stations(&contacts));
        let (clear, shut) = (stations.as_deref(), Shut::new(&contacts));
        let live = self.open_live(&Silent)?;
        let mut found = ForAir::default();
        for class in Class::ALL {
            let mut items = 0;
            for entry in small(spool, class, &rule)? {
                if items == ITEMS_MAX {
                    break;
                }
                let Some(to) = self.airs(spool, &contacts, on, &entry)? else { continue };
                let id = ItemId::of(&entry.id);
                if on.given.get(&id) == Some(&to) {
                    items += 1;
                    found.wanted.insert(id, entry.id);
                    continue;
                }
                let Some(envelope) = spool.envelope(&entry.id)? else { continue };
                if shut.has(&entry.summary, &envelope.head) {
                    continue;
                }
                let whom = For { to, contacts: &contacts, clear };
                if let Some(item) = self.item(&live, &entry, whom)? {
                    items += 1;
                    found.wanted.insert(id, entry.id);
                    found.items.push(item);
                }
            }
        }
        Ok(found)
    }

    /// The forms of what waits for one node, the most urgent first, of at most so many bytes.
    pub fn letters_for(
        &self,
        facts: &LinkFacts,
        node: NodeId,
        (most, most_bytes): (usize, usize),
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let on = OnAir {
            facts: facts.clone(),
            neighbours: BTreeSet::from([node]),
            heard: BTreeSet::new(),
            given: BTreeMap::new(),
            unread: BTreeSet::new(),
        };
        let items = self.for_air(&on)?.items.into_iter();
        let short = |item: &Item| item.to == To::Neighbour(node) && item.form.len() <= most_bytes;
        Ok(items.filter(short).take(most).map(|item| item.form).collect())
    }

    /// Takes what was said in a letter: a form, or receipts. What is to be said in return, and what it
    /// meant; durable when this returns.
    pub fn take_letter(&self, letter: &[u8]) -> Result<(Option<Vec<u8>>, News), Failure> {
        let live = self.open_live(&Silent)?;
        match FrameType::of(letter.first().copied().unwrap_or_default()) {
            Some(FrameType::Receipts) => {
                let Ok(list) = unpack(letter) else { return Ok((None, News::default())) };
                Ok((None, live.take_receipts(None, &list)?.1))
            }
            Some(FrameType::Bundle) => {
                let before = live.receipts_upto()?;
                let (verdict, news) = self.take_form(letter)?;
                let Verdict::Kept(id) = verdict else { return Ok((None, news)) };
                let Answer::Receipts { list, .. } = live.receipts_since(before, RECEIPTS_MAX)?
                else {
                    return Ok((None, news));
                };
                let its = list.into_iter().map(|(_, receipt)| receipt);
                let its: Vec<_> = its.filter(|receipt| receipt.id_prefix == id.0).collect();
                Ok((pack(&its, ONE_RECEIPT).into_iter().next(), news))
            }
            _ => Ok((None, News::default())),
        }
    }

    /// What is cast to all on a local network: a small bundle in its form for strangers, which goes once.
    /// `None` where it is gone, or has no form.
    pub fn item_to_cast(&self, id: &BundleId) -> Result<Option<Item>, Failure> {
        let contacts = self.home.contacts()?;
        let Some(entry) = self.spool(&Silent)?.entry(id)? else { return Ok(None) };
        let whom = For { to: To::Anybody, contacts: &contacts, clear: None };
        let item = self.item(&self.open_live(&Silent)?, &entry, whom)?;
        Ok(item.map(|item| Item { asks: Asks::Nothing, repeats: Repeats::Never, ..item }))
    }

    /// Who this is and whose station: those between whom clear mail may go.
    fn stations(&self, contacts: &Contacts) -> Vec<NodeId> {
        let named = &self.home.config.air.stations;
        let known = contacts.iter().filter(|contact| named.contains(&contact.name));
        known.map(|contact| contact.card.node).chain([self.home.card.node]).collect()
    }

    /// Whether a bundle goes on the air there, and to whom.
    fn airs(
        &self,
        spool: &DurableSpool,
        contacts: &Contacts,
        on: &OnAir,
        entry: &Entry,
    ) -> Result<Option<To>, Failure> {
        let recipient = row_for(spool, contacts, entry)?.recipient();
        let recipient = recipient.and_then(|node| NodeId::from_bytes(&node).ok());
        if let Some(node) = recipient {
            if contacts.rosters().revoked_by(&node).is_some() {
                return Ok(None);
            }
            if on.neighbours.contains(&node) && !on.unread.contains(&ItemId::of(&entry.id)) {
                return Ok(Some(To::Neighbour(node)));
            }
        }
        let stays = entry.hop.tokens <= 1 && on.heard.contains(&ItemId::of(&entry.id));
        Ok((!stays).then_some(To::Anybody))
    }

    /// A bundle in its radio form; `None` where it has none, or may not go.
    fn item(&self, live: &Live<'_>, entry: &Entry, whom: For<'_>) -> Result<Option<Item>, Failure> {
        let Some(loaded) = live.load(&entry.id)? else { return Ok(None) };
        let Ok(head) = Head::decode(&loaded.head) else { return Ok(None) };
        let bundle = SmallBundle { head, payload: loaded.payload.to_vec() };
        let header = bundle.head.header();
        if let Some(stations) = whom.clear {
            let read = Packet::decode(&bundle.payload);
            if !read.is_ok_and(|packet| may_go_clear(header, &packet, stations).is_ok()) {
                return Ok(None);
            }
        }
        let age_s = u32::try_from(entry.age_s(live.held_ms())).unwrap_or(u32::MAX);
        let hop = Hop { tokens: (entry.hop.tokens / 2).clamp(1, TOKENS), age_s, ..entry.hop };
        let me = [self.home.card.node];
        let contact = match &whom.to {
            To::Neighbour(node) => whom.contacts.of(node),
            To::Anybody => None,
        };
        let form = match contact {
            Some(contact) => {
                let seal_keys = &[*contact.card.seal_key()];
                // Whoever has answered has my card.
                let nodes = if contact.answered { &me[..] } else { &[] };
                let node = Some(&contact.card.node);
                shrink(&bundle, hop, &Reader { node, seal_keys, nodes, groups: &[] })
            }
            None => shrink(&bundle, hop, &Reader::STRANGER),
        };
        let Ok(form) = form else { return Ok(None) };
        // Whoever calls their own mail urgent is believed as far as they are known.
        let lane = match entry.class {
            Class::Own | Class::Contact => Lane::of(header.nice),
            Class::Friend | Class::Stranger => Lane::of(header.nice).max(Lane::Normal),
        };
        let left_s = header.lifetime.seconds().saturating_sub(age_s);
        let receipted = matches!(header.lock, LockField::Compact(_) | LockField::Age(_));
        let waits = entry.class == Class::Own && receipted;
        Ok(Some(Item {
            id: ItemId::of(&entry.id),
            form,
            lane,
            to: whom.to,
            source: source_of(entry),
            lives_ms: u64::from(left_s) * 1000,
            asks: if waits { Asks::Receipt } else { Asks::Nothing },
            repeats: Repeats::Ever,
        }))
    }

    /// Notes in the history of an own message that it was on the air.
    pub fn note_aired(&self, id: &BundleId) -> Result<(), Failure> {
        let spool = self.spool(&Silent)?;
        let entry = spool.entry(id)?.filter(|entry| entry.class == Class::Own);
        let entries: Vec<Entry> = entry.into_iter().collect();
        carry::remember(spool, &entries, "radio")
    }

    /// Takes a bundle in its radio form; what it means is durable when this returns.
    pub fn take_form(&self, form: &[u8]) -> Result<(Verdict, News), Failure> {
        self.take_form_telling(form, |_| {})
    }

    /// The same; which bundle it is, is told before it is durable.
    pub fn take_form_telling(
        &self,
        form: &[u8],
        tell: impl FnOnce(BundleId),
    ) -> Result<(Verdict, News), Failure> {
        let contacts = self.home.contacts()?;
        let me = self.home.card.node;
        let keys = self.home.key.seal_secrets();
        let senders: Vec<NodeId> = contacts.iter().map(|contact| contact.card.node).collect();
        let nodes: Vec<NodeId> = senders.iter().copied().chain([me]).collect();
        let groups: Vec<[u8; 16]> = contacts.rosters().iter().map(|of| of.group()).collect();
        let ring = Keyring { node: &me, keys: &keys, senders: &senders };
        let known = Knowledge { me: Some(ring), nodes: &nodes, groups: &groups };
        let (bundle, hop) = match expand(form, &known) {
            Ok(expanded) => expanded,
            Err(FormError::Unknown) => return Ok((Verdict::Unread, News::default())),
            Err(_) => return Ok((Verdict::Unwanted, News::default())),
        };
        let id = bundle.head.id(&bundle.payload);
        let item = ItemId::of(&id);
        tell(id);
        let _taking = lock(&self.taking);
        let intake = Intake::new(self, self.spool(&Silent)?)?;
        let taken = intake.take_small(&bundle.head, hop, &bundle.payload);
        let gains = intake.finish()?;
        let verdict = match taken {
            Ok(id) if gains.full.contains(&id) => Verdict::Unwanted,
            Ok(_) => Verdict::Kept(item),
            Err(Refusal::Known) => Verdict::Known(item),
            Err(Refusal::Failed(failure)) => return Err(failure),
            Err(_) => Verdict::Unwanted,
        };
        Ok((verdict, gains.into()))
    }
}

fn ledger_key(span: Span) -> [u8; 1] {
    match span {
        Span::Hour => [0],
        Span::Day => [1],
    }
}

/// What of a class is short enough for a radio.
fn small(spool: &DurableSpool, class: Class, rule: &LinkRule) -> Result<Vec<Entry>, Failure> {
    if class != Class::Own && !rule.relay {
        return Ok(Vec::new());
    }
    let longest = rule.longest.unwrap_or(u64::MAX).min(SMALL_PAYLOAD_MAX);
    let nicest = rule.nicest.unwrap_or(u8::MAX);
    let (mut found, mut looked, mut cursor) = (Vec::new(), 0, None::<Cursor>);
    while looked < ROWS_MAX {
        let limit = postrider_spool::contract::PAGE_MAX.min(ROWS_MAX - looked);
        let page = spool.page(Queue::Class(class), cursor, limit)?;
        (looked, cursor) = (looked + page.len(), page.last().map(Entry::cursor));
        let is_last = page.len() < limit;
        found.extend(
            page.into_iter()
                .filter(|entry| entry.summary.length <= longest && entry.summary.nice <= nicest),
        );
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// Who brought a bundle, as a number: this node, a neighbour, an author. All strangers are one: they have as
/// many keys as they like.
fn source_of(entry: &Entry) -> Source {
    let key = match entry.class {
        Class::Own => return Source(0),
        Class::Stranger => None,
        Class::Contact | Class::Friend => entry.from.or(entry.summary.source),
    };
    Source(key.map_or(1, |key| {
        let [a, b, c, d, e, f, g, h, ..] = key;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(2)
    }))
}
