//! What an address may say to a profile: names, kinds, ranges, and what holds when nothing is said.
//!
//! A value goes into commands, so none can hold anything that would end one: numbers, digits, words of letters, or
//! what the profile lists.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{pdu::DIGITS_MAX, words::Values};

/// A value of an address.
const VALUE_MAX: usize = 64;
/// A SIM card's number has 4 to 8 digits (TS 31.101); other modules' codes fit as well.
const CODE_DIGITS: std::ops::RangeInclusive<usize> = 4..=8;

/// An option, as the profile describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Spec {
    /// For people.
    #[serde(default)]
    about: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    min: i64,
    #[serde(default = "most")]
    max: i64,
    /// Without one it must be given.
    default: Option<String>,
    /// What may be said, and what the modem is told for it.
    #[serde(default)]
    choices: BTreeMap<String, String>,
    /// Not to be shown.
    #[serde(default)]
    secret: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    #[default]
    Number,
    /// With or without Hz, kHz, MHz, GHz.
    Hertz,
    /// Of a telephone.
    Phone,
    /// Some digits, or nothing.
    Code,
    /// One of those that the profile lists.
    Choice,
}

fn most() -> i64 {
    i64::from(u32::MAX)
}

/// What was chosen: as modems are told, and as numbers for whoever reckons.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    pub(super) values: Values,
    numbers: BTreeMap<String, i64>,
}

impl Chosen {
    /// What was said as a number; of a choice what stands in the address, not what the modem is told.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        u64::try_from(*self.numbers.get(name)?).ok()
    }
}

/// Reads what an address says. `profile` is for people.
pub(super) fn choose(
    profile: &str,
    specs: &BTreeMap<String, Spec>,
    given: &[(String, String)],
) -> Result<Chosen, String> {
    if let Some((name, _)) = given.iter().find(|(name, _)| !specs.contains_key(name)) {
        let shown: Vec<String> = specs.iter().map(|(name, spec)| spec.show(name)).collect();
        let list = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
        return Err(format!("{profile} has no option {name}; there are {list}"));
    }
    let mut chosen = Chosen::default();
    for (name, spec) in specs {
        let mut said = given.iter().filter(|(given, _)| given == name).map(|(_, value)| value);
        let value = match (said.next(), said.next(), &spec.default) {
            (Some(_), Some(_), _) => return Err(format!("{name} is said twice")),
            (Some(value), None, _) => value,
            (None, _, Some(default)) => default,
            (None, _, None) => {
                return Err(format!("{profile} needs the option {}", spec.show(name)));
            }
        };
        let (told, number) = spec
            .read(value)
            .ok_or_else(|| format!("{} of {profile}: {}", spec.show(name), spec.hint(value)))?;
        if let Some(number) = number {
            chosen.numbers.insert(name.clone(), number);
        }
        match spec.secret {
            true => chosen.values.put_secret(name, told),
            false => chosen.values.put(name, told),
        }
    }
    Ok(chosen)
}

