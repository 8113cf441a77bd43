//! What hostile arguments become: for each the exact command, or the exact reason that is sent back.
#![allow(clippy::unwrap_used, clippy::panic)]

use postrider_base::{BundleId, packet::approval_of};
use postrider_exec::{
    allow::{AllowList, Asked, Attached, Entry, Here, Template, Verdict, judge},
    contract::Limits,
};

/// A name, the command behind the program, the arguments, and what becomes of them.
type Case = (&'static str, &'static [&'static str], Vec<Vec<u8>>, Result<Vec<String>, String>);

fn args(args: &[&str]) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.as_bytes().to_vec()).collect()
}

/// It runs as these words behind the program.
fn runs(
    name: &'static str,
    command: &'static [&'static str],
    given: &[&str],
    argv: &[&str],
) -> Case {
    let argv = argv.iter().map(ToString::to_string).collect();
    (name, command, args(given), Ok(argv))
}

/// It is refused, because of its only or last argument.
fn refused(
    name: &'static str,
    command: &'static [&'static str],
    given: &[&str],
    why: &str,
) -> Case {
    (name, command, args(given), Err(why.to_owned()))
}

fn refused_bytes(name: &'static str, given: Vec<u8>, why: &str) -> Case {
    (name, &["{x}"], vec![given], Err(why.to_owned()))
}

const X: &[&str] = &["{x}"];
const OPTION: &str = "argument 1 (x): it begins with a dash and would be an option";

/// What no shell ever sees is a word like any other.
fn for_a_shell() -> Vec<Case> {
    vec![
        runs("a semicolon", X, &["a; reboot"], &["a; reboot"]),
        runs("a substitution", X, &["$(reboot)"], &["$(reboot)"]),
        runs("backticks", X, &["`reboot`"], &["`reboot`"]),
        runs("a variable", X, &["$HOME ${IFS}x"], &["$HOME ${IFS}x"]),
        runs("a glob", X, &["*"], &["*"]),
        runs("a brace expansion", X, &["a{b,c}"], &["a{b,c}"]),
        runs("a tilde", X, &["~root"], &["~root"]),
        runs("a pipe and a redirection", X, &["x|y>/etc/passwd"], &["x|y>/etc/passwd"]),
        runs("an ampersand", X, &["x && y &"], &["x && y &"]),
        runs("quotes", X, &["'\"\\"], &["'\"\\"]),
        runs("a comment", X, &["# x"], &["# x"]),
        runs("blanks make no second word", X, &["a  b"], &["a  b"]),
        runs("a word of the environment", X, &["LD_PRELOAD=/x"], &["LD_PRELOAD=/x"]),
        runs("an equals sign splits nothing", &["--x={x}"], &["a=b"], &["--x=a=b"]),
        runs("a percent format", X, &["%n%s"], &["%n%s"]),
    ]
}

fn options() -> Vec<Case> {
    vec![
        refused("a leading dash", X, &["-rf"], OPTION),
        refused("a long option", X, &["--output=/etc/passwd"], OPTION),
        refused("a dash alone", X, &["-"], OPTION),
        refused("two dashes", X, &["--"], OPTION),
        refused("a dash before the text of the word", &["{x}.txt"], &["-rf"], OPTION),
        refused("a fullwidth hyphen", X, &["\u{ff0d}rf"], OPTION),
        refused("a minus sign", X, &["\u{2212}rf"], OPTION),
        refused("an em dash", X, &["\u{2014}help"], OPTION),
        refused("a leading dash that a pattern allows", &["{x:re([a-z-]+)}"], &["-rf"], OPTION),
        refused("the -- of another program", &["--", "/bin/rm", "{x}"], &["-rf"], OPTION),
        refused("a leading dash in the rest", &["{x...}"], &["a", "-b"], {
            "argument 2 (x): it begins with a dash and would be an option"
        }),
        runs("a dash inside", X, &["a-b"], &["a-b"]),
        runs("a dash behind --", &["--", "{x}"], &["-rf"], &["--", "-rf"]),
        runs("a dash in a word of its own option", &["--x={x}"], &["-rf"], &["--x=-rf"]),
        runs("an option that the operator wrote", &["{x:enum(-v,-q)}"], &["-q"], &["-q"]),
        runs("a plus sign is text", X, &["+x"], &["+x"]),
    ]
}

