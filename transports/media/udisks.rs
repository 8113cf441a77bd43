//! Asking udisks2 to mount a stick and to unmount it again.
//!
//! A daemon has no right to mount, and should have none; udisks2 has it and lets polkit decide for
//! whom. It is asked through `udisksctl`, which comes with it: its D-Bus interface by a library of
//! our own would be thirty crates for two calls. What the program says is taken for what to tell and
//! what to try next; where a stick was mounted, the table of mounts says.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    time::timeout,
};

/// How long an answer may take. A stick is mounted within a second; one whose journal is long needs
/// some more.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of a complaint; the usual one is a line of 150 bytes.
const COMPLAINT_MAX_BYTES: u64 = 4096;
/// What is told of it.
const TOLD_MAX_CHARS: usize = 300;

/// Why a stick was not mounted or unmounted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such program.
    #[error("udisks2 is not installed")]
    Missing,
    /// The program found nobody to ask, or one that does not know the stick yet.
    #[error("udisks2 does not answer ({0})")]
    NotThere(String),
    /// No answer in time; it may still come to pass.
    #[error("udisks2 did not answer within {} s", PATIENCE.as_secs())]
    Late,
    /// polkit does not permit it to this user.
    #[error("this user may not, says polkit")]
    NotAuthorised,
    /// It is mounted already.
    #[error("it is mounted already")]
    Mounted,
    /// Somebody uses it.
    #[error("somebody uses it")]
    Busy,
    /// Anything else, in udisks2's words.
    #[error("udisks2 says: {0}")]
    Other(String),
}

/// The way to udisks2. Cancel-safe: an answer that nobody waits for any more is not waited for, and
/// the program is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udisks {
    command: Vec<OsString>,
    patience: Duration,
}

impl Default for Udisks {
    fn default() -> Self {
        Self::by(["udisksctl"])
    }
}

impl Udisks {
    /// Asks through another program than `udisksctl`; words that it gets first may follow.
    pub fn by<W: Into<OsString>>(command: impl IntoIterator<Item = W>) -> Self {
        Self { command: command.into_iter().map(Into::into).collect(), patience: PATIENCE }
    }

    /// Has a device mounted, wherever udisks2 likes.
    pub async fn mount(&self, node: &Path) -> Result<(), Refusal> {
        self.ask("mount", node).await
    }

    /// Has it unmounted; what was written is on it then.
    pub async fn unmount(&self, node: &Path) -> Result<(), Refusal> {
        self.ask("unmount", node).await
    }

    async fn ask(&self, verb: &str, node: &Path) -> Result<(), Refusal> {
        let Some((program, first)) = self.command.split_first() else {
            return Err(Refusal::Missing);
        };
        let mut command = Command::new(program);
        command
            .args(first)
            .args([OsStr::new(verb), "--no-user-interaction".as_ref()])
            .args(["--block-device".as_ref(), node.as_os_str()])
            // Its words are told apart below.
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Refusal::Missing,
            _ => Refusal::Other(error.to_string()),
        })?;
        match timeout(self.patience, answer(&mut child)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(Refusal::Other(error.to_string())),
            Err(_) => {
                // Kills and reaps; an error means that it is gone already.
                let _ = child.kill().await;
                Err(Refusal::Late)
            }
        }
    }
}

async fn answer(child: &mut Child) -> io::Result<Result<(), Refusal>> {
    let mut complaint = Vec::new();
    if let Some(errors) = child.stderr.take() {
        // Whoever says more finds the pipe closed.
        errors.take(COMPLAINT_MAX_BYTES).read_to_end(&mut complaint).await?;
    }
    let status = child.wait().await?;
    Ok(if status.success() { Ok(()) } else { Err(refusal(&complaint)) })
}

