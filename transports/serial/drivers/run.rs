//! What all drivers of frames share: one task owns the port, and does what the modem's dialect decides.
//!
//! ```text
//! port --bytes--> Dialect --Act::Tell--> heard
//! port <-Act::Write- Dialect <-frame-- to_air        one frame at a time, and only when it takes one
//! ```
//!
//! The port is set up first: [`open`] returns when the dialect is [`Act::Ready`]. The task ends, and the port
//! with it, when either channel is dropped. Whatever a dialect says, the fate of each frame is told once, and
//! [`Heard::Ended`] is the last.

use std::{collections::VecDeque, io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::mpsc::error::TrySendError,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    contract::{
        Heard, OutFrame, Pipe, PortTrouble, RadioFacts, Refusal, StreamPipe, TransportError,
    },
    frames::{FRAME_MAX, FrameDriver, port as frame_port},
};

/// A modem that is not ready by then never will be; a dialect gives up sooner, and says why.
const SETUP_TIME_MAX: Duration = Duration::from_secs(300);
/// A modem that takes no bytes for so long is none: the slowest frame is sent within that.
const WRITE_TIME_MAX: Duration = Duration::from_secs(60);
/// More than any dialect has to say at once; who provokes more is not answered.
const UNSENT_BYTES_MAX: usize = 16 << 10;
/// Bytes read at once.
const READ_BYTES: usize = 1 << 10;

/// What is said to a modem and what its answers mean, as a machine: bytes, frames and time in, acts out.
///
/// - Time is what has passed since the port was opened; it never goes back.
/// - After each input [`Self::poll`] is called until it yields nothing.
/// - A frame is handed over only while [`Self::takes_frame`], and is no longer than the facts say. Its
///   fate must be told with [`Heard::Sent`] or [`Heard::Refused`]; the next comes after that.
/// - It gives up by itself on a modem that does not answer while it is set up.
/// - Bytes come as they were read, cut anywhere, and may be anything: none may make it panic or grow.
pub(super) trait Dialect: Send {
    /// The modem said something.
    fn handle_bytes(&mut self, now: Duration, said: &[u8]);
    /// A frame is to be sent.
    fn handle_frame(&mut self, now: Duration, frame: OutFrame);
    /// The time of [`Self::poll_timeout`] has come.
    fn handle_timeout(&mut self, now: Duration);
    /// The next thing to be done.
    fn poll(&mut self) -> Option<Act>;
    /// When to be called although nothing was said.
    fn poll_timeout(&self) -> Option<Duration>;
    /// Whether a frame can be handed over.
    fn takes_frame(&self) -> bool;
}

/// What a dialect wants done.
#[derive(Debug)]
pub(super) enum Act {
    /// To the modem.
    Write(Vec<u8>),
    /// The modem is set up, and is like this. Said once, before anything is told.
    Ready(RadioFacts),
    /// To whoever has the port.
    Tell(Heard),
    /// It cannot go on; for people: what is wrong and what helps.
    End(String),
}

/// Sets a modem up and makes a pipe of it. Dropping the future closes the port.
pub(super) async fn open(
    port: Box<dyn StreamPipe>,
    dialect: Box<dyn Dialect>,
    place: &str,
) -> Result<Pipe, TransportError> {
    let mut post = Post::new(port, dialect);
    let trouble = |detail: String| TransportError::Port { trouble: PortTrouble::Other, detail };
    let facts = match timeout(SETUP_TIME_MAX, post.set_up()).await {
        Ok(Ok(facts)) => facts,
        Ok(Err(why)) => return Err(trouble(format!("{place}: {why}"))),
        Err(_) => return Err(trouble(format!("{place}: the modem does not become ready"))),
    };
    let most = usize::from(facts.mtu_bytes).min(FRAME_MAX);
    let (port, driver) = frame_port(facts);
    // It ends when the port, which is all that is left of it, is dropped.
    tokio::spawn(attend(post, driver, most));
    Ok(Pipe::Frames(port))
}

