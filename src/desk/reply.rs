//! Every reply of the desk. As JSON they are the objects of the command line's contract; keys are
//! only ever added.

mod audit;
mod files;
mod fleets;
mod jobs;
mod talk;

use postrider_exec::allow::Trial;
use serde::{Deserialize, Serialize};

pub use audit::{AuditChecked, AuditLine};
pub use files::{ListedLine, RequestLine, ShareLine, SourceLine};
pub use fleets::{FleetLine, TargetLine};
pub use jobs::{JobLine, JobReleased, OutputLine, ProposalLine, TrialLine};
pub use talk::{Coming, DraftFile, DraftLine, Said};

/// A word out of a fixed vocabulary: borrowed where a reply is made, owned where one was read.
pub type Word = std::borrow::Cow<'static, str>;

/// A reply as one line of JSON: the version of the contract, then the object.
#[derive(Debug, Serialize)]
pub struct Line<'a, T> {
    v: u8,
    #[serde(flatten)]
    reply: &'a T,
}

impl<'a, T: Serialize> Line<'a, T> {
    /// Wraps a reply.
    pub fn new(reply: &'a T) -> Self {
        Self { v: 1, reply }
    }
}

/// Who somebody is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "identity")]
pub struct Identity {
    /// Suggested name.
    pub name: String,
    /// `pr1…`.
    pub id: String,
    /// The key in hexadecimal.
    pub key: String,
    /// The IPv6 address that follows from it.
    pub address: String,
    /// The age recipient that mail is sealed to.
    pub age: String,
    /// The six comparison words, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<String>>,
    /// Whether it was made just now (`init`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<bool>,
    /// Where the home is.
    pub home: String,
}

