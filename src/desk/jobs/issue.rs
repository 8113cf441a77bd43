//! `run`: a job for somebody, sealed and durable when it returns, with the note that makes it mine.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
};

use postrider_base::{
    BundleId, Lifetime,
    packet::{
        AFTER_MAX, Answer, Body, Handle, JOB_FILES_MAX, JOB_PARTS_MAX, Job, Manifest, PART_BYTES,
        Packet, PacketError, State, Then, Turn,
    },
};
use postrider_spool::{Change, DurableSpool, Spool};

use super::{IssuedNote, asked::AskedNote};
use crate::{
    desk::{
        Desk, Failure, FailureKind, SendRequest, Watch,
        call_back::Beside,
        clock, hex,
        inbox::find_note,
        incoming::lock,
        introduce::letter,
        ledger::{set_note, space},
        reply::{JobLine, ReceivedFile},
        send::{Small, refuse_revoked},
        store::Post,
    },
    home::Contact,
};

/// Of a queue so many jobs are remembered that may not have ended; the newest counts.
const QUEUE_MAX: usize = 64;
/// What standard input is called among the attachments.
const STDIN: &str = "stdin";
pub(super) const NOTHING_SENT: &str = "nothing was sent";

/// A job for somebody.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Who is to run it: a petname or an id.
    pub to: String,
    /// By which handle.
    pub handle: String,
    /// What fills its slots.
    pub args: Vec<String>,
    /// Attachments.
    pub files: Vec<PathBuf>,
    /// The file that becomes its standard input.
    pub stdin: Option<PathBuf>,
    /// In which queue: after my last one there that may not have ended.
    pub queue: Option<String>,
    /// After these jobs of mine: ids, or their first digits.
    pub after: Vec<String>,
    /// Only if those before it ended well.
    pub if_ok: bool,
    /// Seconds that it waits for those that do not come; as long as it lives by default.
    pub patience_s: Option<u32>,
    /// What becomes of it then.
    pub then: Then,
    /// It takes the place of those of mine with this key that have not begun.
    pub supersede: Option<String>,
    /// How old it may be when it begins, and how long its bundle lives; the configured lifetime by
    /// default.
    pub lifetime: Option<Lifetime>,
    /// Not before this time, in Unix seconds.
    pub not_before: Option<u64>,
    /// Not after this time.
    pub not_after: Option<u64>,
    /// How much of its output comes back.
    pub answer: Answer,
}

/// A job about to be sealed.
pub(super) struct Draft<'a> {
    pub job: Job,
    pub files: &'a [PathBuf],
    pub stdin: Option<&'a Path>,
    pub lifetime: Lifetime,
    /// What else becomes durable with it.
    pub beside: &'a dyn Fn(&BundleId) -> Vec<Change>,
}

/// Its place among those of a queue.
struct Place {
    key: Vec<u8>,
    /// Ids of those before it that may not have ended, oldest first.
    before: Vec<u8>,
}

impl Desk {
    /// Asks somebody to run something. When this returns, that is durable.
    pub fn run(&self, request: &RunRequest, watch: &dyn Watch) -> Result<JobLine, Failure> {
        let contacts = self.home.contacts()?;
        let contact = contacts.resolve(&request.to)?;
        must_be_accepted(contact)?;
        let lifetime = request.lifetime.unwrap_or_else(|| self.lifetime());
        let mut job = request.job(lifetime)?;
        let _turn = request.queue.as_ref().map(|_| lock(&self.queueing));
        let reads = request.queue.is_some() || !request.after.is_empty();
        let spool = if reads { Some(self.spool(watch)?) } else { self.spool.get() };
        let place = match spool {
            Some(spool) if reads => self.take_turn(spool, contact, request, &mut job.turn)?,
            _ => None,
        };
        let beside = |id: &BundleId| place.iter().map(|place| place.taken_by(id)).collect();
        let stdin = request.stdin.as_deref();
        let draft = Draft { job, files: &request.files, stdin, lifetime, beside: &beside };
        match spool {
            Some(spool) => self.issue(spool, contact, draft, watch),
            None => self.issue(&self.appender(watch)?, contact, draft, watch),
        }
    }

    /// The configured lifetime of what is sent.
    pub(super) fn lifetime(&self) -> Lifetime {
        let days = self.home.config.lifetime_days.saturating_mul(86_400);
        Lifetime::new(days).unwrap_or(Lifetime::DEFAULT)
    }

