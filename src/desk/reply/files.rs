//! What is said of shares, and of what is asked of them.

use serde::{Deserialize, Serialize};

use super::Word;

/// What others may ask for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "share")]
pub struct ShareLine {
    /// What they call it.
    pub name: String,
    /// Where it is here.
    pub path: String,
    /// Who may, in the words of `[acl]`; where nothing stands here, those of `[acl] files`.
    pub r#for: Option<Vec<String>>,
    /// Whether they may ask what there is.
    pub list: bool,
    /// Whether names that begin with a dot are there, too.
    pub hidden: bool,
    /// Most bytes that are sent for one request.
    pub max_bytes: u64,
    /// What a command did: new, changed, same or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Word>,
    /// What its owner should look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A request of mine.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "request")]
pub struct RequestLine {
    /// The message that asks.
    pub id: String,
    /// Whom.
    pub to: String,
    /// For what.
    pub path: String,
    /// Whether it is asked what there is.
    pub list: bool,
    /// saved, carried, delivered; then arriving, here, same, listed or refused; or expired,
    /// cancelled.
    pub state: Word,
    /// Why nothing was sent: not-found, not-allowed, directory, special, too-large, spent, waiting,
    /// changing, unreadable, beyond or other.
    pub why: Option<Word>,
    /// Where that is too-large: so many bytes are sent at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
    /// The message that has the files.
    pub message: Option<String>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// How many parts of it are here, and of how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<(u64, u64)>,
    /// What there is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<ListedLine>,
    /// Whether there is more behind the last of those.
    #[serde(default)]
    pub more: bool,
    /// Whether it is another file than the one that an earlier source began to send.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other: bool,
    /// Where there are several: all who were or may be asked, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceLine>,
    /// How long ago it was asked.
    pub age_s: u64,
}

/// One of several who may have a file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SourceLine {
    /// Who.
    pub to: String,
    /// As of a request; also unasked, and used: what it sent was put to what another one had.
    pub state: Word,
    /// As of a request.
    pub why: Option<Word>,
    /// As of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
}

/// A file or directory that somebody shares.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ListedLine {
    /// Its name.
    pub name: String,
    /// file or directory.
    pub kind: Word,
    /// Its length.
    pub bytes: u64,
    /// Unix seconds of its last change, where known.
    pub mtime: Option<u64>,
}
