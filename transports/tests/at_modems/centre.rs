//! What stands behind modems that cost money: a centre for SMS, and a gateway of satellites.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use super::port::{Plug, take_line};

/// A centre for SMS, its telephones by their numbers.
#[derive(Clone, Default)]
pub struct Centre(Arc<Mutex<BTreeMap<String, Phone>>>);

struct Phone {
    plug: Plug,
    /// By place on the card; what has gone leaves a gap.
    card: Vec<Option<String>>,
}

impl Centre {
    fn deliver(&self, to: &str, pdu: String) {
        if let Some(phone) = self.0.lock().unwrap().get_mut(to) {
            phone.card.push(Some(pdu));
            phone.plug.say(format!("\r\n+CMTI: \"SM\",{}\r\n", phone.card.len()).as_bytes());
        }
    }

    /// How many messages lie on a card.
    pub fn on_card(&self, number: &str) -> usize {
        self.0.lock().unwrap()[number].card.iter().flatten().count()
    }

    /// Somebody who is no node writes.
    pub fn write(&self, to: &str) {
        let text = "07911326040000F0040B911346610089F60000208062917314080CC8F71D14969741F977FD07";
        self.deliver(to, text.into());
    }

    /// Digits of a DELIVER from somebody out of those of a SUBMIT, and whom it is for.
    fn turn(from: &str, submit: &str) -> (String, String) {
        let byte = |at: usize| u8::from_str_radix(&submit[2 * at..2 * at + 2], 16).unwrap();
        assert_eq!((byte(0), byte(1)), (0, 0x51), "{submit}");
        let digits = usize::from(byte(3));
        let swapped = |text: &str| -> String {
            text.as_bytes().chunks(2).flat_map(|two| [two[1] as char, two[0] as char]).collect()
        };
        let number = &submit[10..10 + 2 * digits.div_ceil(2)];
        let to = swapped(number).trim_end_matches('F').to_owned();
        let data = &submit[10 + number.len() + 6..];
        let from = from.trim_start_matches('+');
        let even = if from.len().is_multiple_of(2) { from.to_owned() } else { format!("{from}F") };
        let head = format!("0044{:02X}91{}0004", from.len(), swapped(&even));
        (format!("+{to}"), format!("{head}62119221436580{data}"))
    }
}

/// A modem with a card. Its PIN is 1234; a wrong one it takes for an error. It repeats what it is told.
pub fn phone(centre: &Centre, number: &'static str, errors: Arc<Mutex<Vec<&'static str>>>) -> Plug {
    let of = centre.clone();
    let (mut is_open, mut awaits_pdu) = (false, None::<usize>);
    let plug = Plug::new(move |unused, _| {
        let mut answers = Vec::new();
        loop {
            let end = if awaits_pdu.is_some() { "\u{1a}" } else { "\r" };
            let Some(line) = take_line(unused, end) else { return answers };
            let text = String::from_utf8(line).unwrap();
            let answer = if let Some(length) = awaits_pdu.take() {
                let (to, pdu) = Centre::turn(number, &text);
                assert_eq!(text.len() / 2 - 1, length, "the length of the PDU");
                of.deliver(&to, pdu);
                "+CMGS: 7\r\n\r\nOK".to_owned()
            } else {
                answers.extend(format!("{text}\r").bytes());
                match &*text {
                    "AT+CPIN?" if is_open => "+CPIN: READY\r\n\r\nOK".into(),
                    "AT+CPIN?" => "+CPIN: SIM PIN\r\n\r\nOK".into(),
                    "AT+CPIN=1234" => {
                        is_open = true;
                        "OK".into()
                    }
                    "AT+CREG?" => "+CREG: 0,1\r\n\r\nOK".into(),
                    "AT+CMGL=4" => {
                        let phones = of.0.lock().unwrap();
                        let card = phones[number].card.iter().enumerate();
                        let listed = card.filter_map(|(at, pdu)| Some((at, pdu.as_ref()?)));
                        let listed = listed.map(|(at, pdu)| {
                            format!("+CMGL: {},1,,{}\r\n{pdu}\r\n", at + 1, pdu.len() / 2)
                        });
                        format!("{}\r\nOK", listed.collect::<String>())
                    }
                    _ if text.starts_with("AT+CMGD=") => {
                        let at: usize = text["AT+CMGD=".len()..].parse().unwrap();
                        of.0.lock().unwrap().get_mut(number).unwrap().card[at - 1] = None;
                        "OK".into()
                    }
                    _ if text.starts_with("AT+CMGS=") => match errors.lock().unwrap().pop() {
                        Some(error) => error.into(),
                        None => {
                            awaits_pdu = Some(text["AT+CMGS=".len()..].parse().unwrap());
                            answers.extend(b"\r\n> ");
                            continue;
                        }
                    },
                    "AT" | "ATE0" | "AT+CMEE=1" | "AT+CMGF=0" | "AT+CNMI=2,1,0,0,0" => "OK".into(),
                    _ => "ERROR".into(),
                }
            };
            answers.extend(format!("\r\n{answer}\r\n").bytes());
        }
    });
    let phone = Phone { plug: plug.clone(), card: Vec::new() };
    centre.0.lock().unwrap().insert(number.into(), phone);
    plug
}

