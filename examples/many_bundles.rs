//! What a relay with many bundles costs: memory, the next one to send, and how a contact begins.
//!
//! ```text
//! cargo run --release --example many_bundles -- DIR [BUNDLES]
//! ```
//!
//! DIR must be new or empty. Two nodes take the same bundles of a stranger, as the daemon takes them
//! from a link; on the way the spool is measured at 1,000 and at 100,000 of them. Then the relay
//! takes ten more and the two meet: first as nodes that have never met, which reconciles all that
//! they have, then again, each time with ten more at the relay. Both engines and both spools are in
//! one process, and units go from one to the other without a wire: time is the processor's, bytes
//! are those of units with their length, without what TLS adds.
//!
//! Every step runs in a process of its own, so that memory is its own. For the heads to be as good as
//! real ones they are signed; payloads are 64 bytes that nobody can open.

use std::{
    collections::VecDeque,
    env, fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use postrider::desk::{
    Desk, InitRequest, Silent,
    live::{Arrival, Live},
};
use postrider_base::{
    Head, Header, Lifetime, LinkFacts, Niceness, NodeId, NodeSecret,
    bundle::{self, Hop, LockField, Origin, SealKind, Sequence},
};
use postrider_engine::{
    carriage::length_prefix,
    node::{
        Answer, Body, Class, Custody, Destination, Engine, Input, Kept, LinkId, LinkPolicy,
        NewBundle, Now, Output, Place, Row, Seen,
    },
    router::{Delegation, Flood, Spray, Tells},
};
use rustix::time::{ClockId, clock_gettime};

/// Bundles that are taken in one go.
const TOGETHER: u64 = 1024;
/// New at the relay when the two meet.
const NEW: u64 = 10;
/// How often they meet again.
const MEETINGS: u64 = 5;
/// For whom the bundles are.
const RECIPIENTS: u64 = 500;
/// Where the spool is measured on the way.
const STOPS: [u64; 2] = [1_000, 100_000];
/// What the engine may give a link before bytes of it have left, as in the daemon.
const ROOM_BYTES: u64 = 1 << 20;
/// Timers that may pass in one contact.
const TIMERS_MAX: usize = 1000;
const NAMES: [&str; 2] = ["relay", "neighbour"];
const SETTINGS: &str = "media = false\noutbox = false\nygg = false\n[carry]\n\
                        strangers = 1000000000000\nstrangers-bundles = 100000000\n";

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize| args.get(at).map_or(Ok(0), |text| text.parse::<u64>());
    let root = Path::new(args.first().context("usage: many_bundles DIR [BUNDLES]")?);
    match args.get(1).map(String::as_str) {
        Some("fill") => fill(root, number(2)?, number(3)?),
        Some("open") => open(root),
        Some("meet") => meet(root, number(2)?, number(3)?),
        Some(_) => all(root, number(1)?),
        None => all(root, 100_000),
    }
}

fn all(root: &Path, bundles: u64) -> anyhow::Result<()> {
    for name in NAMES {
        let home = root.join(name);
        let request = InitRequest { home: home.clone(), name: None, even_if_public: true };
        Desk::init(&request)?;
        fs::write(home.join("config.toml"), SETTINGS)?;
    }
    let step = |args: &[&str]| -> anyhow::Result<()> {
        let done = Command::new(env::current_exe()?).arg(root).args(args).status()?;
        done.success().then_some(()).with_context(|| format!("{args:?}"))
    };
    let mut there = 0;
    for stop in STOPS.into_iter().filter(|stop| *stop < bundles).chain([bundles]) {
        step(&["fill", &there.to_string(), &stop.to_string()])?;
        step(&["open"])?;
        there = stop;
    }
    println!("the two meet for the first time: all but {NEW} they share");
    step(&["meet", &there.to_string(), "1"])?;
    println!("they meet again, {NEW} new each time; the spools were opened just now");
    step(&["meet", &(there + NEW).to_string(), &MEETINGS.to_string()])
}

