//! A node of one's own, and the command run on it.

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder for one test: homes, sticks and files.
pub(crate) struct Folder(TempDir);

/// A node with its home in the folder.
pub(crate) struct Node {
    home: PathBuf,
    folder: PathBuf,
}

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
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
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
        Node { home: self.path(name), folder: self.0.path().to_owned() }
    }

    pub(crate) fn node(&self, name: &str) -> Node {
        let node = self.nobody(name);
        node.run(["init", "--name", name]).ok();
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
