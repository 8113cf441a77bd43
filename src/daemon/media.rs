//! Media as the daemon meets them: what is mounted is visited once, folders whenever they change.
//!
//! - A thread waits for the table of mounts to change. A mount with our marker is one visit, both
//!   ways, with a clear word at its end; after that word nothing is written there any more, since
//!   somebody may be pulling it out.
//! - The same thread looks for sticks that carry our label and that nobody mounts; `plugs` decides
//!   which of them are mounted and visited by `sticks`.
//! - A folder from the settings is looked at when the system tells of a change, when the spool has
//!   news, and every few seconds besides. It is visited when the look differs from the one before
//!   the last visit: our own writing causes one more visit, which finds nothing to write.
//!
//! Nothing is written where our marker is not: an empty mount point is not a medium.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use postrider_transports::media::{
    FOLDER, FolderWatch, Labels, MediumDisk, Mount, MountTable, Stick, Udisks, is_ours, ours,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Duration, sleep, timeout},
};

use super::{
    DaemonOptions,
    node::Node,
    plugs::{Ended, PLUGS_MAX, Plugs},
    spawn, sticks,
};
use crate::desk::{
    Event, Failure, FailureKind, Silent, TossDirection, TossRequest, Unit, Watch, reply::Tossed,
};

/// How soon the thread that waits for mounts sees that it is to stop, and a stick that nobody mounts.
/// It wakes so often anyway, and a look is one directory of some links. To be told instead would
/// mean to watch for that directory too, which udev removes with the last label.
const MOUNTS_LOOK_EVERY: Duration = Duration::from_millis(250);
/// Mounts and sticks that wait to be visited; the thread waits when there are more.
const WAITING_MAX: usize = 16;
/// Mounts visited at once. The desk serves one after the other; a second only stands in line.
const VISITS_MAX: usize = 16;
/// How often a visit tells how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How often the spool is asked whether a folder should be visited.
const NEWS_EVERY: Duration = Duration::from_millis(500);
/// How often a folder is looked at although nobody told of a change: shares tell of nothing.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Changes come in crowds: a program that syncs writes many files.
const SETTLE: Duration = Duration::from_millis(200);
/// A folder that is written all the time gets at most a fifth of our time.
const REST_FACTOR: u32 = 4;
/// Pause after a visit that failed, doubled with every failure up to the second.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(60);

/// What the thread finds for others to visit.
#[derive(Debug)]
enum Found {
    Mounted(PathBuf),
    /// Not mounted, and to be.
    Plugged(Stick),
}

/// Starts what the settings ask for.
pub(super) fn start(
    node: &Arc<Node>,
    options: &DaemonOptions,
    tasks: &mut JoinSet<()>,
    threads: &mut Vec<thread::JoinHandle<()>>,
) -> Result<(), Failure> {
    let config = &node.desk.home().config;
    if config.media {
        let (found, to_visit) = mpsc::channel(WAITING_MAX);
        // So many can be in hand: nobody waits to say how it ended.
        let (ended, hear_ended) = mpsc::channel(PLUGS_MAX);
        let (watching, labels) = (Arc::clone(node), options.labels.clone());
        threads
            .push(spawn("mounts", move || watch_mounts(&watching, &labels, &found, hear_ended))?);
        let visits = Visits { node: Arc::clone(node), udisks: options.udisks.clone(), ended };
        tasks.spawn(visits.run(to_visit));
    }
    for dir in config.media_dirs.iter().collect::<BTreeSet<_>>() {
        tasks.spawn(keep_folder(Arc::clone(node), PathBuf::from(dir)));
    }
    Ok(())
}

