//! Every verb, one after the other: its request, its reply, and how it runs.

use std::path::PathBuf;

use postrider_base::{BundleId, Card, Lifetime, Niceness, NodeId, Roster};
use postrider_exec::allow::Trial;
use serde::{Deserialize, Serialize};

use super::{
    live, ports,
    verb::{At, verbs},
    wire::Outcomes,
};
use crate::desk::{
    AddRequest, AllowRequest, AllowTestRequest, ContactChange, Failure, FailureKind,
    IntroduceRequest, RosterChange, SendRequest, TossDirection, TossRequest, Which, hex,
    reply::{
        AllowLine, AllowVerdict, CardLine, Checked, ContactLine, DaemonLine, Finding, Happening,
        Identity, JobLine, JobReleased, LinkLine, MemberLine, OutputLine, PeerLine, Ponged,
        ProposalLine, Queued, Reason, Received, RosterFile, RosterLine, Saved, Sent, Shown, Status,
        Tossed, Traced, TrialLine,
    },
};

verbs! {
    /// Who this node is.
    Id "id" {
        /// Also the six words that people compare.
        words: bool = default,
    } -> Identity: |request, at| Ok(at.desk.identity(request.words));

    /// Take a contact card.
    Add "add" {
        /// The card as text, prcard1….
        card: String,
        /// What to call its owner; the name that the card suggests by default.
        name: Option<String>,
    } -> ContactLine: |request, at| {
        let card = Card::read(request.card.as_bytes())?;
        let line = at.desk.add(&AddRequest { card, name: request.name })?;
        at.people_changed()?;
        Ok(line)
    };

    /// The card that came with a message.
    MessageCard "add/of-message" {
        /// An id, or its first digits.
        id: String,
    } -> CardLine: |request, at| {
        let card = at.desk.card_from_message(&request.id, at.watch)?;
        Ok(CardLine { card: card.to_string() })
    };

    /// Everybody that is known.
    ContactLs "contact/ls" {} -> Vec<ContactLine>: |_request, at| at.desk.contacts();

    /// One contact, with the words to compare.
    ContactShow "contact/show" {
        /// A name or an id.
        who: String,
    } -> ContactLine: |request, at| at.desk.contact(&request.who);

    /// Change one contact.
    ContactChangeVerb "contact/change" {
        /// A name or an id.
        who: String,
        /// {"rename":NAME}, "verify", "accept", {"block":BOOL}, {"hidden":BOOL or null} or "remove".
        change: Option<ContactChange>,
    } -> ContactLine: |request, at| {
        let change = request.change.ok_or_else(|| missing("change"))?;
        let line = at.desk.change_contact(&request.who, &change)?;
        at.people_changed()?;
        Ok(line)
    };

    /// Send contacts each other's cards, with this node's word for them.
    Introduce "contact/introduce" {
        /// Whose card: a name or an id.
        who: String,
        /// To whom: a name or an id.
        to: String,
        /// What to say of them.
        note: Option<String>,
        /// The other way round as well.
        both: bool = default,
    } -> Vec<Sent>: |request, at| {
        let Self { who, to, note, both } = request;
        at.desk.introduce(&IntroduceRequest { who, to, note, both }, at.watch)
    };

    /// Rosters that are followed.
    RosterLs "roster/ls" {} -> Vec<RosterLine>: |_request, at| at.desk.rosters();

    /// Who is on a roster.
    RosterShow "roster/show" {
        /// Its name or key; the only one by default.
        roster: Option<String>,
    } -> Vec<MemberLine>: |request, at| at.desk.roster_members(request.roster.as_deref());

    /// Begin a roster.
    RosterNew "roster/new" {
        /// What it is called.
        name: String,
        /// The public key that signs it, where that is not this node's own.
        key: Option<String>,
        /// The file of that key, by absolute path; it is not read.
        file: Option<PathBuf>,
    } -> RosterLine: |request, at| {
        let with = match (&request.key, request.file) {
            (None, None) => None,
            (Some(key), Some(file)) => Some((node_id(key)?, file)),
            _ => return Err(missing("key and file, both or none")),
        };
        changed(at, at.desk.begin_roster(&request.name, with)?)
    };

    /// Change a roster that is made here. Where another key than this node's signs it, the reply has
    /// what is to be signed in `draft`.
    RosterEdit "roster/edit" {
        /// Its name or key; the only one by default.
        roster: Option<String>,
        /// {"add":{"who","role","groups","until"}} or {"revoke":{"who"}}.
        change: Option<RosterChange>,
    } -> RosterLine: |request, at| {
        let change = request.change.ok_or_else(|| missing("change"))?;
        changed(at, at.desk.change_roster(request.roster.as_deref(), &change, at.watch)?)
    };

    /// Take a roster that is followed.
    RosterTake "roster/take" {
        /// The whole of it, in hexadecimal.
        roster: String,
    } -> RosterLine: |request, at| {
        changed(at, at.desk.take_roster(&roster(&request.roster)?, at.watch)?)
    };

    /// Follow a roster.
    RosterFollow "roster/follow" {
        /// Its key, pr1….
        key: Option<String>,
        /// The whole of it, in hexadecimal, if it is at hand.
        roster: Option<String>,
        /// The message that it came with, by its id.
        message: Option<String>,
    } -> RosterLine: |request, at| {
        let roster = match (&request.roster, &request.message) {
            (Some(text), _) => Some(roster(text)?),
            (None, Some(id)) => Some(at.desk.roster_in_message(id, at.watch)?),
            (None, None) => None,
        };
        let key = match (&request.key, &roster) {
            (Some(key), _) => node_id(key)?,
            (None, Some(roster)) => roster.key,
            (None, None) => return Err(missing("key")),
        };
        changed(at, at.desk.follow_roster(key, roster.as_ref(), at.watch)?)
    };

    /// Send a contact the newest of a roster, for them to follow.
    RosterSend "roster/send" {
        /// To whom: a name or an id.
        to: String,
        /// Its name or key; the only one by default.
        roster: Option<String>,
    } -> Sent: |request, at| {
        at.desk.send_roster(request.roster.as_deref(), &request.to, at.watch)
    };

    /// Follow a roster no more.
    RosterLeave "roster/leave" {
        /// Its name or key.
        roster: String,
    } -> RosterLine: |request, at| changed(at, at.desk.leave_roster(&request.roster)?);

    /// The newest of a roster, whole.
    RosterExport "roster/export" {
        /// Its name or key; the only one by default.
        roster: Option<String>,
    } -> RosterFile: |request, at| {
        Ok(RosterFile { roster: hex(&at.desk.roster_bytes(request.roster.as_deref())?) })
    };

    /// What others may have run here.
    AllowLs "allow/ls" {} -> Vec<AllowLine>: |_request, at| at.desk.allowed();

    /// Let others have a command run here, by a handle; what it was before is forgotten.
    AllowSet "allow/set" {
        /// 1 to 64 of a-z 0-9 . _ -, a letter or digit first.
        handle: String,
        /// The command, with slots as {level:int(0..9)}; docs/jobs.md says which there are.
        argv: Vec<String>,
        /// Who may: contacts' names, @role, %group, contacts or *; by default those of [acl] run.
        who: Option<Vec<String>>,
        /// How many others must agree.
        approvals: u8 = default,
        /// Who may agree; by default those who may have it run.
        approvers: Option<Vec<String>>,
        /// It may be run again when nobody can say how it ended.
        idempotent: bool = default,
        /// Seconds from its start to its end.
        timeout_s: Option<u32>,
        /// Bytes of memory.
        memory: Option<u64>,
        /// It has a network.
        net: bool = default,
        /// What it may read beyond the system, by absolute path.
        read: Vec<PathBuf> = default,
        /// What it may write beyond its own folder, by absolute path.
        write: Vec<PathBuf> = default,
        /// Whose name it runs under.
        user: Option<String>,
        /// Of the commands of one group one runs at a time.
        group: Option<String>,
        /// Run the program only as it is now: its BLAKE3 is kept.
        pin: bool = default,
        /// Run it also where not every bound can be enforced.
        best_effort: bool = default,
        /// When in the day it may begin, UTC, as 22:00-06:00.
        window: Option<String>,
        /// Bytes of standard input that it takes.
        stdin: Option<u64>,
        /// Bytes of attachments that it takes.
        files: Option<u64>,
        /// What it changes is on trial: arm, restart, check, keep and undo, lists of words; within_s, starts.
        trial: Option<Trial>,
    } -> AllowLine: |request, at| at.desk.allow(&request.request());

    /// Let nobody have a command run any more.
    AllowRm "allow/rm" {
        /// Its handle.
        handle: String,
    } -> AllowLine: |request, at| at.desk.disallow(&request.handle);

    /// What would become of a request; nothing is run.
    AllowTest "allow/test" {
        /// The handle.
        handle: String,
        /// What would fill the slots.
        args: Vec<String> = default,
        /// On whose behalf: a contact's name or an id; otherwise it is not asked who may.
        who: Option<String>,
        /// As which names attachments would come along.
        files: Vec<String> = default,
        /// So many bytes of standard input would come along.
        stdin: Option<u64>,
    } -> AllowVerdict: |request, at| {
        let Self { handle, args, who, files, stdin } = request;
        at.desk.test_allowed(&AllowTestRequest { handle, args, who, files, stdin })
    };

    /// Ask somebody to run something; when this answers, that is durable.
    Run "run" {
        /// Who is to run it: a contact's name or id.
        to: String,
        /// What that node calls it.
        handle: String,
        /// What fills its slots.
        args: Vec<String> = default,
        /// Attachments, by absolute path.
        files: Vec<PathBuf> = default,
        /// The file that becomes its standard input, by absolute path.
        stdin: Option<PathBuf>,
        /// After the last job of mine in this queue there that may not have ended.
        queue: Option<String>,
        /// After these jobs of mine: ids, or their first digits.
        after: Vec<String> = default,
        /// Only if all of those, and the one before it in its queue, ended well.
        if_ok: bool = default,
        /// Seconds that it waits for those before it that do not come; by default as long as it lives.
        patience_s: Option<u32>,
        /// What becomes of it then: run, skip or hold; by default skip.
        then: Option<String>,
        /// It takes the place of those of mine with this key that have not begun.
        supersede: Option<String>,
        /// How old it may be when it begins, and how long it travels, in seconds.
        lifetime_s: Option<u32>,
        /// Not before this time, in Unix seconds.
        not_before: Option<u64>,
        /// Not after this time, in Unix seconds.
        not_after: Option<u64>,
        /// Only how it ended and its last words come back.
        brief: bool = default,
    } -> JobLine: |request, at| at.desk.run(&request.request()?, at.watch);

    /// Jobs that this node asked others to run, oldest first.
    JobLs "job/ls" {} -> Vec<JobLine>: |_request, at| at.desk.jobs(at.watch);

    /// One of them, with what its command wrote.
    JobShow "job/show" {
        /// An id, or its first digits.
        id: String,
    } -> JobLine: |request, at| at.desk.job(&request.id, at.watch);

    /// What is here of an output of its command.
    JobLog "job/log" {
        /// An id, or its first digits.
        id: String,
        /// Of standard error; else of standard output.
        stderr: bool = default,
    } -> OutputLine: |request, at| {
        let which = if request.stderr { Which::Stderr } else { Which::Stdout };
        at.desk.job_output(&request.id, which, at.watch)
    };

    /// Ask its target once more what became of it, with all of its output.
    JobAsk "job/ask" {
        /// An id, or its first digits.
        id: String,
    } -> JobLine: |request, at| at.desk.ask_again(&request.id, at.watch);

    /// Take a job back.
    JobCancel "job/cancel" {
        /// An id, or its first digits.
        id: String,
        /// Also end its command if that runs.
        force: bool = default,
    } -> JobLine: |request, at| {
        let (line, gone) = at.desk.cancel_job(&request.id, request.force, at.watch)?;
        tell_gone(at, gone);
        Ok(line)
    };

    /// Ask for the same once more, as a new job.
    JobRerun "job/rerun" {
        /// An id, or its first digits.
        id: String,
    } -> JobLine: |request, at| at.desk.rerun(&request.id, at.watch);

    /// Jobs of others that somebody here may agree to, oldest first.
    JobProposals "job/proposals" {} -> Vec<ProposalLine>: |_request, at| at.desk.proposals(at.watch);

    /// One of them, word for word.
    JobProposal "job/proposal" {
        /// An id, or its first digits.
        id: String,
    } -> ProposalLine: |request, at| at.desk.proposal(&request.id, at.watch);

    /// Agree to a job of somebody else.
    JobApprove "job/approve" {
        /// An id, or its first digits.
        id: String,
        /// What was shown; if something else is proposed by now, nothing is agreed to.
        approval: Option<String>,
    } -> ProposalLine: |request, at| {
        at.desk.approve(&request.id, request.approval.as_deref(), at.watch)
    };

    /// Let a job of somebody else's go on that this node holds.
    JobRelease "job/release" {
        /// An id, or its first digits.
        id: String,
    } -> JobReleased: |request, at| at.desk.release_job(&request.id, at.watch);

    /// Count a start for what is on trial, where no daemon may come up to do so.
    JobGuard "job/guard" {} -> Vec<TrialLine>: |_request, at| {
        if at.node.is_some() {
            return Err(Failure::new(FailureKind::Refused, "the daemon runs")
                .next("nothing was counted: it counts its starts itself"));
        }
        at.desk.guard_trials(at.watch)
    };

    /// Queue a message; when this answers, it is durable.
    SendOne "send" {
        /// To whom: a contact's name or id.
        to: String,
        /// The text.
        text: Option<String>,
        /// Files and directories, by absolute path.
        files: Vec<PathBuf> = default,
        /// Niceness, 1 (first) to 255 (last).
        nice: Option<u8>,
        /// How long it lives, in seconds.
        lifetime_s: Option<u32>,
        /// Whether nobody on the way may see who writes to whom; by default as the contact is set.
        hidden: Option<bool>,
        /// The message that it answers, by its whole id.
        reply_to: Option<String>,
        /// The message of mine to the same recipient whose place it takes, if that is not received
        /// yet: an id, or its first digits.
        supersede: Option<String>,
    } -> Sent: |request, at| {
        let (sent, gone) = at.desk.send_bundles(&request.request()?, at.watch)?;
        tell_gone(at, gone);
        ports::warn_of_radio(at, &sent.id);
        Ok(sent)
    };

    /// Queue many messages with few syncs; one object back for each, in order.
    SendBatch "send/batch" {
        /// The messages, at most 64.
        messages: Vec<SendOne>,
    } -> Outcomes: |request, at| {
        if request.messages.len() > BATCH_MAX {
            return Err(Failure::new(FailureKind::Usage, "a batch has at most 64 messages"));
        }
        let mut outcomes = Vec::new();
        at.desk.send_batch(
            &mut request.messages.iter().map(SendOne::request),
            &mut |outcome| outcomes.push(outcome),
            at.watch,
        )?;
        Ok(Outcomes(outcomes))
    };

    /// How a message that was sent stands.
    SendState "send/state" {
        /// An id, or its first digits.
        id: String,
    } -> Sent: |request, at| at.desk.sent_state(&request.id, at.watch);

    /// What arrived, oldest first.
    InboxLs "inbox/ls" {} -> Vec<Received>: |_request, at| at.desk.inbox(at.watch);

    /// One message; it is marked as read.
    InboxRead "inbox/read" {
        /// An id, or its first digits.
        id: String,
    } -> Received: |request, at| at.desk.read_message(&request.id, at.watch);

    /// Save the files of a message, or its text, under names that are free.
    InboxSave "inbox/save" {
        /// An id, or its first digits.
        id: String,
        /// Where, by absolute path.
        dir: PathBuf,
    } -> Vec<Saved>: |request, at| at.desk.save_message(&request.id, &request.dir, at.watch);

    /// Exchange with a stick, a memory card or a synced directory.
    TossVerb "toss" {
        /// Where it is mounted, by absolute path.
        path: PathBuf,
        /// Only take.
        only_in: bool = default,
        /// Only write.
        only_out: bool = default,
        /// Change nothing; say what would be done.
        dry_run: bool = default,
        /// Write at most so many bytes.
        budget: Option<u64>,
        /// Prepare it even when there is nothing to write.
        init: bool = default,
        /// Leave my card on it, for anybody to read.
        with_card: bool = default,
    } -> Tossed: |request, at| live::after_taking(at, at.desk.toss(&request.request()?, at.watch)?);

    /// What waits, most urgent first.
    QueueLs "queue/ls" {} -> Vec<Queued>: |_request, at| at.desk.queue(at.watch);

    /// One bundle that waits.
    QueueShow "queue/show" {
        /// An id, or its first digits.
        id: String,
    } -> Queued: |request, at| live::queue_show(at, &request.id);

    /// Take a message back; copies on the way may still arrive.
    QueueCancel "queue/cancel" {
        /// An id, or its first digits.
        id: String,
    } -> Sent: |request, at| {
        let (sent, gone) = at.desk.cancel_bundles(&request.id, at.watch)?;
        tell_gone(at, gone);
        Ok(sent)
    };

    /// Let a message go earlier or later.
    QueueBump "queue/bump" {
        /// An id, or its first digits.
        id: String,
        /// Niceness, 1 (first) to 255 (last).
        nice: u8,
    } -> Queued: |request, at| at.desk.bump(&request.id, niceness(request.nice)?, at.watch);

    /// What happened to a message, oldest first.
    Trace "trace" {
        /// An id, or its first digits.
        id: String,
    } -> Vec<Traced>: |request, at| at.desk.trace(&request.id, at.watch);

    /// Why a message is where it is.
    Why "why" {
        /// An id, or its first digits.
        id: String,
    } -> Vec<Reason>: |request, at| live::why(at, &request.id);

    /// How this node is.
    StatusVerb "status" {} -> Status: |_request, at| live::status(at);

    /// Every bundle that is here.
    BundleLs "bundle/ls" {} -> Vec<Queued>: |_request, at| at.desk.bundles(at.watch);

    /// What anybody can read of a bundle.
    BundleShow "bundle/show" {
        /// An id, or its first digits.
        id: String,
    } -> Shown: |request, at| at.desk.bundle_show(&request.id, at.watch);

    /// Check the id, hash and signature of a bundle.
    BundleVerify "bundle/verify" {
        /// An id, or its first digits.
        id: String,
    } -> Shown: |request, at| at.desk.bundle_verify(&request.id, at.watch);

    /// Take a bundle from a file; also what stock age sealed to this node.
    BundleImport "bundle/import" {
        /// The file, by absolute path.
        file: PathBuf,
    } -> Vec<Received>: |request, at| {
        let messages = at.desk.bundle_import(&request.file, at.watch)?;
        live::tell_messages(at, &messages, &[]);
        Ok(messages)
    };

    /// How much is in the spool, and of what.
    SpoolStats "spool/stats" {} -> Vec<Finding>: |_request, at| at.desk.spool_stats(at.watch);

    /// Read the whole spool and say what is damaged.
    SpoolCheck "spool/check" {} -> Checked: |_request, at| at.desk.spool_check(at.watch);

    /// Make the index of the spool anew from its log.
    SpoolRebuild "spool/rebuild" {} -> Checked: |_request, at| at.desk.spool_rebuild(at.watch);

    /// Give back what is no longer needed.
    SpoolGc "spool/gc" {} -> Checked: |_request, at| at.desk.spool_gc(at.watch);

    /// Look for what is wrong.
    Doctor "doctor" {} -> Vec<Finding>: |_request, at| ports::doctor(at);

    /// Clear every alarm; which there were.
    AlarmClear "doctor/clear-alarm" {} -> Vec<Finding>: |_request, at| at.desk.clear_alarms(at.watch);

    /// Neighbours: who has a link now, and who had one.
    PeersLs "peers" {} -> Vec<PeerLine>: |_request, at| live::peers(at);

    /// To whom links are kept.
    LinkLs "link/ls" {} -> Vec<LinkLine>: |_request, at| live::link_ls(at);

    /// Keep a link to a peer, now and after every start.
    LinkAdd "link/add" {
        /// An address, and behind a # a contact's name or a node's id.
        uri: String,
    } -> LinkLine: |request, at| live::link_add(at, &request.uri);

    /// Keep no link to a peer any more.
    LinkRm "link/rm" {
        /// As it was added.
        uri: String,
    } -> LinkLine: |request, at| live::link_rm(at, &request.uri);

    /// Dial a peer once and say who answers, or what is at a port.
    LinkTest "link/test" {
        /// An address, and behind a # a contact's name or a node's id.
        uri: String,
        /// Say hello at a port to which no link is kept, whatever is there.
        speak: bool = default,
    } -> LinkLine: |request, at| live::link_test(at, &request.uri, request.speak);

    /// Call somebody now.
    Call "call" {
        /// A contact's name, a node's id, or an address as for link/add.
        who: String,
        /// Not again when the link ends.
        once: bool = default,
    } -> PeerLine: |request, at| live::call(at, &request.who, request.once);

    /// How long a neighbour takes to answer over its link.
    Ping "ping" {
        /// A contact's name or a node's id.
        who: String,
    } -> Ponged: |request, at| live::ping(at, &request.who);

    /// What happened lately, oldest first.
    Log "log" {} -> Vec<Happening>: |_request, at| Ok(at.live()?.0.board.since(0));

    /// The daemon itself.
    DaemonShow "daemon" {} -> DaemonLine: |_request, at| live::daemon(at, "running");

    /// End the daemon.
    Down "down" {} -> DaemonLine: |_request, at| live::down(at);
}

