//! What people ask for: every verb a method with plain request and reply structs.
//!
//! The command line turns its arguments into requests and prints the replies; the daemon serves the
//! same structs over HTTP. Nothing here prints, parses arguments or is async; progress goes out
//! as [`Event`]s.
//!
//! - [`Desk`]: opens a home and its spool; one file per verb or family of verbs;
//! - `outgoing`: files become parts and a manifest; `incoming`: bundles for us become messages;
//! - `requests`, `shares`: files that others may ask for, and that I ask for;
//! - `talk`: conversations, what is searched in them, and drafts;
//! - `toss`: the loop that obeys the parcel planner of the engine;
//! - [`reply`]: every reply, which is CLI.md's JSON; [`Failure`]: every way it can fail.

pub mod air;
mod alarm;
mod allow;
mod arriving;
mod audit;
mod bundles;
mod call_back;
mod carry;
mod clock;
mod cut;
mod early;
mod failure;
mod held;
mod hooks;
mod identity;
mod inbox;
mod incoming;
mod introduce;
mod jobs;
mod laying;
mod ledger;
pub mod live;
#[cfg(target_os = "linux")]
mod local_time;
mod mail_for;
mod meetings;
mod message_files;
mod neighbours;
mod opening;
mod outbox;
mod outgoing;
mod outlook;
#[cfg(target_os = "linux")]
mod own_command;
mod parallel;
mod parts;
mod people;
mod places;
mod promise;
mod queue;
mod receipts;
mod renewal;
pub mod reply;
mod requests;
mod rosters;
mod save;
mod send;
mod sets;
mod shares;
mod store;
mod talk;
mod toss;
mod upkeep;
mod watch;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

pub use allow::{AllowRequest, AllowTestRequest};
pub use bundles::ExportForm;
pub(crate) use clock::wall_s;
pub use cut::CutBodies;
pub use failure::{Failure, FailureKind};
pub use hooks::Due;
#[cfg(target_os = "linux")]
pub use hooks::{Became, Begun, Hooks};
pub use identity::InitRequest;
pub use introduce::IntroduceRequest;
pub use jobs::{FleetRequest, RunRequest, Share, Which};
#[cfg(target_os = "linux")]
pub use jobs::{Jobs, Touched, WaitingWord, do_stage};
pub(crate) use laying::is_folder_name;
pub use laying::{Laid, Laying, ToLay};
pub use neighbours::Neighbour;
pub use outlook::Waiting;
pub use people::{AddRequest, ContactChange};
pub use requests::{GetRequest, Given, Heard, Requests, Settled, WaitingRequest};
pub(crate) use rosters::date;
pub use rosters::{RosterChange, day_of};
pub use send::SendRequest;
pub use shares::ShareRequest;
pub use talk::SearchRequest;
pub use toss::{TossDirection, TossRequest};
pub(crate) use upkeep::BUILT_AFTER_S;
pub use upkeep::Figures;
pub use watch::{Event, Silent, Unit, Watch};

use crate::home::Home;
use postrider_spool::DurableSpool;

/// How long a command waits for another one that owns the spool.
pub const LOCK_WAIT: Duration = Duration::from_secs(30);

type GiveUp = Box<dyn Fn() -> bool + Send + Sync>;

/// One home, and what can be asked of it.
///
/// Opening it reads the key, the card and the settings. The spool is opened when a verb first needs
/// it; from then on this process owns it until the desk is dropped.
pub struct Desk {
    home: Home,
    spool: OnceLock<DurableSpool>,
    /// Says when waiting for the spool has become pointless.
    give_up: Option<GiveUp>,
    /// Sets that threads of this process are sealing: `tidy` must not take them for leftovers.
    sending: Mutex<BTreeSet<[u8; 16]>>,
    receipt_numbers: receipts::ReceiptNumbers,
    early_receipts: early::EarlyReceipts,
    opening: OnceLock<opening::Opening>,
    /// Held while bundles are taken in: deciding what is new and committing it is one step.
    taking: Mutex<()>,
    /// Held while a job leaves, and while something is called back: one of them comes first.
    leaving: Mutex<()>,
    /// Which part of what is written by whom.
    places: Arc<places::Places>,
    /// Held during a toss: two at once would write one medium's leftover.
    tossing: Mutex<()>,
    alarms: alarm::Alarms,
    renewing: renewal::Renewing,
    job_news: jobs::JobNews,
    request_news: requests::RequestNews,
    /// Held while a job takes its place in a queue: two must not come after the same one.
    queueing: Mutex<()>,
    /// Held while one of several sources is asked: two must not ask the same one.
    getting: Mutex<()>,
    /// Held while a fleet takes a step: two must not send to the same target.
    fleeting: Mutex<()>,
    auditing: audit::Auditing,
    /// What links have brought in part.
    cut_bodies: cut::Lender,
    /// Held while a draft is sent or removed: it must not be sent twice.
    drafting: Mutex<()>,
}

impl Desk {
    /// Opens a home that exists.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        Ok(Self {
            home: Home::open(dir)?,
            spool: OnceLock::new(),
            give_up: None,
            sending: Mutex::default(),
            receipt_numbers: receipts::ReceiptNumbers::default(),
            early_receipts: early::EarlyReceipts::default(),
            opening: OnceLock::new(),
            taking: Mutex::default(),
            leaving: Mutex::default(),
            places: Arc::default(),
            tossing: Mutex::default(),
            alarms: alarm::Alarms::default(),
            renewing: renewal::Renewing::default(),
            job_news: jobs::JobNews::default(),
            request_news: requests::RequestNews::default(),
            queueing: Mutex::default(),
            getting: Mutex::default(),
            fleeting: Mutex::default(),
            auditing: audit::Auditing::default(),
            cut_bodies: cut::Lender::default(),
            drafting: Mutex::default(),
        })
    }

    /// The home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Waits for another process that owns the spool no longer than until this says so.
    pub fn giving_up_when(mut self, give_up: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.give_up = Some(Box::new(give_up));
        self
    }

    fn inbox_dir(&self) -> PathBuf {
        self.home.spool_dir().join("inbox")
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
