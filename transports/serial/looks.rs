//! What something that is no node looks like, by what it says: for people who test a port.
//!
//! A guess, and nothing is done because of it.

/// Bytes of what came that are looked at, and kept for that.
pub const SAMPLE_BYTES: usize = 512;
/// Characters of a line that are shown.
const SHOWN_MAX: usize = 60;

/// What the bytes look like, in words for a person.
pub fn looks_like(sample: &[u8]) -> String {
    let sample = &sample[..sample.len().min(SAMPLE_BYTES)];
    let count = |is: fn(u8) -> bool| sample.iter().filter(|byte| is(**byte)).count();
    let text = count(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t'));
    let flat = count(|byte| matches!(byte, 0x00 | 0xff));
    let is_text = text * 20 >= sample.len() * 19;
    let has = |wanted: &[u8]| sample.windows(wanted.len()).any(|window| window == wanted);
    if sample.is_empty() {
        return "nothing".into();
    }
    let kiss = sample.windows(2).filter(|two| two[0] == 0xc0 && two[1] & 0x0f <= 6).count();
    if has(&[0x94, 0xc3]) {
        return "a Meshtastic radio".into();
    }
    if has(b"$GP") || has(b"$GN") || has(b"$GL") {
        return format!("a satellite receiver: {}", first_line(sample));
    }
    if is_text && has(b"login:") {
        return format!("a console that wants a login: {}", first_line(sample));
    }
    let is_answer =
        |line: &[u8]| matches!(line.trim_ascii(), b"OK" | b"ERROR" | b"NO CARRIER" | b"RING");
    if is_text && sample.split(|byte| *byte == b'\n' || *byte == b'\r').any(is_answer) {
        return format!("a modem that takes AT commands: {}", first_line(sample));
    }
    if is_text {
        return format!("text: {}", first_line(sample));
    }
    if kiss >= 2 {
        return "a KISS modem".into();
    }
    if flat * 2 > sample.len() {
        return "zeros and ones: another rate, or a wire that is open".into();
    }
    let shown: Vec<String> = sample.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("no text ({} …): another rate, another protocol, or noise", shown.join(" "))
}

/// The first line with something in it, without what a terminal would obey.
fn first_line(sample: &[u8]) -> String {
    let mut lines = sample.split(|byte| *byte == b'\n' || *byte == b'\r');
    let line = lines.find(|line| line.iter().any(u8::is_ascii_graphic)).unwrap_or_default();
    let shown = line.iter().filter(|byte| matches!(byte, b' '..=b'~')).take(SHOWN_MAX);
    shown.map(|byte| char::from(*byte)).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_often_found_at_a_port_is_known() {
        for (sample, word) in [
            (&b""[..], "nothing"),
            (b"\r\nDebian GNU/Linux 12 box ttyS0\r\n\r\nbox login: ", "login: Debian"),
            (b"$GPGGA,123519,4807.038,N*47\r\n$GPGSA,A,3*39\r\n", "receiver: $GPGGA"),
            (b"AT\r\r\nOK\r\n", "AT commands"),
            (b"\x94\xc3\x00\x12\x0a\x10", "Meshtastic"),
            (b"\xc0\x00\x82\xa0\xa4\xa6@@`\xae\x92\xc0\xc0\x00\x9a", "KISS"),
            (b"temp 21.5 \x1b[31mhum 40\r\n", "text: temp 21.5 [31mhum 40"),
            (&[0x00, 0xff, 0x00, 0x80, 0x00, 0xff], "another rate"),
            (&[0x8f, 0x1e, 0xa3, 0x77, 0x02, 0xe8], "8f 1e a3"),
        ] {
            let said = looks_like(sample);
            assert!(said.contains(word), "{said}");
        }
    }

    #[test]
    fn whatever_came_is_shown_short_and_without_controls() {
        for byte in 0..=u8::MAX {
            let said = looks_like(&vec![byte; 100_000]);
            assert!(said.chars().count() < 120, "{said}");
            assert!(!said.chars().any(char::is_control), "{said}");
        }
    }
}