fn hidden() -> Vec<Case> {
    let seen = |point: &str| {
        format!("argument 1 (x): it has the character U+{point}, which cannot be seen")
    };
    vec![
        refused("a newline", X, &["a\nb"], &seen("000A")),
        refused("a carriage return", X, &["a\rb"], &seen("000D")),
        refused("a zero byte", X, &["a\0b"], &seen("0000")),
        refused("a tab", X, &["a\tb"], &seen("0009")),
        refused("an escape sequence", X, &["\u{1b}[2J"], &seen("001B")),
        refused("a delete", X, &["a\u{7f}"], &seen("007F")),
        refused("a control character beyond ASCII", X, &["\u{9b}2J"], &seen("009B")),
        refused("a right-to-left override", X, &["a\u{202e}txt.exe"], &seen("202E")),
        refused("an isolate", X, &["\u{2066}x"], &seen("2066")),
        refused("a zero-width space", X, &["a\u{200b}b"], &seen("200B")),
        refused("a zero-width joiner", X, &["a\u{200d}b"], &seen("200D")),
        refused("a byte order mark before a dash", X, &["\u{feff}-rf"], &seen("FEFF")),
        refused("a line separator", X, &["a\u{2028}b"], &seen("2028")),
        refused("a soft hyphen", X, &["\u{ad}rf"], &seen("00AD")),
        refused("a tag character", X, &["a\u{e0041}"], &seen("E0041")),
        refused("a newline that a pattern allows", &["{x:re((?s).*)}"], &["a\nb"], &seen("000A")),
        refused_bytes("bytes that are no text", b"a\xff".to_vec(), {
            "argument 1 (x): it is not UTF-8"
        }),
        refused_bytes("an overlong slash", b"\xc0\xaf".to_vec(), {
            "argument 1 (x): it is not UTF-8"
        }),
        runs("a letter of another script", X, &["Straße 山"], &["Straße 山"]),
    ]
}

fn sizes() -> Vec<Case> {
    let million = "argument 1 (x): it has 1000000 bytes, and at most 256 are taken";
    vec![
        refused_bytes("a megabyte", vec![b'x'; 1_000_000], million),
        refused("an empty argument", X, &[""], "argument 1 (x): it is empty"),
        refused("65 characters", X, &[&"x".repeat(65)], {
            "argument 1 (x): it has 65 characters, and at most 64 are taken"
        }),
        runs("64 characters of many bytes", X, &[&"山".repeat(64)], &[&"山".repeat(64)]),
        refused("no argument", X, &[], "0 arguments, and h takes X"),
        refused("two arguments", X, &["a", "b"], "2 arguments, and h takes X"),
        refused("an argument for none", &["now"], &["a"], "1 arguments, and h takes none"),
        refused("too few of three", &["{x}", "{y}", "{z?}"], &["a"], {
            "1 arguments, and h takes X Y [Z]"
        }),
        runs("what need not be there", &["{x}", "--z={z?}", "end"], &["a"], &["a", "end"]),
        runs("what need not be there and is", &["{x}", "--z={z?}"], &["a", "b"], &["a", "--z=b"]),
        runs("no rest", &["a", "{x...}"], &[], &["a"]),
        runs("a rest, each a word", &["{x...}", "z"], &["a b", "c"], &["a b", "c", "z"]),
        runs("a slot in a value is text", &["{x}", "{y}"], &["{y}", "b"], &["{y}", "b"]),
        runs("braces in a value are text", X, &["{{x}}"], &["{{x}}"]),
        (
            "more words than a command has",
            &["{x...}"],
            vec![b"a".to_vec(); 512],
            Err("the command would have more than 512 words or 262144 bytes".into()),
        ),
    ]
}

