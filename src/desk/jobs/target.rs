//! The target's hands: what the scheduler decides about others' jobs, done.
//!
//! ```text
//! HOME/jobs/<job id>/<attempt>/      the folder of one run (postrider_exec::contract)
//! HOME/jobs/next/0/                  one for the next job, without an order
//! ```
//!
//! Records are written by nobody else. Whatever a word led to becomes durable in the group that
//! forgets the word.

use std::{
    cell::RefCell,
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use postrider_base::{
    BundleId, Niceness, NodeId,
    packet::{
        Answer, Body, Content, Fact, Job, JobResult, Manifest, Packet, Proposal, Said, Word,
        approval_of,
    },
};
use postrider_exec::{
    allow::{Asked as Request, Attached, Here, Rendered, given_name, judge},
    cage::{self, FolderError},
    contract::{Order, STDIN_MAX, Standing},
    schedule::contract::{Asked, How, Input, Now, OnTrial, Phase, Record, Terms, Verdict},
};
use postrider_spool::{Change, DurableSpool, Spool, contract::PAGE_MAX};

use super::{CameNote, RELEASED, Touched, WordNote, answer, audited, trial};
use crate::{
    desk::{
        Desk, Failure, FailureKind, Silent, Watch,
        call_back::Beside,
        clock, hex,
        inbox::{Kept, note_keys},
        introduce::letter,
        ledger::{remove_note, set_key, set_note, space},
        send::Small,
        store::Post,
    },
    home::{Acl, Contact, Right},
};

/// Words about one job that are dealt with at once; those beyond, at the next news of it or start.
const WORDS_MAX: usize = PAGE_MAX;

/// This very program, even if a newer one has taken its name since.
pub(in crate::desk) const PROGRAM: &str = "/proc/self/exe";
/// Where a folder lies that is made before its job comes.
const NEXT: &str = "next";
/// As `src/cli/jobs.rs` knows it.
pub(in crate::desk) const SUPERVISOR: &str = "job-supervisor";

/// Others' jobs on this node.
pub struct Jobs<'a> {
    desk: &'a Desk,
    spool: &'a DurableSpool,
    /// Where their folders are, from the root: supervisors stand elsewhere.
    all: PathBuf,
    /// What the audit chain says of them when they begin.
    placed: audited::AllPlaced,
    /// What came last, opened, until it is answered: most jobs are run as they come, and to open one takes
    /// as long as some of the steps in between.
    latest: RefCell<Option<(BundleId, Rc<Whole>)>>,
}

/// A word that waits for what follows from it: its key, and what the scheduler is told.
pub struct WaitingWord {
    key: Vec<u8>,
    /// What it says; nothing, if nothing follows from it.
    pub input: Option<Input>,
}

/// A job that is here whole.
struct Whole {
    kept: Kept,
    job: Job,
    came: CameNote,
}

impl Desk {
    /// Opens the spool for others' jobs.
    pub fn open_jobs(&self, watch: &dyn Watch) -> Result<Jobs<'_>, Failure> {
        let all = self.home.dir().join("jobs");
        let all = std::path::absolute(&all).map_err(|error| Failure::file("find", &all, error))?;
        self.keep_audit(true, watch)?;
        Ok(Jobs {
            desk: self,
            spool: self.spool(watch)?,
            all,
            placed: audited::AllPlaced::default(),
            latest: RefCell::default(),
        })
    }
}

