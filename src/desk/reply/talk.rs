//! Replies about conversations and drafts.

use serde::{Deserialize, Serialize};

use super::{ReceivedFile, Word};

/// A message of a conversation, mine or somebody else's.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "message")]
pub struct Said {
    /// Its id: the same here and at the other side.
    pub id: String,
    /// The author's petname, or its id when it is no contact; of mine, my own name.
    pub from: String,
    /// The recipient's petname; of what came to me, my own name.
    pub to: String,
    /// mail, file, job, introduction, roster or post.
    pub kind: Word,
    /// The text.
    pub text: String,
    /// The files; of very many of mine, the first ones.
    pub files: Vec<ReceivedFile>,
    /// Seconds since it was saved or arrived here.
    pub age_s: u64,
    /// Whether it was read; mine are.
    pub read: bool,
    /// Of mine: saved, carried, delivered, expired, cancelled or refused. Of others': received, or
    /// arriving while parts are missing.
    pub state: Word,
    /// The message it answers.
    pub reply_to: Option<String>,
    /// Whether what it answers is here, and was said between the same two.
    pub answered_is_here: bool,
    /// Whether this node wrote it.
    pub mine: bool,
    /// The other side, `pr1…`: whom an answer goes to.
    pub peer: String,
    /// Whether the other side is a contact.
    pub known_peer: bool,
}

/// A message that is kept and not sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "draft")]
pub struct DraftLine {
    /// Its id here; the message that is made of it has another.
    pub id: String,
    /// For whom, by petname.
    pub to: String,
    /// The text.
    pub text: String,
    /// The files it refers to.
    pub files: Vec<DraftFile>,
    /// Seconds since it was written.
    pub age_s: u64,
    /// The message it answers.
    pub reply_to: Option<String>,
    /// What a command did: written or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Word>,
}

/// A file that a draft refers to. It is read when the draft is sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DraftFile {
    /// Where it is.
    pub path: String,
    /// Its length now; of a directory 0, nothing where it is gone.
    pub bytes: Option<u64>,
}

/// A message in parts that is on its way here and has not arrived.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename = "arriving")]
pub struct Coming {
    /// Its id; nothing while only parts of it are here, which do not say what they are parts of.
    pub message: Option<String>,
    /// The sender's petname, or its id when it is no contact; empty where even that is not known.
    pub from: String,
    /// The text that came ahead.
    pub text: String,
    /// The files.
    pub files: Vec<ReceivedFile>,
    /// Parts that are here.
    pub parts_here: u64,
    /// Parts in all.
    pub parts: Option<u64>,
    /// Bytes of the parts that are here.
    pub bytes_here: u64,
    /// Bytes in all.
    pub bytes: Option<u64>,
}
