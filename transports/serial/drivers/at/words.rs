//! What is said to a modem and what it says, as profiles write it: texts with places in braces.
//!
//! ```text
//! AT+SEND={to},{len},{data}                    filled: what is said
//! +RCV={from},{len},{data},{rssi},{snr}        matched: what was heard
//! AT+TEST=RFCFG,{freq.mhz},SF{sf}              a value, written otherwise: mhz, hex2, hex4, dec3
//! +CMTI: {}                                    anything, and nobody asks what
//! ```
//!
//! A line fits a pattern as a whole. Every place takes as little as it can, from left to right and never
//! again, so that matching costs one pass whatever the modem sends. `{data}` behind `{len}` takes just that
//! many bytes, whatever they are; of what a place took, blanks around it do not count otherwise.

use std::collections::BTreeMap;

/// A text in a profile.
const TEXT_MAX: usize = 256;
/// Places in one.
const PLACES_MAX: usize = 16;
/// The place of a frame.
pub(super) const DATA: &str = "data";
/// How long what stands there is.
pub(super) const LEN: &str = "len";

/// What is known by name: options of the address, the frame, what the modem answered.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Values(BTreeMap<String, Value>);

#[derive(Clone, Debug)]
struct Value {
    bytes: Vec<u8>,
    /// Not to be shown to anybody.
    is_secret: bool,
}

impl Values {
    pub(super) fn put(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.0.insert(name.to_owned(), Value { bytes: bytes.into(), is_secret: false });
    }

    pub(super) fn put_secret(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.0.insert(name.to_owned(), Value { bytes: bytes.into(), is_secret: true });
    }

    /// What stands under a name; nothing if there is none.
    pub(super) fn value(&self, name: &str) -> &[u8] {
        self.0.get(name).map_or(&[], |value| &value.bytes)
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        std::str::from_utf8(self.value(name)).ok()?.trim().parse().ok()
    }

    pub(super) fn is_secret(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value.is_secret)
    }

    pub(super) fn take_all(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

/// What is said.
#[derive(Clone, Debug)]
pub(in super::super) struct Template {
    parts: Vec<Part>,
    /// Nobody is shown it.
    is_secret: bool,
}

/// What is heard.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Place { name: String, form: Form },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    AsItIs,
    /// A number of hertz in megahertz, without zeros at its end.
    Mhz,
    /// A number in so many hexadecimal digits.
    Hex(usize),
    /// A number in so many digits.
    Dec(usize),
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    if text.len() > TEXT_MAX {
        return Err(format!("a text has at most {TEXT_MAX} bytes"));
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (place, behind) =
            behind.split_once('}').ok_or_else(|| format!("{text:?}: a brace is not closed"))?;
        let (name, form) = place.split_once('.').unwrap_or((place, ""));
        let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let form = match form {
            "" if !place.ends_with('.') => Form::AsItIs,
            "mhz" => Form::Mhz,
            "hex2" => Form::Hex(2),
            "hex4" => Form::Hex(4),
            "dec3" => Form::Dec(3),
            _ => return Err(format!("{text:?}: values are plain, mhz, hex2, hex4 or dec3")),
        };
        if !is_name {
            return Err(format!("{text:?}: a name in braces has small letters and -"));
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.as_bytes().to_vec()));
        }
        parts.push(Part::Place { name: name.to_owned(), form });
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.as_bytes().to_vec()));
    }
    if parts.iter().filter(|part| matches!(part, Part::Place { .. })).count() > PLACES_MAX {
        return Err(format!("{text:?}: at most {PLACES_MAX} places"));
    }
    Ok(parts)
}

