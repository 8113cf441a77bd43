//! What was asked for comes: its head is judged, its body hashed and handed on piece by piece, and
//! when it is whole it is given to the spool.

use blake3::Hasher;
use bytes::Bytes;
use postrider_base::bundle::SMALL_PAYLOAD_MAX;

use super::{Incoming, Receiving, State, examine::examine};
use crate::{
    exchange::{
        aged,
        peer::Peer,
        unit::{Begin, Unit},
    },
    node::{
        Body, Custody, Ending, Event, Kept, NewBundle, Output, Reason, Row, Verdict, Violation,
        core::{Core, Task},
        partials::{Partial, Said},
    },
};

impl Receiving {
    /// A bundle begins.
    pub fn begin(&mut self, core: &mut Core, peer: &Peer, begin: Begin) -> Result<(), Ending> {
        let handle = begin.handle;
        let fits = |incoming: &Incoming| {
            let unasked = incoming.state.is_unasked() && incoming.is_small();
            matches!(incoming.state, State::Wanted(_)) || unasked
        };
        let Some(offer) = self.expected(handle, fits)? else {
            return Ok(());
        };
        let unasked = self.offers.get(&handle).is_some_and(|i| i.state.is_unasked());
        if unasked && !self.take_given(core, peer, handle, &offer) {
            return Ok(());
        }
        match examine(core, peer, &offer, &begin) {
            Ok((row, custody, _)) if offer.length <= SMALL_PAYLOAD_MAX => {
                core.arrivals.set_keeping(&offer.id);
                self.set_state(handle, State::Keeping);
                let body = Body::Inline(begin.payload);
                let bundle = NewBundle { row, head: begin.head, custody, worth: 0, body };
                core.keep(peer.link, handle, bundle);
            }
            Ok((row, custody, hash)) => {
                self.begin_body(core, peer, handle, (begin.head, row, custody, hash));
            }
            Err(verdict) => self.reject(core, peer, handle, verdict)?,
        }
        Ok(())
    }

    fn begin_body(
        &mut self,
        core: &mut Core,
        peer: &Peer,
        handle: u32,
        (head, mut row, custody, hash): (Bytes, Row, Custody, [u8; 32]),
    ) {
        let short = row.short();
        let (now, link) = (core.now, peer.link);
        if let Some(partial) = core.arrivals.body(&short, now.mono_ms) {
            // The head is the same, since the id is. Its hop data may differ: the older age holds.
            let had = aged(partial.row.hop, now.held_ms.saturating_sub(partial.begun_held_ms));
            row.hop.age_s = row.hop.age_s.max(had.age_s);
            let at = partial.at;
            partial.mixed = true;
            (partial.row, partial.custody, partial.begun_held_ms) = (row, custody, now.held_ms);
            (partial.begun_ms, partial.begun_at) = (now.mono_ms, at);
            // The Want has said so.
            partial.said = Said { at, ms: now.mono_ms };
            partial.head = head;
            core.event(Event::Resumed { link, id: short, at });
        } else {
            let transfer = core.new_transfer();
            let (id, length) = (row.id, row.length);
            let stage = Output::Stage { transfer, id, length, head: head.clone(), custody };
            let partial = Partial {
                transfer,
                at: 0,
                mixed: false,
                hasher: Box::new(Hasher::new()),
                hash,
                head,
                row,
                custody,
                begun_held_ms: now.held_ms,
                begun_ms: now.mono_ms,
                begun_at: 0,
                said: Said { at: 0, ms: now.mono_ms },
            };
            core.arrivals.begin(&short, partial);
            core.outputs.push_back(stage);
        }
        if let Some(incoming) = self.offers.get_mut(&handle)
            && let State::Wanted(bytes) = incoming.state
        {
            incoming.state = State::Arriving(bytes);
        }
    }

    /// The next bytes of a body.
    pub fn data(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        handle: u32,
        bytes: Bytes,
    ) -> Result<(), Ending> {
        let arriving = |incoming: &Incoming| matches!(incoming.state, State::Arriving(_));
        let Some(offer) = self.expected(handle, arriving)? else {
            return Ok(());
        };
        let (now, short) = (core.now, offer.id);
        let Some(partial) = core.arrivals.body(&short, now.mono_ms) else { return Ok(()) };
        let length = bytes.len() as u64;
        if partial.at + length > partial.row.length {
            return Err(Ending::Protocol(Violation::Limit));
        }
        partial.hasher.update(&bytes);
        partial.at += length;
        let whole = partial.at == partial.row.length;
        // Bytes that another link brought are not this one's fault.
        let mixed = partial.mixed;
        let sound = !whole || partial.hasher.finalize() == blake3::Hash::from(partial.hash);
        let (transfer, carried) = (partial.transfer, partial.custody == Custody::Carry);
        let have = (!whole && !carried && peer.takes_have())
            .then(|| partial.said.next(partial.at, now.mono_ms))
            .flatten();
        self.shrink_window(handle, length);
        core.outputs.push_back(Output::Append { transfer, bytes });
        let held_ms = now.held_ms.saturating_sub(partial.begun_held_ms);
        let hop = aged(partial.row.hop, held_ms);
        // It was in time when it began. The older age of two links may be a lie, as bytes may be.
        let over = whole
            && partial.custody == Custody::Carry
            && u64::from(hop.age_s) >= u64::from(partial.row.lifetime_s);
        if let Some(at) = have {
            peer.send(core, &Unit::Have { handle, at });
        }
        if !sound || over {
            core.outputs.push_back(Output::Drop { transfer });
            let (_, waiting, _) = core.arrivals.finish(&short);
            core.tasks.push_back(Task::Stopped(short));
            core.tasks.extend(waiting.into_iter().map(Task::Retry));
            let verdict = match (mixed, sound) {
                (true, _) => Verdict::Later(1),
                (false, true) => Verdict::Refused(Reason::Expired),
                (false, false) => Verdict::Damaged,
            };
            return self.reject(core, peer, handle, verdict);
        }
        if whole && let Some(partial) = core.arrivals.set_keeping(&short) {
            self.set_state(handle, State::Keeping);
            let row = Row { hop, ..partial.row };
            let body = Body::Staged(transfer);
            let (head, custody) = (partial.head, partial.custody);
            let bundle = NewBundle { row, head, custody, worth: 0, body };
            core.keep(peer.link, handle, bundle);
        } else if carried {
            core.tasks.push_back(Task::Passing(short));
        }
        Ok(())
    }

    /// The commit of a bundle from this link returned.
    pub fn take_kept(&mut self, core: &mut Core, peer: &Peer, handle: u32, kept: Option<Kept>) {
        let verdict = match kept {
            Some(Kept::Kept) => Verdict::Kept,
            Some(Kept::Known) => Verdict::Known,
            Some(Kept::Refused) => Verdict::Refused(Reason::Other),
            Some(Kept::Full) | None => Verdict::Later(core.local.policy.later_s),
        };
        self.resolve(core, peer, handle, verdict);
    }

    /// What was staged for it is lost.
    pub fn lost(&mut self, core: &mut Core, peer: &mut Peer, handle: u32) {
        peer.send(core, &Unit::Stop(vec![handle]));
        let later = Verdict::Later(core.local.policy.later_s);
        self.resolve(core, peer, handle, later);
    }
}