/// A port, what is to be written to it, and who decides that.
struct Post {
    reader: ReadHalf<Box<dyn StreamPipe>>,
    writer: WriteHalf<Box<dyn StreamPipe>>,
    dialect: Box<dyn Dialect>,
    begun: Instant,
    unsent: VecDeque<u8>,
    /// When the modem last took something, or had nothing to take.
    took: Instant,
    buffer: Vec<u8>,
}

impl Post {
    fn new(port: Box<dyn StreamPipe>, dialect: Box<dyn Dialect>) -> Self {
        let (reader, writer) = tokio::io::split(port);
        let begun = Instant::now();
        let (unsent, buffer) = (VecDeque::new(), vec![0; READ_BYTES]);
        Self { reader, writer, dialect, begun, unsent, took: begun, buffer }
    }

    async fn set_up(&mut self) -> io::Result<RadioFacts> {
        // Time has come for the first word.
        self.dialect.handle_timeout(Duration::ZERO);
        loop {
            while let Some(act) = self.poll()? {
                if let Told::Ready(facts) = act {
                    return Ok(facts);
                }
            }
            self.turn().await?;
        }
    }

    /// What the dialect wants next that is not for the port.
    fn poll(&mut self) -> io::Result<Option<Told>> {
        while let Some(act) = self.dialect.poll() {
            match act {
                Act::Write(bytes) => {
                    if self.unsent.is_empty() {
                        self.took = Instant::now();
                    }
                    if self.unsent.len() + bytes.len() > UNSENT_BYTES_MAX {
                        return Err(takes_nothing());
                    }
                    self.unsent.extend(bytes);
                }
                Act::Ready(facts) => return Ok(Some(Told::Ready(facts))),
                Act::Tell(heard) => return Ok(Some(Told::Heard(heard))),
                Act::End(why) => return Err(io::Error::other(why)),
            }
        }
        Ok(None)
    }

    /// Until something was read or written, or the dialect's time has come. May be dropped at any time:
    /// what was read is handed over at once, and of what is written just so much is forgotten as went.
    async fn turn(&mut self) -> io::Result<()> {
        let stalls = (!self.unsent.is_empty()).then(|| self.took + WRITE_TIME_MAX);
        let due = self.dialect.poll_timeout().and_then(|at| self.begun.checked_add(at));
        let wake = stalls.into_iter().chain(due).min();
        let slept = async {
            match wake {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = self.reader.read(&mut self.buffer) => {
                let read = read?;
                if read == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the port is gone"));
                }
                self.dialect.handle_bytes(self.begun.elapsed(), &self.buffer[..read]);
            }
            wrote = self.writer.write(self.unsent.as_slices().0), if !self.unsent.is_empty() => {
                let wrote = wrote?;
                self.unsent.drain(..wrote);
                self.took = Instant::now();
            }
            () = slept => {
                if stalls.is_some_and(|at| at <= Instant::now()) {
                    return Err(takes_nothing());
                }
                self.dialect.handle_timeout(self.begun.elapsed());
            }
        }
        Ok(())
    }
}

fn takes_nothing() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the modem takes no more bytes")
}

/// What is not for the port.
enum Told {
    Ready(RadioFacts),
    Heard(Heard),
}

/// A modem that is set up, for as long as somebody wants it.
async fn attend(mut post: Post, mut driver: FrameDriver, most: usize) {
    let mut course = Course { under_way: None, fate: None, most };
    let ended = course.run(&mut post, &mut driver).await;
    // Whoever opens it again may do so as soon as it is told.
    drop(post);
    let Err(why) = ended else { return };
    let lost = |number| Heard::Refused { number, why: Refusal::Silent };
    let fate = course.fate.or_else(|| course.under_way.map(lost));
    for last in fate.into_iter().chain([Heard::Ended(why)]) {
        if driver.heard.send(last).await.is_err() {
            return;
        }
    }
}

struct Course {
    /// A frame that the dialect has.
    under_way: Option<u32>,
    /// What became of it, until that is taken: nothing else may be lost.
    fate: Option<Heard>,
    /// The longest frame.
    most: usize,
}