impl Jobs<'_> {
    /// Jobs of which something came, or comes within this time.
    pub fn wait(&self, at_most: Duration) -> Touched {
        self.desk.job_news.wait(at_most)
    }

    /// Whether it is a job, of others for this node, mine for others, or to be agreed to.
    pub fn concerns(&self, job: &BundleId) -> bool {
        let spaces = [space::JOB_CAME, space::ISSUED, space::PROPOSAL];
        spaces.iter().any(|space| matches!(self.spool.note(*space, &job.0), Ok(Some(_))))
    }

    /// The custody clock, and the other if it can be trusted.
    pub fn now(&self) -> Now {
        let held_ms = Spool::held_ms(self.spool, clock::now());
        Now { held_ms, wall_s: clock::trusted_wall_s() }
    }

    /// Everything that is known of others' jobs, for a start; then [`Input::Began`].
    pub fn known(&self) -> Result<Vec<Input>, Failure> {
        let mut jobs: Vec<Vec<u8>> = note_keys(self.spool, space::JOB_CAME)?;
        jobs.extend(note_keys(self.spool, space::JOB)?);
        jobs.sort_unstable();
        jobs.dedup();
        let mut known = Vec::new();
        for job in jobs {
            let Ok(job) = job.as_slice().try_into().map(BundleId) else { continue };
            let record = self.spool.note(space::JOB, &job.0)?;
            let record = record.as_deref().map_or_else(Record::new, |record| {
                Record::decode(record).unwrap_or_else(Record::unread)
            });
            let answered = matches!(record.phase, Phase::Answered { .. });
            let told = if answered { self.came(job)?.and_then(|it| it.answered()) } else { None };
            let asked = match told {
                Some(asked) => Some(Box::new(asked)),
                None => self.here(job)?.map(|here| Box::new(here.asked())),
            };
            if asked.is_some() || record != Record::new() {
                known.push(Input::Known { job, asked, record });
            }
        }
        Ok(known)
    }

    /// A job of which something came: itself, once it is whole.
    pub fn arrived(&self, job: BundleId) -> Result<Option<Input>, Failure> {
        let here = self.here(job)?;
        self.latest.replace(here.clone().map(|here| (job, here)));
        Ok(here.map(|here| Input::Arrived { job, asked: Box::new(here.asked()) }))
    }

    /// Words about a job that nothing followed from yet; about all of them, without one.
    pub fn words(&self, job: Option<BundleId>) -> Result<Vec<WaitingWord>, Failure> {
        let keys = match job {
            Some(job) => self.spool.notes(space::JOB_WORD, &job.0, None, WORDS_MAX)?,
            None => note_keys(self.spool, space::JOB_WORD)?,
        };
        let contacts = self.desk.home.contacts()?;
        let today = clock::today();
        let mut waiting = Vec::new();
        for key in keys {
            if let Some(job) = key.strip_suffix(RELEASED)
                && let Ok(job) = job.try_into().map(BundleId)
            {
                waiting.push(WaitingWord { key, input: Some(Input::Release { job }) });
                continue;
            }
            let note = self.spool.note(space::JOB_WORD, &key)?;
            let Some((by, word, _)) = note.as_deref().and_then(WordNote::read) else {
                waiting.push(WaitingWord { key, input: None });
                continue;
            };
            let job = word.job;
            let input = match word.said {
                Said::Cancel { force } => {
                    let acl = &self.desk.home.config.acl;
                    let admin = acl.may(&contacts, Some(&by), Right::Admin, today);
                    Some(Input::Cancel { job, by, admin, force })
                }
                Said::Approve(what) if self.may_agree(job, &by)? => {
                    Some(Input::Approve { job, by, what })
                }
                Said::Ask(answer) => Some(Input::Again { job, by, full: answer == Answer::Full }),
                _ => None,
            };
            waiting.push(WaitingWord { key, input });
        }
        Ok(waiting)
    }

    /// Makes notes durable, and forgets the word that led to them.
    pub fn note(
        &self,
        notes: Vec<(BundleId, Record)>,
        word: Option<&WaitingWord>,
    ) -> Result<(), Failure> {
        if notes.is_empty() && word.is_none() {
            return Ok(());
        }
        let mut audit = self.desk.audit(self.spool)?;
        let key = word.map(|word| &*word.key);
        audited::note(&mut audit, self.spool, &self.placed, &notes, key)?;
        let mut changes: Vec<Change> = notes
            .into_iter()
            .map(|(job, record)| set_note(space::JOB, &job.0, record.encode()))
            .collect();
        changes.extend(word.map(|word| remove_note(space::JOB_WORD, &word.key)));
        changes.extend(audit.changes());
        Spool::commit(self.spool, clock::now(), changes)?;
        audit.done();
        Ok(())
    }

    /// What the allow-list says of a job now.
    pub fn judge(&self, job: BundleId) -> Result<Verdict, Failure> {
        let Some(here) = self.here(job)? else {
            return Ok(Verdict::Refused("it cannot be read back here".into()));
        };
        self.rendered(&here, |rendered| {
            let entry = rendered.entry;
            let minute = u16::try_from(clock::wall_s() / 60 % (24 * 60)).unwrap_or_default();
            if entry.window.is_some_and(|window| window.wait(minute) > 0) {
                return Verdict::NotNow;
            }
            Verdict::Run(Terms {
                group: entry.group.clone(),
                reruns: entry.reruns,
                approvals: entry.approvals,
                what: approval_of(&job, &rendered.argv),
                trial: entry.trial.as_ref().map(|trial| OnTrial {
                    within_s: trial.within_s,
                    starts: trial.starts,
                    restarts: !trial.restart.is_empty(),
                }),
            })
        })
    }

    /// Makes the folder of a run, durably: nothing was ever started in it. A supervisor that was started
    /// ahead prepares itself for it meanwhile, or is none any more.
    pub fn place(
        &self,
        job: BundleId,
        attempt: u8,
        ahead: &mut Option<cage::Ahead>,
    ) -> Result<(), Failure> {
        let here = self.here(job)?.ok_or_else(|| gone(&job))?;
        let (mut order, mut on_trial) = (None, None);
        self.rendered(&here, |rendered| {
            order = Some(rendered.order(job.0, here.kept.author.to_string()));
            on_trial = rendered.entry.trial.clone();
            let begins = (here.kept.author, here.job.handle.to_string());
            let what = approval_of(&job, &rendered.argv);
            self.placed.borrow_mut().insert(job, (begins.0, begins.1, what));
            Verdict::NotNow
        })?;
        let mut order: Order = order.ok_or_else(|| {
            Failure::new(FailureKind::Refused, "the list of what may be run was changed")
        })?;
        let dir = self.dir(&job, attempt);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::file("clear", &dir, error));
            }
            _ => {}
        }
        self.make_all()?;
        if attempt == 0 {
            // Where there is none, or something of this job is here, it is made from nothing.
            let _ = fs::rename(self.all.join(NEXT), self.of(&job));
        }
        make_dir(&self.of(&job), 0o711)?;
        make_dir(&dir, 0o711)?;
        make_dir(&dir.join("given"), 0o755)?;
        if let Some(on_trial) = &on_trial {
            trial::note(&dir, on_trial, &order)?;
        }
        order.stdin = self.give(&here, &dir)?;
        cage::lay(&dir, &order).map_err(folder_failure)?;
        *ahead = ahead.take().and_then(|mut ahead| ahead.prepare(&dir).ok().map(|()| ahead));
        // Syncs the two above.
        cage::settle(&dir).map_err(folder_failure)?;
        sync_dir(&self.all)
    }

    /// Starts a supervisor for a folder that was placed, or lets one begin that has prepared itself for it;
    /// who waits for it learns how it ended.
    pub fn start(
        &self,
        job: &BundleId,
        attempt: u8,
        prepared: Option<cage::Ahead>,
    ) -> Result<cage::Supervisor, Failure> {
        let dir = self.dir(job, attempt);
        if let Some(Ok(supervisor)) = prepared.map(cage::Ahead::begin) {
            return Ok(supervisor);
        }
        let program = Path::new(PROGRAM);
        cage::start(&dir, program.as_os_str(), &[SUPERVISOR.into()])
            .map_err(|error| Failure::file("start", program, error))
    }

    /// A command under a user of its own must come through to its folder, and see no other.
    fn make_all(&self) -> Result<(), Failure> {
        if make_dir(&self.all, 0o711)? {
            sync_dir(self.desk.home.dir())?;
        }
        Ok(())
    }

    /// Has a folder ready for the first run of a job that may come.
    pub fn make_next(&self) -> Result<(), Failure> {
        let next = self.all.join(NEXT);
        self.make_all()?;
        make_dir(&next, 0o711)?;
        cage::bare(&next.join("0")).map_err(folder_failure)
    }

    /// Has a supervisor ready for a job that may come.
    pub fn start_ahead(&self) -> io::Result<cage::Ahead> {
        cage::Ahead::start(OsStr::new(PROGRAM), &[SUPERVISOR.into()], &self.all)
    }

    /// What a folder says.
    pub fn look(&self, job: &BundleId, attempt: u8) -> Standing {
        cage::look(&self.dir(job, attempt)).unwrap_or(Standing::Unknown)
    }

    /// Lets nothing begin in a folder any more; what it says since then.
    pub fn forbid(&self, job: &BundleId, attempt: u8) -> Standing {
        let dir = self.dir(job, attempt);
        // A supervisor takes the lock, then looks for this; so one that comes later finds it.
        match cage::ask_to_end(&dir, cage::GRACE) {
            Ok(()) => self.look(job, attempt),
            Err(_) => Standing::Running,
        }
    }

    /// Of a job that was answered nothing is left but what can be asked for again: output that was not
    /// shown whole.
    pub fn tidy(&self, job: &BundleId, attempt: u8) -> Result<(), Failure> {
        // Its supervisor may still be making durable what it has told. Where there is no folder, nobody is.
        let _ = cage::wait(&self.dir(job, attempt));
        let said = self.spool.note(space::JOB_ANSWER, &job.0)?;
        let whole = |said: &JobResult| said.stdout.is_whole() && said.stderr.is_whole();
        if said.is_none_or(|said| JobResult::decode(&said).is_ok_and(|said| whole(&said))) {
            return self.clear(job);
        }
        let dir = self.dir(job, attempt);
        trial::clear(&dir).map_err(|error| Failure::file("clear", &dir, error))?;
        for name in ["work", "given"] {
            let path = dir.join(name);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::file("remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Asks a command to end.
    pub fn end(&self, job: &BundleId, attempt: u8) -> Result<(), Failure> {
        cage::ask_to_end(&self.dir(job, attempt), cage::GRACE).map_err(folder_failure)
    }

    /// The folder of a run.
    pub fn dir(&self, job: &BundleId, attempt: u8) -> PathBuf {
        self.of(job).join(attempt.to_string())
    }

    /// Sends a job's issuer its answer, in the group that records it. Somebody who is no contact is
    /// answered nothing: there is no key to seal it to.
    pub fn answer(
        &self,
        job: BundleId,
        how: &How,
        record: &Record,
        attempt: u8,
    ) -> Result<(), Failure> {
        let recorded = || set_note(space::JOB, &job.0, record.encode());
        let contacts = self.desk.home.contacts()?;
        let here = self.here(job)?;
        self.latest.borrow_mut().take_if(|(latest, _)| *latest == job);
        self.placed.borrow_mut().remove(&job);
        let whose = here.as_deref().map(Whole::whose);
        let to = here.as_ref().and_then(|here| Some((here, contacts.of(&here.kept.author)?)));
        let Some((here, to)) = to else {
            let mut audit = self.desk.audit(self.spool)?;
            audited::answer(&mut audit, job, whose, answer::stated(how))?;
            let changes = [recorded()].into_iter().chain(audit.changes()).collect();
            Spool::commit(self.spool, clock::now(), changes)?;
            audit.done();
            return Ok(());
        };
        let waited_ms = Spool::held_ms(self.spool, clock::now()).saturating_sub(here.came.4);
        let folder = self.dir(&job, attempt);
        let mut made = answer::compose(job, how, here.job.answer, waited_ms, &folder)?;
        let mut audit = self.desk.audit(self.spool)?;
        let said = (made.result.state, made.result.why.as_deref());
        audited::answer(&mut audit, job, whose, said)?;
        // The signature of its bundle is one under this head, which its issuer keeps.
        made.result.audit = Some(audit.link());
        // To be said again, word for word, where there is no folder to ask.
        let said = set_note_of(&made.result);
        let more = |_: &BundleId| [recorded(), said()].into_iter().chain(audit.changes()).collect();
        self.send_answer(here, to, made, Beside::Of(&more))?;
        audit.done();
        Ok(())
    }

    /// Sends a job's issuer the answer that it was given once more.
    pub fn repeat(&self, job: BundleId, full: bool) -> Result<(), Failure> {
        let contacts = self.desk.home.contacts()?;
        let Some(here) = self.here(job)? else { return Ok(()) };
        let Some(to) = contacts.of(&here.kept.author) else { return Ok(()) };
        let attempt = (0..=u8::MAX).take_while(|n| self.dir(&job, *n).exists()).last();
        let standing = attempt.filter(|_| full).map(|attempt| self.look(&job, attempt));
        let said = self.spool.note(space::JOB_ANSWER, &job.0)?;
        let said = said.and_then(|said| JobResult::decode(&said).ok());
        let made = match (standing, attempt) {
            (Some(Standing::Ended(outcome)), Some(attempt)) => {
                let folder = self.dir(&job, attempt);
                let how = How::Ended(outcome);
                let mut made = answer::compose(job, &how, Answer::Full, 0, &folder)?;
                made.result.audit = said.and_then(|said| said.audit);
                made
            }
            _ => {
                let Some(result) = said else { return Ok(()) };
                answer::Made { result, files: Vec::new(), bytes: 0 }
            }
        };
        self.send_answer(&here, to, made, Beside::Changes(Vec::new()))
    }

    fn send_answer(
        &self,
        here: &Whole,
        to: &Contact,
        made: answer::Made,
        beside: Beside<'_>,
    ) -> Result<(), Failure> {
        let request = made.request(to);
        if request.files.is_empty() {
            let mut changes = Vec::new();
            let preview = format!("what became of {}", here.job.handle);
            let body = Body::Result(Box::new(made.result));
            let packet = Packet { body, tail: self.desk.tail(to, &request) };
            let small = Small { packet, bytes: made.bytes, preview };
            let (_, id) = self.desk.seal_small(self.spool, to, &request, small, &mut changes)?;
            self.desk.commit_new(self.spool, &id, changes, beside)?;
        } else {
            let wrap = |files: Manifest| {
                let files = Some(files);
                Body::Result(Box::new(JobResult { files, ..made.result.clone() }))
            };
            self.desk.send_by(self.spool, &request, &wrap, beside, &Silent)?;
        }
        Ok(())
    }

    /// Tells a job's issuer how it stands.
    pub fn say(&self, job: BundleId, fact: Fact, why: Option<String>) -> Result<(), Failure> {
        let Some(here) = self.here(job)? else { return Ok(()) };
        let age_s = Spool::held_ms(self.spool, clock::now()).saturating_sub(here.came.4) / 1000;
        if fact == Fact::Held {
            audited::held(self.desk, self.spool, job, here.whose(), why.clone())?;
        }
        let said = Said::Notice { fact, age_s, why };
        self.send_word(&here.kept.author, Word { job, said }, Niceness::NORMAL)
    }

    /// Asks those who must agree to a job.
    pub fn propose(&self, job: BundleId) -> Result<(), Failure> {
        let Some(here) = self.here(job)? else { return Ok(()) };
        let mut proposal = None;
        let given = here.job.files.iter().flat_map(|files| &files.files);
        let given: Vec<[u8; 32]> = given.map(|file| file.blake3).collect();
        let (issuer, handle) = (here.kept.author, here.job.handle.clone());
        let mut approvers = Vec::new();
        self.rendered(&here, |rendered| {
            let (argv, needed) = (rendered.argv.clone(), rendered.entry.approvals);
            approvers = rendered.entry.approvers.clone().unwrap_or_default();
            proposal = Some(Proposal { issuer, handle, argv, given, needed });
            Verdict::NotNow
        })?;
        let Some(proposal) = proposal else { return Ok(()) };
        let contacts = self.desk.home.contacts()?;
        let today = clock::today();
        for contact in contacts.iter().filter(|contact| contact.card.node != issuer) {
            let node = &contact.card.node;
            let asked = if approvers.is_empty() {
                self.desk.home.config.acl.may(&contacts, Some(node), Right::Run, today)
            } else {
                Acl::means(&approvers, &contacts, Some(node), today)
            };
            if asked {
                let said = Said::Propose(proposal.clone());
                self.send_word(node, Word { job, said }, Niceness::PRIORITY)?;
            }
        }
        Ok(())
    }

    /// Forgets a job: its folders, then its record. What came stays as a message of the inbox.
    pub fn forget(&self, job: &BundleId) -> Result<(), Failure> {
        self.clear(job)?;
        self.latest.borrow_mut().take_if(|(latest, _)| latest == job);
        let gone = vec![remove_note(space::JOB, &job.0), remove_note(space::JOB_CAME, &job.0)];
        let answer = remove_note(space::JOB_ANSWER, &job.0);
        let gone = gone.into_iter().chain([answer]).collect();
        Spool::commit(self.spool, clock::now(), gone)?;
        Ok(())
    }

    /// Removes a job's folders.
    fn clear(&self, job: &BundleId) -> Result<(), Failure> {
        let dir = self.of(job);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::file("remove", &dir, error))
            }
            _ => Ok(()),
        }
    }

    fn of(&self, job: &BundleId) -> PathBuf {
        self.all.join(hex(&job.0))
    }

    fn came(&self, job: BundleId) -> Result<Option<CameNote>, Failure> {
        Ok(self.spool.note(space::JOB_CAME, &job.0)?.as_deref().and_then(CameNote::read))
    }

    /// A job, if all of it is here.
    fn here(&self, job: BundleId) -> Result<Option<Rc<Whole>>, Failure> {
        if let Some((_, here)) = self.latest.borrow().as_ref().filter(|(latest, _)| *latest == job)
        {
            return Ok(Some(Rc::clone(here)));
        }
        let Some(came) = self.came(job)? else { return Ok(None) };
        let Some(kept) = self.desk.kept(self.spool, job)? else { return Ok(None) };
        let Body::Job(body) = &kept.packet.body else { return Ok(None) };
        let in_parts = body.files.as_ref().is_some_and(|files| files.parts().is_some());
        if in_parts && self.spool.note(space::COMPLETE, &job.0)?.is_none() {
            return Ok(None);
        }
        let job = (**body).clone();
        Ok(Some(Rc::new(Whole { kept, job, came })))
    }

    /// Renders a job's command as the list says now.
    fn rendered(
        &self,
        here: &Whole,
        then: impl FnOnce(Rendered<'_>) -> Verdict,
    ) -> Result<Verdict, Failure> {
        use postrider_exec::allow::Verdict as Judged;
        let list = self.desk.home.allow_list()?;
        let contacts = self.desk.home.contacts()?;
        let (issuer, today) = (here.kept.author, clock::today());
        let may = |words: Option<&[String]>| {
            if contacts.rosters().revoked_by(&issuer).is_some() || contacts.is_blocked(&issuer) {
                return false;
            }
            match words {
                Some(words) => Acl::means(words, &contacts, Some(&issuer), today),
                None => self.desk.home.config.acl.may(&contacts, Some(&issuer), Right::Run, today),
            }
        };
        let contact = |name: &str| {
            let contact = contacts.resolve(name).ok()?;
            contacts.is_chosen(&contact.card.node).then(|| contact.card.node.to_string())
        };
        let files = here.attached();
        let request = Request {
            handle: &here.job.handle,
            args: &here.job.args,
            stdin_bytes: here.stdin_bytes(),
            files: &files,
        };
        Ok(match judge(&list, &request, &Here { may: &may, contact: &contact }) {
            Judged::Run(rendered) => then(rendered),
            Judged::Refused(refusal) => Verdict::Refused(refusal.why()),
            Judged::NoSuchHandle => Verdict::NoSuchHandle,
        })
    }

    /// Whether somebody may agree to a job, which is not for its issuer to do.
    fn may_agree(&self, job: BundleId, by: &NodeId) -> Result<bool, Failure> {
        let Some(here) = self.here(job)? else { return Ok(false) };
        let contacts = self.desk.home.contacts()?;
        let today = clock::today();
        if here.kept.author == *by || contacts.rosters().revoked_by(by).is_some() {
            return Ok(false);
        }
        let list = self.desk.home.allow_list()?;
        let Some(entry) = list.0.get(&here.job.handle) else { return Ok(false) };
        Ok(match entry.approvers.as_deref().or(entry.who.as_deref()) {
            Some(words) => Acl::means(words, &contacts, Some(by), today),
            None => self.desk.home.config.acl.may(&contacts, Some(by), Right::Run, today),
        })
    }

    fn send_word(&self, to: &NodeId, word: Word, nice: Niceness) -> Result<(), Failure> {
        let contacts = self.desk.home.contacts()?;
        let Some(to): Option<&Contact> = contacts.of(to) else { return Ok(()) };
        let mut request = letter(to);
        request.nice = Some(nice);
        let preview = "about a job".to_owned();
        let packet =
            Packet { body: Body::Word(Box::new(word)), tail: self.desk.tail(to, &request) };
        let mut changes = Vec::new();
        let small = Small { packet, bytes: 0, preview };
        self.desk.seal_small(self.spool, to, &request, small, &mut changes)?;
        Post::commit(self.spool, clock::now(), changes)?;
        Ok(())
    }

    /// Puts what came along where the command finds it, under names of ours; returns its input, where
    /// that is short.
    fn give(&self, here: &Whole, dir: &Path) -> Result<Option<Vec<u8>>, Failure> {
        let Some(manifest) = &here.job.files else { return Ok(None) };
        let parts = manifest.parts().map(|parts| {
            let key = set_key(here.kept.author.as_bytes(), &parts.set);
            self.desk.inbox_dir().join(hex(&key))
        });
        let (mut inline_at, mut number, mut short) = (0, 0, None);
        for (n, file) in manifest.files.iter().enumerate() {
            let is_stdin = u32::try_from(n).is_ok_and(|n| here.job.stdin == Some(n));
            let length = usize::try_from(file.bytes).unwrap_or(usize::MAX);
            if let Content::Inline(bytes) = &manifest.content
                && is_stdin
                && file.bytes <= STDIN_MAX
            {
                let own = bytes.get(inline_at..).and_then(|rest| rest.get(..length));
                short = Some(own.unwrap_or_default().to_vec());
                inline_at += length;
                continue;
            }
            let path = if is_stdin {
                dir.join("stdin")
            } else {
                number += 1;
                dir.join("given").join(given_name(number - 1))
            };
            let write = || {
                let mut options = fs::OpenOptions::new();
                let mut to = options.write(true).create_new(true).mode(0o644).open(&path)?;
                match (&manifest.content, &parts) {
                    (Content::Inline(bytes), _) => {
                        let own = bytes.get(inline_at..).and_then(|rest| rest.get(..length));
                        to.write_all(own.unwrap_or_default())?;
                    }
                    (Content::Parts(_), Some(parts)) => {
                        io::copy(&mut File::open(parts.join(format!("f{n}")))?, &mut to)?;
                    }
                    (Content::Parts(_), None) => {}
                }
                to.sync_all()
            };
            write().map_err(|error| Failure::file("write", &path, error))?;
            inline_at += length;
        }
        if number > 0 {
            sync_dir(&dir.join("given"))?;
        }
        Ok(short)
    }
}

