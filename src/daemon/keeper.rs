//! The thread that keeps: what arrived whole over links goes into the spool here.
//!
//! What waits is taken together: many small bundles share one group and its sync.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use postrider_base::{
    BundleId, NodeId,
    bundle::{Hop, Receipt},
};
use postrider_engine::{
    node::{Answer, Input, Seen, Ticket},
    router::Meeting,
};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use super::{board::Board, engine_task::ToEngine};
use crate::{
    desk::{
        Failure,
        live::{Arrival, Live},
    },
    home::FileMark,
};

/// Orders and tasks that wait. The engine bounds what it has open on each link; beyond this it is
/// told that the disk does not answer.
pub(super) const WAITING_MAX: usize = 1 << 16;
/// Bundles kept in one go: some ten groups of the intake.
const BATCH_MAX: usize = 1024;
/// How often the spool is looked at although nobody committed: a receipt that others took becomes
/// visible a moment after its commit.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Cursors are written this late: one that is lost costs a few offers.
const REMEMBER_AFTER: Duration = Duration::from_secs(2);
/// What has outlived its time is dropped this often.
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// How often it is looked whether there is little room left for what is carried.
const WEIGH_EVERY: Duration = Duration::from_secs(10);

/// What the keeper is asked for.
#[derive(Debug)]
pub(super) enum Task {
    Keep { ticket: Ticket, arrival: Box<Arrival> },
    Change { ticket: Ticket, id: BundleId, hop: Hop },
    Raise { id: BundleId, level: u8 },
    Met { node: NodeId, meeting: Meeting },
    TakeReceipts { ticket: Ticket, from: Option<NodeId>, list: Vec<Receipt> },
    Remember { peer: NodeId, mine: Option<Seen>, theirs: Option<Seen> },
    Carried { id: BundleId, peer: NodeId },
    Held { id: BundleId, peer: NodeId, at: u64 },
}

/// What the keeper wakes for.
enum Next {
    Asked(Option<Task>),
    Look,
}