/// Sends every new mount of ours, and every stick to be mounted, until told to stop.
fn watch_mounts(
    node: &Node,
    labels: &Labels,
    found: &mpsc::Sender<Found>,
    mut hear_ended: mpsc::Receiver<(Stick, Ended)>,
) {
    let mut watched = || -> std::io::Result<()> {
        let mut table = MountTable::open()?;
        let mut known: BTreeSet<Mount> = BTreeSet::new();
        let mut plugs = Plugs::new(node.desk.home().config.mount_media);
        let mut changed = true;
        while !node.stop.is_cancelled() {
            while let Ok((stick, ended)) = hear_ended.try_recv() {
                changed = true;
                if let Some(why) = plugs.ended(Instant::now(), &stick, &ended) {
                    let device = Some(stick.node.display().to_string());
                    let why = format!("{} is not mounted: {why}", stick.label);
                    node.board.happened("media-trouble", None, device, Some(why));
                }
                if let Ended::Visited(Some(mount)) = ended {
                    known.insert(mount);
                }
            }
            let sticks = labels.look();
            if changed || !sticks.is_empty() || !plugs.is_empty() {
                // One table for both: a mount is either of a stick in hand, or visited below.
                let mounts = table.read()?;
                let is_mounted = |stick: &Stick| mounts.iter().any(|mount| mount.is_of(stick));
                for stick in plugs.look(Instant::now(), sticks, is_mounted) {
                    if found.blocking_send(Found::Plugged(stick)).is_err() {
                        return Ok(());
                    }
                }
                node.board.set_media(plugs.lines());
                if changed {
                    let mut ours = ours(mounts);
                    ours.retain(|mount| !plugs.holds(|stick| mount.is_of(stick)));
                    for gone in known.iter().filter(|mount: &&Mount| !ours.contains(mount)) {
                        let place = Some(gone.place.display().to_string());
                        node.board.happened("media-gone", None, place, None);
                    }
                    for new in ours.iter().filter(|mount| !known.contains(*mount)) {
                        if found.blocking_send(Found::Mounted(new.place.clone())).is_err() {
                            return Ok(());
                        }
                    }
                    known = ours.into_iter().collect();
                }
            }
            changed = table.wait(MOUNTS_LOOK_EVERY)?;
        }
        Ok(())
    };
    if let Err(error) = watched() {
        tracing::warn!(%error, "media that are mounted are not noticed");
    }
}

/// Visits what was found.
struct Visits {
    node: Arc<Node>,
    udisks: Udisks,
    ended: mpsc::Sender<(Stick, Ended)>,
}

impl Visits {
    async fn run(self, mut found: mpsc::Receiver<Found>) {
        let stop = self.node.stop.clone();
        let mut visits = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = visits.join_next() => {}
                next = found.recv(), if visits.len() < VISITS_MAX => {
                    let node = Arc::clone(&self.node);
                    match next {
                        Some(Found::Mounted(place)) => {
                            visits.spawn(visit_mount(node, place));
                        }
                        Some(Found::Plugged(stick)) => {
                            let (udisks, ended) = (self.udisks.clone(), self.ended.clone());
                            visits.spawn(async move {
                                let how = sticks::mount_and_visit(&node, &udisks, &stick).await;
                                // The thread may have ended.
                                let _ = ended.send((stick, how)).await;
                            });
                        }
                        None => break,
                    }
                }
            }
        }
        while visits.join_next().await.is_some() {}
    }
}

async fn visit_mount(node: Arc<Node>, place: PathBuf) {
    let shown = place.display().to_string();
    if let Ok(tossed) = visit_medium(&node, place).await {
        let detail = format!("{}; it is safe to remove", summary(&tossed));
        node.board.happened("safe-to-remove", None, Some(shown), Some(detail));
    }
}

/// A visit that is told of from its beginning.
pub(super) async fn visit_medium(node: &Arc<Node>, place: PathBuf) -> Result<Tossed, ()> {
    let shown = place.display().to_string();
    node.board.happened("media-seen", None, Some(shown), None);
    visit(node, place).await
}

