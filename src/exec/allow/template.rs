//! A command with slots, as its operator wrote it.
//!
//! ```text
//! word  = (text | "{{" | "}}" | slot)*
//! slot  = "{" name ["?" | "..."] [":" type] "}"
//! type  = text(64) | int(1..10) | enum(on,off) | re([a-z]+) | contact | file
//! ```
//!
//! A `{name}` alone is `text(64)`. Slots are filled in the order in which they stand, each by one
//! argument. `?`: the word is left out where there is no argument for it. `...`, the last slot, a
//! word of its own: a word for each argument that is left.

use regex_lite::{Regex, RegexBuilder};

use super::value::{is_plain, starts_like_an_option};

/// A command has at most so many words as it is written.
const TEMPLATE_WORDS_MAX: usize = 256;
/// They are together at most this long.
const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// A slot's name is at most this long.
const NAME_MAX: usize = 32;
/// A text may be this long, in characters, where its slot does not say more.
const TEXT_USUAL: usize = 64;
/// No slot takes a longer text.
const TEXT_MAX: usize = 4096;
/// A choice is between at most so many.
const CHOICES_MAX: usize = 64;
/// A pattern is at most this long.
const PATTERN_MAX: usize = 256;
/// What a pattern may take in memory once it is compiled: `[a-z]{1,64}` and its like.
const PATTERN_BYTES_MAX: usize = 64 * 1024;
/// How deep groups in a pattern may nest.
const PATTERN_DEPTH_MAX: u32 = 16;
/// Programs that run what a word says, and the letter of the option before that word.
const INTERPRETERS: [(&str, char); 16] = [
    ("sh", 'c'),
    ("ash", 'c'),
    ("bash", 'c'),
    ("dash", 'c'),
    ("fish", 'c'),
    ("ksh", 'c'),
    ("mksh", 'c'),
    ("zsh", 'c'),
    ("busybox", 'c'),
    ("su", 'c'),
    ("python", 'c'),
    ("perl", 'e'),
    ("ruby", 'e'),
    ("node", 'e'),
    ("lua", 'e'),
    ("php", 'r'),
];

/// A command with slots.
#[derive(Clone, Debug)]
pub struct Template {
    source: Vec<String>,
    pub(super) words: Vec<Vec<Piece>>,
    pub(super) slots: Vec<Slot>,
    /// From this word on nothing is an option: a word `--` stands before it, and only slots between.
    pub(super) ended: Vec<bool>,
}

/// A piece of a word.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Text(String),
    /// By its number.
    Slot(usize),
}

/// A place that an argument fills.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) times: Times,
}

/// How many arguments a slot takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    Maybe,
    Rest,
}

/// What may fill a slot.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// So many characters.
    Text(usize),
    Int(i64, i64),
    Choice(Vec<String>),
    Pattern(Regex),
    Contact,
    File,
}

/// Why words are no command.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// No words.
    #[error("there is no command: write it behind --, as -- /usr/bin/uptime")]
    Empty,
    /// More words or bytes than a command has.
    #[error("a command has at most 256 words of 64 KiB together")]
    TooLong,
    /// The first word.
    #[error(
        "the program must be an absolute path without .. and without slots, as /usr/bin/uptime, not {0:?}"
    )]
    Program(String),
    /// What cannot be passed, or seen.
    #[error("word {0} has a control character in it; a line feed and a tab may be")]
    Control(usize),
    /// A brace that opens or closes nothing.
    #[error("a brace stands alone in word {0}; write {{{{ or }}}} for one that is meant as it is")]
    Brace(usize),
    /// A slot's name.
    #[error("{{{0}}} is no slot: its name has 1 to 32 letters, digits, - and _, a letter first")]
    Name(String),
    /// The same name again.
    #[error("the slot {0} stands there twice; give the second another name")]
    Twice(String),
    /// A type that is not one.
    #[error("the slot {0}: {1}")]
    Kind(String, String),
    /// A slot that may be empty before one that may not.
    #[error("the slot {0} must be filled and comes after one that need not be; put it before")]
    Order(String),
    /// A slot that may be empty beside another in one word.
    #[error("the slot {0} need not be filled, so no other slot can be in its word")]
    Beside(String),
    /// A slot for all that is left.
    #[error("the slot {0}... takes all that is left: it must be the last, and a word of its own")]
    Rest(String),
    /// Numbers that would be options.
    #[error(
        "the slot {0} takes numbers below 0, and -5 would be an option; put a word -- before it, or write --name={{{0}:…}}"
    )]
    Negative(String),
    /// A slot in what an interpreter runs.
    #[error(
        "a slot in what {0} -{1} runs would let others write that program; give the value as a word of its own behind it and use it there as an argument ($1)"
    )]
    Script(String, char),
}

