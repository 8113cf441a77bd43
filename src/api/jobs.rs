//! A request to run something, as it came: its words and numbers checked.

use postrider_base::{
    Lifetime,
    packet::{Answer, Then},
};

use super::verbs::{Run, missing};
use crate::desk::{Failure, RunRequest};

impl Run {
    pub(super) fn request(self) -> Result<RunRequest, Failure> {
        let lifetime = match self.lifetime_s {
            None => None,
            Some(s) => Some(Lifetime::new(s).ok_or_else(|| missing("lifetime_s"))?),
        };
        let then = match self.then.as_deref() {
            None | Some("skip") => Then::Skip,
            Some("run") => Then::Run,
            Some("hold") => Then::Hold,
            Some(_) => return Err(missing("then")),
        };
        Ok(RunRequest {
            to: self.to,
            handle: self.handle,
            args: self.args,
            files: self.files,
            stdin: self.stdin,
            queue: self.queue,
            after: self.after,
            if_ok: self.if_ok,
            patience_s: self.patience_s,
            then,
            supersede: self.supersede,
            lifetime,
            not_before: self.not_before,
            not_after: self.not_after,
            answer: if self.brief { Answer::Brief } else { Answer::Full },
        })
    }
}