fn names(parts: &[Part]) -> impl Iterator<Item = &str> {
    parts.iter().filter_map(|part| match part {
        Part::Place { name, .. } => Some(name.as_str()),
        Part::Text(_) => None,
    })
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts = parts(text)?;
        let nameless = |part: &Part| matches!(part, Part::Place { name, .. } if name.is_empty());
        match parts.iter().any(nameless) {
            true => Err(format!("{text:?}: what is said names what stands in its braces")),
            false => Ok(Self { parts, is_secret: false }),
        }
    }

    /// Just these bytes.
    pub(in super::super) fn of(bytes: Vec<u8>) -> Self {
        Self { parts: vec![Part::Text(bytes)], is_secret: false }
    }

    /// Just these bytes, which nobody is shown.
    pub(in super::super) fn secret(bytes: Vec<u8>) -> Self {
        Self { is_secret: true, ..Self::of(bytes) }
    }

    /// The names that must be known.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.parts)
    }

    pub(super) fn fill(&self, values: &Values) -> Vec<u8> {
        self.fill_with(|name, form| written(values, name, form))
    }

    /// The same for people: nothing secret, and of a frame only that it stands there.
    pub(super) fn show(&self, values: &Values) -> String {
        if self.is_secret {
            return "****".into();
        }
        let shown = self.fill_with(|name, form| match values.0.get(name) {
            Some(value) if value.is_secret => b"****".to_vec(),
            _ if name == DATA => b"...".to_vec(),
            _ => written(values, name, form),
        });
        show(&shown)
    }

    fn fill_with(&self, write: impl Fn(&str, Form) -> Vec<u8>) -> Vec<u8> {
        let pieces = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Place { name, form } => write(name, *form),
        });
        pieces.collect::<Vec<_>>().concat()
    }
}