/// Messages in one batch: what the desk commits with one sync.
const BATCH_MAX: usize = 64;

impl AllowSet {
    fn request(self) -> AllowRequest {
        AllowRequest {
            handle: self.handle,
            argv: self.argv,
            who: self.who,
            approvals: self.approvals,
            approvers: self.approvers,
            idempotent: self.idempotent,
            timeout_s: self.timeout_s,
            memory: self.memory,
            net: self.net,
            read: self.read,
            write: self.write,
            user: self.user,
            group: self.group,
            pin: self.pin,
            best_effort: self.best_effort,
            window: self.window,
            stdin: self.stdin,
            files: self.files,
            trial: self.trial,
        }
    }
}

impl SendOne {
    pub(super) fn request(&self) -> Result<SendRequest, Failure> {
        let lifetime = match self.lifetime_s {
            None => None,
            Some(s) => Some(Lifetime::new(s).ok_or_else(|| missing("lifetime_s"))?),
        };
        let reply_to = match &self.reply_to {
            None => None,
            Some(id) => Some(bundle_id(id).ok_or_else(|| missing("reply_to"))?),
        };
        Ok(SendRequest {
            to: self.to.clone(),
            text: self.text.clone(),
            files: self.files.clone(),
            nice: self.nice.map(niceness).transpose()?,
            lifetime,
            hidden: self.hidden,
            reply_to,
            supersede: self.supersede.clone(),
        })
    }
}

