//! A node of one's own, and the command run on it.

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder for one test: homes, sticks and files.
pub(crate) struct Folder {
    dir: TempDir,
    /// Whether every node of this folder has a daemon, which then answers all its commands.
    with_daemons: bool,
}

/// A node with its home in the folder.
pub(crate) struct Node {
    home: PathBuf,
    folder: PathBuf,
    daemon: Option<Daemon>,
}

/// A daemon that ends with its test.
pub(crate) struct Daemon(Child);

/// Nothing here takes longer on a machine that does anything at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The same tests for commands alone and for commands that ask a daemon.
macro_rules! in_both_modes {
    ($($test:ident)+) => {
        mod alone {
            $(#[test] fn $test() { super::$test(&crate::node::Folder::new()); })+
        }
        mod with_a_daemon {
            $(#[test] fn $test() { super::$test(&crate::node::Folder::with_daemons()); })+
        }
    };
}
pub(crate) use in_both_modes;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) bytes: Vec<u8>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), with_daemons: false }
    }

    /// Nodes made here have a daemon each.
    pub(crate) fn with_daemons() -> Self {
        Self { with_daemons: true, ..Self::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A directory in it, which stands for a stick.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A node without an identity yet.
    pub(crate) fn nobody(&self, name: &str) -> Node {
        Node { home: self.path(name), folder: self.dir.path().to_owned(), daemon: None }
    }

    pub(crate) fn node(&self, name: &str) -> Node {
        let mut node = self.nobody(name);
        node.run(["init", "--name", name]).ok();
        if self.with_daemons {
            node.start_daemon(&[]);
        }
        node
    }

    /// Two nodes that have each other's cards.
    pub(crate) fn acquainted(&self) -> (Node, Node) {
        let (alice, bob) = (self.node("Alice"), self.node("Bob"));
        alice.meet(&bob);
        bob.meet(&alice);
        (alice, bob)
    }
}

impl Node {
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Starts a daemon and waits until it answers.
    pub(crate) fn start_daemon(&mut self, args: &[&str]) {
        // Of the nodes of one test some must not meet, whatever radios the machine has.
        let command = self.command(["daemon", "--no-bluetooth"].iter().chain(args));
        self.wait_for_daemon(command);
    }

    /// As [`Self::start_daemon`]; a limit on the size of files will be an error and not its death.
    pub(crate) fn start_limitable_daemon(&mut self, args: &[&str]) {
        let daemon = self.command(["daemon", "--no-bluetooth"].iter().chain(args));
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(daemon.get_program());
        shell.args(daemon.get_args()).current_dir(&self.folder).stdin(Stdio::null());
        for (name, value) in daemon.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        self.wait_for_daemon(shell);
    }

    fn wait_for_daemon(&mut self, mut command: Command) {
        let log = std::fs::File::create(self.folder.join("daemon.log")).unwrap();
        self.daemon = Some(Daemon(command.stdout(Stdio::null()).stderr(log).spawn().unwrap()));
        let socket = self.socket();
        until("the daemon", || UnixStream::connect(&socket).is_ok());
    }

    /// Kills the daemon, as a crash would.
    pub(crate) fn kill_daemon(&mut self) {
        self.daemon = None;
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("socket")
    }

    /// The daemon's process.
    pub(crate) fn daemon(&mut self) -> &mut Child {
        &mut self.daemon.as_mut().unwrap().0
    }

    /// Takes another's card.
    pub(crate) fn meet(&self, other: &Self) {
        let card = self.folder.join("a.card");
        other.run([OsStr::new("id"), OsStr::new("--card"), card.as_os_str()]).ok();
        self.run([OsStr::new("add"), card.as_os_str()]).ok();
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ended {
        self.run_with(args, b"")
    }

    /// Runs it with bytes on standard input.
    pub(crate) fn run_with<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Ended {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A command that does not read its input closes it early: that is no failure.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Ended::new(output)
    }

    /// The command, with nothing of this machine's own environment that it looks at.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        command
            .args(args)
            .current_dir(&self.folder)
            .env("POSTRIDER_HOME", &self.home)
            .env("HOME", &self.folder)
            .env_remove("XDG_DATA_HOME")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it with `--json`; the objects that came, after checking that each is one.
    pub(crate) fn json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Vec<Value> {
        self.run(with_json(args)).ok().objects()
    }

    /// Sends and returns the id.
    pub(crate) fn send<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        let send = [OsString::from("send")];
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        text(&self.json(send.into_iter().chain(args))[0], "id")
    }

    /// Tosses and returns the summary, whatever the exit code.
    pub(crate) fn toss(&self, stick: &Path) -> Value {
        let ended = self.run(with_json([OsStr::new("toss"), stick.as_os_str()]));
        ended.objects().pop().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ended {
    fn new(output: Output) -> Self {
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: shown(&output.stdout),
            err: shown(&output.stderr),
            bytes: output.stdout,
        }
    }

    /// It must have ended well.
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    /// It must have ended like this.
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Standard output as objects, each of which has its version and type.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let parse = |line: &str| -> Value {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert_eq!(value["v"], 1, "{line}");
            assert!(value["type"].is_string(), "{line}");
            value
        };
        self.out.lines().map(parse).collect()
    }
}

pub(crate) fn with_json<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Vec<OsString> {
    let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
    [OsString::from("--json")].into_iter().chain(args).collect()
}

/// A text of an object.
pub(crate) fn text(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_else(|| panic!("no {key} in {object}")).to_owned()
}

/// The objects of a type.
pub(crate) fn of_type<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["type"] == kind).collect()
}
