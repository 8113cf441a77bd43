//! `share`: which files others may ask for.

use std::path::PathBuf;

use postrider_base::packet::Handle;

use super::{Desk, Failure, FailureKind, reply::ShareLine};
use crate::home::Share;

/// What to share.
#[derive(Clone, Debug, Default)]
pub struct ShareRequest {
    /// What others call it.
    pub name: String,
    /// Where it is here.
    pub path: PathBuf,
    /// Who may ask; those of `[acl] files` by default.
    pub who: Option<Vec<String>>,
    /// They get only what they know the name of.
    pub unlisted: bool,
    /// Names that begin with a dot are there, too.
    pub hidden: bool,
    /// Most bytes that are sent for one request.
    pub max_bytes: Option<u64>,
}

impl Desk {
    /// Everything that others may ask for.
    pub fn shares(&self) -> Result<Vec<ShareLine>, Failure> {
        let shares = self.home.shares()?;
        Ok(shares.0.iter().map(|(name, share)| self.share_line(name, share)).collect())
    }

    /// Shares a file or a directory; what its name stood for before is forgotten.
    pub fn share(&self, request: &ShareRequest) -> Result<ShareLine, Failure> {
        let name = name_of(&request.name)?;
        let plain = Share::new(request.path.clone());
        let share = Share {
            who: request.who.clone(),
            list: !request.unlisted,
            hidden: request.hidden,
            max_bytes: request.max_bytes.unwrap_or(plain.max_bytes),
            ..plain
        };
        share.check().map_err(|why| {
            Failure::new(FailureKind::Usage, why).next("nothing was changed; docs/files.md")
        })?;
        let before = self.home.edit_shares(&name, Some(&share))?;
        let done = match before {
            None => "new",
            Some(before) if before == share => "same",
            Some(_) => "changed",
        };
        Ok(ShareLine { done: Some(done.into()), ..self.share_line(&name, &share) })
    }

    /// Shares something no more; it is returned as it was.
    pub fn unshare(&self, name: &str) -> Result<ShareLine, Failure> {
        let handle = name_of(name)?;
        let share = self.home.edit_shares(&handle, None)?.ok_or_else(|| {
            Failure::new(FailureKind::Unknown, format!("nothing is shared as {name}"))
                .next("nothing was changed; see what is: postrider share ls")
        })?;
        let line = self.share_line(&handle, &share);
        Ok(ShareLine { done: Some("removed".into()), warnings: Vec::new(), ..line })
    }

    fn share_line(&self, name: &Handle, share: &Share) -> ShareLine {
        ShareLine {
            name: name.to_string(),
            path: share.path.display().to_string(),
            r#for: share.who.clone(),
            list: share.list,
            hidden: share.hidden,
            max_bytes: share.max_bytes,
            done: None,
            warnings: self.share_warnings(share),
        }
    }

    /// What its owner may not have meant. Nothing of it is refused: the disk may come, and people.
    fn share_warnings(&self, share: &Share) -> Vec<String> {
        let path = share.path.display();
        let home = self.home.dir();
        let (real, home) = (share.path.canonicalize(), home.canonicalize());
        let about_path = match (&real, &std::fs::metadata(&share.path)) {
            (Err(error), _) | (_, Err(error)) => {
                Some(format!("{path} cannot be looked at: {error}"))
            }
            (_, Ok(meta)) if !meta.is_dir() && !meta.is_file() => {
                Some(format!("{path} is neither a file nor a directory"))
            }
            // The key is in there. It is kept back, and the rest of what is there is not.
            (Ok(real), _)
                if home.is_ok_and(|home| home.starts_with(real) || real.starts_with(home)) =>
            {
                Some(format!("this node's home is in {path}; nobody gets anything of that"))
            }
            _ => None,
        };
        let about_people = match share.who.as_deref() {
            None if self.home.config.acl.files.is_empty() => {
                Some("nobody may ask for it: say who with --for, or in [acl] files".to_owned())
            }
            Some([]) => Some("nobody may ask for it: say who with --for".to_owned()),
            Some(words) if words.iter().any(|word| word == "*") => {
                Some("anybody at all whom this node knows may ask for it".to_owned())
            }
            _ => None,
        };
        about_path.into_iter().chain(about_people).collect()
    }
}

fn name_of(text: &str) -> Result<Handle, Failure> {
    text.parse().map_err(|_| {
        let what = "a share's name has 1 to 64 of a-z 0-9 . _ -, a letter or digit first";
        Failure::new(FailureKind::Usage, what).next("nothing was changed")
    })
}
