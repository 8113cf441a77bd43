//! Rests: what a link left of a bundle when it was cut, taken from a medium and given to one.
//!
//! A rest is put to the beginning that is here only when both together have the hash that the bundle's
//! head names. Until then what a link brought stays as it is, so whatever lies on a stick, and whenever
//! it is pulled, a link can go on where it was.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::Read,
    path::{Path, PathBuf},
};

use postrider_base::{
    BundleId, Head,
    bundle::{Hop, Receipt},
    disk::Disk,
};
use postrider_engine::{
    node::{Beginning, CutBody},
    parcel::{
        Condition, FileKind, FileNumber, MediumRest, NewRest, Planner, RESTS_DIR, RESTS_MAX,
        RecordError, Rest, RestError, RestWriter, Salt, Standing, Whose, rest_bytes,
    },
};
use postrider_spool::{DurableSpool, Entry, Spool, SpoolError, Staging};

use super::{
    Event, Failure, check_stopped,
    give::{CHUNK_BYTES, Giver, Out, Progress, writer_fault},
    inventory::Inventory,
    medium_failure,
    take::Visit,
};
use crate::desk::{
    Desk, FailureKind, clock,
    cut::CutBodies,
    held::{COUNTS_MS, Given, Held, held, set_held},
    incoming::Refusal,
    live::{Arrivals, Arriving},
    reply::Tossed,
};

/// Said of a rest for us whose beginning is not here, or less of it than was believed.
const NO_BEGINNING: &str =
    "the rest of something whose beginning is lost; it comes whole another time";
/// Said of a rest that a link may overtake.
const COMES_BY_LINK: &str = "the rest of something that a link brings just now";

/// A rest on a medium.
pub(super) struct OnMediumRest {
    pub number: FileNumber,
    pub path: PathBuf,
    pub file_bytes: u64,
    /// Whose it is; `None` where the file is not what it should be.
    pub known: Option<KnownRest>,
}

/// The rest of a bundle whose head verified.
pub(super) struct KnownRest {
    pub id: BundleId,
    head: Head,
    hop: Hop,
    /// A receipt on the medium opens the bundle's lock.
    receipted: bool,
}

/// What became of a rest for us.
enum Became {
    Taken,
    /// It is of no use here: whoever left it may write the whole.
    Useless,
    /// Another visit may find it useful.
    Waits,
}

