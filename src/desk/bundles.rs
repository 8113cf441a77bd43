//! `bundle`: bundles by hand.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

use postrider_base::{
    Head, NodeId,
    bundle::{Destination, HEAD_MAX, Hop, Origin, SMALL_PAYLOAD_MAX, SmallBundle},
    wire,
};
use postrider_spool::{DurableSpool, Entry, Spool};

use super::{
    Desk, Failure, FailureKind, Watch,
    carry::remember,
    hex,
    incoming::{ASIDE, Intake, NO_ROOM, Refusal, lock},
    people::name_of,
    reply::{Queued, Received, Shown},
};

/// What to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportForm {
    /// The whole bundle.
    Bundle,
    /// The sealed payload alone: of an age seal, a file that stock `age` opens.
    Payload,
}

impl Desk {
    /// All bundles that are here.
    pub fn bundles(&self, watch: &dyn Watch) -> Result<Vec<Queued>, Failure> {
        self.queue(watch)
    }

    /// What a bundle's header says.
    pub fn bundle_show(&self, id: &str, watch: &dyn Watch) -> Result<Shown, Failure> {
        let spool = self.spool(watch)?;
        let entry = self.live(spool, id)?;
        let head = head_of(spool, &entry)?;
        Ok(self.shown(&entry, &head, false))
    }

    /// Checks a bundle: header, signature, and every byte of its payload.
    pub fn bundle_verify(&self, id: &str, watch: &dyn Watch) -> Result<Shown, Failure> {
        let spool = self.spool(watch)?;
        let entry = self.live(spool, id)?;
        let head = head_of(spool, &entry)?;
        let mut whole = Vec::new();
        let mut hasher = blake3::Hasher::new();
        copy_payload(spool, &entry, &mut |bytes| {
            if head.header().is_small() {
                whole.extend_from_slice(bytes);
            }
            hasher.update(bytes);
            Ok(())
        })?;
        let verdict = if head.header().is_small() {
            head.verify_small(&whole).is_ok_and(|id| id == entry.id)
        } else {
            head.verify_large().is_ok_and(|id| id == entry.id)
                && head.header().hash == Some(*hasher.finalize().as_bytes())
        };
        if verdict {
            return Ok(self.shown(&entry, &head, true));
        }
        Err(Failure::new(FailureKind::Damaged, format!("bundle {} is damaged or forged", entry.id))
            .next("a good copy is taken again wherever one comes from"))
    }

    /// Writes a bundle, or its payload, somewhere.
    pub fn bundle_export(
        &self,
        id: &str,
        form: ExportForm,
        out: &mut dyn Write,
        watch: &dyn Watch,
    ) -> Result<Shown, Failure> {
        let spool = self.spool(watch)?;
        let entry = self.live(spool, id)?;
        let head = head_of(spool, &entry)?;
        remember(spool, std::slice::from_ref(&entry), "a file")?;
        let failed =
            |error| Failure::new(FailureKind::Failed, "could not write the bundle").because(error);
        if form == ExportForm::Bundle && head.header().is_small() {
            let mut payload = Vec::new();
            copy_payload(spool, &entry, &mut |bytes| {
                payload.extend_from_slice(bytes);
                Ok(())
            })?;
            let bundle = SmallBundle { head: head.clone(), payload };
            out.write_all(&bundle.encode()).map_err(failed)?;
        } else {
            if form == ExportForm::Bundle {
                out.write_all(&head.encode()).map_err(failed)?;
            }
            copy_payload(spool, &entry, &mut |bytes| out.write_all(bytes))?;
        }
        out.flush().map_err(failed)?;
        Ok(self.shown(&entry, &head, false))
    }

