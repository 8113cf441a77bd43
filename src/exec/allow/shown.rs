//! A word of a command before a person's eyes: exactly what it is, and nothing in it can hide.

/// A word as a shell would have to read it: in quotes, always; whatever is not printable ASCII as
/// an escape. A letter of another script may look like one of ours, so those are escapes too.
pub fn shown(word: &[u8]) -> String {
    if word.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        let text = String::from_utf8_lossy(word);
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut out = "$'".to_owned();
    for chunk in word.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str(r"\n"),
                '\t' => out.push_str(r"\t"),
                '\'' | '\\' => out.extend(['\\', c]),
                ' '..='~' => out.push(c),
                c if u32::from(c) < 0x80 => out.push_str(&format!(r"\x{:02x}", u32::from(c))),
                c if u32::from(c) < 0x1_0000 => out.push_str(&format!(r"\u{:04x}", u32::from(c))),
                c => out.push_str(&format!(r"\U{:08x}", u32::from(c))),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!(r"\x{byte:02x}"));
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_shown_as_it_is() {
        for (word, wanted) in [
            (&b""[..], "''"),
            (b"--level=3", "'--level=3'"),
            (b"two words", "'two words'"),
            (b"it's", r"'it'\''s'"),
            (b"$(id) `id`; \"x\" \\", r#"'$(id) `id`; "x" \'"#),
            (b"a\nb'\\", r"$'a\nb\'\\'"),
            (b"\x1b[2J\x7f", r"$'\x1b[2J\x7f'"),
            (b"a\xff", r"$'a\xff'"),
            ("\u{202e}fdp".as_bytes(), r"$'\u202efdp'"),
            ("п".as_bytes(), r"$'\u043f'"),
            ("👍".as_bytes(), r"$'\U0001f44d'"),
        ] {
            assert_eq!(shown(word), wanted);
            assert!(shown(word).bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