/// Both nodes take the bundles of these numbers.
fn fill(root: &Path, from: u64, to: u64) -> anyhow::Result<()> {
    let author = Author::new();
    let desks = [desk(root, 0)?, desk(root, 1)?];
    let begun = Instant::now();
    let mut at = from;
    while at < to {
        let upto = to.min(at + TOGETHER);
        let bundles: Vec<NewBundle> = (at..upto).map(|number| author.write(number)).collect();
        for desk in &desks {
            keep(desk.open_live(&Silent)?, bundles.iter().cloned())?;
        }
        at = upto;
    }
    println!(
        "{to} bundles in each of two spools, {:.0} s; {}",
        begun.elapsed().as_secs_f64(),
        rss()
    );
    Ok(())
}

/// Opens the relay's spool as the daemon does and asks what goes next.
fn open(root: &Path) -> anyhow::Result<()> {
    let begun = Instant::now();
    let desk = desk(root, 0)?;
    let live = desk.open_live(&Silent)?;
    let (opened, after) = (begun.elapsed(), rss());
    let latest = live.latest();
    println!("  {latest} bundles: open in {:.2} s; {after}", opened.as_secs_f64());
    for what in ["first", "again"] {
        let mut times = Vec::new();
        for place in places(latest) {
            let begun = Instant::now();
            let Answer::Rows { rows, .. } = live.page(Class::Stranger, place, 1)? else { continue };
            times.extend(rows.first().map(|_| begun.elapsed()));
        }
        let (found, median) = (times.len(), median(times).as_secs_f64() * 1e6);
        println!(
            "  the next to send, {what}: {median:.1} µs in the median of {found} places; {}",
            rss()
        );
    }
    Ok(())
}

/// The beginning, and places all over the queue, in no order.
fn places(latest: u64) -> impl Iterator<Item = Option<Place>> {
    let place = move |n: u64| Place { nice: nice(n / 7), arrival: n * 7919 % latest };
    std::iter::once(None).chain((0..999).map(move |n| Some(place(n))))
}

/// The two meet as often; before each time the relay takes new bundles.
fn meet(root: &Path, mut there: u64, times: u64) -> anyhow::Result<()> {
    let author = Author::new();
    let desks = [desk(root, 0)?, desk(root, 1)?];
    let [relay, neighbour] = &desks;
    let mut ends = [End::new(relay, neighbour)?, End::new(neighbour, relay)?];
    for time in 0..times {
        keep(ends[0].live, (there..there + NEW).map(|number| author.write(number)))?;
        there += NEW;
        contact(&mut ends, LinkId(time + 1))?;
    }
    println!("  both ends: {}", rss());
    Ok(())
}

/// One contact, until nothing is left to say and the neighbour has remembered where they stand.
fn contact(ends: &mut [End<'_>; 2], link: LinkId) -> anyhow::Result<()> {
    let (begun, cpu) = (Instant::now(), processor());
    for (at, end) in ends.iter_mut().enumerate() {
        end.begin(link, at == 0)?;
    }
    let mut known = None;
    let (mut timers, mut passed_ms) = (0, 0);
    let latest = ends[0].live.latest();
    loop {
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis())?;
        for at in [0, 1] {
            let Some(input) = ends[at].inputs.pop_front() else { continue };
            for unit in ends[at].handle(elapsed_ms + passed_ms, input)? {
                ends[1 - at].inputs.push_back(Input::Unit { link, unit });
            }
        }
        if known.is_none() && ends[1].looked >= NEW {
            known = Some((processor() - cpu, ends[0].sent_bytes, ends[1].sent_bytes));
        }
        if ends.iter().any(|end| !end.inputs.is_empty()) {
            continue;
        }
        if ends[1].mine.is_some_and(|seen| seen.bundles == latest) {
            break;
        }
        // Nothing happens any more before a timer ends.
        let due = ends.iter().filter_map(|end| end.engine.poll_timeout()).min();
        let due = due.context("nothing is left to happen")?;
        passed_ms += due.saturating_sub(elapsed_ms + passed_ms);
        timers += 1;
        if timers > TIMERS_MAX {
            bail!("the contact does not come to its end");
        }
        ends.iter_mut().for_each(|end| end.inputs.push_back(Input::Timeout));
    }
    let all = (processor() - cpu, ends[0].sent_bytes, ends[1].sent_bytes);
    for end in ends.iter_mut() {
        end.finish(link)?;
    }
    let told = |what: &str, (cpu, there, back): (Duration, u64, u64)| {
        let ms = cpu.as_secs_f64() * 1e3;
        println!("  {what}: {ms:.1} ms of processor, {there} + {back} bytes");
    };
    told("offers known", known.context("no offers came")?);
    told("bundles kept, cursor remembered", all);
    Ok(())
}