impl Whole {
    /// Whose it is, and by which handle.
    fn whose(&self) -> (NodeId, String) {
        (self.kept.author, self.job.handle.to_string())
    }

    fn asked(&self) -> Asked {
        Asked {
            issuer: self.kept.author,
            sequence: self.came.sequence(),
            turn: self.job.turn.clone(),
            arrived_ms: self.came.4,
            age_s: self.came.1,
        }
    }

    fn stdin_bytes(&self) -> Option<u64> {
        let at = usize::try_from(self.job.stdin?).ok()?;
        Some(self.job.files.as_ref()?.files.get(at)?.bytes)
    }

    /// Attachments but for standard input, in their order.
    fn attached(&self) -> Vec<Attached> {
        let stdin = self.job.stdin.and_then(|at| usize::try_from(at).ok());
        let files = self.job.files.iter().flat_map(|files| &files.files).enumerate();
        files
            .filter(|(at, _)| Some(*at) != stdin)
            .map(|(_, file)| Attached {
                name: file.path.first().cloned().unwrap_or_default(),
                bytes: file.bytes,
            })
            .collect()
    }
}

/// A result as it is kept, without the files that go along.
fn set_note_of(result: &JobResult) -> impl Fn() -> Change + use<> {
    let mut alone = result.clone();
    (alone.files, alone.stdout.gap, alone.stderr.gap) = (None, None, None);
    let (key, value) = (alone.job.0, alone.encode());
    move || set_note(space::JOB_ANSWER, &key, value.clone())
}

/// Makes a directory; whether there was none.
fn make_dir(path: &Path, mode: u32) -> Result<bool, Failure> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Failure::file("make", path, error)),
    }
}

fn sync_dir(path: &Path) -> Result<(), Failure> {
    let synced = File::open(path).and_then(|dir| dir.sync_all());
    synced.map_err(|error| Failure::file("sync", path, error))
}

fn gone(job: &BundleId) -> Failure {
    Failure::new(FailureKind::Damaged, format!("the job {job} cannot be read back"))
}

fn folder_failure(error: FolderError) -> Failure {
    let kind = match &error {
        FolderError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            FailureKind::Full
        }
        _ => FailureKind::Failed,
    };
    Failure::new(kind, "a job's folder cannot be used").because(error)
}
