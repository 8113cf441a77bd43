//! The task that owns an open port: sessions of the link layer, one after the other, each of which
//! is a link as any other.
//!
//! 1. As long as nobody answers it says hello, ever more slowly: that costs nothing.
//! 2. When the other end is there, a pipe in memory becomes the link's stream. The session's numbers
//!    say which end calls; where neither end was told whom, nobody does.
//!    Meanwhile, and before, what is short and urgent for whoever is expected is said as a letter, and
//!    its receipt comes back as one.
//! 3. When the other end begins anew, falls silent, or the link ends, the session is over and the next
//!    begins: at once, or after a while where the two did not want each other.
//!
//! Nothing is decided here about what is sent when: that is the line's ([`Line`]). Little is kept between
//! it and the link, so that what is urgent passes.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use postrider_base::{NodeId, link::LinkFacts};
use postrider_engine::carriage::line::{Caller, Duplex, Ending, Line, Settings, State};
use postrider_transports::contract::{Link, Pipe, StreamPipe};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf},
    sync::mpsc,
    time::{Duration, Instant, Sleep, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    link_task::Role,
    node::{LinkEnd, Node},
    ports::Port,
};

/// A link that lived shorter than this, and went wrong, was not wanted.
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// Silence after links that were not wanted, one after the other.
const WAITS_S: [u64; 4] = [2, 5, 15, 30];
/// How long a session that has finished still answers: the other end's last question may be under way.
const LINGER: Duration = Duration::from_secs(3);
/// How long a session may take to end when its link has ended; then the next begins over it.
const PARTING: Duration = Duration::from_secs(30);
/// The same when the daemon ends, which waits a little longer for its tasks.
const FAREWELL: Duration = Duration::from_secs(3);
/// A node that is there says hello within this, and a little for slow lines.
const LISTENS: Duration = Duration::from_secs(7);
/// How long a node that answered is listened to.
const COUNTS: Duration = Duration::from_secs(1);
/// What the line is given ahead of what it sent, and what the pipe holds: an eighth of a second each,
/// and at least the longest frame, which is half a second on a slow line. What lies there is not
/// overtaken.
const AHEAD_MS: u64 = 125;
const AHEAD_MAX: usize = 64 << 10;
const FRAME_MS: u64 = 500;
const FRAME_BYTES: std::ops::RangeInclusive<usize> = 64..=1024;
/// What is taken from the line at once: it is late if it waits here.
const TAKE_MS: u64 = 10;
const TAKE_MIN: usize = 32;
/// Before a line is asked again that said nothing in its time.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Letters that are said when a session begins, and bytes of the longest: two seconds at 1,200 bit/s.
const LETTERS: (usize, usize) = (2, 256);
/// Answers to letters that wait to be said.
const ANSWERS_MAX: usize = 4;
/// Bytes moved at once in each direction.
const MOVE_BYTES: usize = 4 << 10;
/// Reads in a row before others have their turn: a port may give faster than any line.
const READS_MAX: usize = 16;

/// Runs sessions over an open port until it is gone, or until `stop`. With `once` also until the first
/// link has ended.
pub(super) async fn run(
    node: &Arc<Node>,
    link: Link,
    expect: Option<NodeId>,
    port: &Port,
    once: bool,
    stop: &CancellationToken,
) -> io::Result<()> {
    let Link { facts, pipe } = link;
    let Pipe::Line { port: mut pipe, bits_per_s, turn_ms } = pipe else {
        return Err(io::Error::other("a link of another kind"));
    };
    let duplex = duplex_of(turn_ms);
    let calls = expect.is_some();
    let settings = Settings { duplex, calls, ..Settings::new(bits_per_s) };
    let mut failures = 0;
    loop {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut session = Session::new(&mut pipe, settings, random, port);
        session.post(node, &facts, expect).await;
        let failure = session.run(node, &facts, expect, stop).await?;
        if stop.is_cancelled() || once && failure != Some(Failed::NoLink) {
            return Ok(());
        }
        let wait = match failure {
            None | Some(Failed::NoLink) => {
                failures = 0;
                continue;
            }
            Some(Failed::Unwanted) => WAITS_S[failures.min(WAITS_S.len() - 1)],
        };
        failures += 1;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            gone = discard(&mut pipe) => return gone,
            () = sleep(Duration::from_secs(wait)) => {}
        }
    }
}