/// One node, as far as a link needs it.
struct End<'a> {
    me: NodeId,
    peer: NodeId,
    live: Live<'a>,
    engine: Engine,
    inputs: VecDeque<Input>,
    sent_bytes: u64,
    /// Ids that it was offered and has looked for.
    looked: u64,
    /// Cursors that are to be remembered.
    mine: Option<Seen>,
    theirs: Option<Seen>,
}

impl<'a> End<'a> {
    fn new(desk: &'a Desk, peer: &Desk) -> anyhow::Result<Self> {
        let (local, live) = (desk.local(&Silent)?, desk.open_live(&Silent)?);
        let flood = Flood::new(local.node, local.tag_keys.clone());
        let spray = Spray::new(flood, Hop::TOKENS_NORMAL);
        let router = Delegation::new(spray, Tells::Contacts, live.meetings()?);
        let mut engine = Engine::new(local, Box::new(router));
        engine.handle(Now::default(), Input::People(desk.known_people()?));
        let (me, peer) = (desk.home().card.node, peer.home().card.node);
        let (mine, theirs) = (None, None);
        let inputs = VecDeque::new();
        Ok(Self { me, peer, live, engine, inputs, sent_bytes: 0, looked: 0, mine, theirs })
    }

    fn begin(&mut self, link: LinkId, dialled: bool) -> anyhow::Result<()> {
        let stream = LinkFacts::stream("tls://[::1]:7531".parse()?);
        let facts = LinkFacts { peer: Some(self.peer), dialled, ..stream };
        let (mine, theirs) = self.live.recall(&self.peer)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| anyhow!("no randomness: {error}"))?;
        (self.sent_bytes, self.looked) = (0, 0);
        self.inputs.push_back(Input::LinkUp {
            link,
            facts,
            policy: LinkPolicy::default(),
            room_bytes: ROOM_BYTES,
            mine,
            theirs,
            random,
        });
        Ok(())
    }

    /// What the daemon writes at leisure.
    fn finish(&mut self, link: LinkId) -> anyhow::Result<()> {
        self.handle(0, Input::LinkDown { link })?;
        self.live.remember(&[(self.peer, self.mine.take(), self.theirs.take())])?;
        Ok(())
    }

    /// Hands one thing to the engine and obeys; the units that it sends.
    fn handle(&mut self, mono_ms: u64, input: Input) -> anyhow::Result<Vec<Bytes>> {
        let now = Now { mono_ms, held_ms: self.live.held_ms() };
        self.engine.handle(now, input);
        let mut units = Vec::new();
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { link, head, body } => {
                    let unit: Bytes = [head, body].concat().into();
                    let bytes = unit.len() as u64;
                    self.sent_bytes += bytes + length_prefix(unit.len()).len() as u64;
                    self.inputs.push_back(Input::Room { link, bytes });
                    units.push(unit);
                }
                Output::Remember { mine, theirs, .. } => {
                    self.mine = mine.or(self.mine);
                    self.theirs = theirs.or(self.theirs);
                }
                Output::Close { why, .. } => bail!("{}: the link was closed: {why:?}", self.me),
                other => self.answer(other)?,
            }
        }
        Ok(units)
    }

    /// Answers a question from the spool.
    fn answer(&mut self, output: Output) -> anyhow::Result<()> {
        let live = self.live;
        let (ticket, answer) = match output {
            Output::Since { ticket, after, limit } => (ticket, live.since(after, limit)?),
            Output::Page { ticket, class, after, limit } => {
                (ticket, live.page(class, after, limit)?)
            }
            Output::Toward { ticket, nodes, after, limit } => {
                (ticket, live.toward(&nodes, after, limit)?)
            }
            Output::Look { ticket, ids } => {
                self.looked += ids.len() as u64;
                (ticket, Answer::Looked(live.look(&ids)?))
            }
            Output::Load { ticket, id } => (ticket, Answer::Loaded(live.load(&id)?)),
            Output::ReceiptsSince { ticket, after, limit } => {
                (ticket, live.receipts_since(after, limit)?)
            }
            Output::Keep { ticket, bundle } => {
                let (mut answers, _) = live.keep(vec![Arrival { bundle, arriving: None }])?;
                (ticket, answers.pop().context("no verdict")?)
            }
            Output::Change { ticket, id, hop } => {
                let changed = live.change(&[(id, hop)])?;
                (ticket, Answer::Changed(changed == [true]))
            }
            Output::Sketch { ticket, work } => (ticket, Answer::Sketched(Box::new(work.run()))),
            // Nothing of ours, no receipts, no large bodies: what remains is news.
            _ => return Ok(()),
        };
        self.inputs.push_back(Input::Done { ticket, answer });
        Ok(())
    }
}

