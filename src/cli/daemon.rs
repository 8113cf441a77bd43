//! `daemon`, `up`, `down`: the node that runs.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitCode, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use postrider_base::link::Address;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;

use super::{Context, Ended, Stop, log_file::LogFile, output::Loudness, text};
use crate::{
    api::{self, Client, Server},
    daemon::{Daemon as Running, DaemonOptions, Manager, Node, watchdog_interval},
    desk::{Desk, Failure, FailureKind, InitRequest, Silent, reply::DaemonLine},
    home::Config,
};

/// How long `up` waits for an answer, and `down` for the end: recovery of a large spool after a
/// power cut, and what a shutdown waits for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often they look.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Verbs that run at once and more: every connection has one.
const BLOCKING_THREADS_MAX: usize = 96;
/// What of the log is shown when a daemon does not start.
const LOG_TAIL_BYTES: usize = 2000;

/// Start the node in the background: it keeps links and answers the other commands
#[derive(Debug, Args)]
#[command(after_help = "\
Creates an identity and a home when there is none. Does nothing when it runs already.

Examples:
  postrider up --name Alice
  postrider up && postrider link add tls://hub.example:7531#Hub")]
pub(super) struct Up {
    /// The name that my card suggests to others, if the home is new
    #[arg(long)]
    name: Option<String>,
}

/// Stop the node that runs; what waits, waits
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider down
  postrider --home /srv/post down")]
pub(super) struct Down {}

/// Run the node in the foreground, as a service manager wants it
#[derive(Debug, Args)]
#[command(after_help = "\
Ends well at SIGTERM and SIGINT, at once at a second one; SIGHUP reads settings again.

Examples:
  postrider daemon --listen tls://[::]:7531
  postrider daemon --peer 'tls://hub.example:7531#Hub' --metrics 127.0.0.1:9531")]
pub(super) struct Daemon {
    /// Listen here, beside what the settings say; may be given several times
    #[arg(long, value_name = "URI")]
    listen: Vec<Address>,
    /// Keep a link to this peer, beside those of the settings; may be given several times
    #[arg(long = "peer", value_name = "URI")]
    peers: Vec<String>,
    /// Do not look for neighbours in the local network
    #[arg(long)]
    no_lan: bool,
    /// Do not look for who is near by Bluetooth
    #[arg(long)]
    no_bluetooth: bool,
    /// Be the far end of a pipe on standard input and output, and end with it
    #[arg(long)]
    stdio: bool,
    /// Serve figures for Prometheus there
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// How the log is written
    #[arg(long, value_enum, value_name = "FORM", default_value_t = LogForm::Text)]
    log: LogForm,
    /// Leave the session of whoever started it
    #[arg(long, hide = true)]
    detach: bool,
    /// Write the log there
    #[arg(long, hide = true, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogForm {
    Text,
    Json,
}

impl Daemon {
    pub(super) fn run(self, context: &Context) -> Ended {
        if self.detach {
            // Started as the leader of a session already: then there is nothing to leave.
            let _ = rustix::process::setsid();
        }
        self.begin_log(context)?;
        let home = context.home()?;
        if Client::find(&home).is_some() {
            return Err(Failure::new(FailureKind::Failed, "a daemon runs in this home already")
                .next("postrider status asks it, postrider down ends it")
                .into());
        }
        let desk = Arc::new(Desk::open(&home)?);
        // Whoever has the spool is waited for, and that is said.
        let _ = desk.open_live(&context.watch)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()
            .map_err(|error| {
                Failure::new(FailureKind::Failed, "the daemon cannot start").because(error)
            })?;
        // Before anybody can see that it runs: a signal that comes earlier would be somebody else's.
        let signals = runtime.block_on(async { Signals::hear() })?;
        let lan = if self.no_lan || self.stdio { None } else { desk.lan_options()? };
        let bluetooth = desk.home().config.bluetooth.clone();
        let options = DaemonOptions {
            listen: self.listen,
            peers: self.peers,
            stdio: self.stdio,
            lan,
            bluetooth: (!self.no_bluetooth && !self.stdio).then_some(bluetooth),
            ..DaemonOptions::default()
        };
        let daemon = Running::start(desk, &options, &runtime)?;
        let bound = Server::bind(daemon.node(), runtime.handle());
        let bound = bound.and_then(|server| {
            let metrics = self.metrics.map(api::bind_metrics).transpose()?;
            Ok((server, metrics))
        });
        let (server, metrics) = match bound {
            Ok(bound) => bound,
            Err(failure) => {
                runtime.block_on(daemon.stop());
                return Err(failure.into());
            }
        };
        let socket = server.path().to_owned();
        let ended = runtime.block_on(serve(daemon, server, metrics, options.peers, signals));
        // The spool is still ours, so this is our own.
        let _ = fs::remove_file(socket);
        // A read of standard input cannot be interrupted; it ends with the process.
        runtime.shutdown_background();
        tracing::info!("stopped");
        ended?;
        Ok(ExitCode::SUCCESS)
    }