impl Visit<'_> {
    /// Reads what the files of rests say of themselves.
    pub(super) fn learn_rests(
        &self,
        inventory: &mut Inventory,
        receipts: &HashMap<[u8; 8], Receipt>,
        reply: &mut Tossed,
    ) -> Result<(), Failure> {
        for at in 0..inventory.rests.len() {
            check_stopped(self.watch)?;
            let on_medium = &mut inventory.rests[at];
            match self.learn_rest(&on_medium.path, receipts) {
                Ok(known) => on_medium.known = Some(known),
                Err(refusal) => {
                    let number = on_medium.number;
                    self.account_in(Err(refusal), None, number.name(FileKind::Rest), reply)?;
                }
            }
        }
        Ok(())
    }

    fn learn_rest(
        &self,
        path: &Path,
        receipts: &HashMap<[u8; 8], Receipt>,
    ) -> Result<KnownRest, Refusal> {
        let damaged = |what: &str| Refusal::Damaged(what.into());
        let file = self.disk.open(path).map_err(|error| self.unreadable(error))?;
        let rest = self.open_rest(&file)?;
        let head = Head::decode(&rest.head).map_err(|_| damaged("its head is not one"))?;
        if head.header().length != rest.body_bytes || head.header().is_small() {
            return Err(damaged("it is not the rest of what its head names"));
        }
        let id = head.verify_large().map_err(|error| Refusal::Forged(error.to_string()))?;
        let opens = |receipt: &Receipt| receipt.opens(&id, head.header(), &[]);
        let receipted = receipts.get(&id.prefix()).is_some_and(opens);
        Ok(KnownRest { id, hop: rest.hop, receipted, head })
    }

    fn open_rest<'f>(
        &self,
        file: &'f dyn postrider_engine::parcel::ReadAt,
    ) -> Result<Rest<'f>, Refusal> {
        Rest::open(file).map_err(|error| match error {
            RestError::Read(error) => self.unreadable(error),
            error => Refusal::Damaged(error.to_string()),
        })
    }

    fn unreadable(&self, error: std::io::Error) -> Refusal {
        match self.check_presence(&error) {
            Err(gone) => Refusal::Failed(gone),
            Ok(()) => Refusal::Damaged(format!("it cannot be read: {error}")),
        }
    }

    /// Counts those that a visit would take.
    pub(super) fn look_at_rests(
        &self,
        inventory: &Inventory,
        reply: &mut Tossed,
    ) -> Result<(), Failure> {
        for rest in &inventory.rests {
            if let Some(known) = &rest.known
                && reply.dry_run
                && self.intake.is_for_us(&known.head)
                && !self.intake.knows(&known.id)?
            {
                reply.taken += 1;
                reply.bytes_in += rest.file_bytes;
            }
        }
        Ok(())
    }

    /// Takes those that are for us.
    pub(super) fn take_rests(
        &self,
        desk: &Desk,
        spool: &DurableSpool,
        inventory: &mut Inventory,
        reply: &mut Tossed,
    ) -> Result<(), Failure> {
        let lender = desk.cut_bodies.current();
        for rest in &inventory.rests {
            let Some(known) = &rest.known else { continue };
            if !self.intake.is_for_us(&known.head) || self.intake.knows(&known.id)? {
                continue;
            }
            let became = match &lender {
                Some(lender) => self.take_rest(desk, spool, (&rest.path, known), &**lender),
                None => Ok(Became::Useless),
            };
            let mut left = |reason: &str| *reply.left_out.entry(reason.into()).or_default() += 1;
            let useless = match became {
                Ok(Became::Taken) => false,
                Ok(Became::Useless) => {
                    left(NO_BEGINNING);
                    true
                }
                Ok(Became::Waits) => {
                    left(COMES_BY_LINK);
                    false
                }
                Err(refusal) => {
                    let place = rest.number.name(FileKind::Rest);
                    self.account_in(Err(refusal), Some(known.id), place, reply)?
                }
            };
            if useless {
                inventory.notes.add_damaged(&known.id, rest.number);
            }
        }
        self.intake.flush()
    }

    fn take_rest(
        &self,
        desk: &Desk,
        spool: &DurableSpool,
        (path, known): (&Path, &KnownRest),
        lender: &dyn CutBodies,
    ) -> Result<Became, Refusal> {
        let cut = match lender.look(&known.id) {
            Beginning::Cut(cut) => cut,
            Beginning::Coming => return Ok(Became::Waits),
            Beginning::Nothing => return Ok(Became::Useless),
        };
        let file = self.disk.open(path).map_err(|error| self.unreadable(error))?;
        let rest = self.open_rest(&file)?;
        if cut.at < rest.offset {
            return Ok(Became::Useless);
        }
        let staging = self.fetch_rest(spool, &rest, known, &cut)?;
        // From here on nothing depends on the medium.
        let Some(arriving) = lender.hand_out(&known.id, &cut) else { return Ok(Became::Waits) };
        let joined = join(&mut Arrivals::new(desk, spool), arriving, staging);
        let ready = joined.map_err(Refusal::Failed).and_then(|arriving| {
            arriving.deliver(self.intake, known.id, &known.head, known.hop, spool)
        });
        match ready {
            Ok(ready) => {
                self.intake.settle(ready, &mut HashSet::new())?;
                Ok(Became::Taken)
            }
            // What a link had brought could not be kept: it comes again.
            Err(Refusal::Failed(failure)) if failure.kind != FailureKind::Full => {
                self.watch.event(Event::Warn(format!(
                    "the rest of bundle {} could not be put to its beginning: {failure}",
                    known.id
                )));
                Ok(Became::Useless)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Copies what is lacking from the medium, if it is what is lacking: the medium may be gone or say
    /// something else when it is asked again.
    fn fetch_rest(
        &self,
        spool: &DurableSpool,
        rest: &Rest<'_>,
        known: &KnownRest,
        cut: &CutBody,
    ) -> Result<Staging, Refusal> {
        let mut skip = cut.at - rest.offset;
        let mut hasher = cut.hasher.clone();
        let mut staging = spool.stage()?;
        let mut body = rest.body();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            check_stopped(self.watch).map_err(Refusal::Failed)?;
            let n = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(RecordError::Read(error)) => return Err(self.unreadable(error)),
                Err(_) => return Err(Refusal::Damaged("its check does not hold".into())),
            };
            let here = usize::try_from(skip).unwrap_or(usize::MAX).min(n);
            skip -= here as u64;
            hasher.update(&chunk[here..n]);
            staging.append(&chunk[here..n])?;
        }
        if known.head.header().hash != Some(*hasher.finalize().as_bytes()) {
            let what = "it does not go with what a link has brought of it";
            return Err(Refusal::Damaged(what.into()));
        }
        Ok(staging)
    }
}

/// Appends a rest that was found good.
fn join(
    arrivals: &mut Arrivals<'_>,
    mut arriving: Arriving,
    rest: Staging,
) -> Result<Arriving, Failure> {
    let mut reader = rest.into_reader()?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let reading = |error| {
            Failure::new(FailureKind::Failed, "what was staged cannot be read").because(error)
        };
        match reader.read(&mut chunk).map_err(reading)? {
            0 => return Ok(arriving),
            n => arrivals.append(&mut arriving, &chunk[..n])?,
        }
    }
}

