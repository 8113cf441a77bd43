//! What others may ask for, in `shares.toml`: a table for each share, read for every request, so that
//! what a person has written there holds at once.
//!
//! ```toml
//! [maps]
//! path = "/srv/maps"
//! for = ["contacts"]
//! ```
//!
//! Unknown keys are refused: a typo must not be a silent default. A command changes one table and
//! leaves every other line as it is.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    path::{Path, PathBuf},
};

use postrider_base::packet::Handle;
use serde::Deserialize;

use super::{
    Home,
    acl::wrong_word,
    files::{lock_for, replace, text_of},
};

/// Shares that a list has: a person keeps it.
pub const SHARES_MAX: usize = 256;
/// Bytes that are sent for one request where nothing is said.
pub const MAX_BYTES: u64 = 1 << 30;
/// The file is at most this long.
const TEXT_MAX: usize = 1 << 20;
/// A table is looked for within so many lines, when it is changed.
const TABLE_LINES_MAX: usize = 100;
/// What a new file begins with.
const BEGINNING: &str = "# What others may ask for here; docs/files.md describes every key.\n\
    # A command that changes a share writes its table anew, and leaves all other lines as they are.\n";

/// A file or directory that others may ask for. Nothing is ever written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Where it is here.
    pub path: PathBuf,
    /// Who may, in the words of `[acl]`; those of `[acl] files` where nothing is said.
    pub who: Option<Vec<String>>,
    /// Whether they may ask what there is.
    pub list: bool,
    /// Whether names that begin with a dot are there, too.
    pub hidden: bool,
    /// Most bytes that are sent for one request.
    pub max_bytes: u64,
}

impl Share {
    /// As little as can be said.
    pub fn new(path: PathBuf) -> Self {
        Self { path, who: None, list: true, hidden: false, max_bytes: MAX_BYTES }
    }
}

/// Every share, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares(pub BTreeMap<Handle, Share>);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharesError {
    /// Not TOML, an unknown key, or a value of another type.
    #[error("shares.toml: {0}")]
    Syntax(String),
    /// A share that cannot stand there.
    #[error("shares.toml, [{name}]: {why}")]
    Share {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// More than a list has.
    #[error("shares.toml has {0} shares, and at most 256 can be")]
    TooMany(usize),
    /// A table was not found where it stands.
    #[error("shares.toml: [{0}] is written in a way that cannot be changed by a command")]
    Edit(String),
    /// The file.
    #[error("could not use {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ShareText {
    path: PathBuf,
    r#for: Option<Vec<String>>,
    list: Option<bool>,
    hidden: Option<bool>,
    max_bytes: Option<u64>,
}

impl Home {
    /// What others may ask for; without a file nothing.
    pub fn shares(&self) -> Result<Shares, SharesError> {
        Shares::parse(&read(&self.shares_path())?)
    }

    /// Puts a share there, or takes one away; durable when it returns. What stood there before.
    ///
    /// Two at a time wait for each other; what a person writes meanwhile with an editor does not.
    pub fn edit_shares(
        &self,
        name: &Handle,
        to: Option<&Share>,
    ) -> Result<Option<Share>, SharesError> {
        let path = self.shares_path();
        let failed = |source| SharesError::Io { path: path.clone(), source };
        let _lock = lock_for(&path).map_err(failed)?;
        let text = read(&path)?;
        let before = Shares::parse(&text)?.0.remove(name);
        let edited = Shares::edited(&text, name, to)?;
        if edited != text {
            replace(&path, edited.as_bytes(), 0o600).map_err(failed)?;
        }
        Ok(before)
    }

    fn shares_path(&self) -> PathBuf {
        self.dir().join("shares.toml")
    }
}

impl Shares {
    /// Checks and takes a text.
    pub fn parse(text: &str) -> Result<Self, SharesError> {
        if text.len() > TEXT_MAX {
            return Err(SharesError::Syntax(format!("it has {} bytes", text.len())));
        }
        let tables: BTreeMap<String, ShareText> =
            toml::from_str(text).map_err(|error| SharesError::Syntax(error.to_string()))?;
        if tables.len() > SHARES_MAX {
            return Err(SharesError::TooMany(tables.len()));
        }
        let mut shares = BTreeMap::new();
        for (name, table) in tables {
            let wrong = |why: &str| SharesError::Share { name: name.clone(), why: why.into() };
            let handle: Handle =
                name.parse().map_err(|_| wrong("a name has 1 to 64 of a-z 0-9 . _ -"))?;
            let share = table.share();
            share.check().map_err(|why| wrong(&why))?;
            shares.insert(handle, share);
        }
        Ok(Self(shares))
    }

    /// The text of a list in which one share is another, is new, or is gone.
    pub fn edited(text: &str, name: &Handle, to: Option<&Share>) -> Result<String, SharesError> {
        let mut wanted = Self::parse(text)?;
        let before = match to {
            Some(share) => {
                share.check().map_err(|why| SharesError::Share { name: name.to_string(), why })?;
                wanted.0.insert(name.clone(), share.clone())
            }
            None => wanted.0.remove(name),
        };
        if before.as_ref() == to {
            return Ok(text.to_owned());
        }
        if wanted.0.len() > SHARES_MAX {
            return Err(SharesError::TooMany(wanted.0.len()));
        }
        let new = to.map(|share| share_text(name, share)).unwrap_or_default();
        let is_wanted = |text: &String| Self::parse(text).is_ok_and(|shares| shares == wanted);
        let cannot = || SharesError::Edit(name.to_string());
        if before.is_none() {
            let text = if text.is_empty() { BEGINNING } else { text };
            let apart = if text.ends_with('\n') { "\n" } else { "\n\n" };
            let text = Some(format!("{text}{apart}{new}"));
            return text.filter(is_wanted).ok_or_else(cannot);
        }
        // The old table ends where what remains says what is wanted: a list may go over several lines.
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let heads = lines.iter().enumerate().filter(|(_, line)| is_head(line, name));
        let spans = heads.flat_map(|(begin, _)| {
            let last = lines.len().min(begin + TABLE_LINES_MAX);
            (begin + 1..=last).map(move |end| (begin, end))
        });
        let mut texts = spans.map(|(begin, end)| {
            format!("{}{new}{}", lines[..begin].concat(), lines[end..].concat())
        });
        texts.find(is_wanted).ok_or_else(cannot)
    }
}

