//! `contact introduce`, `roster send`: a card or a roster for somebody I know, with my word for it.

use postrider_base::packet::{Body, Introduction, NOTE_MAX, Packet, Tail};
use postrider_spool::DurableSpool;

use super::{
    Desk, Failure, FailureKind, SendRequest, Watch, clock,
    reply::Sent,
    send::{Small, refuse_revoked},
};
use crate::home::Contact;

/// Who is introduced to whom.
#[derive(Clone, Debug)]
pub struct IntroduceRequest {
    /// Whose card goes out: a petname or an id.
    pub who: String,
    /// To whom.
    pub to: String,
    /// What I say of them.
    pub note: Option<String>,
    /// The other way round as well.
    pub both: bool,
}

impl Desk {
    /// Introduces contacts to each other; durable when it returns.
    pub fn introduce(
        &self,
        request: &IntroduceRequest,
        watch: &dyn Watch,
    ) -> Result<Vec<Sent>, Failure> {
        let note = request.note.as_deref().map(str::trim).filter(|note| !note.is_empty());
        if note.is_some_and(|note| note.len() > NOTE_MAX) {
            let what = format!("a note of more than {NOTE_MAX} bytes");
            return Err(Failure::new(FailureKind::Usage, what).next("nothing was sent"));
        }
        let contacts = self.home.contacts()?;
        let (who, to) = (contacts.resolve(&request.who)?, contacts.resolve(&request.to)?);
        if who.card.node == to.card.node {
            return Err(Failure::new(FailureKind::Usage, "nobody is introduced to themselves")
                .next("nothing was sent"));
        }
        for contact in [who, to] {
            refuse_revoked(&contacts, contact)?;
            if contact.pending {
                let name = &contact.name;
                return Err(Failure::new(
                    FailureKind::Refused,
                    format!("{name} was introduced to you, and you have not accepted them"),
                )
                .next(format!("nothing was sent; first: postrider contact accept {name}")));
            }
        }
        let spool = self.spool(watch)?;
        let mut ways = vec![(who, to)];
        ways.extend(request.both.then_some((to, who)));
        let mut changes = Vec::new();
        let mut sent = Vec::new();
        for (who, to) in ways {
            sent.push(self.introduce_one(spool, who, to, note, &mut changes)?);
        }
        postrider_spool::Spool::commit(spool, clock::now(), changes)?;
        Ok(sent)
    }

    /// Sends a contact the newest of a roster that I follow, for them to follow; durable when it
    /// returns.
    pub fn send_roster(
        &self,
        which: Option<&str>,
        to: &str,
        watch: &dyn Watch,
    ) -> Result<Sent, Failure> {
        let bytes = self.roster_bytes(which)?;
        let contacts = self.home.contacts()?;
        let to = contacts.resolve(to)?;
        refuse_revoked(&contacts, to)?;
        let spool = self.spool(watch)?;
        let (request, length) = (letter(to), bytes.len() as u64);
        let packet = Packet { body: Body::Roster(bytes), tail: self.tail(to, &request) };
        let small = Small { packet, bytes: length, preview: "sends a roster".into() };
        let mut changes = Vec::new();
        let sent = self.seal_small(spool, to, &request, small, &mut changes)?.0;
        postrider_spool::Spool::commit(spool, clock::now(), changes)?;
        Ok(sent)
    }

    fn introduce_one(
        &self,
        spool: &DurableSpool,
        who: &Contact,
        to: &Contact,
        note: Option<&str>,
        changes: &mut Vec<postrider_spool::Change>,
    ) -> Result<Sent, Failure> {
        let said =
            Introduction { card: who.card.as_bytes().to_vec(), note: note.map(str::to_owned) };
        let request = letter(to);
        let tail: Tail = self.tail(to, &request);
        let packet = Packet { body: Body::Introduction(said), tail };
        let (bytes, preview) =
            (who.card.as_bytes().len() as u64, format!("introduces {}", who.name));
        let small = Small { packet, bytes, preview };
        Ok(self.seal_small(spool, to, &request, small, changes)?.0)
    }
}

/// Something to a contact that is neither text nor file, sent as everything to them is.
pub(super) fn letter(to: &Contact) -> SendRequest {
    SendRequest {
        to: to.name.clone(),
        text: None,
        files: Vec::new(),
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: None,
        supersede: None,
    }
}
