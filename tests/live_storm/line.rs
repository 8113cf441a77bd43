//! Three nodes in a line, each a process of its own, and the ledger of what they said.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Nothing here takes longer on a machine that does anything at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// Of the log of a node that failed.
const LOG_LINES: usize = 60;

/// How often a daemon told of a message that came, over all its lives.
pub(crate) type Told = Arc<Mutex<BTreeMap<String, u32>>>;

/// A node and the daemon that may be running in its home.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    home: PathBuf,
    log: PathBuf,
    args: Vec<String>,
    daemon: Option<Child>,
    pub(crate) told: Told,
    pub(crate) slowest_start: Duration,
}

impl Node {
    /// A node with an identity, which touches no network but its own links.
    pub(crate) fn new(dir: &Path, name: &'static str) -> Self {
        let home = dir.join(name);
        let node = Self {
            name,
            log: dir.join(format!("{name}.log")),
            home,
            args: Vec::new(),
            daemon: None,
            told: Told::default(),
            slowest_start: Duration::ZERO,
        };
        node.run(&["init", "--name", name]);
        let path = node.home.join("config.toml");
        let settings = fs::read_to_string(&path).unwrap();
        let settings = ["media", "ygg", "outbox"].iter().fold(settings, |settings, key| {
            settings.replace(&format!("{key} = true"), &format!("{key} = false"))
        });
        fs::write(&path, settings).unwrap();
        node
    }

    /// Two nodes take each other's cards.
    pub(crate) fn meet(&self, other: &Self) {
        for (node, its) in [(self, other), (other, self)] {
            let card = its.home.join("card-to-give").display().to_string();
            its.run(&["id", "--card", &card]);
            node.run(&["add", &card]);
        }
    }

    /// What its daemon is started with from now on.
    pub(crate) fn with_args(&mut self, args: &[String]) {
        self.args = args.to_vec();
    }

    #[allow(dead_code, reason = "not every test looks into homes")]
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// What its daemon is started with.
    #[allow(dead_code, reason = "as above")]
    pub(crate) fn args(&self) -> &[String] {
        &self.args
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        command.arg("--home").arg(&self.home).arg("--json").args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command that must go well, and returns its objects.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Vec<Value> {
        let output = self.command(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {args:?}: {said}{complaint}", self.name);
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The socket of its daemon.
    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("socket")
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start(&mut self) {
        let begun = Instant::now();
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.command(&["daemon", "--no-lan"]);
        command.args(&self.args).stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        let socket = self.socket();
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                break stream;
            }
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{}: the daemon ended at its start: {ended:?}", self.name);
            assert!(begun.elapsed() < PATIENCE, "{}: the daemon does not answer", self.name);
            thread::sleep(Duration::from_millis(2));
        };
        self.slowest_start = self.slowest_start.max(begun.elapsed());
        listen(stream, Arc::clone(&self.told));
    }

    /// Kills the daemon as a power cut would end it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// The last lines of its log.
    fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            println!("---- {}\n{}", self.name, self.log_tail());
        }
    }
}

/// Counts what a daemon tells of messages, from its start on, until its end.
fn listen(mut stream: UnixStream, told: Told) {
    // Ends with the daemon.
    thread::spawn(move || {
        let request = "GET /v1/events HTTP/1.1\r\nhost: x\r\nlast-event-id: 0\r\n\r\n";
        if stream.write_all(request.as_bytes()).is_err() {
            return;
        }
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let Some(data) = line.strip_prefix("data: ") else { continue };
            // A line that the end cut was not told.
            let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
            if event["what"] == "message"
                && let Some(id) = event["id"].as_str()
            {
                *told.lock().unwrap().entry(id.to_owned()).or_default() += 1;
            }
        }
    });
}

/// A command that is sending something while daemons die.
#[allow(dead_code, reason = "not every test that has nodes in a line sends while they die")]
pub(crate) struct Sending {
    child: Child,
    from: usize,
}

#[allow(dead_code, reason = "as above")]
impl Sending {
    pub(crate) fn begin(from: usize, node: &Node, args: &[&str], input: Option<&Path>) -> Self {
        let input = input.map_or_else(Stdio::null, |path| File::open(path).unwrap().into());
        Self { child: node.command(args).stdin(input).spawn().unwrap(), from }
    }

    /// Who sent, and the ids that were printed. Whether the command ended well is its own matter.
    pub(crate) fn promised(self) -> (usize, Vec<String>) {
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let id = |line: &str| {
            let object: Value = serde_json::from_str(line).ok()?;
            (object["type"] == "message").then(|| object["id"].as_str().map(str::to_owned))?
        };
        (self.from, said.lines().filter_map(id).collect())
    }
}

/// Looks until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen");
        thread::sleep(Duration::from_millis(50));
    }
}