/// What others may have run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "allow")]
pub struct AllowLine {
    /// What they call it.
    pub handle: String,
    /// The command, with its slots.
    pub argv: Vec<String>,
    /// What fills them, as `LEVEL [NOTE] [FILE...]`.
    pub usage: String,
    /// Who may, in the words of `[acl]`; where nothing stands here, those of `[acl] run`.
    pub r#for: Option<Vec<String>>,
    /// How many others must agree.
    pub approvals: u8,
    /// Who may agree.
    pub approvers: Option<Vec<String>>,
    /// Seconds from its start to its end.
    pub timeout_s: u32,
    /// Seconds of processor, each process.
    pub cpu_s: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Processes and threads at once.
    pub processes: u32,
    /// Bytes kept of each of its two outputs.
    pub output: u64,
    /// Bytes in its own folder.
    pub scratch: u64,
    /// Whether it has a network.
    pub net: bool,
    /// What it may read beyond the system.
    pub read: Vec<String>,
    /// What it may write beyond its own folder.
    pub write: Vec<String>,
    /// Whose name it runs under.
    pub user: Option<String>,
    /// How often it is run again when nobody can say how it ended.
    pub reruns: u8,
    /// Of the commands of one group one runs at a time.
    pub group: Option<String>,
    /// BLAKE3 of the program's file.
    pub pin: Option<String>,
    /// Whether it is run where not every bound can be enforced.
    pub best_effort: bool,
    /// When in the day it may begin, UTC.
    pub window: Option<String>,
    /// Bytes of standard input that it takes.
    pub stdin: Option<u64>,
    /// Bytes of attachments that it takes.
    pub files: Option<u64>,
    /// What it changes is on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// What a command did: new, changed, same or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Word>,
    /// What its operator should look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What would become of a request.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "allow")]
pub struct AllowVerdict {
    /// What was asked for.
    pub handle: String,
    /// run or refused.
    pub verdict: Word,
    /// The command as it would run.
    pub argv: Vec<String>,
    /// Its words so that nothing in them can hide.
    pub shown: Vec<String>,
    /// Why it would not run, as it would be sent back.
    pub why: Option<String>,
    /// How many others would have to agree.
    pub approvals: u8,
    /// When in the day it could begin, UTC.
    pub window: Option<String>,
    /// Whether it was asked on somebody's behalf, and so whether they may.
    pub r#as: Option<String>,
    /// What its operator should look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A contact.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "contact")]
pub struct ContactLine {
    /// What I call them.
    pub name: String,
    /// `pr1…`.
    pub id: String,
    /// unverified, introduced, verified or changed.
    pub trust: crate::home::Trust,
    /// Whether I refuse what they send.
    pub blocked: bool,
    /// Whether mail to them goes in hidden envelopes.
    pub hidden: bool,
    /// How often a month I said that we meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meets_per_month: Option<u16>,
    /// The labels that I gave them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The six comparison words, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<String>>,
    /// Who introduced them: a contact's name, or a roster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Introduced, and not accepted by me yet.
    #[serde(default)]
    pub pending: bool,
    /// The roster that revokes their key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
    /// What adding did: new, updated or known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<Word>,
}

/// A roster that is followed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "roster")]
pub struct RosterLine {
    /// What I call it.
    pub name: String,
    /// Its key, `pr1…`.
    pub key: String,
    /// The number of the newest that is known; 0 where none has come yet.
    pub number: u64,
    /// The day on which that was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<String>,
    /// Members and guests.
    pub members: u64,
    /// Keys that it revokes.
    pub revoked: u64,
    /// Whether it is made here.
    pub made_here: bool,
    /// The file of its secret key, where that is not this node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// What is to be signed with that key, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<String>,
}

/// Somebody on a roster.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "member")]
pub struct MemberLine {
    /// Which roster.
    pub roster: String,
    /// What it calls them.
    pub name: String,
    /// `pr1…`.
    pub id: String,
    /// What I call them, where they are a contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Their role; empty for none.
    pub role: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// The last day on which role and groups count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// good, ended or revoked.
    pub state: Word,
}

/// A roster as a file has it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "roster-file")]
pub struct RosterFile {
    /// In hexadecimal.
    pub roster: String,
}

/// A message that was sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "message")]
pub struct Sent {
    /// Its id: the same here and at the recipient.
    pub id: String,
    /// To whom, by petname.
    pub to: String,
    /// saved, carried, delivered; or expired, cancelled, refused.
    pub state: Word,
    /// Bytes of text and files.
    pub bytes: u64,
    /// The message whose place it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
}

/// A message that arrived.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "message")]
pub struct Received {
    /// Its id: the same here and at the sender.
    pub id: String,
    /// The sender's petname, or its id when it is no contact.
    pub from: String,
    /// mail, file, job or post.
    pub kind: Word,
    /// The text.
    pub text: String,
    /// The files.
    pub files: Vec<ReceivedFile>,
    /// Seconds since it arrived here.
    pub age_s: u64,
    /// Whether it was read.
    pub read: bool,
    /// Unix seconds by the sender's clock, 0 when it had none.
    pub created: u64,
    /// Whether all of it is here.
    pub complete: bool,
    /// Parts that are here, and parts in all.
    pub parts: (u64, u64),
    /// Whether the sender is a contact.
    pub known_sender: bool,
    /// Why to be careful with it, if there is a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Word>,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
}

/// A file in a message.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ReceivedFile {
    /// Its path below what was sent, with `/`; never used as a path here.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub blake3: String,
}

/// A file or message that was saved.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "saved")]
pub struct Saved {
    /// The message.
    pub id: String,
    /// Where it is now.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// What a toss did.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "summary")]
pub struct Tossed {
    /// "toss".
    pub verb: Word,
    /// Bundles taken in.
    #[serde(rename = "in")]
    pub taken: u64,
    /// Bundles written.
    pub out: u64,
    /// Bytes taken in.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Bundles left out, with reasons in `left_out`.
    pub skipped: u64,
    /// Of those, how many there was no room for on the medium.
    pub no_room: u64,
    /// Whether the medium could not be written to.
    pub read_only: bool,
    /// Damaged or forged bundles seen.
    pub damaged: u64,
    /// Whether the medium may be removed.
    pub safe_to_remove: bool,
    /// Messages for me that became complete.
    pub messages: Vec<Received>,
    /// Receipts that proved deliveries of mine.
    pub delivered: Vec<String>,
    /// Receipts written for others.
    pub receipts_out: u64,
    /// Bundles or containers removed from the medium.
    pub removed: u64,
    /// Cards found on the medium.
    pub cards: u64,
    /// Why something was not written or taken: count per reason.
    pub left_out: std::collections::BTreeMap<String, u64>,
    /// What was damaged, by id or by place.
    pub damaged_list: Vec<String>,
    /// Whether nothing was changed because only a look was asked for.
    pub dry_run: bool,
}

/// A bundle that waits.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "bundle")]
pub struct Queued {
    /// Its id.
    pub id: String,
    /// The message it belongs to, where that is known.
    pub message: Option<String>,
    /// For whom: a petname, an id, a group or a tag.
    pub to: String,
    /// Niceness.
    pub nice: u8,
    /// Bytes.
    pub bytes: u64,
    /// Accumulated age.
    pub age_s: u64,
    /// Seconds until it expires.
    pub expires_in_s: u64,
    /// saved.
    pub state: Word,
    /// Copies it may become.
    pub tokens: u8,
    /// Why it waits.
    pub reason: String,
    /// own, contact, friend or stranger.
    pub class: Word,
    /// How near to whom it is for somebody is who was offered a copy; 0: nobody.
    #[serde(default)]
    pub level: u8,
    /// Seconds within which half of such bundles arrive, where meetings say anything of that (`queue
    /// show`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
    /// Of a message of mine in parts: how many have a receipt, of how many (`queue show`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<(u64, u64)>,
}

/// One thing that happened to a message.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "event")]
pub struct Traced {
    /// The message.
    pub id: String,
    /// saved, written, carried, delivered, received, expired, cancelled, superseded; leaves, for a job,
    /// before a copy of it may be gone; parts, for how many of its parts have a receipt now.
    pub what: String,
    /// Who was involved.
    pub who: String,
    /// By what: "stick 1a2b3c4d"; what superseded it, by its id.
    pub via: String,
    /// Seconds ago, by this node's running time.
    pub age_s: u64,
}

/// How the node is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "status")]
pub struct Status {
    /// Suggested name.
    pub name: String,
    /// `pr1…`.
    pub id: String,
    /// Links that are up (none without a daemon).
    pub links: Vec<PeerLine>,
    /// Own bundles that wait.
    pub out: u64,
    /// Unread messages.
    #[serde(rename = "in")]
    pub unread: u64,
    /// Bundles carried for others.
    pub carried: u64,
    /// Their bytes.
    pub carried_bytes: u64,
    /// Age of the oldest bundle that waits here.
    pub oldest_s: u64,
    /// Free bytes of the disk.
    pub disk_free: u64,
    /// ok, or what is wrong.
    pub health: String,
    /// Sticks that were seen and not mounted (none without a daemon).
    #[serde(default)]
    pub media: Vec<MediumLine>,
    /// Ports that are kept open, or would be if they could (none without a daemon).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortLine>,
    /// Who is near by Bluetooth (none without a daemon).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bluetooth: Option<BluetoothLine>,
    /// What a person must look at, and has not cleared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
    /// What waits here, by whose it is, and how much of each may be carried.
    #[serde(default)]
    pub classes: Vec<ClassLine>,
}

/// The bundles of one class.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ClassLine {
    /// own, contact, friend or stranger.
    pub class: Word,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// How many.
    pub bundles: u64,
    /// What they count against the quota: none of them less than 512 bytes.
    pub counted_bytes: u64,
    /// Most that they may count; nothing for own ones.
    pub quota_bytes: Option<u64>,
    /// Most bundles; nothing for own ones.
    pub quota_bundles: Option<u64>,
}

/// A stick that carries our label.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MediumLine {
    /// Its device, as `/dev/sdb1`.
    pub device: String,
    /// What stands on it.
    pub label: String,
    /// unmounted.
    pub state: Word,
    /// Why, and what to do.
    pub why: String,
}