impl Giver<'_> {
    /// Tells the planner of the rests that lie there.
    pub(super) fn tell_rests(
        &self,
        rests: &[OnMediumRest],
        planner: &mut Planner,
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        let now_ms = self.spool.held_ms(clock::now());
        progress.rests = rests.len();
        for rest in rests {
            let Some(known) = &rest.known else { continue };
            let id = known.id;
            let given = held(self.spool, &id)?.filter(|h| h.is_given_as(self.volume, rest.number));
            let given_ms = given.and_then(|held| held.given).map(|given| given.held_ms);
            // Nobody came by for so long: then the whole is written.
            let old = given_ms.is_some_and(|at| now_ms.saturating_sub(at) > COUNTS_MS);
            progress.copies.push((id, rest.number));
            planner.rest(MediumRest {
                number: rest.number,
                file_bytes: rest.file_bytes,
                id,
                standing: if known.receipted { Standing::Receipted } else { self.standing(&id)? },
                whose: if given_ms.is_some() { Whose::Ours } else { Whose::Others },
                condition: if old { Condition::Damaged } else { Condition::Good },
            });
            self.obey(planner, progress)?;
        }
        Ok(())
    }

    /// Where the rest of a bundle begins that goes instead of the whole, and how long its file is.
    pub(super) fn rest_of(
        &self,
        entry: &Entry,
        head_bytes: usize,
        held: &BTreeMap<BundleId, Held>,
        progress: &Progress<'_>,
    ) -> Option<u64> {
        let now_ms = self.spool.held_ms(clock::now());
        let from = held.get(&entry.id)?.rest_from(entry, now_ms)?;
        let has_place = progress.rests < RESTS_MAX;
        has_place.then(|| rest_bytes(head_bytes, entry.summary.length, from))
    }

    /// Writes one rest: whole and under its name, or not at all.
    pub(super) fn write_rest(
        &self,
        id: &BundleId,
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        let (Some(entry), Some(envelope), Some(held)) =
            (self.spool.entry(id)?, self.spool.envelope(id)?, held(self.spool, id)?)
        else {
            return Ok(());
        };
        let (body_bytes, now_ms) = (entry.summary.length, self.spool.held_ms(clock::now()));
        let Some(offset) = held.rest_from(&entry, now_ms) else { return Ok(()) };
        if self.request.dry_run {
            progress.reply.out += 1;
            progress.reply.bytes_out += body_bytes - offset;
            return Ok(());
        }
        let hop = Hop {
            tokens: 1,
            hops: entry.hop.hops,
            age_s: u32::try_from(entry.age_s(now_ms)).unwrap_or(u32::MAX),
            level: 0,
        };
        let rest = NewRest { hop, head: &envelope.head, body_bytes, offset };
        self.disk.create_dir(Path::new(RESTS_DIR)).map_err(medium_failure)?;
        let temporary = rest_path(self.leftover_number(), FileKind::Leftover);
        self.remove(&temporary)?;
        let file = self.disk.create(&temporary).map_err(medium_failure)?;
        let mut writer =
            RestWriter::new(Salt(clock::random()?), &rest).map_err(|error| writer_fault(&error))?;
        let mut out = Out::new(&*file);
        if let Err(error) = self.copy_rest(id, &rest, &mut writer, &mut out)? {
            drop(file);
            self.watch.event(Event::Warn(format!(
                "bundle {id} cannot be read from the spool and was not written: {error}; see \
                 postrider spool check"
            )));
            return self.remove(&temporary);
        }
        out.write(&writer.finish().map_err(|error| writer_fault(&error))?)?;
        out.end()?;
        drop(file);
        let number = FileNumber(u32::from_be_bytes(clock::random()?));
        // First remembered, then there: at worst the whole goes where a rest would have done.
        let given = Given { volume: self.volume, number, held_ms: now_ms };
        set_held(self.spool, id, Held { given: Some(given), ..held })?;
        let path = rest_path(number, FileKind::Rest);
        self.disk.publish(&temporary, &path).map_err(medium_failure)?;
        progress.rests += 1;
        progress.copies.push((*id, number));
        progress.reply.out += 1;
        progress.reply.bytes_out += body_bytes - offset;
        self.remember(&[*id], progress)
    }

    /// The inner error is that of the spool.
    fn copy_rest(
        &self,
        id: &BundleId,
        rest: &NewRest<'_>,
        writer: &mut RestWriter,
        out: &mut Out<'_>,
    ) -> Result<Result<(), SpoolError>, Failure> {
        out.write(writer.front())?;
        let mut at = rest.offset;
        let mut chunk = vec![0; CHUNK_BYTES];
        while at < rest.body_bytes {
            check_stopped(self.watch)?;
            let n = match self.spool.read(id, at, &mut chunk) {
                Ok(Some(n)) if n > 0 => n,
                Ok(_) => return Ok(Err(SpoolError::DamagedBlob(*id))),
                Err(error) => return Ok(Err(error)),
            };
            writer.body(&chunk[..n]).map_err(|error| writer_fault(&error))?;
            out.write(&chunk[..n])?;
            at += n as u64;
            self.watch.event(Event::Advance(n as u64));
        }
        Ok(Ok(()))
    }
}

pub(super) fn rest_path(number: FileNumber, kind: FileKind) -> PathBuf {
    Path::new(RESTS_DIR).join(number.name(kind))
}

#[cfg(test)]
mod tests;
