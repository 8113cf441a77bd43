//! What is said to whoever answers before it is a line of ours: pairs of what is waited for and what is said
//! then, as UUCP and pppd write them.
//!
//! ```text
//! ogin: postrider ssword: secret\x26more        wait for "ogin:", say "postrider"; wait for "ssword:" ...
//! "" \r ogin: me                                say first
//! ABORT refused ogin: me                        "refused" ends it, from there on
//! ```
//!
//! Words stand between blanks. `""` is nothing; `\s` a blank, `\r` `\n` `\t` `\\` as everywhere, `\d` a second's
//! pause before it is said, `\c` at the end: no carriage return behind it; `\xHH` a byte, for what an address
//! cannot hold (`&` is `\x26`, `#` is `\x23`).

use std::time::Duration;

use super::super::at::{
    chat::{Script, Step},
    words::Template,
};

/// Words of a login.
const WORDS_MAX: usize = 32;
/// What is waited for.
const WITHIN: Duration = Duration::from_secs(45);
/// `\d`.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads a login. What is wrong with it is for people, and without anything of it: it may hold a password.
pub(super) fn script(text: &str) -> Result<Script, &'static str> {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    if words.len() > WORDS_MAX {
        return Err("chat has at most 32 words");
    }
    let mut aborts = vec![b"NO CARRIER".to_vec()];
    let mut steps = Vec::new();
    for pair in words.chunks(2) {
        let expect = word(pair[0])?;
        if pair[0] == "ABORT" {
            let abort = word(pair.get(1).ok_or("chat: ABORT wants a word behind it")?)?;
            if abort.bytes.is_empty() {
                return Err("chat: ABORT wants a word behind it");
            }
            aborts.push(abort.bytes);
            continue;
        }
        if !expect.bytes.is_empty() {
            steps.push(Step::await_bytes(&expect.bytes, &aborts, WITHIN));
        }
        let Some(said) = pair.get(1) else { continue };
        let Word { mut bytes, pauses, is_cut } = word(said)?;
        if !is_cut {
            bytes.push(b'\r');
        }
        steps.push(Step::say(Template::secret(bytes)).after(PAUSE * pauses));
    }
    Ok(Script { steps })
}

struct Word {
    bytes: Vec<u8>,
    pauses: u32,
    /// No carriage return behind it.
    is_cut: bool,
}

fn word(text: &str) -> Result<Word, &'static str> {
    let mut word = Word { bytes: Vec::new(), pauses: 0, is_cut: false };
    if text == "\"\"" {
        return Ok(word);
    }
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            word.bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b's') => word.bytes.push(b' '),
            Some(b'r') => word.bytes.push(b'\r'),
            Some(b'n') => word.bytes.push(b'\n'),
            Some(b't') => word.bytes.push(b'\t'),
            Some(b'\\') => word.bytes.push(b'\\'),
            Some(b'd') => word.pauses += 1,
            Some(b'c') => word.is_cut = true,
            Some(b'x') => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let byte = digit().and_then(|high| Some(high << 4 | digit()?));
                let byte = byte.and_then(|byte| u8::try_from(byte).ok());
                word.bytes.push(byte.ok_or("chat: \\x wants two hexadecimal digits")?);
            }
            _ => return Err("chat knows \\s \\r \\n \\t \\\\ \\d \\c and \\xHH"),
        }
    }
    Ok(word)
}

/// The same escapes where a command is meant: `init=AT\x26K3`.
pub(super) fn command(text: &str) -> Result<Vec<u8>, &'static str> {
    let Word { bytes, .. } = word(text)?;
    match bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e)) {
        true => Ok(bytes),
        false => Err("init holds commands, and nothing that ends one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_pairs_and_each_has_its_words() {
        for (text, steps) in [
            ("", 0),
            ("ogin: me ssword: secret", 4),
            ("\"\" \\r\\d ogin: me\\c", 3),
            ("ABORT refused ogin: me", 2),
            ("ogin:", 1),
        ] {
            assert_eq!(script(text).unwrap().steps.len(), steps, "{text}");
        }
        assert_eq!(word("a\\s\\x26\\\\").unwrap().bytes, b"a &\\");
        assert_eq!(command("AT\\x26K3").unwrap(), b"AT&K3");
        for wrong in ["\\q", "\\", "\\x2", "\\xgg", "ABORT", "ABORT \"\"", &"a ".repeat(33)] {
            assert!(script(wrong).is_err(), "{wrong}");
        }
        assert!(command("ATZ\\rATH").is_err());
    }
}
