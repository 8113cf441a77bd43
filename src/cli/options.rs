//! The grammar of the command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};

use super::{
    Context, Ended, about, allow, bundle, daemon, draft, get, inbox, job, links, me,
    output::{Form, Loudness},
    people, queue, reserved, roster, run, send, share, simulate, stick, talk, upkeep,
};

/// The first screen. By hand, because a list of verbs in the order of a newcomer's needs, several to
/// a line, is no list that clap makes. A test holds it against the grammar and against 24 rows.
const HELP: &str = "\
Carry messages and files between people who are rarely online at the same time

Usage: postrider VERB [OPTIONS]        postrider VERB --help tells more of each

Every day
  init                  Create an identity and a home
  id                    Show who I am, or write my card for others
  add CARD|STICK        Take somebody's card
  send WHO [TEXT]       Queue a message, files or a directory
  toss PATH             Exchange with a stick, a card or a synced directory
  inbox, reply          What arrived; answering it (thread, search, draft)
  get, share            Files that others share; what I share with them
  demo                  See it work, in a minute and a temporary directory
With links
  up, down, daemon      Start and stop what keeps links
  link, call, peers     To whom; who is there (ping, log: how they are)
Look and arrange
  status, queue         How I am; what waits (trace, why: where it went, why)
  contact, roster       Names, and whom to trust; who belongs together
  run, job, allow       Commands elsewhere; what became of them; what others may
By hand
  pack, unpack, bundle  By pipe, tape or disc; single bundles (key: for age)
  spool, config, doctor Upkeep (and bench, simulate, completion, man, version)
Everywhere: --home DIR  --json  -q  -v  --no-progress  --color WHEN  --yes
";

/// Carry messages and files between people who are rarely online at the same time
#[derive(Debug, Parser)]
#[command(name = "postrider", version, override_help = HELP, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Global {
    /// The home: identity, contacts and mail [default: POSTRIDER_HOME, else the XDG data directory]
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub(super) home: Option<PathBuf>,
    /// Answer with one JSON object per line
    #[arg(long, global = true, hide_short_help = true)]
    pub(super) json: bool,
    /// Say only what was asked for
    #[arg(short, long, global = true, conflicts_with = "verbose", hide_short_help = true)]
    pub(super) quiet: bool,
    /// Say more
    #[arg(short, long, global = true, hide_short_help = true)]
    pub(super) verbose: bool,
    /// Show no progress
    #[arg(long, global = true, hide_short_help = true)]
    pub(super) no_progress: bool,
    /// When to use colours
    #[arg(
        long = "color",
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t = Colors::Auto,
        hide_short_help = true
    )]
    pub(super) colors: Colors,
    /// Say yes to every question
    #[arg(long, global = true, hide_short_help = true)]
    pub(super) yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Colors {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Init(me::Init),
    Id(me::Id),
    Add(people::Add),
    Contact(people::Contact),
    Roster(roster::Roster),
    Allow(allow::Allow),
    Get(Box<get::Get>),
    Share(share::Share),
    Run(Box<run::Run>),
    Job(job::Job),
    Send(Box<send::Send>),
    Inbox(inbox::Inbox),
    Reply(Box<talk::Reply>),
    Thread(talk::Thread),
    Search(talk::Search),
    Draft(draft::Draft),
    Toss(stick::Toss),
    Pack(stick::Pack),
    Unpack(stick::Unpack),
    Up(daemon::Up),
    Down(daemon::Down),
    Daemon(daemon::Daemon),
    Link(links::Link),
    Call(links::Call),
    Peers(links::Peers),
    Ping(links::Ping),
    Log(links::Log),
    Status(queue::Status),
    Queue(queue::Queue),
    Trace(queue::Trace),
    Why(queue::Why),
    Key(me::Key),
    Bundle(bundle::Bundle),
    Spool(upkeep::Spool),
    Config(upkeep::Config),
    Doctor(upkeep::Doctor),
    Demo(about::Demo),
    Bench(about::Bench),
    Simulate(simulate::Simulate),
    Completion(about::Completion),
    Man(about::Man),
    Version(about::Version),
    #[command(flatten)]
    Reserved(reserved::Reserved),
}

/// The grammar with its help arranged: what holds everywhere is one line under each verb, and a verb
/// of a noun shows the examples of the noun.
pub(super) fn grammar() -> clap::Command {
    fn arrange(verb: clap::Command, of_noun: &str) -> clap::Command {
        let examples =
            verb.get_after_help().map_or_else(|| of_noun.to_owned(), ToString::to_string);
        let everywhere = HELP.lines().last().unwrap_or_default();
        let verb = verb.after_help(format!("{examples}\n\n{everywhere}"));
        verb.mut_subcommands(|verb| arrange(verb, &examples))
    }
    Cli::command()
        .mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg })
        .mut_subcommands(|verb| arrange(verb, ""))
}