impl Template {
    /// Reads the words of a command.
    pub fn parse(words: &[String]) -> Result<Self, TemplateError> {
        let program = words.first().ok_or(TemplateError::Empty)?;
        let bytes: usize = words.iter().map(String::len).sum();
        if words.len() > TEMPLATE_WORDS_MAX || bytes > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        for (at, word) in words.iter().enumerate() {
            if word.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
                return Err(TemplateError::Control(at + 1));
            }
        }
        let mut read = Self {
            source: words.to_vec(),
            words: Vec::with_capacity(words.len()),
            slots: Vec::new(),
            ended: Vec::with_capacity(words.len()),
        };
        for (at, word) in words.iter().enumerate() {
            let pieces = Reader { word, at: at + 1, slots: &mut read.slots }.read()?;
            read.words.push(pieces);
        }
        let climbs = program.split('/').any(|part| matches!(part, "." | ".."));
        let plain = matches!(&read.words[0][..], [Piece::Text(_)]);
        if !plain || !program.starts_with('/') || program.ends_with('/') || climbs {
            return Err(TemplateError::Program(program.clone()));
        }
        read.end_options();
        read.check()?;
        Ok(read)
    }

    /// As it was written.
    pub fn source(&self) -> &[String] {
        &self.source
    }

    /// The program.
    pub fn program(&self) -> &str {
        match self.words.first().and_then(|word| word.first()) {
            Some(Piece::Text(program)) => program,
            _ => "",
        }
    }

    /// The names of the slots, as they are to be filled: `LEVEL [COMMENT] [FILE...]`.
    pub fn usage(&self) -> String {
        let shown = self.slots.iter().map(|slot| {
            let name = slot.name.to_uppercase();
            match slot.times {
                Times::Once => name,
                Times::Maybe => format!("[{name}]"),
                Times::Rest => format!("[{name}...]"),
            }
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    /// Whether a slot is for an attachment.
    pub fn takes_files(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot.kind, Kind::File))
    }

    /// The slots of a word.
    pub(super) fn slots_of(word: &[Piece]) -> impl Iterator<Item = usize> {
        word.iter().filter_map(|piece| match piece {
            Piece::Slot(slot) => Some(*slot),
            Piece::Text(_) => None,
        })
    }

    /// `--` ends options for the program it is given to. In `sudo -- rm {x}` that is not rm: words
    /// between that are no slots may be a program of their own, so they end what it stands for.
    fn end_options(&mut self) {
        let mut ended = false;
        for word in &self.words {
            self.ended.push(ended);
            match &word[..] {
                [Piece::Text(text)] if text == "--" => ended = true,
                [Piece::Slot(_), ..] => {}
                _ => ended = false,
            }
        }
    }

    fn check(&self) -> Result<(), TemplateError> {
        let mut free = false;
        for (at, slot) in self.slots.iter().enumerate() {
            match slot.times {
                Times::Once if free => return Err(TemplateError::Order(slot.name.clone())),
                Times::Once => {}
                Times::Maybe => free = true,
                Times::Rest if at + 1 < self.slots.len() => {
                    return Err(TemplateError::Rest(slot.name.clone()));
                }
                Times::Rest => {}
            }
        }
        for (word, ended) in self.words.iter().zip(&self.ended) {
            for slot in Self::slots_of(word).map(|slot| &self.slots[slot]) {
                if slot.times == Times::Rest && word.len() > 1 {
                    return Err(TemplateError::Rest(slot.name.clone()));
                }
                if slot.times == Times::Maybe && Self::slots_of(word).count() > 1 {
                    return Err(TemplateError::Beside(slot.name.clone()));
                }
            }
            if let Some(Piece::Slot(slot)) = word.first()
                && let Slot { name, kind: Kind::Int(..0, _), .. } = &self.slots[*slot]
                && !ended
            {
                return Err(TemplateError::Negative(name.clone()));
            }
        }
        self.check_script()
    }

    /// What an interpreter runs is the operator's to write. This finds the mistake that is made; it
    /// cannot find every program that runs what it is given.
    fn check_script(&self) -> Result<(), TemplateError> {
        let name = self.program().rsplit('/').next().unwrap_or_default();
        let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let Some((_, letter)) = INTERPRETERS.iter().find(|(known, _)| *known == bare) else {
            return Ok(());
        };
        let has_slot = |word: &[Piece]| Self::slots_of(word).next().is_some();
        let mut script_follows = false;
        for word in &self.words[1..] {
            let option = match word.first() {
                Some(Piece::Text(text)) => {
                    text.starts_with('-') && !text.starts_with("--") && text.contains(*letter)
                }
                _ => false,
            };
            if (option || script_follows) && has_slot(word) {
                return Err(TemplateError::Script(name.to_owned(), *letter));
            }
            script_follows = option;
        }
        Ok(())
    }
}