    /// Seals a job and makes it durable, with the notes that make it mine.
    pub(super) fn issue(
        &self,
        post: &dyn Post,
        contact: &Contact,
        draft: Draft<'_>,
        watch: &dyn Watch,
    ) -> Result<JobLine, Failure> {
        let contacts = self.home.contacts()?;
        refuse_revoked(&contacts, contact)?;
        let Draft { job, files, stdin, lifetime, beside } = draft;
        job.check().map_err(|error| unfit(&error))?;
        let attached: Vec<PathBuf> =
            files.iter().map(PathBuf::as_path).chain(stdin).map(Path::to_owned).collect();
        check_files(&attached)?;
        let request = SendRequest { files: attached, lifetime: Some(lifetime), ..letter(contact) };
        // What is sealed, for the notes beside it.
        let sealed = RefCell::new(job);
        let notes = |id: &BundleId| {
            let job = sealed.borrow();
            let queue = job.turn.queue.as_ref().map(Handle::as_str);
            let held_ms = post.held_ms(clock::now());
            let node = &contact.card.node;
            let mine = IssuedNote::new(node, job.handle.as_str(), queue, held_ms);
            let mut changes = vec![
                set_note(space::ISSUED, &id.0, mine.encode()),
                set_note(space::ASKED, &id.0, AskedNote::new(&job).encode()),
            ];
            changes.extend(beside(id));
            changes
        };
        let id = if request.files.is_empty() {
            let job = sealed.borrow().clone();
            let bytes = job.args.iter().map(|arg| arg.len() as u64).sum::<u64>();
            let inline = job.files.as_ref().map_or(0, Manifest::total_bytes);
            let preview = format!("job {}", job.handle);
            let body = Body::Job(Box::new(job));
            let packet = Packet { body, tail: self.tail(contact, &request) };
            let small = Small { packet, bytes: bytes + inline, preview };
            let mut changes = Vec::new();
            let id = self.seal_small(post, contact, &request, small, &mut changes)?.1;
            self.commit_new(post, &id, changes, Beside::Of(&notes))?;
            id.to_string()
        } else {
            let wrap = |manifest: Manifest| {
                let mut job = sealed.borrow_mut();
                attach(&mut job, manifest, stdin.is_some());
                Body::Job(Box::new(job.clone()))
            };
            self.send_by(post, &request, &wrap, Beside::Of(&notes), watch)?.0.id
        };
        let job = sealed.into_inner();
        Ok(JobLine {
            id,
            to: contact.name.clone(),
            handle: job.handle.to_string(),
            state: "queued".into(),
            how: "queued".into(),
            why: Some("it has not left this node yet".into()),
            sent: "saved".into(),
            ..asked_for(&job, job.files.iter().flat_map(|files| &files.files).collect())
        })
    }

    /// Finds out after which jobs a new one comes. Where it has a queue, its place there.
    fn take_turn(
        &self,
        spool: &DurableSpool,
        contact: &Contact,
        request: &RunRequest,
        turn: &mut Turn,
    ) -> Result<Option<Place>, Failure> {
        for digits in &request.after {
            let id = find_note(spool, space::ISSUED, digits, "job of mine")?;
            let issued = self.issued(spool, &id)?;
            if issued.to() != Some(contact.card.node) {
                let what = format!("the job {digits} is not for {}", contact.name);
                return Err(Failure::new(FailureKind::Usage, what).next(format!(
                    "{NOTHING_SENT}; a job comes after others for the same target only"
                )));
            }
            match self.result(spool, &id)? {
                None if turn.after.contains(&id) => {}
                None => turn.after.push(id),
                Some(result) if request.if_ok && result.state != State::Exited(0) => {
                    let what = format!("the job {digits} did not end well");
                    return Err(Failure::new(FailureKind::Ended, what)
                        .next(format!("{NOTHING_SENT}; see postrider job show {digits}")));
                }
                // It has ended: there is nothing to wait for.
                Some(_) => {}
            }
        }
        let place = match &turn.queue {
            None => None,
            Some(queue) => {
                let key = [&contact.card.node.as_bytes()[..], queue.as_str().as_bytes()].concat();
                let known = spool.note(space::JOB_QUEUE, &key)?.unwrap_or_default();
                let mut before = Vec::new();
                for id in known.as_chunks::<32>().0 {
                    if !self.is_over(spool, &BundleId(*id))? {
                        before.push(BundleId(*id));
                    }
                }
                let last = before.last().filter(|last| !turn.after.contains(last));
                turn.after.extend(last);
                let from = before.len().saturating_sub(QUEUE_MAX - 1);
                let before = before[from..].iter().flat_map(|id| id.0).collect();
                Some(Place { key, before })
            }
        };
        if turn.after.len() > AFTER_MAX {
            let what = format!("a job comes after at most {AFTER_MAX} others");
            return Err(Failure::new(FailureKind::Usage, what).next(NOTHING_SENT));
        }
        turn.if_ok = request.if_ok && !turn.after.is_empty();
        Ok(place)
    }

    /// Whether a job of mine is known to have ended, or never to begin.
    fn is_over(&self, spool: &DurableSpool, id: &BundleId) -> Result<bool, Failure> {
        if spool.note(space::JOB_RESULT, &id.0)?.is_some() {
            return Ok(true);
        }
        let ended = spool.note(space::ENDED, &id.0)?;
        let undelivered = ended.is_some_and(|end| end != b"delivered");
        Ok(undelivered && !self.tracks(spool, id)?.left)
    }
}

