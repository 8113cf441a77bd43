//! The thread that runs hooks: a few at once, and nothing of the daemon ever waits for one.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use postrider_exec::{cage, contract::Standing};
use tokio_util::sync::CancellationToken;

use super::node::Node;
use crate::desk::{Became, Begun, Due, Failure, Hooks, Silent};

/// Hooks at once. Most are short; those that hang are ended by their timeout.
const RUNNING_MAX: usize = 2;
/// Beside them, for what cannot wait for that.
const FOR_HELP: usize = 1;
/// How often is looked although nobody told of anything: quiet hours end.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// So long nothing begins where one could not.
const PAUSE: Duration = Duration::from_secs(30);
/// What the board calls this trouble.
const TROUBLE: &str = "hooks";

/// Runs hooks until told to stop. Those that run then go on; the next daemon finds their folders.
pub(super) fn run(node: &Arc<Node>, stop: &CancellationToken) {
    let hooks = match node.desk.open_hooks(&Silent) {
        Ok(hooks) => hooks,
        Err(failure) => return node.board.trouble(&failure),
    };
    let set = &node.desk.home().config.hooks;
    if set.on_message.is_empty() && set.on_job.is_empty() {
        return;
    }
    let (ended, endings) = channel();
    let mut clerk = Clerk { node, hooks, running: BTreeSet::new(), ended, not_before: [None; 2] };
    let mut times = 0;
    while !stop.is_cancelled() {
        clerk.hear(&endings);
        clerk.begin_some();
        times = node.desk.job_news_beyond(times, LOOK_EVERY);
    }
}

struct Clerk<'a> {
    node: &'a Arc<Node>,
    hooks: Hooks<'a>,
    running: BTreeSet<Due>,
    ended: Sender<(Due, Standing)>,
    /// A command that cannot begin holds up nothing of the other.
    not_before: [Option<Instant>; 2],
}

impl Clerk<'_> {
    fn begin_some(&mut self) {
        let now = Instant::now();
        for at in &mut self.not_before {
            at.take_if(|at| *at <= now);
        }
        while self.running.len() < RUNNING_MAX + FOR_HELP {
            match self.begin_next() {
                Ok(true) => {}
                Ok(false) => return,
                Err(failure) => return self.trouble(&failure),
            }
        }
    }

    /// Those of a due one's kind wait a while.
    fn pause(&mut self, due: &Due) {
        self.not_before[due.number()] = Some(Instant::now() + PAUSE);
    }

    /// Begins what is due; whether there was something.
    fn begin_next(&mut self) -> Result<bool, Failure> {
        let may_begin = |due: &Due| self.not_before[due.number()].is_none();
        let Some(due) = self.hooks.next(&self.running, may_begin)? else { return Ok(false) };
        if due.may_wait() && self.running.len() >= RUNNING_MAX {
            return Ok(false);
        }
        match self.hooks.begin(&due)? {
            Begun::Nothing => self.hooks.drop(&due)?,
            Begun::Started(mut supervisor, dir) => {
                self.watch(due, move || supervisor.wait(&dir));
            }
            Begun::Running(dir) => self.watch(due, move || cage::wait(&dir)),
            Begun::Ended(standing) => self.over(&due, &standing),
        }
        Ok(true)
    }

    /// Somebody waits for its end.
    fn watch(
        &mut self,
        due: Due,
        wait: impl FnOnce() -> Result<Standing, cage::FolderError> + Send + 'static,
    ) {
        let (node, ended, whose) = (Arc::clone(self.node), self.ended.clone(), due.clone());
        let wait = move || {
            let standing = wait().unwrap_or(Standing::Unknown);
            // Nobody hears it when the daemon has ended; the next one asks the folder.
            let _ = ended.send((whose, standing));
            node.desk.ring_jobs();
        };
        match thread::Builder::new().name("hook".into()).spawn(wait) {
            Ok(_) => drop(self.running.insert(due)),
            // Its supervisor goes on, and is looked at after the pause.
            Err(error) => {
                tracing::warn!(%error, "nobody waits for a hook; it is looked at later");
                self.not_before = [Some(Instant::now() + PAUSE); 2];
            }
        }
    }

    fn hear(&mut self, endings: &Receiver<(Due, Standing)>) {
        while let Ok((due, standing)) = endings.try_recv() {
            self.running.remove(&due);
            self.over(&due, &standing);
        }
    }

    fn over(&mut self, due: &Due, standing: &Standing) {
        if *standing == Standing::Running {
            // A supervisor of before was quicker.
            let dir = self.hooks.dir(due);
            return self.watch(due.clone(), move || cage::wait(&dir));
        }
        let id = Some(due.id().to_string());
        match self.hooks.settle(due, standing) {
            Ok(Became::Done) => {
                self.node.board.ill(TROUBLE, None);
                self.node.board.happened("hook", id, None, Some("done".into()));
            }
            Ok(Became::Failed(why)) => {
                let what = format!("{} {why}; it is not run again", due.what());
                self.node.board.ill(TROUBLE, Some(what));
            }
            Ok(Became::NotBegun(why)) => {
                let what = format!("{} could not begin: {why}; it is tried again", due.what());
                self.node.board.ill(TROUBLE, Some(what));
                self.pause(due);
            }
            Err(failure) => self.trouble(&failure),
        }
    }

    fn trouble(&mut self, failure: &Failure) {
        let whole = [failure.what.clone()].into_iter().chain(failure.causes());
        self.node.board.ill(TROUBLE, Some(whole.collect::<Vec<_>>().join(": ")));
        self.not_before = [Some(Instant::now() + PAUSE); 2];
    }
}