fn written(values: &Values, name: &str, form: Form) -> Vec<u8> {
    let number = || values.number(name).unwrap_or(0);
    match form {
        Form::AsItIs => values.value(name).to_vec(),
        Form::Mhz => {
            let (whole, rest) = (number() / 1_000_000, number() % 1_000_000);
            let digits = format!("{whole}.{rest:06}");
            let short = digits.trim_end_matches('0');
            short.strip_suffix('.').unwrap_or(short).as_bytes().to_vec()
        }
        Form::Hex(width) => format!("{:0width$X}", number()).into_bytes(),
        Form::Dec(width) => format!("{:0width$}", number()).into_bytes(),
    }
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts = parts(text)?;
        if parts.is_empty() {
            return Err("an empty pattern fits nothing".into());
        }
        let plain =
            |part: &Part| !matches!(part, Part::Place { form, .. } if *form != Form::AsItIs);
        let apart = |two: &[Part]| !two.iter().all(|part| matches!(part, Part::Place { .. }));
        if !parts.iter().all(plain) || !parts.windows(2).all(apart) {
            return Err(format!("{text:?}: places in what is heard are plain, with text between"));
        }
        Ok(Self { parts, text: text.to_owned() })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The names of its places.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.parts)
    }

    /// Whether there is a place of that name.
    pub(super) fn has(&self, wanted: &str) -> bool {
        self.names().any(|name| name == wanted)
    }

    /// How many bytes of what came are a line of this kind up to the end of its frame, if its beginning says so:
    /// what is within them ends no line, whatever it is.
    pub(super) fn up_to_data(&self, came: &[u8]) -> Option<usize> {
        let mut values = Values::default();
        let mut rest = came;
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(&**text)?,
                Part::Place { name, .. } if name == DATA => {
                    let head = came.len() - rest.len();
                    let data = usize::try_from(values.number(LEN)?).ok()?;
                    return head.checked_add(data);
                }
                Part::Place { name, .. } => {
                    let Some(Part::Text(text)) = self.parts.get(at + 1) else { return None };
                    let (taken, behind) = rest.split_at(find(rest, text)?);
                    if taken.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                        return None;
                    }
                    values.put(name, taken);
                    rest = behind;
                }
            }
        }
        None
    }

    /// What stands in the places, if the line fits.
    pub(super) fn take(&self, line: &[u8]) -> Option<Values> {
        let mut values = Values::default();
        let mut rest = line;
        for (at, part) in self.parts.iter().enumerate() {
            let name = match part {
                Part::Text(text) => {
                    rest = rest.strip_prefix(&**text)?;
                    continue;
                }
                Part::Place { name, .. } => name,
            };
            let exact = values.number(LEN).filter(|_| name == DATA);
            let length = match (exact, self.parts.get(at + 1)) {
                (Some(len), _) => usize::try_from(len).ok()?,
                (None, Some(Part::Text(text))) => find(rest, text)?,
                (None, _) => rest.len(),
            };
            let (taken, behind) = rest.split_at_checked(length)?;
            if !name.is_empty() {
                values.put(name, if exact.is_some() { taken } else { taken.trim_ascii() });
            }
            rest = behind;
        }
        rest.is_empty().then_some(values)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Bytes of a modem for people: some of them, and what cannot be shown as dots.
pub(super) fn show(bytes: &[u8]) -> String {
    /// A word of a modem is shorter.
    const SHOWN: usize = 60;
    let visible = |byte: &u8| if matches!(byte, 0x20..=0x7e) { char::from(*byte) } else { '.' };
    let mut shown: String = bytes.trim_ascii().iter().take(SHOWN).map(visible).collect();
    if bytes.trim_ascii().len() > SHOWN {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[(&str, &str)]) -> Values {
        let mut values = Values::default();
        for (name, value) in all {
            values.put(name, *value);
        }
        values
    }

    #[test]
    fn what_is_said_is_filled_in() {
        let known =
            values(&[("freq", "868100000"), ("sf", "9"), ("net", "18"), ("even", "869000000")]);
        for (text, said) in [
            ("AT", "AT"),
            ("AT+BAND={freq}", "AT+BAND=868100000"),
            ("RFCFG,{freq.mhz},SF{sf}", "RFCFG,868.1,SF9"),
            ("{even.mhz}", "869"),
            ("{net.hex2}{net.hex4}{net.dec3}", "120012018"),
            ("{unknown}!", "!"),
        ] {
            assert_eq!(Template::parse(text).unwrap().fill(&known), said.as_bytes(), "{text}");
        }
        for wrong in ["{", "a{b", "{a.b}", "{a.}", "{A}", "{}", &"{a}".repeat(17), &"a".repeat(257)]
        {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_secret_or_a_frame_is_not_shown() {
        let mut known = values(&[("data", "frame")]);
        known.put_secret("pin", "1234");
        let said = Template::parse("AT+CPIN={pin},{data}\r").unwrap();
        assert_eq!(said.show(&known), "AT+CPIN=****,...");
        assert_eq!(said.fill(&known), b"AT+CPIN=1234,frame\r");
    }

    #[test]
    fn what_is_heard_is_taken_apart() {
        let heard = Pattern::parse("+RCV={from},{len},{data},{rssi},{snr}").unwrap();
        let taken = heard.take(b"+RCV=5,7,a,b,c\x01,,-99,40").unwrap();
        assert_eq!(taken.value("data"), b"a,b,c\x01,");
        assert_eq!((taken.number("rssi"), taken.number("snr")), (Some(-99), Some(40)));
        for wrong in [
            &b"+RCV=5,8,a,b,c\x01,,-99,40"[..],
            b"+RCV=5,99999,a,-99,40",
            b"+RCV=5,-1,a,-99,40",
            b"+RCV=5,x",
            b"+RCV",
            b"",
            b"x+RCV=5,1,a,-99,40",
        ] {
            assert!(heard.take(wrong).is_none(), "{wrong:?}");
        }
        let blanks =
            Pattern::parse("+SBDIX:{mo},{},{mt}").unwrap().take(b"+SBDIX: 0, 3, 1").unwrap();
        assert_eq!((blanks.value("mo"), blanks.value("mt")), (&b"0"[..], &b"1"[..]));
        assert!(Pattern::parse("OK").unwrap().take(b"OK").is_some());
        assert!(Pattern::parse("OK").unwrap().take(b"OKAY").is_none());
        for wrong in ["", "{a}{b}", "{a.hex2}", "{"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_that_says_how_long_its_frame_is_may_hold_anything() {
        let heard = Pattern::parse("+RCV={from},{len},{data},{rssi},{snr}").unwrap();
        for (came, length) in [
            (&b"+RCV=5,7,"[..], Some(16)),
            (b"+RCV=5,7,\r\n+OK\r\n,-5,5\r\n", Some(16)),
            (b"+RCV=5,7", None),
            (b"+RCV=5,x,", None),
            (b"+RCV=5,-1,", None),
            (b"+RCV=5\r\n,1,", None),
            (b"+OK\r\n+RCV=5,7,", None),
        ] {
            assert_eq!(heard.up_to_data(came), length, "{came:?}");
        }
        assert_eq!(Pattern::parse("radio_rx {data}").unwrap().up_to_data(b"radio_rx 00"), None);
    }

    #[test]
    fn people_are_shown_a_little_and_nothing_that_moves_a_cursor() {
        assert_eq!(show(b"\x1b[2J+ERR\r\n"), ".[2J+ERR");
        assert_eq!(show(&[b'a'; 100]).len(), 63);
    }
}
