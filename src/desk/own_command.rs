//! How a command of the owner's ended, in words: a hook, or what belongs to a trial.

use std::{fs, path::Path};

use postrider_exec::contract::{Bound, End};

/// Of what it wrote of its trouble, so much is told.
const SAID_BYTES: usize = 200;

/// How it ended.
pub(super) fn ended(end: &End) -> String {
    match end {
        End::Exited(status) => format!("ended with {status}"),
        End::Signalled(signal) => format!("ended by signal {signal}"),
        End::Overran(bound) => {
            let of = match bound {
                Bound::Wall => "time",
                Bound::Cpu => "of the processor",
                Bound::Memory => "memory",
                Bound::Scratch => "disk",
            };
            format!("was ended: it took more {of} than it may")
        }
        End::Killed => "was ended".into(),
        End::NotBegun(why) => format!("did not begin: {why}"),
    }
}

/// The last line that it wrote on standard error.
pub(super) fn last_word(dir: &Path) -> String {
    let text = fs::read(dir.join("stderr")).unwrap_or_default();
    let last = text.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let last = as_line(&last[..last.len().min(SAID_BYTES)]);
    if last.is_empty() { last } else { format!(": {last}") }
}

/// Bytes of anybody's as one line that does nothing to a terminal.
pub(super) fn as_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
