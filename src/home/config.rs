//! The settings in `config.toml`. Unknown keys are refused: a typo must not be a silent default.

use std::{fs, io, path::Path};

use postrider_base::{
    card::{HINT_MAX, HINTS_MAX},
    link::Address,
};
use serde::{Deserialize, Serialize};

use super::{
    acl::Acl,
    air::{Air, REGION_RANGE},
    bluetooth::{ADAPTERS_RANGE, Bluetooth},
    files::replace,
    hooks::Hooks,
    links::{self, LinkRule},
};

/// Everything that can be set. Every key is described in docs/config.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The name that my card suggests.
    pub name: String,
    /// Ask others to write to me in hidden envelopes.
    pub hidden: bool,
    /// Where I may be dialled, as `tls://home.example:7531`: stands on my card, up to 8.
    pub addresses: Vec<String>,
    /// Lifetime of what I send, in days; 1 to 3650.
    pub lifetime_days: u32,
    /// Carry bundles of people I do not know.
    pub carry_strangers: bool,
    /// Parts that are sealed or opened at the same time; 0 = one per core.
    pub workers: usize,
    /// Where the daemon listens, as `tls://[::]:7531`.
    pub listen: Vec<String>,
    /// Whom the daemon dials: an address, and behind a `#` a contact's name or a node's id.
    pub peers: Vec<String>,
    /// The daemon dials contacts at the addresses on their cards.
    pub dial_contacts: bool,
    /// Show my key to whoever dials me, not only to those who know it already.
    pub public: bool,
    /// Meet neighbours on local networks.
    pub lan: bool,
    /// The UDP port of beacons; all nodes of a network share it.
    pub lan_port: u16,
    /// Small bundles for groups go to all on a local network at once, where many are linked there.
    pub lan_cast: bool,
    /// Which interfaces take part, and how; the first rule that fits a name decides. None: all.
    pub lan_rules: Vec<LanRule>,
    /// The daemon exchanges with every medium of ours that is mounted.
    pub media: bool,
    /// The daemon asks udisks2 to mount sticks that carry our label.
    pub mount_media: bool,
    /// Folders with our marker that the daemon exchanges with whenever they change.
    pub media_dirs: Vec<String>,
    /// The daemon sends what is put into a contact's folder in `outbox`.
    pub outbox: bool,
    /// The daemon lays what comes from a contact in its folder in `inbox`.
    pub inbox: bool,
    /// The daemon uses a Yggdrasil network where this machine is in one.
    pub ygg: bool,
    /// Who may do what.
    pub acl: Acl,
    /// As files of 0.1 said it: most that strangers' bundles may take, in MiB. `carry` goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strangers_mib: Option<u64>,
    /// The same of contacts' bundles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contacts_mib: Option<u64>,
    /// How much is carried for others.
    pub carry: Carry,
    /// How much others get of what they ask for.
    pub files: Files,
    /// Whose rules hold for radios.
    pub air: Air,
    /// How others are found by Bluetooth.
    pub bluetooth: Bluetooth,
    /// What runs when something comes.
    pub hooks: Hooks,
    /// What may go over which links.
    pub links: Vec<LinkRule>,
}

/// How much of the disk the bundles of others may take. Where no bytes are said, they follow from
/// the free space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Carry {
    /// Most bytes of what is to or from contacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contacts: Option<u64>,
    /// Most bundles of it.
    pub contacts_bundles: u64,
    /// Most bytes of what is to or from friends of contacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub friends: Option<u64>,
    /// Most bundles of it.
    pub friends_bundles: u64,
    /// Most bytes of what strangers write to strangers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strangers: Option<u64>,
    /// Most bundles of it.
    pub strangers_bundles: u64,
    /// The longest bundle of strangers, in bytes.
    pub strangers_longest: u64,
    /// Whether copies are counted on links on which they cost nothing, too.
    pub count_copies: bool,
}

impl Default for Carry {
    fn default() -> Self {
        Self {
            contacts: None,
            contacts_bundles: CARRIED_BUNDLES,
            friends: None,
            friends_bundles: CARRIED_BUNDLES,
            strangers: None,
            strangers_bundles: CARRIED_BUNDLES,
            strangers_longest: STRANGERS_LONGEST,
            count_copies: false,
        }
    }
}

/// How much others get of the files that they ask for. Which files is said in `shares.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Files {
    /// Most bytes that one of them gets within a day.
    pub bytes_per_day: u64,
    /// Most answers to one of them that wait for a way.
    pub waiting: u64,
}