fn types() -> Vec<Case> {
    const N: &[&str] = &["{x:int(0..10)}"];
    const RE: &[&str] = &["{x:re([a-z]+|[0-9]{2})}"];
    let int = |said: &str| format!("argument 1 (x): \"{said}\" is no whole number");
    let form =
        |said: &str| format!("argument 1 (x): \"{said}\" does not have the form that is asked for");
    let aged = form(&format!("{}...", "a".repeat(40)));
    vec![
        runs("a number", N, &["10"], &["10"]),
        refused("a sign before a number", N, &["+1"], {
            "argument 1 (x): \"+1\" is not written as 1"
        }),
        refused("a zero before a number", N, &["01"], {
            "argument 1 (x): \"01\" is not written as 1"
        }),
        refused("minus zero", N, &["-0"], "argument 1 (x): \"-0\" is not written as 0"),
        refused("hexadecimal", N, &["0x1"], &int("0x1")),
        refused("an exponent", N, &["1e3"], &int("1e3")),
        refused("a blank before a number", N, &[" 1"], &int(" 1")),
        refused("a fraction", N, &["1.0"], &int("1.0")),
        refused("a grouped number", N, &["1_0"], &int("1_0")),
        refused("a digit of another script", N, &["٣"], &int("?")),
        refused("one too many", N, &["11"], "argument 1 (x): 11 is not from 0 to 10"),
        refused("beyond 64 bits", N, &["9223372036854775808"], &int("9223372036854775808")),
        refused("a number below", N, &["-1"], "argument 1 (x): -1 is not from 0 to 10"),
        runs("a negative number in its place", &["--n={x:int(-5..5)}"], &["-5"], &["--n=-5"]),
        refused("a choice that is none", &["{x:enum(on,off)}"], &["On"], {
            "argument 1 (x): \"On\" is none of on, off"
        }),
        refused("two choices", &["{x:enum(on,off)}"], &["on,off"], {
            "argument 1 (x): \"on,off\" is none of on, off"
        }),
        runs("one branch of a pattern", RE, &["abc"], &["abc"]),
        refused("more than a pattern", RE, &["abc;"], &form("abc;")),
        refused("something before a pattern", RE, &["1abc"], &form("1abc")),
        refused("what others take an age for", &["{x:re((a+)+b)}"], &[&"a".repeat(1000)], {
            &aged
        }),
        refused("longer than any pattern is asked about", RE, &[&"a".repeat(1025)], {
            "argument 1 (x): it has 1025 bytes, and at most 1024 are taken"
        }),
        runs("a contact's name becomes an id", &["{x:contact}"], &["Bob"], &["pr1bob"]),
        refused("a stranger's name", &["{x:contact}"], &["Eve"], {
            "argument 1 (x): \"Eve\" is no contact here"
        }),
        runs("an attachment becomes a path", &["{x:file}"], &["plan.txt"], &["../given/0"]),
        runs("an attachment called as an option", &["{x:file}"], &["-rf"], &["../given/1"]),
        refused("a path in place of an attachment", &["{x:file}"], &["/etc/passwd"], {
            "argument 1 (x): \"/etc/passwd\" is not among what came along with the job"
        }),
        refused("a path that climbs", &["{x:file}"], &["../../etc/passwd"], {
            "argument 1 (x): \"../../etc/passwd\" is not among what came along with the job"
        }),
        refused("an attachment that did not come", &["{x:file}"], &["plan"], {
            "argument 1 (x): \"plan\" is not among what came along with the job"
        }),
    ]
}

fn list(command: &[&str]) -> AllowList {
    let words: Vec<String> =
        ["/bin/program"].iter().chain(command).map(ToString::to_string).collect();
    let mut entry = Entry::new(Template::parse(&words).unwrap());
    entry.files = Some(1000);
    entry.check().unwrap();
    AllowList([("h".parse().unwrap(), entry)].into())
}

fn attached() -> Vec<Attached> {
    ["plan.txt", "-rf"].map(|name| Attached { name: name.into(), bytes: 10 }).to_vec()
}

const HERE: Here<'_> =
    Here { may: &|_| true, contact: &|name| (name == "Bob").then(|| "pr1bob".to_owned()) };

#[test]
fn every_hostile_argument_becomes_one_word_or_a_reason() {
    let cases = [for_a_shell(), options(), hidden(), sizes(), types()].concat();
    let mut names: Vec<_> = cases.iter().map(|case| case.0).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() == cases.len() && cases.len() >= 40, "{} cases", names.len());
    for (name, command, args, wanted) in cases {
        let (list, handle) = (list(command), "h".parse().unwrap());
        let asked = Asked { handle: &handle, args: &args, stdin_bytes: None, files: &attached() };
        let got = match judge(&list, &asked, &HERE) {
            Verdict::Run(rendered) => {
                assert_eq!(rendered.argv[0], b"/bin/program", "{name}");
                let words = rendered.argv[1..].iter();
                Ok(words.map(|word| String::from_utf8(word.clone()).unwrap()).collect())
            }
            Verdict::Refused(refusal) => {
                let why = refusal.why();
                // It goes back over a narrow link and onto a terminal.
                let printable = why.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                assert!(why.len() <= 512 && printable, "{name}: {why:?}");
                Err(why)
            }
            Verdict::NoSuchHandle => panic!("{name}"),
        };
        assert_eq!(got, wanted, "{name}");
    }
}