impl Course {
    /// Until nobody wants the port any more, or it is gone.
    async fn run(&mut self, post: &mut Post, driver: &mut FrameDriver) -> io::Result<()> {
        loop {
            while let Some(told) = post.poll()? {
                if let Told::Heard(heard) = told {
                    self.tell(heard, driver);
                }
            }
            let takes = self.under_way.is_none() && self.fate.is_none();
            let takes = takes && post.dialect.takes_frame();
            tokio::select! {
                turned = post.turn() => turned?,
                frame = driver.to_air.recv(), if takes => match frame {
                    Some(frame) => self.take(frame, post),
                    None => return Ok(()),
                },
                room = driver.heard.reserve(), if self.fate.is_some() => {
                    let Ok(room) = room else { return Ok(()) };
                    if let Some(fate) = self.fate.take() {
                        room.send(fate);
                    }
                }
                () = driver.heard.closed() => return Ok(()),
            }
        }
    }

    fn take(&mut self, frame: OutFrame, post: &mut Post) {
        let number = frame.number;
        let refused = |why| Some(Heard::Refused { number, why });
        match frame.bytes.len() {
            0 => self.fate = refused(Refusal::Other("there is nothing in it".into())),
            length if length > self.most => self.fate = refused(Refusal::TooLong),
            _ => {
                self.under_way = Some(number);
                post.dialect.handle_frame(post.begun.elapsed(), frame);
            }
        }
    }