    /// The log of this process: standard error, or a file of bounded size.
    fn begin_log(&self, context: &Context) -> Result<(), Stop> {
        let level = match context.out.loudness {
            Loudness::Quiet => LevelFilter::WARN,
            Loudness::Normal => LevelFilter::INFO,
            Loudness::Verbose => LevelFilter::DEBUG,
        };
        let writer: Box<dyn Write + Send> = match &self.log_file {
            Some(path) => Box::new(
                LogFile::open(path).map_err(|error| Failure::file("write to", path, error))?,
            ),
            None => Box::new(io::stderr()),
        };
        let log = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_target(false)
            .with_ansi(false)
            .with_writer(Mutex::new(writer));
        match self.log {
            LogForm::Text => log.compact().init(),
            LogForm::Json => log.json().init(),
        }
        Ok(())
    }
}

/// The signals that a daemon answers.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    /// From now on; within a runtime.
    fn hear() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(FailureKind::Failed, "signals cannot be heard").because(error)
            })
        };
        Ok(Self {
            term: on(SignalKind::terminate())?,
            int: on(SignalKind::interrupt())?,
            hup: on(SignalKind::hangup())?,
        })
    }
}

/// Runs until somebody asks for the end, then ends in order.
async fn serve(
    mut daemon: Running,
    server: Server,
    metrics: Option<std::net::TcpListener>,
    peers: Vec<String>,
    signals: Signals,
) -> Result<(), Failure> {
    let node = Arc::clone(daemon.node());
    let Signals { mut term, mut int, mut hup } = signals;
    for address in daemon.listening() {
        tracing::info!(%address, "listening");
    }
    tracing::info!(socket = %server.path().display(), "answering");
    let serving = tokio::spawn(server.run());
    let measuring =
        metrics.map(|metrics| tokio::spawn(api::serve_metrics(Arc::clone(&node), metrics)));
    let manager = Manager::of_environment();
    manager.ready();
    let mut kept = node.desk.home().config.peers.clone();
    let mut watchdog = watchdog_interval().map(tokio::time::interval);
    loop {
        let tick = async {
            match &mut watchdog {
                Some(ticks) => drop(ticks.tick().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = node.stop_requested() => break,
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => read_again(&node, &mut kept, &peers).await,
            () = daemon.stdio_ended() => break,
            () = tick => {
                // Only an engine that answers is alive.
                if node.look(|_| ()).await.is_some() {
                    manager.alive();
                }
            }
        }
    }
    manager.stopping();
    tracing::info!("stopping");
    node.request_stop();
    let impatient = tokio::spawn(end_at_once(term, int));
    let served = serving.await;
    if let Some(measuring) = measuring {
        // It has nothing to lose.
        measuring.abort();
    }
    daemon.stop().await;
    impatient.abort();
    served.unwrap_or_else(|error| {
        Err(Failure::new(FailureKind::Fault, "the socket's task failed").because(error))
    })
}

/// Whoever asks twice means it. The spool is as after a power cut: whole.
async fn end_at_once(mut term: Signal, mut int: Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    process::exit(i32::from(FailureKind::Interrupted.exit_code()));
}

/// Contacts and peers as the files say now. What else the settings say is read at the start.
async fn read_again(node: &Arc<Node>, kept: &mut Vec<String>, always: &[String]) {
    let path = node.desk.home().dir().join("config.toml");
    match Config::read(&path) {
        Ok(config) => {
            for uri in config.peers.iter().filter(|uri| !kept.contains(uri)) {
                if let Err(failure) = node.peers.keep(node, uri) {
                    tracing::warn!(uri, %failure, "not dialled");
                }
            }
            let gone = kept.iter().filter(|uri| !config.peers.contains(uri));
            for uri in gone.filter(|uri| !always.contains(uri)) {
                node.peers.drop_peer(node, uri);
            }
            *kept = config.peers;
            tracing::info!("settings read again: peers and contacts; the rest needs a new start");
        }
        Err(error) => tracing::warn!(%error, "the settings stay as they were"),
    }
    if let Err(failure) = node.people_changed().await {
        tracing::warn!(%failure, "the contacts stay as they were");
    }
}

impl Up {
    pub(super) fn run(self, context: &Context) -> Ended {
        let home = context.home()?;
        let home = std::path::absolute(&home).map_err(|e| Failure::file("find", &home, e))?;
        if !home.join("key").exists() {
            let even_if_public = context.yes;
            let request = InitRequest { home: home.clone(), name: self.name, even_if_public };
            let (_, identity) = Desk::init(&request)?;
            context.out.object(&identity)?;
            context.out.hint(format!("created {}", identity.id))?;
        }
        // A path that is too long is said here, not in a log.
        api::socket_path(&home)?;
        if let Some(client) = Client::find(&home) {
            return tell(context, &running(context, &client)?, "runs already");
        }
        let log = home.join("log");
        let mut child = start(&home, &log, context)?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(client) = Client::find(&home) {
                let line = running(context, &client)?;
                return tell(context, &DaemonLine { state: "started".into(), ..line }, "started");
            }
            if let Ok(Some(status)) = child.try_wait() {
                // Another one may have been started at the same time.
                if let Some(client) = Client::find(&home) {
                    return tell(context, &running(context, &client)?, "runs already");
                }
                return Err(Failure::new(
                    FailureKind::Failed,
                    format!("the daemon ended at once ({status})"),
                )
                .because(tail(&log))
                .next(format!("nothing was lost; its log is {}", log.display()))
                .into());
            }
            if Instant::now() >= until {
                return Err(Failure::new(FailureKind::Failed, "the daemon does not answer yet")
                    .next(format!("it may need long to start; its log is {}", log.display()))
                    .into());
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

fn running(context: &Context, client: &Client) -> Result<DaemonLine, Failure> {
    client.ask(&api::DaemonShow::default(), &context.watch)
}

fn tell(context: &Context, line: &DaemonLine, how: &str) -> Ended {
    context.out.object(line)?;
    context.out.hint(format!("The daemon {how}, process {}.", line.pid))?;
    for address in &line.listening {
        context.out.hint(format!("  listening on {}", text::line(address)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// This program again, without us.
fn start(home: &Path, log: &Path, context: &Context) -> Result<Child, Failure> {
    let failed =
        |error| Failure::new(FailureKind::Failed, "the daemon could not be started").because(error);
    let program = std::env::current_exe().map_err(failed)?;
    // What is said before the log begins, and by a panic, goes to the same file.
    let stderr = LogFile::open(log).map_err(|e| Failure::file("write to", log, e))?.into_file();
    let mut command = Command::new(program);
    command.arg("--home").arg(home);
    match context.out.loudness {
        Loudness::Quiet => command.arg("--quiet"),
        Loudness::Normal => &mut command,
        Loudness::Verbose => command.arg("--verbose"),
    };
    command.args(["daemon", "--detach", "--log-file"]).arg(log);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    command.spawn().map_err(failed)
}

/// The end of the log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let from = text.len().saturating_sub(LOG_TAIL_BYTES);
    String::from_utf8_lossy(&text[from..]).trim().to_owned()
}

impl Down {
    pub(super) fn run(self, context: &Context) -> Ended {
        let home = context.home()?;
        let desk = context.desk()?;
        let Some(client) = Client::find(&home) else {
            context.out.object(&stopped(&home))?;
            context.out.hint("No daemon runs here.")?;
            return Ok(ExitCode::SUCCESS);
        };
        let line = client.ask(&api::Down::default(), &context.watch)?;
        let until = Instant::now() + PATIENCE;
        while Client::find(&home).is_some() {
            if Instant::now() >= until {
                return Err(Failure::new(FailureKind::Failed, "the daemon does not end")
                    .next(format!("it is process {}; kill it: what is saved is safe", line.pid))
                    .into());
            }
            thread::sleep(LOOK_AGAIN);
        }
        // It has ended when the spool is free.
        desk.wait_until_free(&Silent)?;
        context.out.object(&DaemonLine { state: "stopped".into(), ..line })?;
        context.out.hint("The daemon has stopped; what waits, waits.")?;
        Ok(ExitCode::SUCCESS)
    }
}

fn stopped(home: &Path) -> DaemonLine {
    DaemonLine {
        state: "stopped".into(),
        pid: 0,
        home: home.display().to_string(),
        listening: Vec::new(),
    }
}