impl Share {
    /// What is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        if !self.path.is_absolute() {
            return Err(format!("{} is no absolute path", self.path.display()));
        }
        if let Some(word) = self.who.iter().flatten().find(|word| wrong_word(word)) {
            return Err(format!("{word:?} means nobody"));
        }
        if self.max_bytes == 0 {
            return Err("max-bytes must be at least 1".into());
        }
        Ok(())
    }
}

impl ShareText {
    fn share(self) -> Share {
        let plain = Share::new(self.path);
        Share {
            who: self.r#for,
            list: self.list.unwrap_or(plain.list),
            hidden: self.hidden.unwrap_or(plain.hidden),
            max_bytes: self.max_bytes.unwrap_or(plain.max_bytes),
            ..plain
        }
    }
}

/// Whether a line begins the table of a share.
fn is_head(line: &str, name: &Handle) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim();
    let head = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
    head.is_some_and(|head| head.trim().trim_matches(['"', '\'']) == name.as_str())
}

/// The table of one share.
fn share_text(name: &Handle, share: &Share) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    // A dot in a bare key would begin a table in a table.
    let head = if name.as_str().contains('.') { quoted(name.as_str()) } else { name.to_string() };
    let plain = Share::new(PathBuf::new());
    let mut text = format!("[{head}]\npath = {}\n", quoted(&share.path.to_string_lossy()));
    let mut key = |key: &str, value: String, is_said: bool| {
        if is_said {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        }
    };
    let who = share.who.as_deref().unwrap_or_default();
    key("for", serde_json::Value::from(who).to_string(), share.who.is_some());
    key("list", share.list.to_string(), share.list != plain.list);
    key("hidden", share.hidden.to_string(), share.hidden != plain.hidden);
    key("max-bytes", share.max_bytes.to_string(), share.max_bytes != plain.max_bytes);
    text
}

fn read(path: &Path) -> Result<String, SharesError> {
    text_of(path, TEXT_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => SharesError::Syntax("it is not text".into()),
        _ => SharesError::Io { path: path.to_owned(), source: error },
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn of(name: &str) -> Handle {
        name.parse().unwrap()
    }

    #[test]
    fn every_key_is_read_and_written_and_what_a_person_wrote_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (home, _) = Home::create(dir.path(), Some("Alice"), [1; 32], false).unwrap();
        assert_eq!(home.shares().unwrap(), Shares::default());
        assert_eq!(home.edit_shares(&of("a"), None).unwrap(), None);
        let path = dir.path().join("shares.toml");
        assert!(!path.exists(), "nothing was changed");
        let own =
            "# mine\n[a]  # the first\npath = '/srv/a'\nfor = [\n  'Bob', # and\n  '@medic',\n]\n";
        fs::write(&path, own).unwrap();
        let full = Share {
            path: "/srv/b \"\\ ü".into(),
            who: Some(vec!["contacts".into()]),
            list: false,
            hidden: true,
            max_bytes: 5,
        };
        assert_eq!(home.edit_shares(&of("b.c"), Some(&full)).unwrap(), None);
        let who = Some(vec!["Bob".into(), "@medic".into()]);
        let a = Share { who, ..Share::new("/srv/a".into()) };
        let both = [(of("a"), a.clone()), (of("b.c"), full.clone())].into();
        assert_eq!(home.shares().unwrap().0, both);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let other = Share::new("/srv/c".into());
        assert_eq!(home.edit_shares(&of("b.c"), Some(&other)).unwrap(), Some(full));
        assert_eq!(home.edit_shares(&of("b.c"), Some(&other)).unwrap(), Some(other));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{own}\n[\"b.c\"]\npath = \"/srv/c\"\n"));
        assert_eq!(home.edit_shares(&of("a"), None).unwrap(), Some(a));
        assert!(fs::read_to_string(&path).unwrap().starts_with("# mine\n\n[\"b.c\"]"));
    }

    #[test]
    fn a_mistake_is_named_and_shares_nothing() {
        for (text, said) in [
            ("[a]\npath = '/a'\nhiden = true", "hiden"),
            ("[a]\npath = 'a'", "absolute"),
            ("[a]\nfor = []", "path"),
            ("[A]\npath = '/a'", "a-z 0-9"),
            ("[a]\npath = '/a'\nfor = ['@']", "means nobody"),
            ("[a]\npath = '/a'\nmax-bytes = 0", "max-bytes"),
            ("a = '/a'", "a"),
        ] {
            let error = Shares::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("shares.toml") && error.contains(said), "{error}");
        }
        let many: String = (0..=SHARES_MAX).map(|n| format!("[a{n}]\npath='/a'\n")).collect();
        assert!(matches!(Shares::parse(&many), Err(SharesError::TooMany(257))));
        let inline = "a = { path = '/a' }\n";
        assert!(matches!(Shares::edited(inline, &of("a"), None), Err(SharesError::Edit(_))));
    }
}
