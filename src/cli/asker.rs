//! Who answers a command: the daemon of the home, if one runs, else a desk in this process.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Context, output::Loudness, progress::Progress, text};
use crate::{
    api::{At, Client, Verb},
    desk::{Desk, Failure, LOCK_WAIT},
};

/// How often it is looked whether a daemon answers by now.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The one seam between the command line and what it asks.
pub(super) struct Asker<'a> {
    home: PathBuf,
    place: Place,
    watch: &'a Progress,
}

/// Who answers.
enum Place {
    Here(Box<Desk>),
    There(Client),
}

/// Who is asked.
pub(super) enum Asked<'a> {
    Desk(&'a Desk),
    Daemon(&'a Client),
}

impl Context {
    /// Whoever answers for the home.
    pub(super) fn asker(&self) -> Result<Asker<'_>, Failure> {
        let home = self.home()?;
        let watch = &self.watch;
        if let Some(client) = find_daemon(&home) {
            if self.out.loudness == Loudness::Verbose {
                let home = text::line(&home.display().to_string());
                super::eprint_line(&format!("home: {home}, asking its daemon"));
            }
            return Ok(Asker { home, place: Place::There(client), watch });
        }
        let at = home.clone();
        let desk = self.desk()?.giving_up_when(move || Client::find(&at).is_some());
        Ok(Asker { home, place: Place::Here(Box::new(desk)), watch })
    }

    /// Asks one thing.
    pub(super) fn ask<V: Verb>(&self, verb: V) -> Result<V::Reply, Failure> {
        self.asker()?.ask(verb)
    }
}

/// The daemon of a home. Whoever owns the spool and does not answer may be one that just starts, or
/// a short command; either is over soon, so it is looked again.
fn find_daemon(home: &Path) -> Option<Client> {
    let begun = Instant::now();
    loop {
        let found = Client::find(home);
        let patient = begun.elapsed() < LOCK_WAIT / 2;
        if found.is_some() || !patient || !postrider_spool::Place::is_taken(&home.join("spool")) {
            return found;
        }
        thread::sleep(LOOK_EVERY);
    }
}

impl Asker<'_> {
    /// Runs a verb.
    pub(super) fn ask<V: Verb>(&self, verb: V) -> Result<V::Reply, Failure> {
        self.of(|asked| match asked {
            Asked::Desk(desk) => verb.clone().run(&At::desk(desk, self.watch)),
            Asked::Daemon(client) => client.ask(&verb, self.watch),
        })
    }

    /// Asks whoever answers. A daemon that began after we looked may have taken the spool before
    /// us: then nothing was done yet, and it is asked instead.
    pub(super) fn of<T>(
        &self,
        mut ask: impl FnMut(Asked<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let desk = match &self.place {
            Place::Here(desk) => desk,
            Place::There(client) => return ask(Asked::Daemon(client)),
        };
        match ask(Asked::Desk(desk)) {
            Err(failure) if failure.is_locked() => match Client::find(&self.home) {
                Some(client) => ask(Asked::Daemon(&client)),
                None => Err(failure),
            },
            answer => answer,
        }
    }

    /// The daemon, if that is who answered when we looked.
    pub(super) fn daemon(&self) -> Option<&Client> {
        match &self.place {
            Place::Here(_) => None,
            Place::There(client) => Some(client),
        }
    }
}

/// A path as whoever answers understands it: a daemon runs in another directory.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::file("find", path, error))
}