fn duplex_of(turn_ms: Option<u32>) -> Duplex {
    turn_ms.map_or(Duplex::Full, |turn_ms| Duplex::Half { turn_ms: turn_ms.into() })
}

/// Listens for a node, and with `speaks` says hello to it; what is found stands in `port`.
pub(super) async fn probe(link: Link, port: &Port, speaks: bool) -> io::Result<()> {
    let Pipe::Line { port: mut pipe, bits_per_s, turn_ms } = link.pipe else {
        return Err(io::Error::other("a link of another kind"));
    };
    let settings = Settings { duplex: duplex_of(turn_ms), ..Settings::new(bits_per_s) };
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut session = Session::new(&mut pipe, settings, random, port);
    (session.is_mute, session.is_parted) = (!speaks, true);
    let is_somebody = |line: &Line| match speaks {
        true => line.state() != State::Opening,
        false => line.tally().frames > line.tally().echoes,
    };
    let limit = LISTENS + Duration::from_secs(11_000 / u64::from(bits_per_s.max(1)));
    if let Ok(found) = timeout(limit, session.until(is_somebody)).await {
        found?;
    }
    if session.line.state() != State::Open {
        return Ok(());
    }
    // It may call; then there is more to count.
    if let Ok(over) = timeout(COUNTS, session.until(|_| false)).await {
        over?;
    }
    port.keep_state();
    session.line.close();
    let over = session.until(|line| matches!(line.state(), State::Closed(_)));
    timeout(FAREWELL, over).await.unwrap_or(Ok(()))
}