/// A serial port, and what is at its other end.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PortLine {
    /// Its address, without who is there.
    pub address: String,
    /// absent, forbidden, busy or unusable; silent, noise, echo, one-way, nobody-calls, refused, or open.
    pub state: Word,
    /// What that means, and what to do.
    pub why: String,
}

/// A neighbour: a node that a link goes to, or went to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "peer")]
pub struct PeerLine {
    /// `pr1…`; nothing where nobody has proven to be there.
    pub id: Option<String>,
    /// What I call it, or its id.
    pub name: String,
    /// The number of the link, while it is up.
    pub link: Option<u64>,
    /// Where.
    pub address: String,
    /// The last round trip that was measured, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Seconds since something was heard of it, by this node's running time.
    pub last_seen_s: Option<u64>,
    /// Whether a link to it is up.
    pub up: bool,
    /// Bytes that came over the link.
    #[serde(default)]
    pub received_bytes: u64,
    /// Bytes that went.
    #[serde(default)]
    pub sent_bytes: u64,
    /// Whether everything due has been offered and answered.
    #[serde(default)]
    pub caught_up: bool,
    /// Whether the link runs inside another network, as Yggdrasil's.
    #[serde(default)]
    pub overlay: bool,
}

/// Somebody to keep a link to, by hand.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "link")]
pub struct LinkLine {
    /// An address, and behind a `#` who is there.
    pub uri: String,
    /// configured, added, removed, reached, or tested in vain.
    pub state: Word,
    /// Whether a link to it is up.
    pub up: bool,
    /// Who answered, or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What was found at a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortFound>,
    /// What Bluetooth found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bluetooth: Option<BluetoothLine>,
}