impl Default for Files {
    fn default() -> Self {
        // A film a day; as many files as somebody lists and then asks for by hand.
        Self { bytes_per_day: 4 << 30, waiting: 64 }
    }
}

/// As many bundles as the spool's figures are measured with.
const CARRIED_BUNDLES: u64 = 1_000_000;
/// Enough for the parts of any file, and a small part of the quota.
const STRANGERS_LONGEST: u64 = 64 << 20;

/// What holds for the interfaces that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LanRule {
    /// A regular expression that a whole interface name has to match, as `eth.*`.
    pub interfaces: String,
    /// Show this node there.
    pub beacons: bool,
    /// Listen for others there.
    pub listen: bool,
    /// Where somebody is heard on several interfaces, the lowest is dialled.
    pub priority: u8,
}

impl Default for LanRule {
    fn default() -> Self {
        Self { interfaces: ".*".to_owned(), beacons: true, listen: true, priority: 128 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            hidden: false,
            addresses: Vec::new(),
            lifetime_days: 30,
            carry_strangers: true,
            workers: 0,
            listen: Vec::new(),
            peers: Vec::new(),
            dial_contacts: true,
            public: false,
            lan: true,
            lan_port: 7531,
            lan_cast: true,
            lan_rules: Vec::new(),
            media: true,
            mount_media: true,
            media_dirs: Vec::new(),
            outbox: true,
            inbox: true,
            ygg: true,
            acl: Acl::default(),
            strangers_mib: None,
            contacts_mib: None,
            carry: Carry::default(),
            files: Files::default(),
            air: Air::default(),
            bluetooth: Bluetooth::default(),
            hooks: Hooks::default(),
            links: Vec::new(),
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of another type.
    #[error("config.toml: {0}")]
    Syntax(String),
    /// A value out of range.
    #[error("config.toml: {key} must be {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it can be.
        range: &'static str,
    },
    /// A word in the table of rights means nobody.
    #[error(
        "config.toml: {0:?} in [acl] means nobody; it can be a contact's name, @role, %group, contacts or *"
    )]
    Who(String),
    /// A word names no link.
    #[error(
        "config.toml: {0:?} in [[links]] means no link; it can be a word as in [acl], or one of tls:, pipe:, serial:, ygg:, bluetooth:"
    )]
    Link(String),
    /// The list of peers was not found where it stands.
    #[error("config.toml: peers is written in a way that cannot be changed by a command")]
    Peers,
    /// It cannot be read.
    #[error("could not read config.toml")]
    Io(#[from] io::Error),
}

/// Changes the list of peers in a file of settings and leaves every other line as it is.
pub(super) fn edit_peers<T>(
    path: &Path,
    change: impl FnOnce(&mut Vec<String>) -> T,
) -> Result<T, ConfigError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let before = Config::parse(&text)?;
    let mut wanted = before.clone();
    let out = change(&mut wanted.peers);
    if wanted != before {
        let text = with_peers(&text, &wanted).ok_or(ConfigError::Peers)?;
        replace(path, text.as_bytes(), 0o644)?;
    }
    Ok(out)
}

/// The text with another list of peers; `None` where the old one cannot be made out.
fn with_peers(text: &str, wanted: &Config) -> Option<String> {
    let new = format!("peers = {}", serde_json::Value::from(&*wanted.peers));
    let lines: Vec<&str> = text.lines().collect();
    let is_old = |line: &&str| {
        line.trim_start().strip_prefix("peers").is_some_and(|l| l.trim_start().starts_with('='))
    };
    // Behind the head of a table it would belong to that.
    let head = lines.iter().position(|line| line.trim_start().starts_with('['));
    let end = head.unwrap_or(lines.len());
    let begin = lines[..end].iter().position(is_old).unwrap_or(end);
    // The old list may go over several lines: it ends where what remains says what is wanted.
    (begin..=lines.len()).find_map(|end| {
        let text = [&lines[..begin], &[&*new], &lines[end..], &[""]].concat().join("\n");
        (Config::parse(&text).ok().as_ref() == Some(wanted)).then_some(text)
    })
}