/// A gateway: what waits for each of two modems.
#[derive(Clone, Default)]
pub struct Gateway(Arc<Mutex<[VecDeque<Vec<u8>>; 2]>>);

impl Gateway {
    /// A message that waits for a modem, which does not know yet.
    pub fn keep(&self, of: usize, message: &[u8]) {
        self.0.lock().unwrap()[of].push_back(message.into());
    }
}

/// A satellite modem, one of two. `skies` are what sessions come to, the last first; then they go well.
pub fn iridium(gateway: &Gateway, me: usize, skies: Arc<Mutex<Vec<u8>>>) -> Plug {
    let of = gateway.clone();
    let (mut awaits, mut outgoing, mut incoming) = (None, Vec::new(), Vec::new());
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u16::from(*byte)).sum::<u16>().to_be_bytes();
    Plug::new(move |unused, _| {
        let mut answers: Vec<u8> = Vec::new();
        loop {
            if let Some(length) = awaits {
                let length: usize = length;
                if unused.len() < length + 2 {
                    return answers;
                }
                let came: Vec<u8> = unused.drain(..length + 2).collect();
                awaits = None;
                let fine = sum(&came[..length]) == came[length..];
                outgoing = came[..length].to_vec();
                answers.extend(if fine { b"\r\n0\r\n\r\nOK\r\n" } else { b"\r\n2\r\n\r\nOK\r\n" });
                continue;
            }
            let Some(line) = take_line(unused, "\r") else { return answers };
            let text = String::from_utf8(line).unwrap();
            let answer = match &*text {
                "AT" | "ATE0Q0V1" | "AT&K0" | "AT+SBDMTA=1" => "OK".into(),
                "AT+CGMM" => "IRIDIUM 9600 Family SBD Transceiver\r\n\r\nOK".into(),
                "AT+SBDD0" => {
                    outgoing.clear();
                    "0\r\n\r\nOK".into()
                }
                "AT+SBDIX" => {
                    let sky = skies.lock().unwrap().pop().unwrap_or(0);
                    let mut waiting = of.0.lock().unwrap();
                    if sky <= 4 && !outgoing.is_empty() {
                        waiting[1 - me].push_back(outgoing.clone());
                    }
                    let came = (sky <= 4).then(|| waiting[me].pop_front()).flatten();
                    let (has, queued) = (u8::from(came.is_some()), waiting[me].len());
                    incoming = came.unwrap_or_default();
                    let length = incoming.len();
                    format!("+SBDIX: {sky}, 3, {has}, 5, {length}, {queued}\r\n\r\nOK")
                }
                "AT+SBDRB" => {
                    let length = u16::try_from(incoming.len()).unwrap().to_be_bytes();
                    answers.extend([&length[..], &incoming, &sum(&incoming)].concat());
                    "OK".into()
                }
                _ => match text.strip_prefix("AT+SBDWB=").map(|n| n.parse().unwrap()) {
                    Some(341..) => "3\r\n\r\nOK".into(),
                    Some(length) => {
                        awaits = Some(length);
                        "READY".into()
                    }
                    None => "ERROR".to_owned(),
                },
            };
            answers.extend(format!("\r\n{answer}\r\n").bytes());
        }
    })
}