/// How Bluetooth stands.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BluetoothLine {
    /// on, off, absent (this machine has none) or trouble.
    pub state: Word,
    /// What that means, and what to do.
    pub why: String,
    /// The adapters that are used.
    #[serde(default)]
    pub adapters: Vec<String>,
    /// Contacts who are heard or linked.
    #[serde(default)]
    pub near: Vec<NearLine>,
    /// Adverts of others within the last minute, whoever they are.
    pub strangers: u64,
}

/// A contact who is near.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NearLine {
    /// `pr1…`.
    pub id: String,
    /// What they are called here.
    pub name: String,
    /// Whether there is a link.
    pub linked: bool,
    /// Seconds since it was heard; while there is a link it need not be.
    pub ago_s: Option<u64>,
    /// How strong that was, in dBm.
    pub strength_dbm: Option<i16>,
}

/// What was found at a port that was tested.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PortFound {
    /// As of a port: silent, noise, echo, node, one-way, nobody-calls, refused or open; of one with a
    /// radio: radio or mute; and absent, forbidden, busy or unusable.
    pub state: Word,
    /// What that means, and what to do.
    pub why: String,
    /// `pr1…`, where somebody proved to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The six words of that id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// The rate of the port.
    pub bits_per_s: u32,
    /// The round trip of the line.
    pub rtt_ms: Option<f64>,
    /// Bytes that came, whatever they were.
    pub bytes: u64,
    /// Frames that came whole, and those that did not.
    pub frames: u64,
    /// See `frames`.
    pub damaged: u64,
    /// Frames of ours that arrived there, and those that did not.
    pub arrived: u64,
    /// See `arrived`.
    pub lost: u64,
}

/// An answer to a ping.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "pong")]
pub struct Ponged {
    /// `pr1…`.
    pub id: String,
    /// What I call it.
    pub name: String,
    /// Over which link.
    pub link: u64,
    /// Where that leads.
    pub address: String,
    /// How long it took, in milliseconds.
    pub rtt_ms: f64,
}

/// Why a message is where it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "reason")]
pub struct Reason {
    /// As it was asked for.
    pub id: String,
    /// One sentence.
    pub reason: String,
    /// In the sentence that says it: seconds within which half of such bundles arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
}

/// A contact card.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "card")]
pub struct CardLine {
    /// `prcard1…`.
    pub card: String,
}

/// The daemon itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "daemon")]
pub struct DaemonLine {
    /// started, running, stopping or stopped.
    pub state: Word,
    /// Its process.
    pub pid: u32,
    /// Its home.
    pub home: String,
    /// Where it listens.
    #[serde(default)]
    pub listening: Vec<String>,
}

/// Something that happened, as it is told to whoever listens.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(tag = "type", rename = "event")]
pub struct Happening {
    /// Counts from 1 in each run of the daemon.
    pub number: u64,
    /// What: `link-up`, `link-down`, `received`, `carried`, `message`, `delivered`, `job`, `roster`,
    /// `alarm`, `trouble`.
    pub what: Word,
    /// Of which bundle or message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// With whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Unix seconds by this machine's clock; for display.
    pub time: u64,
}

/// A verb that failed: the same for a person, a script and a program on the socket.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "error")]
pub struct ErrorLine {
    /// What sort of failure.
    pub code: String,
    /// What happened.
    pub what: String,
    /// Why, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// What to do.
    pub next: Option<String>,
}

/// The last line of a list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "summary")]
pub struct Summary {
    /// Which verb.
    pub verb: Word,
    /// How many objects came before it.
    pub count: usize,
}

/// What a check of the spool found.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "summary")]
pub struct Checked {
    /// "check".
    pub verb: Word,
    /// Bundles looked at.
    pub bundles: u64,
    /// Damaged records and bodies.
    pub damaged: u64,
    /// Of those, repaired.
    pub repaired: u64,
    /// Each of them, in words.
    pub findings: Vec<String>,
}

/// One finding of the doctor, or one row of statistics.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "finding")]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// ok, warn or fail.
    pub verdict: Word,
    /// What was found.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A bundle, looked at by hand.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "bundle")]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// open or hidden.
    pub envelope: Word,
    /// For whom.
    pub to: String,
    /// The author, where relays see it.
    pub from: Option<String>,
    /// Seal number.
    pub seal: u8,
    /// Niceness.
    pub nice: u8,
    /// Lifetime in seconds.
    pub lifetime_s: u32,
    /// Payload bytes.
    pub bytes: u64,
    /// Epoch and counter, where relays see them.
    pub sequence: Option<(u32, u64)>,
    /// Whether header, signature and payload were checked and hold.
    pub verified: bool,
}

/// A figure of a benchmark.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "figure")]
pub struct Measured {
    /// What was measured.
    pub name: &'static str,
    /// The figure.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// As a share of what the disk itself managed in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_disk: Option<f64>,
}