impl From<SendRequest> for SendOne {
    fn from(request: SendRequest) -> Self {
        Self {
            to: request.to,
            text: request.text,
            files: request.files,
            nice: request.nice.map(|nice| nice.value()),
            lifetime_s: request.lifetime.map(Lifetime::seconds),
            hidden: request.hidden,
            reply_to: request.reply_to.map(|id| id.to_string()),
            supersede: request.supersede,
        }
    }
}

impl TossVerb {
    fn request(&self) -> Result<TossRequest, Failure> {
        let direction = match (self.only_in, self.only_out) {
            (true, true) => return Err(missing("only one of only_in and only_out")),
            (true, false) => TossDirection::In,
            (false, true) => TossDirection::Out,
            (false, false) => TossDirection::Both,
        };
        Ok(TossRequest {
            path: self.path.clone(),
            direction,
            dry_run: self.dry_run,
            budget: self.budget,
            init: self.init,
            with_card: self.with_card,
        })
    }
}

fn niceness(value: u8) -> Result<Niceness, Failure> {
    Niceness::new(value).ok_or_else(|| missing("nice"))
}

pub(super) fn missing(what: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("{what} is missing or no value that it can have"))
        .next("nothing was changed; GET /v1/openapi.json describes every request")
}

/// Bundles that were ended by hand are offered to nobody from here on.
pub(super) fn tell_gone(at: &At<'_>, gone: Vec<BundleId>) {
    if let Some((node, handle)) = at.node
        && !gone.is_empty()
    {
        handle.block_on(node.gone(gone));
    }
}

