//! The allow-list as a file that people edit: a table for each handle.
//!
//! ```toml
//! [pump-restart]
//! argv = ["/usr/local/bin/pump", "restart", "--level={level:int(0..9)}"]
//! for = ["@operator", "Bob"]
//! ```
//!
//! Unknown keys are refused: a typo must not be a silent default. A command changes one table and
//! leaves every other line as it is.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

use postrider_base::packet::Handle;
use serde::Deserialize;
use toml::Spanned;

use super::{
    AllowList, ENTRIES_MAX, Entry, EntryError, LimitsSaid, STARTS, Template, Trial, WITHIN_S,
};
use crate::contract::Reach;

/// The file is at most this long: a person keeps it.
pub const TEXT_MAX: usize = 4 << 20;
/// A table is looked for within so many lines, when it is changed.
const TABLE_LINES_MAX: usize = 1000;
/// What a new file begins with.
const BEGINNING: &str = "# What others may have run on this node; docs/jobs.md describes every key.\n\
    # A command that changes an entry writes its table anew, and leaves all other lines as they are.\n";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllowError {
    /// Not TOML, an unknown key, or a value of another type.
    #[error("allow.toml: {0}")]
    Syntax(String),
    /// An entry that cannot stand there.
    #[error("allow.toml, line {line}, [{handle}]: {source}")]
    Entry {
        /// Where, from 1.
        line: usize,
        /// Of which handle.
        handle: String,
        /// Why.
        source: EntryError,
    },
    /// More entries than a list has.
    #[error("allow.toml has {0} entries, and at most 1024 can be")]
    TooMany(usize),
    /// More bytes than the file may have.
    #[error("allow.toml has {0} bytes, and at most 4194304 can be")]
    TooLong(usize),
    /// A table was not found where it stands.
    #[error("allow.toml: [{0}] is written in a way that cannot be changed by a command")]
    Edit(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct EntryText {
    argv: Spanned<Vec<String>>,
    r#for: Option<Vec<String>>,
    #[serde(default)]
    approvals: u8,
    approvers: Option<Vec<String>>,
    timeout_s: Option<u32>,
    cpu_s: Option<u32>,
    memory: Option<u64>,
    processes: Option<u32>,
    output: Option<u64>,
    scratch: Option<u64>,
    #[serde(default)]
    net: bool,
    #[serde(default)]
    read: Vec<PathBuf>,
    #[serde(default)]
    write: Vec<PathBuf>,
    user: Option<String>,
    #[serde(default)]
    reruns: u8,
    group: Option<String>,
    pin: Option<String>,
    #[serde(default)]
    best_effort: bool,
    window: Option<String>,
    stdin: Option<u64>,
    files: Option<u64>,
    arm: Option<Vec<String>>,
    restart: Option<Vec<String>>,
    check: Option<Vec<String>>,
    keep: Option<Vec<String>>,
    undo: Option<Vec<String>>,
    trial_s: Option<u32>,
    starts: Option<u8>,
}

impl AllowList {
    /// Checks and takes a text.
    pub fn parse(text: &str) -> Result<Self, AllowError> {
        if text.len() > TEXT_MAX {
            return Err(AllowError::TooLong(text.len()));
        }
        let tables: BTreeMap<String, Spanned<EntryText>> =
            toml::from_str(text).map_err(|error| AllowError::Syntax(error.to_string()))?;
        if tables.len() > ENTRIES_MAX {
            return Err(AllowError::TooMany(tables.len()));
        }
        let mut list = Self::default();
        for (name, table) in tables {
            let of_table = table.span().start;
            let table = table.into_inner();
            let of_argv = table.argv.span().start;
            let wrong = |source: EntryError| {
                let at = if matches!(source, EntryError::Template(_)) { of_argv } else { of_table };
                let before = text.get(..at).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                AllowError::Entry { line, handle: name.clone(), source }
            };
            let handle: Handle = name.parse().map_err(|_| wrong(EntryError::Handle))?;
            let entry = table.entry().map_err(wrong)?;
            list.0.insert(handle, entry);
        }
        Ok(list)
    }

    /// The text of a list in which one entry is another, is new, or is gone.
    pub fn edited(text: &str, handle: &Handle, to: Option<&Entry>) -> Result<String, AllowError> {
        let mut wanted = Self::parse(text)?;
        let before = match to {
            Some(entry) => wanted.0.insert(handle.clone(), entry.clone()),
            None => wanted.0.remove(handle),
        };
        if before.as_ref() == to {
            return Ok(text.to_owned());
        }
        let new = to.map(|entry| entry_text(handle, entry)).unwrap_or_default();
        let is_wanted = |text: &String| Self::parse(text).as_ref() == Ok(&wanted);
        if before.is_none() {
            let text = if text.is_empty() { BEGINNING } else { text };
            let apart = if text.ends_with('\n') { "\n" } else { "\n\n" };
            return Some(format!("{text}{apart}{new}"))
                .filter(is_wanted)
                .ok_or_else(|| AllowError::Edit(handle.to_string()));
        }
        // The old table ends where what remains says what is wanted: a list may go over several lines.
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let heads = lines.iter().enumerate().filter(|(_, line)| is_head(line, handle));
        let spans = heads.flat_map(|(begin, _)| {
            let last = lines.len().min(begin + TABLE_LINES_MAX);
            (begin + 1..=last).map(move |end| (begin, end))
        });
        let mut texts = spans.map(|(begin, end)| {
            let (before, after) = (lines[..begin].concat(), lines[end..].concat());
            format!("{before}{new}{after}")
        });
        texts.find(is_wanted).ok_or_else(|| AllowError::Edit(handle.to_string()))
    }
}

/// Whether a line begins the table of a handle.
fn is_head(line: &str, handle: &Handle) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim();
    let name = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
    name.is_some_and(|name| name.trim().trim_matches(['"', '\'']) == handle.as_str())
}

impl EntryText {
    fn entry(mut self) -> Result<Entry, EntryError> {
        let trial = self.take_trial();
        let limits = LimitsSaid {
            wall_s: self.timeout_s,
            cpu_s: self.cpu_s,
            memory_bytes: self.memory,
            processes: self.processes,
            output_bytes: self.output,
            scratch_bytes: self.scratch,
        };
        let reach = Reach { net: self.net, read: self.read, write: self.write, user: self.user };
        let entry = Entry {
            command: Template::parse(self.argv.get_ref())?,
            who: self.r#for,
            approvals: self.approvals,
            approvers: self.approvers,
            limits,
            reach,
            reruns: self.reruns,
            group: self.group.map(|group| group.parse()).transpose()?,
            pin: self.pin.map(|pin| read_pin(&pin).ok_or(EntryError::Pin)).transpose()?,
            best_effort: self.best_effort,
            window: self.window.map(|it| it.parse()).transpose()?,
            stdin: self.stdin,
            files: self.files,
            trial,
        };
        entry.check()?;
        Ok(entry)
    }
}

impl EntryText {
    /// One that says anything of a trial is on trial.
    fn take_trial(&mut self) -> Option<Trial> {
        let commands =
            [&mut self.arm, &mut self.restart, &mut self.check, &mut self.keep, &mut self.undo];
        let said = commands.iter().any(|words| words.is_some());
        let [arm, restart, check, keep, undo] =
            commands.map(|words| words.take().unwrap_or_default());
        let (within_s, starts) = (self.trial_s, self.starts);
        (said || within_s.is_some() || starts.is_some()).then(|| Trial {
            arm,
            restart,
            check,
            keep,
            undo,
            within_s: within_s.unwrap_or(WITHIN_S),
            starts: starts.unwrap_or(STARTS),
        })
    }
}

/// The table of one entry.
pub fn entry_text(handle: &Handle, entry: &Entry) -> String {
    let mut out = String::new();
    // A dot in a bare key would begin a table in a table.
    let head =
        if handle.as_str().contains('.') { quoted(handle.as_str()) } else { handle.to_string() };
    let mut line = |text: String| {
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("[{head}]"));
    line(format!("argv = {}", list(entry.command.source())));
    let mut key = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            line(format!("{key} = {value}"));
        }
    };
    let paths = |paths: &[PathBuf]| {
        let texts: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        (!texts.is_empty()).then(|| list(&texts))
    };
    let some = |number: u64| (number > 0).then(|| number.to_string());
    let yes = |yes: bool| yes.then(|| "true".to_owned());
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let limits = &entry.limits;
    key("for", entry.who.as_deref().map(list));
    key("approvals", some(entry.approvals.into()));
    key("approvers", entry.approvers.as_deref().map(list));
    key("timeout-s", number(limits.wall_s.map(u64::from)));
    key("cpu-s", number(limits.cpu_s.map(u64::from)));
    key("memory", number(limits.memory_bytes));
    key("processes", number(limits.processes.map(u64::from)));
    key("output", number(limits.output_bytes));
    key("scratch", number(limits.scratch_bytes));
    key("net", yes(entry.reach.net));
    key("read", paths(&entry.reach.read));
    key("write", paths(&entry.reach.write));
    key("user", entry.reach.user.as_deref().map(quoted));
    key("reruns", some(entry.reruns.into()));
    key("group", entry.group.as_ref().map(|group| quoted(group.as_str())));
    key("pin", entry.pin.as_ref().map(|pin| quoted(&pin_text(pin))));
    key("best-effort", yes(entry.best_effort));
    key("window", entry.window.map(|window| quoted(&window.to_string())));
    key("stdin", number(entry.stdin));
    key("files", number(entry.files));
    if let Some(trial) = &entry.trial {
        let words = |words: &Vec<String>| (!words.is_empty()).then(|| list(words));
        key("arm", words(&trial.arm));
        key("restart", words(&trial.restart));
        key("check", words(&trial.check));
        key("keep", words(&trial.keep));
        key("undo", words(&trial.undo));
        key("trial-s", number(Some(trial.within_s.into())));
        key("starts", number(Some(trial.starts.into())));
    }
    out
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A text between quotes, as TOML has it.
fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // What cannot be seen stands there as what it is.
            c if c.is_control() || !super::value::is_plain(c.encode_utf8(&mut [0; 4])) => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn pin_text(pin: &[u8; 32]) -> String {
    pin.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_pin(text: &str) -> Option<[u8; 32]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"[pump-restart]
argv = ["/usr/local/bin/pump", "--level={level:int(0..9)}", "{plan:file}"]
for = ["@operator", "Bob"]
approvals = 2
approvers = ["@chief"]
timeout-s = 60
cpu-s = 10
memory = 33554432
processes = 4
output = 65536
scratch = 1048576
net = true
read = ["/etc/pump"]
write = ["/var/lib/pump"]
user = "pump"
reruns = 3
group = "pumps"
pin = "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"
best-effort = true
window = "22:00-06:00"
stdin = 1024
files = 2048
arm = ["/usr/local/bin/pump-arm"]
restart = ["/usr/bin/systemctl", "reboot"]
check = ["/usr/local/bin/pump-well", "--all"]
keep = ["/usr/local/bin/pump-keep"]
undo = ["/usr/local/bin/pump-undo"]
trial-s = 900
starts = 2
"#;

    #[test]
    fn every_key_is_read_and_written() {
        let list = AllowList::parse(FULL).unwrap();
        let (handle, entry) = list.0.first_key_value().unwrap();
        assert_eq!(entry_text(handle, entry), FULL);
        assert_eq!(entry.limits().wall_s, 60);
        assert_eq!(entry.pin, Some([0xa5; 32]));
        assert_eq!(AllowList::parse("").unwrap(), AllowList::default());
        let hidden = "[\"a.b\"]\nargv = [\"/bin/a\", \"\\\"\\\\\\n\\t\\U0000202e \\U00002028é\"]\n";
        let list = AllowList::parse(hidden).unwrap();
        let (handle, entry) = list.0.first_key_value().unwrap();
        assert_eq!(entry_text(handle, entry), hidden, "what cannot be seen stays an escape");
    }

    #[test]
    fn changing_one_entry_leaves_every_other_line_as_it_was_written() {
        let text = "# mine\n[a]\nargv = [\n  '/bin/a', # the program\n]\n\n# the second\n['b.c']  # b\nargv = ['/bin/b']\nnet = true\n# end\n";
        let of = |name: &str| -> Handle { name.parse().unwrap() };
        let entry = Entry::new(Template::parse(&["/bin/new".to_owned()]).unwrap());
        let edited = |text: &str, name: &str, to| AllowList::edited(text, &of(name), to).unwrap();
        let new = |head: &str| format!("[{head}]\nargv = [\"/bin/new\"]\n");
        assert_eq!(
            edited(text, "a", Some(&entry)),
            format!(
                "# mine\n{}\n# the second\n['b.c']  # b\nargv = ['/bin/b']\nnet = true\n# end\n",
                new("a")
            )
        );
        assert_eq!(
            edited(text, "b.c", Some(&entry)),
            format!("{}{}# end\n", text.split("['b.c']").next().unwrap(), new("\"b.c\""))
        );
        assert_eq!(
            edited(text, "b.c", None),
            format!("{}# end\n", text.split("['b.c']").next().unwrap())
        );
        assert_eq!(edited(text, "d", Some(&entry)), format!("{text}\n{}", new("d")));
        assert_eq!(edited(text, "d", None), text);
        assert_eq!(edited("", "d", Some(&entry)), format!("{BEGINNING}\n{}", new("d")));
        let twice = edited(&edited(text, "d", Some(&entry)), "d", Some(&entry));
        assert_eq!(twice, edited(text, "d", Some(&entry)), "the same again changes nothing");
        // In a way of its own: found by nobody, and left alone.
        let inline = "a = { argv = ['/bin/a'] }\n";
        assert_eq!(
            AllowList::edited(inline, &of("a"), Some(&entry)),
            Err(AllowError::Edit("a".into()))
        );
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_what_can_be_there() {
        let with =
            |line: &str| format!("[a]\nargv = ['/bin/a']\n\n[b]\nargv = ['/bin/b']\n{line}\n");
        for (text, line, said) in [
            (with("nett = true"), "line 6", "nett"),
            (with("net = 1"), "line 6", "boolean"),
            (with("memory = -1"), "line 6", "memory"),
            (with("memory = 5"), "line 4", "memory must be at least"),
            (with("window = 'night'"), "line 4", "22:00-06:00"),
            (with("undo = ['/bin/undo']"), "line 4", "check must be there"),
            (with("check = ['/bin/ok']\nundo = ['undo']"), "line 4", "undo must be a command"),
            (with("window = '24:00-06:00'"), "line 4", "22:00-06:00"),
            (with("pin = 'a5'"), "line 4", "64 hexadecimal"),
            (with("group = 'a b'"), "line 4", "handle"),
            (with("for = ['']"), "line 4", "nobody"),
            (with("").replace("/bin/b", "b"), "line 5", "absolute"),
            (with("").replace("[b]", "[B]"), "line 4", "handle"),
            (with("").replace("argv = ['/bin/b']", ""), "line 4", "argv"),
            ("a = 1".into(), "line 1", "a = 1"),
            ("[a.b]\nargv = ['/bin/a']".into(), "line 1", "argv"),
        ] {
            let error = AllowList::parse(&text).unwrap_err().to_string();
            assert!(error.contains("allow.toml") && error.contains(line), "{text}: {error}");
            assert!(error.contains(said), "{text}: {error}");
        }
        let many: String = (0..=ENTRIES_MAX).map(|n| format!("[a{n}]\nargv=['/a']\n")).collect();
        assert_eq!(AllowList::parse(&many), Err(AllowError::TooMany(ENTRIES_MAX + 1)));
        let long = " ".repeat(TEXT_MAX + 1);
        assert_eq!(AllowList::parse(&long), Err(AllowError::TooLong(TEXT_MAX + 1)));
    }
}