/// Reads what nobody listens to, to the end of the port.
async fn discard(port: &mut Box<dyn StreamPipe>) -> io::Result<()> {
    let mut buffer = vec![0; MOVE_BYTES];
    while port.read(&mut buffer).await? > 0 {
        // Noise may come faster than a line could carry it.
        tokio::task::yield_now().await;
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Why a session came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// It ended before there was a link.
    NoLink,
    /// There was one, and one end did not want it.
    Unwanted,
}

/// One session, between its port and its link.
struct Session<'a> {
    line: Line,
    port: &'a mut Box<dyn StreamPipe>,
    told: &'a Port,
    begun: Instant,
    timer: Pin<Box<Sleep>>,
    /// This end of the pipe whose other end is the link's.
    pipe: Option<DuplexStream>,
    /// The link has ended, and nobody listens any more.
    is_parted: bool,
    /// Nothing is said.
    is_mute: bool,
    /// What the pipe gave and the line did not take yet.
    to_line: Vec<u8>,
    /// What the line gave and the pipe did not take yet.
    to_pipe: Vec<u8>,
    /// What the line gave and the port did not take yet.
    to_port: Vec<u8>,
    ahead_bytes: usize,
    take_bytes: usize,
    /// Where letters are read, unless this is a test.
    reader: Option<Arc<Node>>,
    answers: (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
}

impl<'a> Session<'a> {
    fn new(
        port: &'a mut Box<dyn StreamPipe>,
        settings: Settings,
        random: [u8; 16],
        told: &'a Port,
    ) -> Self {
        let begun = Instant::now();
        let bytes = |ms| u64::from(settings.bits_per_s) * ms / 10_000;
        let bytes = |ms| usize::try_from(bytes(ms)).unwrap_or(usize::MAX);
        let frame_bytes = bytes(FRAME_MS).clamp(*FRAME_BYTES.start(), *FRAME_BYTES.end());
        Self {
            line: Line::new(settings, random, 0),
            port,
            told,
            begun,
            timer: Box::pin(sleep_until(begun)),
            pipe: None,
            is_parted: false,
            is_mute: false,
            to_line: Vec::new(),
            to_pipe: Vec::new(),
            to_port: Vec::new(),
            ahead_bytes: bytes(AHEAD_MS).clamp(frame_bytes, AHEAD_MAX),
            take_bytes: bytes(TAKE_MS).clamp(TAKE_MIN, MOVE_BYTES),
            reader: None,
            answers: mpsc::channel(ANSWERS_MAX),
        }
    }

    /// Lays out what is said as soon as the other end is known, and reads what it says so.
    async fn post(&mut self, node: &Arc<Node>, facts: &LinkFacts, expect: Option<NodeId>) {
        self.reader = Some(Arc::clone(node));
        let Some(to) = expect else { return };
        let facts = facts.clone();
        let letters = node.ask(move |desk| desk.letters_for(&facts, to, LETTERS)).await;
        // They go on the pipe as well.
        for letter in letters.unwrap_or_default() {
            self.line.post(letter);
        }
    }

    /// Has a letter read, and its answer said.
    fn read_letter(&self, letter: Vec<u8>) {
        let Some(node) = self.reader.clone() else { return };
        let answers = self.answers.0.clone();
        tokio::spawn(async move {
            match node.ask(move |desk| desk.take_letter(&letter)).await {
                Ok((answer, news)) => {
                    node.board.news(news);
                    if let Some(answer) = answer {
                        // The session may be over; then its receipt comes as any other.
                        let _ = answers.send(answer).await;
                    }
                }
                Err(failure) => node.board.trouble(&failure),
            }
        });
    }

    /// From the first hello to the end. An error is that of the port.
    async fn run(
        &mut self,
        node: &Arc<Node>,
        facts: &LinkFacts,
        expect: Option<NodeId>,
        stop: &CancellationToken,
    ) -> io::Result<Option<Failed>> {
        tokio::select! {
            () = stop.cancelled() => return Ok(Some(Failed::NoLink)),
            open = self.until(|line| line.state() != State::Opening) => open?,
        }
        let role = match (self.line.caller(), expect) {
            (Some(Caller::Ours), Some(peer)) => Role::Calls(peer),
            (Some(Caller::Theirs), expect) => Role::Answers(expect),
            _ => {
                // Nobody calls; whoever is told whom begins anew.
                tokio::select! {
                    () = stop.cancelled() => {}
                    over = self.until(|line| matches!(line.state(), State::Closed(_))) => over?,
                }
                return Ok(Some(Failed::NoLink));
            }
        };
        let (near, far) = tokio::io::duplex(self.ahead_bytes);
        self.pipe = Some(near);
        let link = Link { facts: facts.clone(), pipe: Pipe::Stream(Box::new(far)) };
        let begun = Instant::now();
        let mut ended = node.adopt_as(link, role, None);
        let over = |line: &Line| matches!(line.state(), State::Closed(_));
        let how = tokio::select! {
            how = &mut ended => Some(how),
            () = stop.cancelled() => None,
            done = self.until(over) => {
                done?;
                None
            }
        };
        let is_short = begun.elapsed() < SHORT_LIFE;
        let failure = match &how {
            Some(Ok(Err(error))) if is_short || error.kind() == io::ErrorKind::TimedOut => {
                self.told.failed(&reason(role, error));
                Some(Failed::Unwanted)
            }
            // There was no place for it, or it ended as it should.
            Some(_) if is_short => Some(Failed::Unwanted),
            Some(_) | None => {
                self.told.went_well();
                None
            }
        };
        let patience = if stop.is_cancelled() { FAREWELL } else { PARTING };
        if let Ok(parted) = timeout(patience, self.until(over)).await {
            parted?;
        }
        if how.is_none() {
            self.part(ended).await;
        }
        (self.pipe, self.is_parted) = (None, true);
        if self.line.state() == State::Closed(Ending::Finished) {
            let linger = self.until(Line::is_called_again);
            tokio::select! {
                () = stop.cancelled() => {}
                lingered = timeout(LINGER, linger) => lingered.unwrap_or(Ok(()))?,
            }
        }
        Ok(failure)
    }

    /// Gives the link the last that came in order, then the end of its pipe, and waits for its own.
    async fn part(&mut self, ended: LinkEnd) {
        let Some(mut pipe) = self.pipe.take() else { return };
        let parted = async {
            let mut bytes = [0; MOVE_BYTES];
            let mut rest = std::mem::take(&mut self.to_pipe);
            // A link that does not listen any more has ended.
            while pipe.write_all(&rest).await.is_ok() {
                let came = self.line.read(&mut bytes);
                if came == 0 {
                    break;
                }
                rest.splice(.., bytes[..came].iter().copied());
            }
            drop(pipe);
            let _ = ended.await;
        };
        let _ = timeout(FAREWELL, parted).await;
    }

    /// Moves bytes until something is so. Cancel-safe: what was read and not passed on stays here.
    async fn until(&mut self, is_so: impl Fn(&Line) -> bool) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll(context, &is_so)).await
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        is_so: &impl Fn(&Line) -> bool,
    ) -> Poll<io::Result<()>> {
        let mut is_late = false;
        for _ in 0..READS_MAX {
            let mut moved = self.poll_from_port(context)?;
            while let Some(letter) = self.line.take_letter() {
                self.read_letter(letter);
            }
            while let Poll::Ready(Some(answer)) = self.answers.1.poll_recv(context) {
                self.line.post(answer);
            }
            moved |= self.poll_from_pipe(context);
            moved |= self.poll_to_pipe(context);
            moved |= self.poll_to_port(context)?;
            if is_so(&self.line) {
                self.told.heard(&self.line);
                return Poll::Ready(Ok(()));
            }
            if moved {
                is_late = false;
                continue;
            }
            self.told.heard(&self.line);
            let Some(at_ms) = self.line.next_timeout() else { return Poll::Pending };
            let mut at = self.begun + Duration::from_millis(at_ms);
            if is_late {
                // It had its time, and said nothing.
                at = at.max(Instant::now() + LOOK_AGAIN);
            }
            if self.timer.deadline() != at {
                self.timer.as_mut().reset(at);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // What is due waits for the port to take it.
            if !self.to_port.is_empty() {
                return Poll::Pending;
            }
            is_late = true;
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn poll_from_port(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut bytes = [0; MOVE_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut *self.port).poll_read(context, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Poll::Ready(Ok(())) => {
                self.line.receive(self.now_ms(), buffer.filled());
                self.told.sample(buffer.filled());
                Ok(true)
            }
        }
    }

    /// What the link says, as far as the line sends it soon.
    fn poll_from_pipe(&mut self, context: &mut Context<'_>) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let mut moved = false;
        if self.to_line.is_empty() {
            let room = self.ahead_bytes.saturating_sub(self.line.unsent_bytes()).min(MOVE_BYTES);
            if room == 0 {
                return false;
            }
            let mut bytes = [0; MOVE_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes[..room]);
            match Pin::new(pipe).poll_read(context, &mut buffer) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.to_line.extend_from_slice(buffer.filled());
                }
                // The link has nothing more to say. What comes is read on, so that both ends finish.
                Poll::Ready(_) => {
                    let is_news = !self.line.is_closed();
                    self.line.close();
                    return is_news;
                }
            }
            moved = true;
        }
        let taken = self.line.write(&self.to_line);
        self.to_line.drain(..taken);
        moved || taken > 0
    }

    /// What came for the link. Where it does not listen any more nobody does.
    fn poll_to_pipe(&mut self, context: &mut Context<'_>) -> bool {
        // What comes with the frame that opens a session waits for the link.
        if self.pipe.is_none() && !self.is_parted {
            return false;
        }
        let mut moved = false;
        if self.to_pipe.is_empty() {
            let mut bytes = [0; MOVE_BYTES];
            let came = self.line.read(&mut bytes);
            self.to_pipe.extend_from_slice(&bytes[..came]);
            moved = came > 0;
        }
        let Some(pipe) = &mut self.pipe else {
            self.to_pipe.clear();
            return moved;
        };
        if self.to_pipe.is_empty() {
            if self.line.is_read_to_end() {
                // It has no buffer of its own: this is done at once.
                let _ = Pin::new(pipe).poll_shutdown(context);
            }
            return moved;
        }
        match Pin::new(pipe).poll_write(context, &self.to_pipe) {
            Poll::Pending => moved,
            Poll::Ready(Ok(taken)) => {
                self.to_pipe.drain(..taken);
                true
            }
            Poll::Ready(Err(_)) => {
                self.to_pipe.clear();
                true
            }
        }
    }

    fn poll_to_port(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while !self.is_mute {
            if self.to_port.is_empty() {
                let now_ms = self.now_ms();
                self.line.transmit(now_ms, self.take_bytes, &mut self.to_port);
                if self.to_port.is_empty() {
                    return Ok(moved);
                }
            }
            match Pin::new(&mut *self.port).poll_write(context, &self.to_port) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(taken)) => {
                    self.to_port.drain(..taken);
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(moved)
    }
}

/// Why a link was not wanted, in words.
fn reason(role: Role, error: &io::Error) -> String {
    match role {
        Role::Calls(_) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "who is there does not take the call: it is another node, or does not want this one"
                .into()
        }
        Role::Calls(_) => format!("the call came to nothing: {error}"),
        Role::Answers(_) => {
            format!("no link with who calls from there, perhaps another node: {error}")
        }
    }
}