/// One exchange, both ways; what goes wrong is told.
async fn visit(node: &Arc<Node>, place: PathBuf) -> Result<Tossed, ()> {
    let shown = place.display().to_string();
    let visitor = Visitor {
        node: Arc::clone(node),
        place: shown.clone(),
        progress: Mutex::new(Progress::default()),
    };
    let request = TossRequest {
        path: place,
        direction: TossDirection::Both,
        dry_run: false,
        budget: None,
        init: false,
        with_card: false,
    };
    match node.ask(move |desk| desk.toss(&request, &visitor)).await {
        Ok(tossed) => {
            for message in &tossed.messages {
                node.board.happened("message", Some(message.id.clone()), None, None);
            }
            for id in &tossed.delivered {
                node.board.happened("delivered", Some(id.clone()), None, None);
            }
            for damaged in &tossed.damaged_list {
                tracing::info!(medium = shown, damaged);
            }
            Ok(tossed)
        }
        Err(failure) => {
            // Told to stop: nothing is wrong.
            if failure.kind != FailureKind::Interrupted {
                trouble(node, shown, &failure);
            }
            Err(())
        }
    }
}

fn trouble(node: &Node, place: String, failure: &Failure) {
    let next = failure.next.as_ref().map_or_else(String::new, |next| format!("; {next}"));
    node.board.happened("media-trouble", None, Some(place), Some(format!("{failure}{next}")));
}