impl Place {
    fn taken_by(&self, id: &BundleId) -> Change {
        set_note(space::JOB_QUEUE, &self.key, [&self.before[..], &id.0].concat())
    }
}

impl RunRequest {
    /// The job without its attachments, and without those before it.
    pub(super) fn job(&self, lifetime: Lifetime) -> Result<Job, Failure> {
        let word = |text: &Option<String>, what: &str| {
            text.as_deref().map(|text| handle(text, what)).transpose()
        };
        let age_s = lifetime.seconds();
        let turn = Turn {
            queue: word(&self.queue, "queue")?,
            patience_s: self.patience_s.unwrap_or(age_s),
            then: self.then,
            supersedes: word(&self.supersede, "key")?,
            not_before: self.not_before,
            not_after: self.not_after,
            ..Turn::now(age_s)
        };
        Ok(Job {
            handle: handle(&self.handle, "handle")?,
            args: self.args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
            turn,
            answer: self.answer,
            files: None,
            stdin: None,
            fleet: None,
            rerun_of: None,
        })
    }
}

/// What of a reply follows from what was asked for.
pub(super) fn asked_for(job: &Job, files: Vec<&postrider_base::packet::FileEntry>) -> JobLine {
    let files = files.into_iter().map(|file| ReceivedFile {
        name: file.path.join("/"),
        bytes: file.bytes,
        blake3: hex(&file.blake3),
    });
    JobLine {
        args: job.args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect(),
        files: files.collect(),
        queue: job.turn.queue.as_ref().map(ToString::to_string),
        after: job.turn.after.iter().map(ToString::to_string).collect(),
        rerun_of: job.rerun_of.map(|id| id.to_string()),
        fleet: job.fleet.as_ref().map(|fleet| fleet.name.to_string()),
        place: job.fleet.as_ref().map(|fleet| fleet.place),
        ..JobLine::default()
    }
}

/// Whoever was only introduced is not asked to run anything by that name.
pub(super) fn must_be_accepted(contact: &Contact) -> Result<(), Failure> {
    if !contact.pending {
        return Ok(());
    }
    let name = &contact.name;
    let what = format!("{name} was introduced to you, and you have not accepted them");
    Err(Failure::new(FailureKind::Refused, what)
        .next(format!("{NOTHING_SENT}; first: postrider contact accept {name}")))
}

/// Puts the attachments into a job. The last may be its standard input: that gets a name that no other
/// has.
pub(super) fn attach(job: &mut Job, mut manifest: Manifest, last_is_stdin: bool) {
    if last_is_stdin && let Some((stdin, others)) = manifest.files.split_last_mut() {
        let taken = |name: &str| others.iter().any(|file| file.path == [name]);
        let free = (1..).map(|n| format!("{STDIN}-{n}"));
        let name = [STDIN.to_owned()].into_iter().chain(free).find(|name| !taken(name));
        stdin.path = vec![name.unwrap_or_default()];
        stdin.mtime = None;
        stdin.executable = false;
        job.stdin = u32::try_from(others.len()).ok();
    }
    job.files = Some(manifest);
}

/// Said before anything is read: a job brings single files, and not endlessly many bytes.
pub(super) fn check_files(files: &[PathBuf]) -> Result<(), Failure> {
    let refuse = |what: String, next: &str| {
        Err(Failure::new(FailureKind::Usage, what).next(format!("{NOTHING_SENT}; {next}")))
    };
    if files.len() > JOB_FILES_MAX {
        return refuse(
            format!("a job brings at most {JOB_FILES_MAX} files"),
            "pack them into an archive first",
        );
    }
    let mut total = 0_u64;
    for path in files {
        let meta = fs::metadata(path).map_err(|error| Failure::file("read", path, error))?;
        if !meta.is_file() {
            return refuse(
                format!("{} is no file", path.display()),
                "a job brings single files; pack a directory into an archive first",
            );
        }
        total = total.saturating_add(meta.len());
    }
    if total > JOB_PARTS_MAX as u64 * PART_BYTES {
        return refuse("a job brings at most 128 GiB".into(), "send it by itself: postrider send");
    }
    Ok(())
}

pub(super) fn handle(text: &str, what: &str) -> Result<Handle, Failure> {
    text.parse().map_err(|_| {
        let what =
            format!("{text:?} is no {what}: 1 to 64 of a-z 0-9 . _ -, a letter or digit first");
        Failure::new(FailureKind::Usage, what).next(NOTHING_SENT)
    })
}

pub(super) fn unfit(error: &PacketError) -> Failure {
    let what = match error {
        PacketError::Field("arguments") => {
            "the arguments are too many or too long: at most 256, of 64 KiB each, 128 KiB together"
        }
        PacketError::Field("not after") => "its last hour is before its first",
        _ => return Failure::new(FailureKind::Usage, error.to_string()).next(NOTHING_SENT),
    };
    Failure::new(FailureKind::Usage, what)
        .next(format!("{NOTHING_SENT}; what is long goes as a file: -f FILE, or as standard input"))
}
