//! Verbs about conversations and drafts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{verb::verbs, verbs::SendOne};
use crate::desk::{
    SearchRequest,
    reply::{Coming, DraftLine, Said, Sent},
};

verbs! {
    /// One message, mine or another's; it is not marked as read.
    MessageShow "message/show" {
        /// An id, or its first digits.
        id: String,
    } -> Said: |request, at| at.desk.message(&request.id, at.watch);

    /// A conversation: what was answered before its answers, no clock asked.
    ThreadOf "thread" {
        /// A message's id, or its first digits; or a contact's name, for all that was exchanged.
        of: String,
    } -> Vec<Said>: |request, at| at.desk.thread(&request.of, at.watch);

    /// The messages in which all of some words stand, newest last.
    Search "search" {
        /// What must stand in the text or a file's name, in any case.
        words: Vec<String>,
        /// Only by this contact; or me.
        from: Option<String>,
        /// Only to this contact; or me.
        to: Option<String>,
    } -> Vec<Said>: |request, at| {
        let Self { words, from, to } = request;
        at.desk.search(&SearchRequest { words, from, to }, at.watch)
    };

    /// What is on its way here in parts, and has not arrived.
    InboxArriving "inbox/arriving" {} -> Vec<Coming>: |_request, at| at.desk.coming(at.watch);

    /// Drafts, oldest first.
    DraftLs "draft/ls" {} -> Vec<DraftLine>: |_request, at| at.desk.drafts(at.watch);

    /// One draft.
    DraftShow "draft/show" {
        /// Its id, or its first digits.
        id: String,
    } -> DraftLine: |request, at| at.desk.draft(&request.id, at.watch);

    /// Keep a message without sending it; when this answers, that is durable.
    DraftWrite "draft/write" {
        /// For whom: a contact's name or id.
        to: String,
        /// The text.
        text: Option<String>,
        /// Files and directories, by absolute paths: they are read when it is sent.
        files: Vec<PathBuf> = default,
        /// Niceness, 1 (first) to 255 (last).
        nice: Option<u8>,
        /// How long it lives once it is sent, in seconds.
        lifetime_s: Option<u32>,
        /// Let nobody on the way see who writes to whom.
        hidden: Option<bool>,
        /// The message it answers, by its whole id.
        reply_to: Option<String>,
    } -> DraftLine: |request, at| {
        let Self { to, text, files, nice, lifetime_s, hidden, reply_to } = request;
        let one =
            SendOne { to, text, files, nice, lifetime_s, hidden, reply_to, supersede: None };
        at.desk.write_draft(&one.request()?, at.watch)
    };

    /// Send a draft, once: of one that was sent, how its message stands.
    DraftSend "draft/send" {
        /// Its id, or its first digits.
        id: String,
    } -> Sent: |request, at| at.desk.send_draft(&request.id, at.watch);

    /// Forget a draft.
    DraftRm "draft/rm" {
        /// Its id, or its first digits.
        id: String,
    } -> DraftLine: |request, at| at.desk.remove_draft(&request.id, at.watch);
}