/// What a complaint means. D-Bus names errors, whatever language their texts are in.
fn refusal(complaint: &[u8]) -> Refusal {
    let text = String::from_utf8_lossy(complaint);
    let is_named = |name: &str| text.contains(&format!("UDisks2.Error.{name}"));
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    let line = line.rsplit_once("UDisks2.Error.Failed: ").map_or(line, |(_, reason)| reason);
    let told = line.trim().replace(char::is_control, "\u{fffd}");
    let told: String = told.chars().take(TOLD_MAX_CHARS).collect();
    if is_named("AlreadyMounted") {
        Refusal::Mounted
    } else if is_named("NotAuthorized") {
        Refusal::NotAuthorised
    } else if is_named("DeviceBusy") {
        Refusal::Busy
    } else if ["connecting to the udisks daemon", "looking up object for device"]
        .iter()
        .any(|words| text.contains(words))
    {
        Refusal::NotThere(told)
    } else {
        Refusal::Other(told)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    const NODE: &str = "/dev/never; touch x";

    /// A program that does what a script says.
    fn stand_in(dir: &Path, script: &str) -> Udisks {
        let path = dir.join("stand-in");
        fs::write(&path, script).unwrap();
        // By its interpreter: a file that was just written may still be open in a child of another
        // test, and is not executed then.
        Udisks::by([OsStr::new("sh"), path.as_os_str()])
    }

    async fn told(script: &str) -> Result<(), Refusal> {
        let dir = tempfile::tempdir().unwrap();
        stand_in(dir.path(), script).mount(Path::new(NODE)).await
    }

    #[tokio::test]
    async fn it_is_asked_without_a_shell_and_without_questions_to_anybody() {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("said");
        let script = format!("echo \"$LC_ALL\" >>{0}; printf '%s\\n' \"$@\" >>{0}", said.display());
        let udisks = stand_in(dir.path(), &script);
        udisks.mount(Path::new(NODE)).await.unwrap();
        udisks.unmount(Path::new(NODE)).await.unwrap();
        let words = |verb| format!("C\n{verb}\n--no-user-interaction\n--block-device\n{NODE}\n");
        assert_eq!(fs::read_to_string(said).unwrap(), words("mount") + &words("unmount"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_missing() {
        let udisks = Udisks::by([PathBuf::from("/nowhere/udisksctl")]);
        assert_eq!(udisks.mount(Path::new(NODE)).await, Err(Refusal::Missing));
    }

    #[tokio::test]
    async fn a_refusal_is_understood_and_its_words_do_no_harm() {
        let fails = "printf 'Error mounting /dev/sdb1: GDBus.Error:org.freedesktop.UDisks2.Error.Failed: \
                     wrong \\033[2J type\\nmore\\n' >&2; exit 1";
        let words = "wrong \u{fffd}[2J type".to_owned();
        assert_eq!(told(fails).await, Err(Refusal::Other(words)));
        assert_eq!(told("exit 3").await, Err(Refusal::Other("nothing".into())));
    }

    #[tokio::test]
    async fn one_that_talks_without_end_is_heard_no_more() {
        let Err(Refusal::Other(words)) = told("while echo aaaaaaaaaaaaaaaa >&2; do :; done").await
        else {
            panic!("it ended well")
        };
        assert!(words.len() <= TOLD_MAX_CHARS, "{words}");
    }

    #[tokio::test]
    async fn one_that_never_answers_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("said");
        let script = format!("echo $$ >{}; exec sleep 1000", said.display());
        let mut udisks = stand_in(dir.path(), &script);
        // It is given up when it runs, however long that took to begin.
        udisks.patience = Duration::from_millis(1);
        let mut pid = None;
        for _ in 0..16 {
            assert_eq!(udisks.mount(Path::new(NODE)).await, Err(Refusal::Late));
            pid = fs::read_to_string(&said).ok().filter(|pid| pid.ends_with('\n'));
            if pid.is_some() {
                break;
            }
            udisks.patience *= 2;
        }
        let pid = pid.expect("it never began");
        assert!(!Path::new("/proc").join(pid.trim()).exists());
    }

    #[test]
    fn errors_are_told_apart_by_their_names() {
        let named = |name: &str, text: &str| {
            refusal(
                format!("Error mounting /dev/sdb1: GDBus.Error:org.freedesktop.UDisks2.Error.{name}: {text}\n")
                    .as_bytes(),
            )
        };
        assert_eq!(
            named("AlreadyMounted", "Device /dev/sdb1 is already mounted at `/media/a/X'."),
            Refusal::Mounted
        );
        for name in ["NotAuthorized", "NotAuthorizedCanObtain", "NotAuthorizedDismissed"] {
            assert_eq!(named(name, "Not authorized"), Refusal::NotAuthorised);
        }
        assert_eq!(named("DeviceBusy", "target is busy"), Refusal::Busy);
        for text in [
            "Error connecting to the udisks daemon: Could not connect: No such file or directory\n",
            "Error looking up object for device /dev/sdb1.\n",
        ] {
            assert_eq!(refusal(text.as_bytes()), Refusal::NotThere(text.trim().into()));
        }
    }
}
