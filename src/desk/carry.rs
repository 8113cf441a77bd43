//! `pack` and `unpack`: the same exchange as one stream, for tape, CD, a pipe, a broadcast.
//!
//! A stream is one or more heads and payloads, each after its length; nothing about it needs a
//! seek. Every bundle stands for itself: a stream that breaks off costs what was not read.

use std::io::{Read, Write};

use postrider_base::{
    Head, NodeId,
    bundle::{HEAD_MAX, Hop, PAYLOAD_MAX, Receipt},
};
use postrider_spool::{Class, Cursor, Destination, DurableSpool, Entry, Queue, Spool};

use super::{
    Desk, Failure, FailureKind, Watch, clock,
    early::bringer,
    incoming::{ASIDE, Intake, Refusal, lock},
    ledger::{OwnNote, SentNote, event, space},
    people::Shut,
    receipts,
    reply::Tossed,
};
use crate::home::Contacts;

/// How a stream begins.
const MAGIC: [u8; 4] = *b"PRS1";
/// How a bundle, a receipt and the end begin.
const BUNDLE: u8 = 1;
const RECEIPT: u8 = 2;
const END: u8 = 0;
const PAGE: usize = 256;

impl Desk {
    /// Writes what waits (for these contacts, or for everybody) to a stream.
    pub fn pack(
        &self,
        whom: &[String],
        out: &mut dyn Write,
        watch: &dyn Watch,
    ) -> Result<Tossed, Failure> {
        let contacts = self.home.contacts()?;
        let mut nodes = Vec::new();
        for who in whom {
            nodes.push(contacts.resolve(who)?.card.node);
        }
        let spool = self.spool(watch)?;
        let shut = Shut::new(&contacts);
        self.tidy(spool)?;
        // What came may let the rest of a fleet go, or halt it: that goes along.
        self.advance_fleets(watch)?;
        self.advance_gets(&|_| false, watch)?;
        let mut reply = Tossed { verb: "pack".into(), safe_to_remove: true, ..Tossed::default() };
        out.write_all(&MAGIC).map_err(stream_failure)?;
        for (_, receipt) in receipts::all(spool, spool.held_ms(clock::now()))?.list {
            out.write_all(&[RECEIPT])
                .and_then(|()| out.write_all(&receipt.encode()))
                .map_err(stream_failure)?;
            reply.receipts_out += 1;
        }
        for class in Class::ALL {
            let mut cursor: Option<Cursor> = None;
            loop {
                let page = spool.page(Queue::Class(class), cursor, PAGE)?;
                let done = page.len() < PAGE;
                cursor = page.last().map(Entry::cursor);
                let mut along = Vec::new();
                for entry in page {
                    if goes_along(spool, &contacts, &shut, &entry, &nodes)? {
                        along.push(entry);
                    }
                }
                remember(spool, &along, "a stream")?;
                for entry in &along {
                    reply.bytes_out += write_bundle(spool, entry, out)?;
                    reply.out += 1;
                }
                if done {
                    break;
                }
            }
        }
        out.write_all(&[END]).and_then(|()| out.flush()).map_err(stream_failure)?;
        Ok(reply)
    }

    /// Takes what a stream brings.
    pub fn unpack(&self, from: &mut dyn Read, watch: &dyn Watch) -> Result<Tossed, Failure> {
        let taking = lock(&self.taking);
        let spool = self.spool(watch)?;
        let intake = Intake::new(self, spool)?;
        let mut reply = Tossed { verb: "unpack".into(), safe_to_remove: true, ..Tossed::default() };
        let ended = read_stream(from, &intake, &mut reply);
        // What was read before a break counts.
        let gains = intake.finish()?;
        drop(taking);
        self.settle_gets(&gains.messages, watch)?;
        reply.taken = gains.taken;
        reply.bytes_in = gains.bytes;
        gains.note_left_out(&mut reply.left_out);
        reply.delivered = gains.delivered.iter().map(ToString::to_string).collect();
        let contacts = self.home.contacts()?;
        for id in &gains.messages {
            if let Some(kept) = self.kept(spool, *id)? {
                reply.messages.push(self.describe(spool, &contacts, &kept)?);
            }
        }
        reply.skipped = reply.left_out.values().sum();
        if let Err(failure) = ended {
            if failure.kind != FailureKind::Damaged {
                return Err(failure);
            }
            reply.damaged += 1;
            reply.damaged_list.push(failure.what);
        }
        Ok(reply)
    }
}

/// Whether a bundle goes into a stream for these nodes, or for everybody. Rosters that are followed
/// go to all.
fn goes_along(
    spool: &DurableSpool,
    contacts: &Contacts,
    shut: &Shut,
    entry: &Entry,
    nodes: &[NodeId],
) -> Result<bool, Failure> {
    let Some(envelope) = spool.envelope(&entry.id)? else { return Ok(false) };
    if shut.has(&entry.summary, &envelope.head) {
        return Ok(false);
    }
    let followed = match entry.summary.destination {
        Destination::Group(group) => contacts.rosters().of_group(&group).is_some(),
        _ => false,
    };
    Ok(nodes.is_empty() || followed || is_for(spool, entry, nodes)?)
}