/// After whom this node knows was changed by a roster.
fn changed(at: &At<'_>, line: RosterLine) -> Result<RosterLine, Failure> {
    at.people_changed()?;
    Ok(line)
}

fn node_id(text: &str) -> Result<NodeId, Failure> {
    text.parse().map_err(|error| missing("key").because(error))
}

fn roster(text: &str) -> Result<Roster, Failure> {
    Ok(Roster::decode(&from_hex(text).ok_or_else(|| missing("roster"))?)?)
}

/// An id of 64 hexadecimal digits.
pub(crate) fn bundle_id(text: &str) -> Option<BundleId> {
    Some(BundleId(from_hex(text)?.try_into().ok()?))
}

/// Bytes from hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digits = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_with_a_wrong_key_or_value_is_refused() {
        for wrong in [
            "",
            "{}",
            r#"{"to":"Bob","txet":"hi"}"#,
            r#"{"to":7}"#,
            "nonsense",
            r#"{"to":"Bob","nice":256}"#,
        ] {
            assert!(serde_json::from_str::<SendOne>(wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<SendOne>(r#"{"to":"Bob"}"#).is_ok());
        for wrong in [
            SendOne { nice: Some(0), ..SendOne::default() },
            SendOne { lifetime_s: Some(0), ..SendOne::default() },
            SendOne { reply_to: Some("a5".into()), ..SendOne::default() },
        ] {
            assert_eq!(wrong.request().unwrap_err().kind, FailureKind::Usage, "{wrong:?}");
        }
        let both = TossVerb { only_in: true, only_out: true, ..TossVerb::default() };
        assert_eq!(both.request().unwrap_err().kind, FailureKind::Usage);
    }

    #[test]
    fn a_message_becomes_a_request_and_back() {
        let request = SendRequest {
            to: "Bob".into(),
            text: Some("hi".into()),
            files: vec!["/a".into()],
            nice: Some(Niceness::BULK),
            lifetime: Lifetime::new(60),
            hidden: Some(true),
            reply_to: Some(BundleId([0xa5; 32])),
            supersede: Some("1234".into()),
        };
        let json = serde_json::to_string(&SendOne::from(request.clone())).unwrap();
        let back = serde_json::from_str::<SendOne>(&json).unwrap().request().unwrap();
        assert_eq!(format!("{back:?}"), format!("{request:?}"));
    }

    #[test]
    fn an_id_reads_back() {
        let id = BundleId([0xa5; 32]);
        assert_eq!(bundle_id(&id.to_string()), Some(id));
        for wrong in ["", "a5", &"g".repeat(64), &"a5".repeat(33)] {
            assert_eq!(bundle_id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_verb_stands_twice_in_the_table() {
        let mut names: Vec<&str> = super::super::rows().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), super::super::rows().count());
    }
}