    /// Takes a bundle from a file, as from a medium; a bare age file that is sealed to us is shown
    /// to be from nobody.
    pub fn bundle_import(&self, path: &Path, watch: &dyn Watch) -> Result<Vec<Received>, Failure> {
        let failed = |error| Failure::file("read", path, error);
        let mut file = File::open(path).map_err(failed)?;
        let mut start = vec![0; HEAD_MAX + usize::try_from(SMALL_PAYLOAD_MAX).unwrap_or(0)];
        let n = read_up_to(&mut file, &mut start).map_err(failed)?;
        start.truncate(n);
        if start.starts_with(b"age-encryption.org/v1\n") {
            return self.open_age(start, file);
        }
        let spool = self.spool(watch)?;
        let _taking = lock(&self.taking);
        let intake = Intake::new(self, spool)?;
        let damaged = |what: String| {
            Failure::new(FailureKind::Damaged, format!("{} is no bundle: {what}", path.display()))
                .next("nothing was taken")
        };
        // A head of a large bundle and a small hidden bundle are both arrays of two: the header
        // tells which.
        let taken = match (SmallBundle::decode(&start), wire::item_len(&start)) {
            (Ok(bundle), _) => intake.take_small(&bundle.head, Hop::fresh(), &bundle.payload),
            (Err(_), Ok(length)) if length < n => {
                let head =
                    Head::decode(&start[..length]).map_err(|error| damaged(error.to_string()))?;
                intake.take_large(&head, Hop::fresh(), (&start[length..]).chain(file))
            }
            (Err(error), _) => return Err(damaged(error.to_string())),
        };
        match taken {
            Ok(_) | Err(Refusal::Known) => {}
            Err(Refusal::Failed(failure)) => return Err(failure),
            Err(Refusal::Damaged(why)) => return Err(damaged(why)),
            Err(Refusal::Aside) => {
                return Err(Failure::new(FailureKind::Refused, ASIDE).next("nothing was taken"));
            }
            Err(Refusal::Forged(why) | Refusal::Unreadable(why)) => {
                return Err(Failure::new(FailureKind::Damaged, why).next("nothing was taken"));
            }
            Err(Refusal::NotCarried(why) | Refusal::Unwanted(why)) => {
                return Err(Failure::new(FailureKind::Refused, why).next("nothing was taken"));
            }
        }
        let gains = intake.finish()?;
        if !gains.full.is_empty() {
            return Err(Failure::new(FailureKind::Refused, NO_ROOM).next("nothing was taken"));
        }
        let contacts = self.home.contacts()?;
        let mut messages = Vec::new();
        for id in &gains.messages {
            if let Some(kept) = self.kept(spool, *id)? {
                messages.push(self.describe(spool, &contacts, &kept)?);
            }
        }
        Ok(messages)
    }

    /// What stock `age` sealed to us: a text from nobody.
    fn open_age(&self, start: Vec<u8>, rest: File) -> Result<Vec<Received>, Failure> {
        let keys = self.home.key.seal_secrets();
        let shut = |_| {
            Failure::new(FailureKind::Damaged, "that age file does not open with our keys")
                .next("it is damaged, or sealed to somebody else")
        };
        let sealed = std::io::Cursor::new(start).chain(rest);
        let mut reader = postrider_base::seal::age::open_with(&keys, sealed).map_err(shut)?;
        let mut plain = Vec::new();
        reader
            .by_ref()
            .take(AGE_TEXT_MAX + 1)
            .read_to_end(&mut plain)
            .map_err(|error| shut(postrider_base::seal::SealError).because(error))?;
        if plain.len() as u64 > AGE_TEXT_MAX {
            return Err(Failure::new(FailureKind::Usage, "that age file is too large to show")
                .next("open it with stock age: postrider key export --age > k; age -d -i k FILE"));
        }
        Ok(vec![Received {
            id: hex(blake3::hash(&plain).as_bytes()),
            from: "nobody (unsigned)".into(),
            kind: "file".into(),
            text: String::from_utf8_lossy(&plain).into_owned(),
            files: Vec::new(),
            age_s: 0,
            read: true,
            created: 0,
            complete: true,
            parts: (1, 1),
            known_sender: false,
            alarm: Some("from nobody, unsigned: anybody can have sealed it".into()),
            reply_to: None,
        }])
    }

    fn shown(&self, entry: &Entry, head: &Head, verified: bool) -> Shown {
        let header = head.header();
        let contacts = self.home.contacts().unwrap_or_default();
        let name = |node: &NodeId| name_of(&contacts, node);
        let (from, sequence) = match &header.origin {
            Origin::Open { source, sequence, .. } => {
                (Some(name(source)), Some((sequence.epoch, sequence.counter)))
            }
            Origin::Hidden => (None, None),
        };
        Shown {
            id: entry.id.to_string(),
            envelope: if from.is_some() { "open" } else { "hidden" }.into(),
            to: match &header.destination {
                Destination::Node(node) => name(node),
                Destination::Group(group) => format!("group {}", hex(group)),
                Destination::Tag(tag) => format!("tag {}", hex(tag)),
            },
            from,
            seal: header.seal.number(),
            nice: header.nice.value(),
            lifetime_s: header.lifetime.seconds(),
            bytes: header.length,
            sequence,
            verified,
        }
    }
}

/// A text from stock age that is shown whole.
const AGE_TEXT_MAX: u64 = 1 << 20;

fn head_of(spool: &DurableSpool, entry: &Entry) -> Result<Head, Failure> {
    spool.envelope(&entry.id)?.and_then(|envelope| Head::decode(&envelope.head).ok()).ok_or_else(
        || {
            Failure::new(FailureKind::Damaged, format!("bundle {} cannot be read back", entry.id))
                .next("postrider spool check says what is damaged")
        },
    )
}

fn copy_payload(
    spool: &DurableSpool,
    entry: &Entry,
    out: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let mut chunk = vec![0; 256 * 1024];
    let mut at = 0;
    while let Some(n) = spool.read(&entry.id, at, &mut chunk)? {
        if n == 0 {
            break;
        }
        out(&chunk[..n]).map_err(|error| {
            Failure::new(FailureKind::Failed, "could not write the bundle").because(error)
        })?;
        at += n as u64;
    }
    Ok(())
}

fn read_up_to(file: &mut File, out: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < out.len() {
        match file.read(&mut out[got..])? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}