/// Who writes all bundles, for a few hundred others.
struct Author {
    secret: NodeSecret,
    recipients: Vec<NodeId>,
}

impl Author {
    fn new() -> Self {
        let seed = |number: u64| *blake3::hash(&number.to_be_bytes()).as_bytes();
        let recipients = (1..=RECIPIENTS).map(|n| NodeSecret::from_seed(seed(n)).id());
        Self { secret: NodeSecret::from_seed(seed(0)), recipients: recipients.collect() }
    }

    fn write(&self, number: u64) -> NewBundle {
        let hash = blake3::hash(&number.to_be_bytes());
        let mut body = vec![0; 64];
        blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut body);
        let picked = usize::from(hash.as_bytes()[0]) * 2 % self.recipients.len();
        let to = self.recipients[picked];
        let header = Header {
            destination: bundle::Destination::Node(to),
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::new(nice(number)).unwrap_or(Niceness::NORMAL),
            seal: SealKind::None,
            lock: LockField::None,
            origin: Origin::Open {
                source: self.secret.id(),
                sequence: Sequence { epoch: 1, counter: number + 1 },
                created: 0,
            },
            length: body.len() as u64,
            hash: None,
        };
        let head = Head::sign(header, &body, &self.secret);
        let row = Row {
            id: head.id(&body),
            destination: Destination::Node(*to.as_bytes()),
            tagged_for: None,
            source: Some(*self.secret.id().as_bytes()),
            nice: nice(number),
            lifetime_s: Lifetime::DEFAULT.seconds(),
            length: body.len() as u64,
            hop: Hop::fresh(),
            class: Class::Stranger,
            from: Some(*self.secret.id().as_bytes()),
            arrived_held_ms: 0,
            arrival: 0,
        };
        let body = Body::Inline(body.into());
        NewBundle { row, head: head.encode().into(), custody: Custody::Carry, worth: 0, body }
    }
}

fn nice(number: u64) -> u8 {
    let all = [Niceness::PRIORITY, Niceness::NORMAL, Niceness::BULK];
    all[usize::try_from(number % 3).unwrap_or(0)].value()
}

fn desk(root: &Path, which: usize) -> anyhow::Result<Desk> {
    Ok(Desk::open(&root.join(NAMES[which]))?)
}

/// As the daemon keeps what came over a link.
fn keep(live: Live<'_>, bundles: impl Iterator<Item = NewBundle>) -> anyhow::Result<()> {
    let arrival = |bundle| Arrival { bundle: Box::new(bundle), arriving: None };
    let (verdicts, _) = live.keep(bundles.map(arrival).collect())?;
    match verdicts.iter().find(|verdict| !matches!(verdict, Answer::Kept(Kept::Kept))) {
        Some(verdict) => bail!("not kept: {verdict:?}"),
        None => Ok(()),
    }
}

/// What this process has used of the processor, all threads together.
fn processor() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Resident now, and at most since the process began.
fn rss() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    };
    format!("RSS {:.1} MiB (peak {:.1} MiB)", mib("VmRSS:"), mib("VmHWM:"))
}