/// What was written decides: the rest follows from it.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Template {}

/// Reads one word.
struct Reader<'a> {
    word: &'a str,
    /// Its number, from 1.
    at: usize,
    slots: &'a mut Vec<Slot>,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Vec<Piece>, TemplateError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = self.word;
        while let Some(brace) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(brace);
            text.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                text.push_str(&from[..1]);
                rest = after;
                continue;
            }
            let inside = from.strip_prefix('{').ok_or(TemplateError::Brace(self.at))?;
            let (slot, after) = self.slot(inside)?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Slot(slot));
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(pieces)
    }

    /// Reads a slot behind its brace; its number, and what follows it.
    fn slot<'b>(&mut self, inside: &'b str) -> Result<(usize, &'b str), TemplateError> {
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let end = inside.find(|c| !in_name(c)).ok_or(TemplateError::Brace(self.at))?;
        let (name, rest) = inside.split_at(end);
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.len() > NAME_MAX {
            let shown = inside.split('}').next().unwrap_or_default();
            return Err(TemplateError::Name(shown.chars().take(NAME_MAX).collect()));
        }
        if self.slots.iter().any(|slot| slot.name == name) {
            return Err(TemplateError::Twice(name.to_owned()));
        }
        let (times, rest) = match (rest.strip_prefix('?'), rest.strip_prefix("...")) {
            (Some(rest), _) => (Times::Maybe, rest),
            (_, Some(rest)) => (Times::Rest, rest),
            _ => (Times::Once, rest),
        };
        let (kind, rest) = match (rest.strip_prefix('}'), rest.strip_prefix(':')) {
            (Some(rest), _) => (Kind::Text(TEXT_USUAL), rest),
            (_, Some(rest)) => self.kind(name, rest)?,
            _ => return Err(TemplateError::Name(inside.chars().take(NAME_MAX).collect())),
        };
        self.slots.push(Slot { name: name.to_owned(), kind, times });
        Ok((self.slots.len() - 1, rest))
    }

    /// Reads a type up to the brace that ends its slot.
    fn kind<'b>(&self, slot: &str, rest: &'b str) -> Result<(Kind, &'b str), TemplateError> {
        let wrong = |why: &str| TemplateError::Kind(slot.to_owned(), why.to_owned());
        let end = rest.find(['(', '}']).ok_or(TemplateError::Brace(self.at))?;
        let (kind, more) = rest.split_at(end);
        let (inside, after) = match (more.strip_prefix('}'), more.strip_prefix('(')) {
            (Some(after), _) => (None, after),
            // A pattern has brackets and braces of its own; `)}` it writes as `)[}]`.
            (_, Some(more)) => match more.split_once(")}") {
                Some((inside, after)) => (Some(inside), after),
                None => return Err(wrong("its type does not end: )} is missing")),
            },
            _ => return Err(TemplateError::Brace(self.at)),
        };
        let kind = match (kind, inside) {
            ("text", None) => Kind::Text(TEXT_USUAL),
            ("text", Some(most)) => most
                .parse()
                .ok()
                .filter(|most| (1..=TEXT_MAX).contains(most))
                .map(Kind::Text)
                .ok_or_else(|| wrong("text(N) has 1 to 4096 characters"))?,
            ("int", Some(range)) => int(range).ok_or_else(|| {
                wrong("int(LOW..HIGH) has two whole numbers, the lower one first")
            })?,
            ("enum", Some(choices)) => choice(choices)
                .ok_or_else(|| wrong("enum(A,B) has 1 to 64 different words that can be shown"))?,
            ("re", Some(source)) => pattern(source).map_err(|why| wrong(&why))?,
            ("contact", None) => Kind::Contact,
            ("file", None) => Kind::File,
            _ => {
                return Err(wrong(
                    "its type must be text(64), int(1..10), enum(on,off), re([a-z]+), contact or file",
                ));
            }
        };
        Ok((kind, after))
    }
}