pub(super) struct Keeper<'a> {
    live: Live<'a>,
    engine: mpsc::Sender<ToEngine>,
    board: &'a Board,
    /// Rung after every commit: verbs and media put things into the spool too.
    bell: Arc<Notify>,
    keeps: Vec<(Ticket, Arrival)>,
    changes: Vec<(Ticket, BundleId, Hop)>,
    carried: Vec<(BundleId, NodeId)>,
    /// What neighbours have of bodies that are on their way: at most what they may want at once.
    held: BTreeMap<BundleId, (NodeId, u64)>,
    cursors: BTreeMap<NodeId, (Option<Seen>, Option<Seen>)>,
    levels: BTreeMap<BundleId, u8>,
    meetings: BTreeMap<NodeId, Meeting>,
    remembered: Instant,
    tidied: Instant,
    weighed: Option<Instant>,
    pressed: bool,
    /// What the engine was told of.
    told: u64,
    told_receipts: u64,
    /// The contacts and rosters that the engine knows of, and the rosters' numbers.
    people: FileMark,
    rosters: BTreeMap<NodeId, u64>,
    /// Alarms of this process that were told.
    alarms: u64,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(
        live: Live<'a>,
        engine: mpsc::Sender<ToEngine>,
        board: &'a Board,
    ) -> Result<Self, Failure> {
        let bell = Arc::new(Notify::new());
        let (rung, commits) = (Arc::clone(&bell), board.commit_bell());
        live.on_commit(move || {
            rung.notify_one();
            commits.send_modify(|count| *count += 1);
        });
        Ok(Self {
            told: live.latest(),
            told_receipts: live.receipts_upto()?,
            // Whatever changed since the engine was told is told once more.
            people: FileMark::default(),
            rosters: live.roster_numbers()?,
            alarms: 0,
            live,
            engine,
            board,
            bell,
            keeps: Vec::new(),
            changes: Vec::new(),
            carried: Vec::new(),
            held: BTreeMap::new(),
            cursors: BTreeMap::new(),
            levels: BTreeMap::new(),
            meetings: BTreeMap::new(),
            remembered: Instant::now(),
            tidied: Instant::now(),
            weighed: None,
            pressed: false,
        })
    }

    /// Works until nobody asks any more.
    pub(super) fn run(mut self, mut tasks: mpsc::Receiver<Task>, runtime: &tokio::runtime::Handle) {
        loop {
            // Receiving loses nothing when something else comes first.
            let next = runtime.block_on(async {
                tokio::select! {
                    task = tasks.recv() => Next::Asked(task),
                    _ = timeout(LOOK_EVERY, self.bell.notified()) => Next::Look,
                }
            });
            match next {
                Next::Asked(Some(task)) => {
                    self.take(task);
                    while self.keeps.len() + self.changes.len() < BATCH_MAX
                        && let Ok(task) = tasks.try_recv()
                    {
                        self.take(task);
                    }
                    self.keep();
                    self.change();
                }
                Next::Asked(None) => break,
                Next::Look => {}
            }
            self.look_around();
        }
        self.remember();
    }

    fn take(&mut self, task: Task) {
        match task {
            Task::Keep { ticket, arrival } => self.keeps.push((ticket, *arrival)),
            Task::Change { ticket, id, hop } => self.changes.push((ticket, id, hop)),
            Task::Raise { id, level } => {
                let highest = self.levels.entry(id).or_default();
                *highest = level.max(*highest);
            }
            Task::Met { node, meeting } => {
                self.meetings.insert(node, meeting);
            }
            Task::TakeReceipts { ticket, from, list } => {
                // They may speak of what waits to be kept.
                self.keep();
                let answer = match self.live.take_receipts(from, &list) {
                    Ok((news, gains)) => {
                        self.board.news(gains);
                        Answer::Taken { news }
                    }
                    Err(failure) => self.failed(&failure),
                };
                self.answer(ticket, answer);
            }
            Task::Remember { peer, mine, theirs } => {
                let cursors = self.cursors.entry(peer).or_default();
                *cursors = (mine.or(cursors.0), theirs.or(cursors.1));
            }
            Task::Carried { id, peer } => {
                self.held.remove(&id);
                self.carried.push((id, peer));
            }
            Task::Held { id, peer, at } => {
                self.held.insert(id, (peer, at));
            }
        }
    }

    /// Keeps what was gathered; every verdict after the commit.
    fn keep(&mut self) {
        if self.keeps.is_empty() {
            return;
        }
        let (tickets, arrivals): (Vec<_>, Vec<_>) = self.keeps.drain(..).unzip();
        let answers = match self.live.keep(arrivals) {
            Ok((answers, news)) => {
                self.board.news(news);
                answers
            }
            Err(failure) => tickets.iter().map(|_| self.failed(&failure)).collect(),
        };
        for (ticket, answer) in tickets.into_iter().zip(answers) {
            self.answer(ticket, answer);
        }
    }

    /// Makes tokens durable that were taken off or put back, in order; every answer after the commit.
    fn change(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.changes);
        let list: Vec<_> = all.iter().map(|(_, id, hop)| (*id, *hop)).collect();
        let answers = match self.live.change(&list) {
            Ok(live) => live.into_iter().map(Answer::Changed).collect(),
            Err(failure) => all.iter().map(|_| self.failed(&failure)).collect::<Vec<_>>(),
        };
        for ((ticket, ..), answer) in all.into_iter().zip(answers) {
            self.answer(ticket, answer);
        }
    }

    /// Tells of what others put into the spool, and does what is due.
    fn look_around(&mut self) {
        if !self.carried.is_empty() {
            let list = std::mem::take(&mut self.carried);
            if let Err(failure) = self.live.carried(&list) {
                self.board.trouble(&failure);
            }
            for (id, peer) in list {
                self.board.carried(id, peer);
            }
        }
        self.look_at_people();
        self.look_for_alarms();
        if self.live.latest() > self.told {
            match self.live.arrivals(self.told) {
                Ok((ids, latest)) => {
                    self.told = latest;
                    for id in ids {
                        self.tell(Input::Arrived { id });
                    }
                }
                Err(failure) => self.board.trouble(&failure),
            }
        }
        match self.live.receipts_news(self.told_receipts) {
            Ok((upto, any)) => {
                self.told_receipts = upto;
                if any {
                    self.tell(Input::Receipts);
                }
            }
            Err(failure) => self.board.trouble(&failure),
        }
        let waits = [self.cursors.len(), self.levels.len(), self.meetings.len(), self.held.len()];
        if waits != [0; 4] && self.remembered.elapsed() >= REMEMBER_AFTER {
            self.remember();
        }
        if self.weighed.is_none_or(|at| at.elapsed() >= WEIGH_EVERY) {
            self.weighed = Some(Instant::now());
            match self.live.is_pressed(self.pressed) {
                Ok(pressed) if pressed != self.pressed => {
                    self.pressed = pressed;
                    self.tell(Input::Pressure(pressed));
                }
                Ok(_) => {}
                Err(failure) => self.board.trouble(&failure),
            }
        }
        if self.tidied.elapsed() >= TIDY_EVERY {
            self.tidied = Instant::now();
            if let Err(failure) = self.live.tidy() {
                self.board.trouble(&failure);
            }
        }
    }

    /// Contacts and rosters change by whatever comes in, over links and from sticks, and by verbs.
    fn look_at_people(&mut self) {
        let mark = self.live.people_mark();
        if mark == self.people {
            return;
        }
        match self.live.people() {
            Ok(people) => {
                self.people = mark;
                self.tell(Input::People(people));
            }
            Err(failure) => self.board.trouble(&failure),
        }
        let numbers = self.live.roster_numbers().unwrap_or_default();
        for (key, number) in &numbers {
            if *number > self.rosters.get(key).copied().unwrap_or_default() {
                let name = self.live.roster_name(key);
                self.board.happened("roster", None, Some(name), Some(format!("number {number}")));
            }
        }
        self.rosters = numbers;
    }

    /// An alarm is told when it is raised, and once in each run for as long as it stands.
    fn look_for_alarms(&mut self) {
        if let Some(what) = self.board.take_duplicate()
            && let Err(failure) = self.live.alarm_of_identity(&what)
        {
            self.board.trouble(&failure);
        }
        let raised = self.live.alarms_raised() + 1;
        if raised == self.alarms {
            return;
        }
        self.alarms = raised;
        match self.live.alarms() {
            Ok(alarms) => alarms.into_iter().for_each(|alarm| {
                self.board.happened("alarm", None, None, Some(alarm));
            }),
            Err(failure) => self.board.trouble(&failure),
        }
    }

    fn remember(&mut self) {
        self.remembered = Instant::now();
        let cursors = std::mem::take(&mut self.cursors);
        let list: Vec<_> =
            cursors.into_iter().map(|(peer, (mine, theirs))| (peer, mine, theirs)).collect();
        if !list.is_empty()
            && let Err(failure) = self.live.remember(&list)
        {
            self.board.trouble(&failure);
        }
        let levels = std::mem::take(&mut self.levels);
        if let Err(failure) = self.live.raise(&levels) {
            self.board.trouble(&failure);
        }
        let held = std::mem::take(&mut self.held);
        if let Err(failure) = self.live.remember_held(&held) {
            self.board.trouble(&failure);
        }
        let meetings = std::mem::take(&mut self.meetings);
        if let Err(failure) = self.live.remember_meetings(&meetings) {
            self.board.trouble(&failure);
        }
    }

    fn failed(&self, failure: &Failure) -> Answer {
        self.board.trouble(failure);
        Answer::Failed
    }

    fn answer(&self, ticket: Ticket, answer: Answer) {
        self.tell(Input::Done { ticket, answer });
    }

    /// The engine's task may be gone already; then nobody waits for it.
    fn tell(&self, input: Input) {
        let _ = self.engine.blocking_send(ToEngine::input(input));
    }
}