impl Config {
    /// Reads the settings; a missing file means the defaults.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(ConfigError::Syntax("it is not text".into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Checks and takes a text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|e| ConfigError::Syntax(e.to_string()))?;
        if !(1..=3650).contains(&config.lifetime_days) {
            return Err(ConfigError::Range { key: "lifetime-days", range: "1 to 3650" });
        }
        let fits = |text: &String| text.len() <= HINT_MAX && text.parse::<Address>().is_ok();
        if config.addresses.len() > HINTS_MAX || !config.addresses.iter().all(fits) {
            let range = "up to 8 addresses as tls://home.example:7531, of 128 bytes at most";
            return Err(ConfigError::Range { key: "addresses", range });
        }
        if let Some(word) = config.acl.wrong_word() {
            return Err(ConfigError::Who(word.to_owned()));
        }
        // Each of them is looked at for every request.
        if !(1..=512).contains(&config.files.waiting) {
            return Err(ConfigError::Range { key: "waiting in [files]", range: "1 to 512" });
        }
        if config.air.is_wrong() {
            return Err(ConfigError::Range { key: "region in [air]", range: REGION_RANGE });
        }
        if config.bluetooth.is_wrong() {
            return Err(ConfigError::Range {
                key: "adapters in [bluetooth]",
                range: ADAPTERS_RANGE,
            });
        }
        config.hooks.check()?;
        links::check(&config.links)?;
        if config.workers > 64 {
            return Err(ConfigError::Range { key: "workers", range: "0 to 64" });
        }
        Ok(config)
    }

    /// The settings as a new file. Tables are left out where they say nothing: a key that is put behind
    /// the last line must not come to stand in one.
    pub fn to_text(&self) -> String {
        let mut text = self.keys_text();
        if self.carry == Carry::default()
            && self.acl == Acl::default()
            && self.files == Files::default()
            && self.air == Air::default()
            && self.bluetooth == Bluetooth::default()
            && self.hooks == Hooks::default()
            && self.links.is_empty()
        {
            text.push_str("# At the end may stand: [carry], how much is carried for others; [acl], who may do what; [files]; [air], for radios; [bluetooth]; [hooks], what runs when mail comes; [[links]], what may go over which.\n");
            return text;
        }
        text.push_str(&self.tables_text());
        text
    }

    /// All settings, those included that are as they are unless told.
    pub fn to_whole_text(&self) -> String {
        self.keys_text() + &self.tables_text()
    }

    fn keys_text(&self) -> String {
        let value = |text: &str| serde_json::Value::from(text).to_string();
        let list = |list: &[String]| serde_json::Value::from(list).to_string();
        format!(
            "# Postrider settings; docs/config.md describes every key.\n\
             name = {}\nhidden = {}\naddresses = {}\n\
             lifetime-days = {}\ncarry-strangers = {}\nworkers = {}\n\
             listen = {}\npeers = {}\ndial-contacts = {}\npublic = {}\nlan = {}\nlan-port = {}\n\
             lan-cast = {}\nmedia = {}\nmount-media = {}\nmedia-dirs = {}\noutbox = {}\ninbox = {}\nygg = {}\n{}",
            value(&self.name),
            self.hidden,
            list(&self.addresses),
            self.lifetime_days,
            self.carry_strangers,
            self.workers,
            list(&self.listen),
            list(&self.peers),
            self.dial_contacts,
            self.public,
            self.lan,
            self.lan_port,
            self.lan_cast,
            self.media,
            self.mount_media,
            list(&self.media_dirs),
            self.outbox,
            self.inbox,
            self.ygg,
            self.old_text(),
        )
    }

    /// What was said in the old way.
    fn old_text(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: Option<u64>| {
            text.extend(value.map(|value| format!("{key} = {value}\n")));
        };
        line("strangers-mib", self.strangers_mib);
        line("contacts-mib", self.contacts_mib);
        text
    }

    fn tables_text(&self) -> String {
        let list = |list: &[String]| serde_json::Value::from(list).to_string();
        let mut text = "\n[carry]\n".to_owned();
        let carry = &self.carry;
        let mut line = |key: &str, value: Option<u64>| {
            text.extend(value.map(|value| format!("{key} = {value}\n")));
        };
        line("contacts", carry.contacts);
        line("contacts-bundles", Some(carry.contacts_bundles));
        line("friends", carry.friends);
        line("friends-bundles", Some(carry.friends_bundles));
        line("strangers", carry.strangers);
        line("strangers-bundles", Some(carry.strangers_bundles));
        line("strangers-longest", Some(carry.strangers_longest));
        let Acl { reach, relay, run, files, admin } = &self.acl;
        text.push_str(&format!(
            "count-copies = {}\n\n[acl]\nreach = {}\nrelay = {}\nrun = {}\nfiles = {}\nadmin = {}\n",
            carry.count_copies,
            list(reach),
            list(relay),
            list(run),
            list(files),
            list(admin),
        ));
        let Files { bytes_per_day, waiting } = self.files;
        text.push_str(&format!(
            "\n[files]\nbytes-per-day = {bytes_per_day}\nwaiting = {waiting}\n"
        ));
        text.push_str(&self.air.text());
        text.push_str(&self.bluetooth.text());
        text.push_str(&self.hooks.text());
        text.push_str(&links::text(&self.links));
        text
    }

    /// How many parts are worked on at once.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
            n => n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Profile, *};

    #[test]
    fn the_written_file_reads_back() {
        let config =
            Config { name: "Al \"the\" \\ice ü".into(), hidden: true, ..Config::default() };
        assert_eq!(Config::parse(&config.to_text()).unwrap(), config);
        assert_eq!(Config::parse(&config.to_whole_text()).unwrap(), config);
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn what_is_said_of_bluetooth_is_read_and_written() {
        assert_eq!(Config::default().bluetooth.profile, Profile::Quick);
        let text = "[bluetooth]\nprofile = \"saver\"\nadapters = [\"hci1\"]\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(
            (config.bluetooth.profile, config.bluetooth.profile.word()),
            (Profile::Saver, "saver")
        );
        assert_eq!(config.bluetooth.adapters, ["hci1"]);
        assert_eq!(Config::parse(&config.to_text()).unwrap(), config);
        assert!(config.to_whole_text().contains(text));
    }

    #[test]
    fn changing_the_peers_leaves_everything_else_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        for (before, after) in [
            ("", "peers = [\"tls://b:1\"]\n"),
            ("# mine\nname = 'x' # me\n", "# mine\nname = 'x' # me\npeers = [\"tls://b:1\"]\n"),
            ("[acl]\nrun = ['Bob']\n", "peers = [\"tls://b:1\"]\n[acl]\nrun = ['Bob']\n"),
            (
                "hidden = true\n\n[carry]\nstrangers = 5\n",
                "hidden = true\n\npeers = [\"tls://b:1\"]\n[carry]\nstrangers = 5\n",
            ),
            ("peers = []\nhidden = true\n", "peers = [\"tls://b:1\"]\nhidden = true\n"),
            (
                "peers = [\n  'tls://a:1', # one\n]\n# end\n",
                "peers = [\"tls://a:1\",\"tls://b:1\"]\n# end\n",
            ),
        ] {
            fs::write(&path, before).unwrap();
            edit_peers(&path, |peers| peers.push("tls://b:1".into())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
        fs::write(&path, "\"peers\" = []").unwrap();
        let refused = edit_peers(&path, |peers| peers.push("tls://b:1".into()));
        assert!(matches!(refused, Err(ConfigError::Peers)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "\"peers\" = []");
    }

    #[test]
    fn typos_and_impossible_values_are_refused_with_the_key() {
        for (text, word) in [
            ("nmae = 'x'", "nmae"),
            ("workers = -1", "workers"),
            ("workers = 65", "workers"),
            ("lifetime-days = 0", "lifetime-days"),
            ("addresses = ['somewhere']", "addresses"),
            ("[acl]\nrun = ['@']", "@"),
            ("[acl]\nlisten = []", "listen"),
            ("[files]\nwaiting = 0", "waiting"),
            ("[files]\nbytes = 1", "bytes"),
            ("[bluetooth]\nprofile = 'fast'", "saver"),
            ("[bluetooth]\nadapters = ['usb0']", "adapters in [bluetooth]"),
            ("[bluetooth]\nadapter = 'hci0'", "adapters"),
            ("[hooks]\non-message = ['ring']", "on-message"),
            ("[hooks]\non-job = ['/usr/../ring']", "on-job"),
            ("[hooks]\nquiet = '22:00'", "quiet"),
            ("[hooks]\nquiet = '22:00-22:00'", "quiet"),
            ("[hooks]\ntimeout = 0", "timeout"),
            ("[hooks]\nwrite = ['log']", "write"),
            ("[hooks]\non-mail = []", "on-mail"),
            ("[[links]]\nlongest = 4096", "for in [[links]]"),
            ("[[links]]\nfor = ['smoke:']", "smoke:"),
            ("[[links]]\nfor = ['@']", "means no link"),
            ("[[links]]\nfor = ['Hub']\nlongest = 1000", "longest"),
            ("[[links]]\nfor = ['Hub']\nnicest = 0", "nicest"),
            ("[[links]]\nfor = ['Hub']\nniceness = 9", "niceness"),
            ("name = ", "name"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