fn int(range: &str) -> Option<Kind> {
    let (low, high) = range.split_once("..")?;
    let (low, high) = (low.parse::<i64>().ok()?, high.parse::<i64>().ok()?);
    (low <= high).then_some(Kind::Int(low, high))
}

fn choice(choices: &str) -> Option<Kind> {
    let choices: Vec<String> = choices.split(',').map(str::to_owned).collect();
    let different = choices.iter().enumerate().all(|(at, one)| !choices[..at].contains(one));
    let plain = choices.iter().all(|one| !one.is_empty() && is_plain(one));
    (choices.len() <= CHOICES_MAX && different && plain).then_some(Kind::Choice(choices))
}

fn pattern(source: &str) -> Result<Kind, String> {
    if source.len() > PATTERN_MAX {
        return Err(format!("a pattern has at most {PATTERN_MAX} bytes"));
    }
    let compile = |source: &str| {
        RegexBuilder::new(source)
            .size_limit(PATTERN_BYTES_MAX)
            .nest_limit(PATTERN_DEPTH_MAX)
            .build()
            .map_err(|error| format!("its pattern cannot be used: {error}"))
    };
    // First by itself: `a)|(?:b` would be two patterns inside the group, one for each end.
    compile(source)?;
    compile(&format!(r"\A(?:{source})\z")).map(Kind::Pattern)
}