/// Who may is asked before anything else, in the entry's own words or else the node's.
#[test]
fn whoever_may_not_learns_nothing_of_the_command() {
    let mut list = list(&["{x:int(0..1)}"]);
    let handle = "h".parse().unwrap();
    let refusal =
        |list: &AllowList, handle, args: &[Vec<u8>], of: &dyn Fn(Option<&[String]>) -> bool| {
            let asked = Asked { handle, args, stdin_bytes: Some(1), files: &[] };
            match judge(list, &asked, &Here { may: of, ..HERE }) {
                Verdict::Run(_) => "runs".to_owned(),
                Verdict::Refused(refusal) => refusal.why(),
                Verdict::NoSuchHandle => "none".to_owned(),
            }
        };
    let wrong = args(&["99"]);
    let never: &dyn Fn(Option<&[String]>) -> bool = &|_| false;
    assert_eq!(refusal(&list, &handle, &wrong, never), "h is not for you here");
    let by_node: &dyn Fn(Option<&[String]>) -> bool = &|words| words.is_none();
    let stdin = "1 bytes of standard input, and h takes 0";
    assert_eq!(refusal(&list, &handle, &wrong, by_node), stdin);
    list.0.get_mut(&handle).unwrap().who = Some(vec!["@chief".into()]);
    assert_eq!(refusal(&list, &handle, &wrong, by_node), "h is not for you here");
    let chief: &dyn Fn(Option<&[String]>) -> bool = &|words| words == Some(&["@chief".into()]);
    assert_eq!(refusal(&list, &handle, &wrong, chief), stdin);
    assert_eq!(refusal(&list, &"other".parse().unwrap(), &wrong, chief), "none");
}

#[test]
fn what_comes_along_is_bounded_and_told_apart_by_name() {
    let mut list = list(&["{x?:file}"]);
    let handle = "h".parse().unwrap();
    let file = |name: &str, bytes| Attached { name: name.into(), bytes };
    let of = |list: &AllowList, stdin_bytes, files: &[Attached]| {
        let asked = Asked { handle: &handle, args: &[], stdin_bytes, files };
        match judge(list, &asked, &HERE) {
            Verdict::Refused(refusal) => refusal.why(),
            _ => "runs".to_owned(),
        }
    };
    assert_eq!(of(&list, None, &[file("a", 400), file("b", 600)]), "runs");
    assert_eq!(
        of(&list, None, &[file("a", 400), file("b", 601)]),
        "1001 bytes in 2 attachments, and h takes 1000 bytes"
    );
    assert!(of(&list, None, &[file("a", u64::MAX), file("b", 1)]).contains("attachments"));
    assert!(of(&list, None, &vec![file("a", 0); 257]).contains("257 attachments"));
    let names = "the attachments cannot be told apart by their names";
    assert_eq!(of(&list, None, &[file("a", 1), file("a", 1)]), names);
    assert_eq!(of(&list, None, &[file("../a", 1)]), names);
    assert_eq!(of(&list, Some(0), &[]), "0 bytes of standard input, and h takes 0");
    list.0.get_mut(&handle).unwrap().stdin = Some(10);
    assert_eq!(of(&list, Some(10), &[]), "runs");
    assert_eq!(of(&list, Some(11), &[]), "11 bytes of standard input, and h takes 10");
}

#[test]
fn an_order_says_all_that_the_entry_does_and_approval_is_of_the_command_as_it_runs() {
    let mut list = list(&["{x}"]);
    let handle = "h".parse().unwrap();
    let entry = list.0.get_mut(&handle).unwrap();
    (entry.limits.wall_s, entry.pin, entry.best_effort) = (Some(5), Some([7; 32]), true);
    (entry.reach.net, entry.approvals) = (true, 2);
    let of = |arg: &str, job: u8| {
        let asked = Asked { handle: &handle, args: &args(&[arg]), stdin_bytes: None, files: &[] };
        let Verdict::Run(rendered) = judge(&list, &asked, &HERE) else { panic!("{arg}") };
        let (needed, hash) = rendered.needs_approvals([job; 32]).unwrap();
        assert_eq!((needed, hash), (2, approval_of(&BundleId([job; 32]), &rendered.argv)));
        (rendered.order([job; 32], "Alice".into()), hash)
    };
    let (order, hash) = of("a", 1);
    assert_eq!(order.argv, args(&["/bin/program", "a"]));
    assert_eq!(order.limits, Limits { wall_s: 5, ..Limits::default() });
    assert_eq!((order.pin, order.best_effort, order.reach.net), (Some([7; 32]), true, true));
    assert_eq!((order.job, &*order.from), ([1; 32], "Alice"));
    assert_ne!(hash, of("b", 1).1, "another command");
    assert_ne!(hash, of("a", 2).1, "another job");
}
