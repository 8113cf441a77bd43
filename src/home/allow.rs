//! What others may have run here, in `allow.toml`: read for every job, so that what a person has
//! written there holds at once.

use std::{
    io,
    path::{Path, PathBuf},
};

use postrider_base::packet::Handle;
use postrider_exec::allow::{AllowError, AllowList, Entry, TEXT_MAX};

use super::{
    Home,
    files::{lock_for, replace, text_of},
};

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllowFileError {
    /// What stands there.
    #[error(transparent)]
    List(#[from] AllowError),
    /// The file.
    #[error("could not use {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Home {
    /// What others may have run; without a file nothing.
    pub fn allow_list(&self) -> Result<AllowList, AllowFileError> {
        Ok(AllowList::parse(&read(&self.allow_path())?)?)
    }

    /// Puts an entry there, or takes one away; durable when it returns. What stood there before.
    ///
    /// Two at a time wait for each other; what a person writes meanwhile with an editor does not.
    pub fn edit_allow_list(
        &self,
        handle: &Handle,
        to: Option<&Entry>,
    ) -> Result<Option<Entry>, AllowFileError> {
        let path = self.allow_path();
        let failed = |source| AllowFileError::Io { path: path.clone(), source };
        let _lock = lock_for(&path).map_err(failed)?;
        let text = read(&path)?;
        let before = AllowList::parse(&text)?.0.remove(handle);
        let edited = AllowList::edited(&text, handle, to)?;
        if edited != text {
            replace(&path, edited.as_bytes(), 0o600).map_err(failed)?;
        }
        Ok(before)
    }

    fn allow_path(&self) -> PathBuf {
        self.dir().join("allow.toml")
    }
}

fn read(path: &Path) -> Result<String, AllowFileError> {
    text_of(path, TEXT_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => AllowError::Syntax("it is not text".into()).into(),
        _ => AllowFileError::Io { path: path.to_owned(), source: error },
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use postrider_exec::allow::Template;

    use super::*;

    fn entry(program: &str) -> Entry {
        Entry::new(Template::parse(&[program.to_owned()]).unwrap())
    }

    #[test]
    fn what_is_allowed_is_there_until_it_is_taken_away_and_what_a_person_wrote_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (home, _) = Home::create(dir.path(), Some("Alice"), [1; 32], false).unwrap();
        let [a, b] = ["a", "b"].map(|handle| handle.parse::<Handle>().unwrap());
        assert_eq!(home.allow_list().unwrap(), AllowList::default());
        assert_eq!(home.edit_allow_list(&a, None).unwrap(), None);
        let path = dir.path().join("allow.toml");
        assert!(!path.exists(), "nothing was changed");
        fs::write(&path, "# mine\n[a]\nargv = ['/bin/a']\n").unwrap();
        assert_eq!(home.edit_allow_list(&b, Some(&entry("/bin/b"))).unwrap(), None);
        let again = home.edit_allow_list(&b, Some(&entry("/bin/c"))).unwrap();
        assert_eq!(again, Some(entry("/bin/b")));
        let list = home.allow_list().unwrap();
        assert_eq!(list.0, [(a.clone(), entry("/bin/a")), (b, entry("/bin/c"))].into());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(home.edit_allow_list(&a, None).unwrap(), Some(entry("/bin/a")));
        assert!(fs::read_to_string(&path).unwrap().starts_with("# mine\n"));
        // A file with a mistake in it allows nothing and is left as it is.
        fs::write(&path, "[a]\nargv = ['a']\n").unwrap();
        assert!(home.allow_list().unwrap_err().to_string().contains("line 2"));
        assert!(home.edit_allow_list(&a, None).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "[a]\nargv = ['a']\n");
        fs::write(&path, [0xff]).unwrap();
        assert!(home.allow_list().unwrap_err().to_string().contains("not text"));
    }

    #[test]
    fn edits_at_the_same_time_keep_each_others_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (home, _) = Home::create(dir.path(), Some("Alice"), [1; 32], false).unwrap();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (home, handle) = (&home, format!("h{n}").parse().unwrap());
                scope.spawn(move || home.edit_allow_list(&handle, Some(&entry("/bin/a"))).unwrap());
            }
        });
        assert_eq!(home.allow_list().unwrap().0.len(), 8);
    }
}