/// Whether a word that begins with a slot would be taken for an option. What its operator has written
/// out, word for word, may be one.
pub(super) fn would_be_option(kind: &Kind, ended: bool, value: &str) -> bool {
    !ended && !matches!(kind, Kind::Choice(_)) && starts_like_an_option(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Template, TemplateError> {
        Template::parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn commands_are_read_with_their_slots() {
        let words = [
            "/usr/bin/pump",
            "--level={level:int(0..9)}",
            "{{literal}}",
            "--",
            "{unit:enum(a,b)}",
            "{note?:text(200)}",
            "{more...}",
        ];
        let read = parse(&words).unwrap();
        assert_eq!(read.source(), words);
        assert_eq!(read.program(), "/usr/bin/pump");
        assert_eq!(read.usage(), "LEVEL UNIT [NOTE] [MORE...]");
        assert_eq!(read.ended, [false, false, false, false, true, true, true]);
        assert!(matches!(&read.words[2][..], [Piece::Text(text)] if text == "{literal}"));
        let braces = parse(&["/bin/a", "{x:re([a-f]{2}(a|b){1,2})}", "{y:re(a)}}}"]).unwrap();
        assert_eq!(braces.slots.len(), 2);
        assert!(matches!(&braces.words[2][..], [Piece::Slot(1), Piece::Text(text)] if text == "}"));
    }

    #[test]
    fn a_double_dash_ends_options_only_of_the_program_it_is_given_to() {
        let ended = |words: &[&str]| *parse(words).unwrap().ended.last().unwrap();
        assert!(ended(&["/bin/cp", "--", "{x}"]));
        assert!(ended(&["/bin/cp", "--", "{x}", "{y}"]));
        assert!(!ended(&["/bin/cp", "{x}"]));
        assert!(!ended(&["/usr/bin/sudo", "--", "/bin/rm", "{x}"]));
        assert!(!ended(&["/bin/cp", "--", "--to={x}", "{y}"]));
    }

    #[test]
    fn what_is_no_command_is_refused_with_what_to_do() {
        for (words, said) in [
            (&[][..], "behind --"),
            (&["uptime"], "absolute"),
            (&["./uptime"], "absolute"),
            (&["/usr/bin/../bin/uptime"], "absolute"),
            (&["/usr/bin/"], "absolute"),
            (&["/usr/bin/{x}"], "absolute"),
            (&["{x}"], "absolute"),
            (&["/bin/a", "a\u{1b}"], "word 2"),
            (&["/bin/a", "{"], "word 2"),
            (&["/bin/a", "}"], "word 2"),
            (&["/bin/a", "{}"], "name"),
            (&["/bin/a", "{7}"], "name"),
            (&["/bin/a", "{a b}"], "name"),
            (&["/bin/a", "{x}", "{x}"], "twice"),
            (&["/bin/a", "{x:}"], "type"),
            (&["/bin/a", "{x:int}"], "type"),
            (&["/bin/a", "{x:path}"], "type"),
            (&["/bin/a", "{x:text(0)}"], "4096"),
            (&["/bin/a", "{x:text(4097)}"], "4096"),
            (&["/bin/a", "{x:int(9..1)}"], "whole numbers"),
            (&["/bin/a", "{x:int(1..99999999999999999999)}"], "whole numbers"),
            (&["/bin/a", "{x:enum()}"], "enum"),
            (&["/bin/a", "{x:enum(a,a)}"], "enum"),
            (&["/bin/a", "{x:enum(a,)}"], "enum"),
            (&["/bin/a", "{x:re(()}"], "pattern"),
            (&["/bin/a", "{x:re(a)|(b)}"], "pattern"),
            (&["/bin/a", "{x:re((?x)a # )}"], "pattern"),
            (&["/bin/a", "{x:re((a{1000}){1000})}"], "pattern"),
            (&["/bin/a", "{x:re(a}"], "missing"),
            (&["/bin/a", "{x?}", "{y}"], "before"),
            (&["/bin/a", "{x?}{y?}"], "word"),
            (&["/bin/a", "{x...}", "{y}"], "last"),
            (&["/bin/a", "--x={x...}"], "last"),
            (&["/bin/a", "{x:int(-5..5)}"], "--"),
            (&["/bin/sh", "-c", "echo {x}"], "$1"),
            (&["/bin/bash", "-ec", "{x}"], "$1"),
            (&["/bin/sh", "-c{x}"], "$1"),
            (&["/usr/bin/python3.13", "-c", "{x}"], "$1"),
        ] {
            let error = parse(words).unwrap_err().to_string();
            assert!(error.contains(said), "{words:?}: {error}");
        }
        for fine in [
            &["/bin/a", "--", "{x:int(-5..5)}"][..],
            &["/bin/a", "--n={x:int(-5..5)}"],
            &["/bin/sh", "-c", "echo \"$1\"", "sh", "{x}"],
            &["/bin/a", "-c", "{x}"],
        ] {
            assert!(parse(fine).is_ok(), "{fine:?}");
        }
    }
}