    fn tell(&mut self, heard: Heard, driver: &FrameDriver) {
        match &heard {
            Heard::Sent { number } | Heard::Refused { number, .. } => {
                if self.under_way == Some(*number) {
                    self.under_way = None;
                    self.fate = driver.heard.try_send(heard).err().map(TrySendError::into_inner);
                }
            }
            Heard::Frame { bytes, .. } if bytes.is_empty() || bytes.len() > FRAME_MAX => {}
            // What nobody takes in time is lost, as on the air.
            _ => drop(driver.heard.try_send(heard)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::contract::{FramePort, Strength};

    /// Every byte is a frame; a frame is sent when the modem says `S`, and refused when it says `R`. It is
    /// ready when it says `!`, and ends with `E`.
    #[derive(Default)]
    struct Bytewise {
        acts: VecDeque<Act>,
        number: Option<u32>,
        begun: bool,
    }

    impl Dialect for Bytewise {
        fn handle_bytes(&mut self, _: Duration, said: &[u8]) {
            for byte in said {
                let number = self.number.unwrap_or(77);
                self.acts.push_back(match byte {
                    b'!' => Act::Ready(facts()),
                    b'S' => Act::Tell(Heard::Sent { number }),
                    b'R' => Act::Tell(Heard::Refused { number, why: Refusal::Busy }),
                    b'E' => Act::End("it is broken".into()),
                    byte => Act::Tell(Heard::Frame {
                        bytes: vec![*byte],
                        strength: Strength::default(),
                    }),
                });
            }
        }

        fn handle_frame(&mut self, _: Duration, frame: OutFrame) {
            self.number = Some(frame.number);
            self.acts.push_back(Act::Write(frame.bytes));
        }

        fn handle_timeout(&mut self, _: Duration) {
            if !self.begun {
                self.acts.push_back(Act::Write(b"hello".to_vec()));
            }
            self.begun = true;
        }

        fn poll(&mut self) -> Option<Act> {
            self.acts.pop_front()
        }

        fn poll_timeout(&self) -> Option<Duration> {
            None
        }

        fn takes_frame(&self) -> bool {
            true
        }
    }

    fn facts() -> RadioFacts {
        RadioFacts {
            mtu_bytes: 10,
            modulation: None,
            bits_per_s: 1200,
            frequency_hz: None,
            bandwidth_hz: None,
            listens: false,
            tells_sent: true,
            broadcasts: true,
            clear_only: false,
            signs: false,
            tariff: None,
        }
    }

    async fn opened(room: usize) -> (FramePort, DuplexStream) {
        let (near, mut far) = duplex(room);
        far.write_all(b"!").await.unwrap();
        let pipe = open(Box::new(near), Box::<Bytewise>::default(), "/dev/tty").await.unwrap();
        let Pipe::Frames(port) = pipe else { panic!("{pipe:?}") };
        (port, far)
    }

    fn frame(number: u32, bytes: &[u8]) -> OutFrame {
        OutFrame { number, bytes: bytes.to_vec() }
    }

    #[tokio::test]
    async fn a_frame_waits_until_the_fate_of_the_one_before_is_told() {
        let (mut port, mut far) = opened(64).await;
        let mut hello = [0; 5];
        far.read_exact(&mut hello).await.unwrap();
        port.to_air.send(frame(1, b"one")).await.unwrap();
        port.to_air.send(frame(2, b"two")).await.unwrap();
        let mut came = [0; 3];
        far.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"one");
        far.write_all(b"xR").await.unwrap();
        assert!(matches!(port.heard.recv().await, Some(Heard::Frame { .. })));
        assert!(matches!(port.heard.recv().await, Some(Heard::Refused { number: 1, .. })));
        far.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"two");
        // It is told once, whatever the modem says.
        far.write_all(b"SSRx").await.unwrap();
        assert!(matches!(port.heard.recv().await, Some(Heard::Sent { number: 2 })));
        assert!(matches!(port.heard.recv().await, Some(Heard::Frame { .. })));
    }

    #[tokio::test]
    async fn what_is_too_long_or_empty_does_not_reach_the_modem() {
        let (mut port, _far) = opened(64).await;
        for (number, bytes) in [(1, &[7; 11][..]), (2, &[])] {
            port.to_air.send(frame(number, bytes)).await.unwrap();
            let Some(Heard::Refused { number: told, why }) = port.heard.recv().await else {
                panic!("not refused")
            };
            assert_eq!((told, why == Refusal::TooLong), (number, number == 1));
        }
    }

    #[tokio::test]
    async fn a_fate_is_told_even_to_somebody_who_took_nothing_for_long() {
        let (mut port, mut far) = opened(4096).await;
        port.to_air.send(frame(1, b"one")).await.unwrap();
        let mut came = [0; 8];
        far.read_exact(&mut came).await.unwrap();
        far.write_all(&[b'x'; 1000]).await.unwrap();
        far.write_all(b"SE").await.unwrap();
        let mut told = Vec::new();
        while let Some(heard) = port.heard.recv().await {
            told.push(heard);
        }
        assert!(told.len() <= crate::frames::HEARD_MAX + 2, "{}", told.len());
        let [.., Heard::Sent { number: 1 }, Heard::Ended(why)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(why.to_string(), "it is broken");
    }

    #[tokio::test]
    async fn a_frame_under_way_when_the_port_goes_was_not_sent() {
        let (mut port, mut far) = opened(64).await;
        port.to_air.send(frame(9, b"one")).await.unwrap();
        let mut came = [0; 8];
        far.read_exact(&mut came).await.unwrap();
        drop(far);
        let told = port.heard.recv().await;
        assert!(matches!(told, Some(Heard::Refused { number: 9, why: Refusal::Silent })));
        assert!(matches!(port.heard.recv().await, Some(Heard::Ended(_))));
        assert!(port.heard.recv().await.is_none());
    }

    #[tokio::test]
    async fn dropping_the_port_lets_go_of_it() {
        let (port, mut far) = opened(64).await;
        drop(port);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert!(b"hello".starts_with(&rest), "{rest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_modem_that_takes_nothing_or_is_never_ready_is_given_up() {
        let (port, _far) = opened(2).await;
        let FramePort { mut heard, to_air, .. } = port;
        to_air.send(frame(1, b"0123456789")).await.unwrap();
        assert!(matches!(heard.recv().await, Some(Heard::Refused { number: 1, .. })));
        let Some(Heard::Ended(why)) = heard.recv().await else { panic!("goes on") };
        assert!(why.to_string().contains("takes no more"), "{why}");
        let (near, _far) = duplex(64);
        let failed = open(Box::new(near), Box::<Bytewise>::default(), "/dev/tty").await;
        let why = failed.unwrap_err().to_string();
        assert_eq!(why, "/dev/tty: the modem does not become ready");
    }
}