fn is_for(spool: &DurableSpool, entry: &Entry, nodes: &[NodeId]) -> Result<bool, Failure> {
    let to = entry.summary.destination.as_bytes();
    if nodes.iter().any(|node| node.as_bytes() == to) {
        return Ok(true);
    }
    // Our own hidden mail: only we know whom it is for.
    let own = spool.envelope(&entry.id)?.and_then(|e| e.own);
    let Some(own) = own.as_deref().and_then(OwnNote::read) else { return Ok(false) };
    let message = match own.set() {
        Some(set) => spool.note(space::SENT_SET, &set.0)?,
        None => Some(entry.id.0.to_vec()),
    };
    let Some(message) = message else { return Ok(false) };
    let sent = spool.note(space::SENT, &message)?;
    let sent = sent.as_deref().and_then(SentNote::read);
    Ok(sent.is_some_and(|sent| nodes.iter().any(|node| node.as_bytes()[..] == sent.1[..])))
}

/// Notes in the history of own messages that a copy leaves, before it does.
pub(super) fn remember(spool: &DurableSpool, leaving: &[Entry], via: &str) -> Result<(), Failure> {
    let (now, mut events) = (clock::now(), Vec::new());
    for entry in leaving.iter().filter(|entry| entry.class == Class::Own) {
        if spool.note(space::SENT, &entry.id.0)?.is_some() {
            events.push(event(&entry.id, spool.held_ms(now), 3, ("written", "", via)));
        }
    }
    if !events.is_empty() {
        // A disk that is full must not keep mail from leaving it.
        let _ = spool.commit(now, events);
    }
    Ok(())
}

fn write_bundle(spool: &DurableSpool, entry: &Entry, out: &mut dyn Write) -> Result<u64, Failure> {
    let Some(envelope) = spool.envelope(&entry.id)? else { return Ok(0) };
    let age_s = u32::try_from(entry.age_s(spool.held_ms(clock::now()))).unwrap_or(u32::MAX);
    let head_bytes = u16::try_from(envelope.head.len()).unwrap_or(u16::MAX);
    let front = [
        &[BUNDLE, entry.hop.hops][..],
        &age_s.to_be_bytes(),
        &head_bytes.to_be_bytes(),
        &envelope.head,
    ]
    .concat();
    out.write_all(&front).map_err(stream_failure)?;
    let mut chunk = vec![0; 256 * 1024];
    let mut at = 0;
    while at < entry.summary.length {
        let n = spool.read(&entry.id, at, &mut chunk)?.unwrap_or(0);
        if n == 0 {
            return Err(Failure::new(
                FailureKind::Damaged,
                format!("bundle {} cannot be read back", entry.id),
            )
            .next("postrider spool check says what is damaged; then pack again"));
        }
        out.write_all(&chunk[..n]).map_err(stream_failure)?;
        at += n as u64;
    }
    Ok(at)
}

fn read_stream(
    from: &mut dyn Read,
    intake: &Intake<'_>,
    reply: &mut Tossed,
) -> Result<(), Failure> {
    let broken = |what: &str| Failure::new(FailureKind::Damaged, what);
    let mut magic = [0; 4];
    from.read_exact(&mut magic).map_err(|_| broken("this is no Postrider stream"))?;
    if magic != MAGIC {
        return Err(broken("this is no Postrider stream"));
    }
    loop {
        let mut kind = [0];
        from.read_exact(&mut kind).map_err(|_| broken("the stream breaks off"))?;
        match kind[0] {
            END => return Ok(()),
            RECEIPT => {
                let mut bytes = [0; 25];
                from.read_exact(&mut bytes).map_err(|_| broken("the stream breaks off"))?;
                if let Ok(receipt) = Receipt::decode(&bytes) {
                    intake.take_receipt(&receipt, bringer(None))?;
                }
            }
            BUNDLE => read_bundle(from, intake, reply)?,
            _ => return Err(broken("the stream is damaged from here on")),
        }
    }
}

fn read_bundle(
    from: &mut dyn Read,
    intake: &Intake<'_>,
    reply: &mut Tossed,
) -> Result<(), Failure> {
    let broken = |what: &str| Failure::new(FailureKind::Damaged, what);
    let mut front = [0; 7];
    from.read_exact(&mut front).map_err(|_| broken("the stream breaks off"))?;
    let age_s = u32::from_be_bytes([front[1], front[2], front[3], front[4]]);
    let hop = Hop { tokens: 1, hops: front[0], age_s, level: 0 };
    let length = usize::from(u16::from_be_bytes([front[5], front[6]]));
    if length > HEAD_MAX {
        return Err(broken("the stream is damaged from here on"));
    }
    let mut head = vec![0; length];
    from.read_exact(&mut head).map_err(|_| broken("the stream breaks off"))?;
    let head = Head::decode(&head).map_err(|_| broken("the stream is damaged from here on"))?;
    let mut payload = from.take(head.header().length.min(PAYLOAD_MAX));
    let taken = intake.take_large(&head, hop, &mut payload);
    // A bundle that was not wanted is read past.
    std::io::copy(&mut payload, &mut std::io::sink()).map_err(stream_failure)?;
    match taken {
        Ok(_) | Err(Refusal::Known) => {}
        Err(Refusal::Failed(failure)) => return Err(failure),
        Err(Refusal::Aside) => {
            *reply.left_out.entry(ASIDE.to_owned()).or_default() += 1;
        }
        Err(Refusal::NotCarried(reason) | Refusal::Unwanted(reason)) => {
            *reply.left_out.entry(reason.to_owned()).or_default() += 1;
        }
        Err(Refusal::Damaged(why) | Refusal::Forged(why) | Refusal::Unreadable(why)) => {
            reply.damaged += 1;
            reply.damaged_list.push(why);
        }
    }
    Ok(())
}

fn stream_failure(error: std::io::Error) -> Failure {
    Failure::new(FailureKind::Failed, "the stream could not be read or written")
        .next("nothing was lost; do it again")
        .because(error)
}
