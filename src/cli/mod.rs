//! The command line: arguments become requests of the [desk](crate::desk), replies become sentences
//! or JSON.
//!
//! - `options`: the whole grammar; the doc comment of a verb is its help;
//! - one file per family of verbs: `me`, `people`, `roster`, `send` and `batch`, `inbox`, `talk`, `draft`, `stick`, `queue`,
//!   `bundle`, `allow`, `run`, `fleet` and `job`, `get` and `share`, `audit`, `upkeep`, `daemon`, `links`, `about`, `reserved`;
//! - `jobs`: the processes that run a job for somebody, which are no verbs;
//! - `outcome`, `raw`: how a job elsewhere ended, told as if its command had run here;
//! - `asker`: the one seam: a daemon answers, or a desk in this process;
//! - `output`, `failure`, `progress`: what goes to which stream, for a person or for a program;
//! - `text`, `parse`: values shown to people and typed by them.
//!
//! Nothing is decided here. A verb that needs more than turning values over belongs to the desk.

mod about;
mod allow;
mod asker;
mod audit;
mod batch;
mod bundle;
mod daemon;
mod draft;
mod failure;
mod fleet;
mod get;
mod inbox;
mod job;
#[cfg(target_os = "linux")]
mod jobs;
mod links;
mod log_file;
mod me;
mod options;
mod outcome;
mod output;
mod parse;
mod people;
mod progress;
mod queue;
mod raw;
mod reserved;
mod roster;
mod run;
mod send;
mod share;
mod simulate;
mod stick;
mod talk;
mod text;
mod upkeep;

use std::{
    ffi::OsString,
    io::{self, BufRead, IsTerminal, Write},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use self::{
    failure::{Stop, tell},
    options::{Cli, Colors, Global},
    output::{Form, Loudness, Output},
    progress::Progress,
};
use crate::desk::{Desk, Failure, FailureKind};

/// How a verb ends: with an exit code, or early.
type Ended = Result<ExitCode, Stop>;

/// What every verb has at hand.
struct Context {
    home: Option<PathBuf>,
    out: Output,
    watch: Progress,
    /// Yes to every question.
    yes: bool,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    // Before anything else: these must have no thread, and each millisecond is a job's.
    #[cfg(target_os = "linux")]
    if let Some(code) = jobs::run(&args) {
        return code;
    }
    let cli = match Cli::read(&args) {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error, &args),
    };
    let (form, colors) = (cli.global.form(), cli.global.colors.on(io::stderr().is_terminal()));
    remember_panics();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| {
        let context = Context::new(&cli.global);
        cli.command.run(&context)
    }));
    match ended {
        Ok(Ok(code)) => code,
        Ok(Err(stop)) => stop.tell(form, colors),
        Err(_) => {
            // Nobody to tell is no reason for another exit code.
            let _ = tell(&our_fault(), form, colors);
            ExitCode::from(FailureKind::Fault.exit_code())
        }
    }
}

impl Context {
    fn new(global: &Global) -> Self {
        let (form, loudness) = (global.form(), global.loudness());
        Self {
            home: global.home.clone(),
            out: Output { form, loudness, colors: global.colors.on(io::stdout().is_terminal()) },
            watch: Progress::new(form, loudness, !global.no_progress),
            yes: global.yes,
        }
    }

    /// Where the home is: what was said, the environment, or the usual place.
    fn home(&self) -> Result<PathBuf, Failure> {
        // An empty variable means nothing, as everywhere.
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let data = || {
            // A relative XDG directory is to be ignored (XDG base directory specification).
            variable("XDG_DATA_HOME")
                .filter(|dir| dir.is_absolute())
                .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
                .map(|data| data.join("postrider"))
        };
        self.home.clone().or_else(|| variable("POSTRIDER_HOME")).or_else(data).ok_or_else(|| {
            Failure::new(FailureKind::Usage, "no home is known: HOME is not set")
                .next("say where it is: --home DIR, or the variable POSTRIDER_HOME")
        })
    }

    fn desk(&self) -> Result<Desk, Failure> {
        let home = self.home()?;
        if self.out.loudness == Loudness::Verbose {
            eprint_line(&format!("home: {}", text::line(&home.display().to_string())));
        }
        Desk::open(&home)
    }

    /// Whether a person can be asked.
    fn can_ask(&self) -> bool {
        !self.out.is_json() && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks a person; `None` when the answer never came.
    fn ask_person(&self, question: &str) -> Option<String> {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} ").and_then(|()| stderr.flush()).ok()?;
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer).ok()?;
        (read > 0).then(|| answer.trim().to_owned())
    }

    /// Asks whether to go on; yes when nobody can be asked, for the command itself said so.
    fn confirm(&self, question: &str) -> bool {
        if self.yes || !self.can_ask() {
            return true;
        }
        let answer = self.ask_person(&format!("{question} [y/N]"));
        answer.is_some_and(|answer| ["y", "yes"].contains(&&*answer.to_lowercase()))
    }
}

/// A line on standard error; where that is closed there is nobody to tell.
fn eprint_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Help, the version, or a command line that cannot be understood.
fn wrong_usage(error: &clap::Error, args: &[OsString]) -> ExitCode {
    let wanted = !error.use_stderr();
    // The arguments could not be taken apart, so the flag is looked for as it stands.
    if !wanted && args.iter().skip(1).any(|arg| arg == "--json") {
        let rendered = error.render().to_string();
        let what = rendered.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure = Failure::new(FailureKind::Usage, what).next("postrider --help");
        return Stop::Failure(failure).tell(Form::Json, Colors::Never.on(false));
    }
    // A closed pipe under the help is no error.
    let _ = error.print();
    if wanted { ExitCode::SUCCESS } else { ExitCode::from(FailureKind::Usage.exit_code()) }
}

/// What the last panic said. The spool catches panics of its index and rebuilds it: those must not
/// reach the screen.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

fn remember_panics() {
    panic::set_hook(Box::new(|info| {
        let mut last = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(info.to_string());
    }));
}

fn our_fault() -> Failure {
    let said = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
    let failure = Failure::new(FailureKind::Fault, "a fault in postrider itself").next(
        "your mail is safe in the spool; run the command again, and please report this with the \
         line above (postrider doctor looks whether everything is well)",
    );
    match said {
        Some(said) => failure.because(said),
        None => failure,
    }
}
