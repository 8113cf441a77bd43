//! Verbs about files that others may ask for, and that this node asks for.

use std::{path::PathBuf, time::Duration};

use postrider_base::{Lifetime, Niceness};
use serde::{Deserialize, Serialize};

use super::{
    verb::{At, verbs},
    verbs::missing,
};
use crate::desk::{
    Failure, GetRequest, ShareRequest,
    reply::{RequestLine, Saved, ShareLine},
};

verbs! {
    /// What others may ask for.
    ShareLs "share/ls" {} -> Vec<ShareLine>: |_request, at| at.desk.shares();

    /// Let others ask for a file, or for what is in a directory; what the name was before is forgotten.
    ShareSet "share/set" {
        /// 1 to 64 of a-z 0-9 . _ -, a letter or digit first.
        name: String,
        /// The file or directory, by absolute path. Nothing is ever written there.
        path: PathBuf,
        /// Who may: contacts' names, @role, %group, contacts or *; by default those of [acl] files.
        who: Option<Vec<String>>,
        /// They get only what they know the name of.
        unlisted: bool = default,
        /// Names that begin with a dot are there, too.
        hidden: bool = default,
        /// Most bytes that are sent for one request.
        max_bytes: Option<u64>,
    } -> ShareLine: |request, at| {
        let Self { name, path, who, unlisted, hidden, max_bytes } = request;
        at.desk.share(&ShareRequest { name, path, who, unlisted, hidden, max_bytes })
    };

    /// Let nobody ask for it any more.
    ShareRm "share/rm" {
        /// Its name.
        name: String,
    } -> ShareLine: |request, at| at.desk.unshare(&request.name);

    /// Ask somebody for a file, or what there is; when this answers, that is durable.
    Get "get" {
        /// Whom: contacts' names or ids. The first is asked, and the next when that one does not send.
        to: Vec<String>,
        /// A share and names in it, as maps/north.pdf; the last may be a pattern with * and ?.
        path: String,
        /// Ask what there is in that place; without a path, which shares there are.
        list: bool = default,
        /// Of a list, only what sorts behind this name.
        after: Option<String>,
        /// Only bytes from this one, counted from 0.
        from: Option<u64>,
        /// Only so many bytes.
        length: Option<u64>,
        /// Send it also if it came before.
        again: bool = default,
        /// For how many seconds nothing may come before the next is asked.
        patience_s: Option<u64>,
        /// Niceness of the request, 1 (first) to 255 (last).
        nice: Option<u8>,
        /// How long the request lives, in seconds.
        lifetime_s: Option<u32>,
    } -> RequestLine: |request, at| at.desk.get(&request.request()?, at.watch);

    /// What this node asked for, oldest first.
    GetLs "get/ls" {} -> Vec<RequestLine>: |_request, at| {
        steps(at)?;
        at.desk.gets(at.watch)
    };

    /// How a request of this node stands.
    GetState "get/state" {
        /// An id, or its first digits.
        id: String,
    } -> RequestLine: |request, at| {
        steps(at)?;
        at.desk.get_state(&request.id, at.watch)
    };

    /// Save what came of a request, under a name that is free.
    GetSave "get/save" {
        /// An id, or its first digits.
        id: String,
        /// As which file, or in which directory, by absolute path.
        to: PathBuf,
    } -> Vec<Saved>: |request, at| at.desk.save_answer(&request.id, &request.to, at.watch);
}

/// Where no daemon does so, whoever looks asks the next of several sources.
fn steps(at: &At<'_>) -> Result<(), Failure> {
    if at.node.is_none() {
        at.desk.advance_gets(&|_| false, at.watch)?;
    }
    Ok(())
}

impl Get {
    fn request(self) -> Result<GetRequest, Failure> {
        let Self { to, path, list, after, from, length, again, patience_s, nice, lifetime_s } =
            self;
        let nice = match nice {
            None => None,
            Some(value) => Some(Niceness::new(value).ok_or_else(|| missing("nice"))?),
        };
        let lifetime = match lifetime_s {
            None => None,
            Some(s) => Some(Lifetime::new(s).ok_or_else(|| missing("lifetime_s"))?),
        };
        let patience = patience_s.map(Duration::from_secs);
        Ok(GetRequest { to, path, list, after, from, length, again, patience, nice, lifetime })
    }
}