pub(super) fn summary(tossed: &Tossed) -> String {
    let mut text = format!("{} taken, {} written", tossed.taken, tossed.out);
    for (count, what) in [
        (tossed.messages.len() as u64, "new for you"),
        (tossed.delivered.len() as u64, "delivered"),
        (tossed.damaged, "damaged"),
        (tossed.no_room, "without room"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if tossed.read_only {
        text += ", read-only";
    }
    text
}

/// What a folder and the spool were like when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    folder: u64,
    news: News,
}

/// How far the spool has come: bundles and receipts.
type News = (u64, u64);

/// Visits a folder whenever it or the spool changed, until told to stop.
async fn keep_folder(node: Arc<Node>, place: PathBuf) {
    let stop = node.stop.clone();
    let shown = place.display().to_string();
    let mut watch = FolderWatch::new().ok();
    let (mut done, mut is_missing, mut failures) = (None, false, 0);
    loop {
        let mut rest = Duration::ZERO;
        let at = place.clone();
        let seen = node.ask(move |desk| look(desk, &at)).await;
        match seen {
            Ok(Some(seen)) => {
                is_missing = false;
                if let Some(watch) = &mut watch {
                    watch.watch(&folders(&place));
                }
                if done != Some(seen) {
                    let begun = Instant::now();
                    match visit(&node, place.clone()).await {
                        Ok(tossed) => {
                            (done, failures) = (Some(seen), 0);
                            tell_folder(&node, &shown, &tossed);
                        }
                        Err(()) => failures += 1,
                    }
                    rest = (begun.elapsed() * REST_FACTOR).min(RETRY_LAST);
                }
            }
            Ok(None) => {
                // What comes back later may be another folder.
                done = None;
                if let Some(watch) = &mut watch {
                    watch.watch(&BTreeSet::new());
                }
                if !is_missing {
                    let next = "postrider toss --init DIR makes a folder one of ours, once";
                    let failure = Failure::new(
                        FailureKind::Failed,
                        "there is no folder with our marker; it is watched for",
                    );
                    trouble(&node, shown.clone(), &failure.next(next));
                }
                (is_missing, failures) = (true, 0);
            }
            Err(failure) => {
                failures += 1;
                trouble(&node, shown.clone(), &failure);
            }
        }
        if failures > 0 {
            rest = retry_after(failures);
        }
        let last = done.map(|done| done.news);
        tokio::select! {
            () = stop.cancelled() => return,
            () = async {
                sleep(rest).await;
                // A visit that failed is tried again without a reason.
                if failures == 0 {
                    wait(&node, watch.as_ref(), last).await;
                }
            } => {}
        }
    }
}

/// Waits for a reason to look.
async fn wait(node: &Arc<Node>, watch: Option<&FolderWatch>, last: Option<News>) {
    let changed = async {
        match watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    };
    let news = async {
        loop {
            sleep(NEWS_EVERY).await;
            if last.is_some() && node.ask(news).await.ok() != last {
                return;
            }
        }
    };
    let reason = async {
        tokio::select! {
            () = changed => {}
            () = news => {}
        }
    };
    if timeout(LOOK_EVERY, reason).await.is_ok() {
        sleep(SETTLE).await;
    }
}

fn retry_after(failures: u32) -> Duration {
    (RETRY_FIRST * 2_u32.saturating_pow(failures.min(16) - 1)).min(RETRY_LAST)
}

fn tell_folder(node: &Node, place: &str, tossed: &Tossed) {
    if tossed.taken + tossed.out + tossed.removed + tossed.receipts_out > 0 {
        let detail = Some(summary(tossed));
        node.board.happened("media-tossed", None, Some(place.to_owned()), detail);
    }
}

fn folders(place: &Path) -> BTreeSet<PathBuf> {
    let top = place.join(FOLDER);
    BTreeSet::from([top.join(CONTAINERS), top.join(RESTS), top.join(NOTES), top])
}

const CONTAINERS: &str = postrider_engine::parcel::CONTAINERS_DIR;
const NOTES: &str = postrider_engine::parcel::NOTES_DIR;
const RESTS: &str = postrider_engine::parcel::RESTS_DIR;

/// `None` where there is no folder of ours.
fn look(desk: &crate::desk::Desk, place: &Path) -> Result<Option<Look>, Failure> {
    // The spool first: what comes meanwhile is news again.
    let news = news(desk)?;
    if !is_ours(place) {
        return Ok(None);
    }
    let read = |error| Failure::file("look at", place, error);
    let Some(disk) = MediumDisk::open(place).map_err(read)? else { return Ok(None) };
    let folder = disk.state(&["", CONTAINERS, NOTES, RESTS]).map_err(read)?;
    Ok(Some(Look { folder, news }))
}

fn news(desk: &crate::desk::Desk) -> Result<News, Failure> {
    let live = desk.open_live(&Silent)?;
    Ok((live.latest(), live.receipts_upto()?))
}

/// Watches one visit: tells how far it is, and ends it with the daemon.
struct Visitor {
    node: Arc<Node>,
    place: String,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    what: String,
    done: u64,
    total: Option<u64>,
    told: Option<Instant>,
}

impl Watch for Visitor {
    fn event(&self, event: Event) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin { what, total, unit } => {
                let total = total.filter(|_| unit == Unit::Bytes);
                *progress = Progress { what, total, done: 0, told: Some(Instant::now()) };
            }
            Event::Advance(more) => {
                progress.done += more;
                if progress.told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY) {
                    progress.told = Some(Instant::now());
                    let place = Some(self.place.clone());
                    self.node.board.happened("media-progress", None, place, Some(progress.text()));
                }
            }
            Event::Warn(text) => {
                let place = Some(self.place.clone());
                self.node.board.happened("media-trouble", None, place, Some(text));
            }
            Event::Note(text) => tracing::debug!(medium = self.place, text),
            Event::End | Event::Waiting => {}
        }
    }

    fn is_stopped(&self) -> bool {
        self.node.stop.is_cancelled()
    }
}

impl Progress {
    fn text(&self) -> String {
        let mib = |bytes: u64| bytes >> 20;
        match self.total {
            Some(total) if total >= self.done => {
                format!("{}: {} of {} MiB", self.what, mib(self.done), mib(total))
            }
            _ => format!("{}: {} MiB", self.what, mib(self.done)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_come_ever_later_up_to_a_minute() {
        let after: Vec<u64> = [1, 2, 3, 7, 99].map(|n| retry_after(n).as_secs()).into();
        assert_eq!(after, [1, 2, 4, 60, 60]);
    }

    #[test]
    fn a_summary_says_what_matters_and_nothing_else() {
        let tossed = Tossed { taken: 3, out: 2, ..Tossed::default() };
        assert_eq!(summary(&tossed), "3 taken, 2 written");
        let tossed = Tossed { damaged: 1, no_room: 4, read_only: true, ..tossed };
        assert_eq!(summary(&tossed), "3 taken, 2 written, 1 damaged, 4 without room, read-only");
    }
}