impl Cli {
    /// Takes the arguments of a process apart.
    pub(super) fn read(args: &[OsString]) -> Result<Self, clap::Error> {
        let read = Self::try_parse_from(args);
        // Arranging help takes longer than reading the arguments: only for who asks for it.
        match read.as_ref().map_err(clap::Error::kind) {
            Err(ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) => {
                Self::from_arg_matches(&grammar().try_get_matches_from(args)?)
            }
            _ => read,
        }
    }
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Ended {
        match self {
            Self::Init(verb) => verb.run(context),
            Self::Id(verb) => verb.run(context),
            Self::Add(verb) => verb.run(context),
            Self::Contact(verb) => verb.run(context),
            Self::Roster(verb) => verb.run(context),
            Self::Allow(verb) => verb.run(context),
            Self::Get(verb) => verb.run(context),
            Self::Share(verb) => verb.run(context),
            Self::Run(verb) => verb.run(context),
            Self::Job(verb) => verb.run(context),
            Self::Send(verb) => verb.run(context),
            Self::Inbox(verb) => verb.run(context),
            Self::Reply(verb) => verb.run(context),
            Self::Thread(verb) => verb.run(context),
            Self::Search(verb) => verb.run(context),
            Self::Draft(verb) => verb.run(context),
            Self::Toss(verb) => verb.run(context),
            Self::Pack(verb) => verb.run(context),
            Self::Unpack(verb) => verb.run(context),
            Self::Up(verb) => verb.run(context),
            Self::Down(verb) => verb.run(context),
            Self::Daemon(verb) => verb.run(context),
            Self::Link(verb) => verb.run(context),
            Self::Call(verb) => verb.run(context),
            Self::Peers(verb) => verb.run(context),
            Self::Ping(verb) => verb.run(context),
            Self::Log(verb) => verb.run(context),
            Self::Status(verb) => verb.run(context),
            Self::Queue(verb) => verb.run(context),
            Self::Trace(verb) => verb.run(context),
            Self::Why(verb) => verb.run(context),
            Self::Key(verb) => verb.run(context),
            Self::Bundle(verb) => verb.run(context),
            Self::Spool(verb) => verb.run(context),
            Self::Config(verb) => verb.run(context),
            Self::Doctor(verb) => verb.run(context),
            Self::Demo(verb) => verb.run(context),
            Self::Bench(verb) => verb.run(context),
            Self::Simulate(verb) => verb.run(context),
            Self::Completion(verb) => verb.run(&mut grammar()),
            Self::Man(verb) => verb.run(Cli::command()),
            Self::Version(verb) => verb.run(context),
            Self::Reserved(verb) => verb.run(),
        }
    }
}

impl Global {
    pub(super) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Human }
    }

    pub(super) fn loudness(&self) -> Loudness {
        match (self.quiet, self.verbose) {
            (true, _) => Loudness::Quiet,
            (false, false) => Loudness::Normal,
            (false, true) => Loudness::Verbose,
        }
    }
}

impl Colors {
    /// Whether to colour what goes to a stream.
    pub(super) fn on(self, terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_holds_together() {
        grammar().debug_assert();
    }

    #[test]
    fn the_first_screen_fits_one_and_names_every_verb() {
        assert!(HELP.lines().count() <= 24);
        assert!(HELP.lines().all(|line| line.len() <= 80));
        let words: Vec<&str> = HELP.split(|c: char| !c.is_alphanumeric()).collect();
        for verb in grammar().get_subcommands() {
            assert_eq!(
                words.contains(&verb.get_name()),
                !verb.is_hide_set(),
                "{}: shown when and only when it works",
                verb.get_name()
            );
        }
    }

    #[test]
    fn every_verb_says_what_it_does_shows_two_examples_and_fits_a_screen() {
        fn check(verb: &clap::Command, path: &[&str]) {
            let name = verb.get_name();
            let path = [path, &[name]].concat();
            verb.get_subcommands().filter(|v| !v.is_hide_set()).for_each(|v| check(v, &path));
            let about = verb.get_about().unwrap_or_else(|| panic!("{name} says nothing"));
            assert!(!about.to_string().ends_with('.'), "{name}");
            let help = grammar().try_get_matches_from([&path[..], &["--help"]].concat());
            let help = help.unwrap_err().render().to_string();
            let examples = help.split_once("Examples:").map_or("", |(_, examples)| examples);
            let shown = examples.lines().filter(|l| l.contains("postrider ")).count();
            assert!(shown >= 2, "{name} shows {shown} examples");
            assert!(help.lines().count() <= 32, "too long for a screen:\n{help}");
        }
        grammar()
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
            .for_each(|verb| check(verb, &["postrider"]));
    }
}