impl Spec {
    /// That it can be used at all, and is no way around what values may hold.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        let is_name = !name.is_empty() && name.bytes().all(|c| c.is_ascii_lowercase() || c == b'-');
        if !is_name {
            return Err(format!("option {name:?}: a name has small letters and -"));
        }
        if (self.kind == Kind::Choice) == self.choices.is_empty() {
            return Err(format!("option {name}: choices belong to kind = \"choice\""));
        }
        match &self.default {
            Some(default) if self.read(default).is_none() => {
                Err(format!("option {name}: its default {default:?} may not be said"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn is_secret(&self) -> bool {
        self.secret
    }

    /// What the modem is told, and the number it is.
    fn read(&self, value: &str) -> Option<(String, Option<i64>)> {
        if value.len() > VALUE_MAX {
            return None;
        }
        let in_range = |number: &i64| (self.min..=self.max).contains(number);
        match self.kind {
            Kind::Number => {
                let number = value.parse().ok().filter(in_range)?;
                Some((number.to_string(), Some(number)))
            }
            Kind::Hertz => {
                let hertz = hertz(value).filter(in_range)?;
                Some((hertz.to_string(), Some(hertz)))
            }
            Kind::Phone => {
                let digits = value.strip_prefix('+').unwrap_or(value);
                let fine = (1..=DIGITS_MAX).contains(&digits.len())
                    && digits.bytes().all(|byte| byte.is_ascii_digit());
                fine.then(|| (value.to_owned(), None))
            }
            Kind::Code => {
                let fine = value.is_empty()
                    || CODE_DIGITS.contains(&value.len())
                        && value.bytes().all(|byte| byte.is_ascii_digit());
                fine.then(|| (value.to_owned(), None))
            }
            Kind::Choice => {
                let told = self.choices.get(value)?;
                Some((told.clone(), value.parse().ok()))
            }
        }
    }

    /// Its name, what it may be, and what it is if nothing is said.
    fn show(&self, name: &str) -> String {
        let may = match self.kind {
            Kind::Number => format!("{} to {}", self.min, self.max),
            Kind::Hertz => format!("{} to {} Hz", self.min, self.max),
            Kind::Phone => "a telephone number".into(),
            Kind::Code => "4 to 8 digits".into(),
            Kind::Choice => self.choices.keys().cloned().collect::<Vec<_>>().join("|"),
        };
        let default = match &self.default {
            Some(default) if !default.is_empty() => format!(", else {default}"),
            _ => String::new(),
        };
        format!("{name} ({may}{default})")
    }

    fn hint(&self, value: &str) -> String {
        let about = if self.about.is_empty() { "" } else { &*self.about };
        match self.secret {
            true => format!("what was said is not it. {about}"),
            false => format!("{value:?} is not it. {about}"),
        }
        .trim_end()
        .to_owned()
    }
}

/// `868.1MHz`, `868100kHz`, `868100000`.
fn hertz(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_suffix("hz").unwrap_or(&lower);
    let (number, digits) = match number.as_bytes().last()? {
        b'k' => (&number[..number.len() - 1], 3),
        b'm' => (&number[..number.len() - 1], 6),
        b'g' => (&number[..number.len() - 1], 9),
        _ => (number, 0),
    };
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let all = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all(whole) || !all(rest) || rest.len() > digits {
        return None;
    }
    format!("{whole}{rest:0<digits$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(text: &str) -> BTreeMap<String, Spec> {
        let specs: BTreeMap<String, Spec> = toml::from_str(text).unwrap();
        for (name, spec) in &specs {
            spec.check(name).unwrap();
        }
        specs
    }

    fn given(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const OPTIONS: &str = r#"
        freq = { kind = "hertz", min = 400000000, max = 960000000, default = "868.5MHz" }
        bw = { kind = "choice", choices = { 125 = "7", 250 = "8" }, default = "125" }
        sf = { min = 7, max = 12, default = "9" }
        number = { kind = "phone" }
        pin = { kind = "code", secret = true, default = "" }
    "#;

    #[test]
    fn an_address_chooses_and_the_rest_is_usual() {
        let said = given(&[("freq", "433.92MHz"), ("number", "+49170"), ("pin", "1234")]);
        let chosen = choose("m", &specs(OPTIONS), &said).unwrap();
        assert_eq!(chosen.values.value("freq"), b"433920000");
        assert_eq!((chosen.values.value("bw"), chosen.number("bw")), (&b"7"[..], Some(125)));
        assert_eq!(chosen.number("sf"), Some(9));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_there_is() {
        let known = specs(OPTIONS);
        for (said, word) in [
            (&[("number", "1"), ("speed", "9")][..], "sf (7 to 12, else 9)"),
            (&[("number", "1"), ("sf", "13")], "sf (7 to 12"),
            (&[("number", "1"), ("sf", "9\r\nATZ")], "sf"),
            (&[("number", "1;ATZ")], "a telephone number"),
            (&[("number", "1"), ("bw", "7")], "125|250"),
            (&[("number", "1"), ("freq", "868.1")], "freq"),
            (&[("number", "1"), ("sf", "9"), ("sf", "9")], "twice"),
            (&[], "needs the option number"),
        ] {
            let why = choose("m", &known, &given(said)).unwrap_err();
            assert!(why.contains(word), "{said:?}: {why}");
        }
        let why = choose("m", &known, &given(&[("number", "1"), ("pin", "12x4")])).unwrap_err();
        assert!(!why.contains("12x4"), "{why}");
    }

    #[test]
    fn frequencies_are_read_as_people_write_them() {
        for (text, value) in [
            ("868100000", Some(868_100_000)),
            ("868.1MHz", Some(868_100_000)),
            ("868.1m", Some(868_100_000)),
            ("868100khz", Some(868_100_000)),
            ("2.4GHz", Some(2_400_000_000)),
            ("868.1", None),
            ("868,1MHz", None),
            ("-1", None),
            ("", None),
            ("hz", None),
            ("99999999999999999999GHz", None),
        ] {
            assert_eq!(hertz(text), value, "{text}");
        }
    }
}
