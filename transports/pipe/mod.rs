//! `pipe:CMD` — whatever has a standard input and output: `ssh`, `ncat`, a modem program, UCSPI.
//!
//! The command is split into words as a POSIX shell splits them (spaces, single and double quotes,
//! backslashes) and started without a shell: no variables, no patterns, no `;` or `|`. What it
//! writes to its standard output arrives, what is written goes to its standard input. Nothing is
//! known about who is behind it, so a link has no peer and the carriage proves one.
//!
//! The way of a process: [`PipeTransport::dial`] starts it; a task of its own reads its standard
//! error and waits for its end; when the link is dropped its standard input ends, and if it does
//! not follow within [`GRACE`] it is killed. Either way it is reaped. It stays in our process group,
//! so that `ssh` may ask for a password and Ctrl-C ends it; children of its own are its business.

mod complaints;

use std::{fmt, io, pin::Pin, process::Stdio, sync::Arc, task::Poll, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::mpsc,
};
use tokio_util::sync::DropGuard;

use self::complaints::Complaints;
use crate::contract::{
    Address, Arrival, BoxFuture, Link, LinkFacts, NodeId, Pipe, Stop, Transport, TransportError,
    listen_to_nobody,
};

/// How long a process may live on after its link, to pass on what it was given last.
pub const GRACE: Duration = Duration::from_secs(2);

/// Hears what a command has to say: its address and one line, without control characters. Called
/// for a bounded number of lines of bounded length; must not block.
pub type Log = Arc<dyn Fn(&Address, &str) + Send + Sync>;

/// The transport for `pipe:` addresses. It has nothing to listen to.
#[derive(Clone)]
pub struct PipeTransport {
    log: Log,
}

impl PipeTransport {
    /// Commands' standard error and unhappy endings go to `log`.
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    fn start(&self, to: &Address) -> Result<Link, TransportError> {
        let words = (to.scheme() == "pipe").then(|| shlex::split(to.rest())).flatten();
        let words = words.unwrap_or_default();
        let Some((program, arguments)) = words.split_first() else {
            let reason = "not a command, or a quote is not closed";
            return Err(TransportError::Address { address: to.to_string(), reason });
        };
        let failed = |source| TransportError::Spawn { command: program.clone(), source };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // For the case that the runtime ends before the link.
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = ends else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let dropped = Stop::new();
        let pipe = ProcessPipe { input: Some(input), output, _alive: dropped.clone().drop_guard() };
        // The task belongs to the link: it ends soon after the link is dropped.
        tokio::spawn(attend(child, errors, dropped, self.log.clone(), to.clone()));
        Ok(Link { facts: LinkFacts::stream(to.clone()), pipe: Pipe::Stream(Box::new(pipe)) })
    }
}

/// The far end of somebody's `pipe:`: our own standard input and output as a link.
///
/// Reading blocks a thread that nothing can interrupt, so a program that is done while its input is
/// still open has to leave by `std::process::exit`. Written bytes need a flush.
pub fn stdio() -> Link {
    let address = "pipe:-".parse().expect("a scheme and a dash");
    let facts = LinkFacts { dialled: false, ..LinkFacts::stream(address) };
    let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
    Link { facts, pipe: Pipe::Stream(Box::new(stream)) }
}

/// Listens to the standard error of a process and sees it to its grave.
async fn attend(mut child: Child, errors: ChildStderr, dropped: Stop, log: Log, of: Address) {
    let listening = listen(errors, &log, &of);
    let ended = async {
        match child.wait().await {
            // How it takes the loss of its link is of no interest.
            Ok(status) if status.success() || dropped.is_cancelled() => {}
            Ok(status) => log(&of, &status.to_string()),
            Err(error) => log(&of, &error.to_string()),
        }
    };
    let mut life = Box::pin(async { tokio::join!(listening, ended) });
    tokio::select! {
        _ = &mut life => return,
        () = dropped.cancelled() => {}
    }
    // Its input has ended with the link. A grandchild may hold the standard error open for ever,
    // so that this is the end of listening too.
    if tokio::time::timeout(GRACE, &mut life).await.is_err() {
        drop(life);
        // Kills and reaps; an error means that it is gone already.
        let _ = child.kill().await;
    }
}

async fn listen(mut errors: ChildStderr, log: &Log, of: &Address) {
    let mut complaints = Complaints::default();
    let mut buffer = [0; 1024];
    // Read on after the last line that is told: a full pipe would stop the process.
    while let Ok(got @ 1..) = errors.read(&mut buffer).await {
        complaints.take(&buffer[..got], |line| log(of, line));
    }
    complaints.end(|line| log(of, line));
}

impl fmt::Debug for PipeTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PipeTransport")
    }
}

impl Transport for PipeTransport {
    fn scheme(&self) -> &'static str {
        "pipe"
    }

    fn run(
        self: Arc<Self>,
        arrivals: mpsc::Sender<Arrival>,
        stop: Stop,
    ) -> BoxFuture<'static, Result<(), TransportError>> {
        Box::pin(listen_to_nobody(arrivals, stop))
    }

    fn dial<'a>(
        &'a self,
        to: &'a Address,
        _: Option<NodeId>,
    ) -> BoxFuture<'a, Result<Link, TransportError>> {
        Box::pin(async move { self.start(to) })
    }
}

/// A process as a stream.
struct ProcessPipe {
    /// `None` once shut down.
    input: Option<ChildStdin>,
    output: ChildStdout,
    _alive: DropGuard,
}

impl ProcessPipe {
    fn input(&mut self) -> io::Result<Pin<&mut ChildStdin>> {
        self.input.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for ProcessPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, buffer)
    }
}

impl AsyncWrite for ProcessPipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.input()?.poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.input()?.poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        // A pipe has no buffer of ours: closing it is all there is to do.
        self.input = None;
        Poll::Ready(Ok(()))
    }
}
