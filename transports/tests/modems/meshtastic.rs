//! A radio with Meshtastic: who it is and how it is set for those who ask, and packets between radios.

use super::{Modem, Out};

pub struct Radio {
    number: u32,
    region: u8,
    come: Vec<u8>,
    told: u8,
}

impl Radio {
    pub fn new(number: u8, region: u8) -> Self {
        Self { number: 0x1000 + u32::from(number), region, come: Vec::new(), told: 0 }
    }

    fn say(&mut self, out: &mut Out, number: u8, within: &[u8]) {
        self.told = self.told.wrapping_add(1) & 0x7f;
        let message = [varints(&[1 << 3, self.told.into()]), bytes(number, within)].concat();
        say_plain(out, &message);
    }

    /// All that a client waits for before it says that it is connected.
    fn tell_all(&mut self, out: &mut Out, asked: u64) {
        let number = u64::from(self.number);
        let name = format!("!{number:08x}");
        self.say(out, 3, &varints(&[1 << 3, number]));
        let user = [bytes(1, name.as_bytes()), bytes(2, b"Modem"), bytes(3, b"M")].concat();
        self.say(out, 4, &[varints(&[1 << 3, number]), bytes(2, &user)].concat());
        // A preset, ShortTurbo, hops 3, may send.
        let lora =
            varints(&[1 << 3, 1, 2 << 3, 8, 7 << 3, self.region.into(), 8 << 3, 3, 9 << 3, 1]);
        self.say(out, 5, &bytes(6, &lora));
        self.say(out, 10, &[bytes(2, &bytes(3, b"LongFast")), varints(&[3 << 3, 1])].concat());
        say_plain(out, &varints(&[7 << 3, asked]));
    }

    fn handle(&mut self, out: &mut Out, message: &[u8]) {
        for (number, value, within) in fields(message) {
            match number {
                1 => {
                    let id = fields(within).iter().find(|field| field.0 == 6).map_or(0, |id| id.1);
                    // The radio says from whom it is.
                    let from = [&[1 << 3 | 5][..], &self.number.to_le_bytes(), within].concat();
                    out.air.push(from);
                    let id = varints(&[2 << 3, 15, 3 << 3, 16, 4 << 3, id]);
                    self.say(out, 11, &id);
                }
                3 => self.tell_all(out, value),
                7 => self.say(out, 11, &varints(&[2 << 3, 16, 3 << 3, 16])),
                _ => {}
            }
        }
    }
}

fn say_plain(out: &mut Out, message: &[u8]) {
    out.port.extend(b"\x94\xc3");
    out.port.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    out.port.extend(message);
}

fn varints(numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for number in numbers {
        let mut rest = *number;
        while rest > 0x7f {
            out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        out.push(u8::try_from(rest).unwrap());
    }
    out
}

fn bytes(number: u8, within: &[u8]) -> Vec<u8> {
    [varints(&[u64::from(number) << 3 | 2, within.len() as u64]), within.to_vec()].concat()
}

/// Number, value and bytes of each field.
fn fields(mut message: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let (value, length) = match key & 7 {
            0 => (varint(&mut message), 0),
            5 => (u64::from(u32::from_le_bytes(message[..4].try_into().unwrap())), 4),
            2 => {
                let length = varint(&mut message);
                (length, usize::try_from(length).unwrap())
            }
            kind => panic!("nobody sends fields of kind {kind}"),
        };
        let (within, rest) = message.split_at(length);
        message = rest;
        found.push((key >> 3, value, within));
    }
    found
}

fn varint(message: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = message[0];
        *message = &message[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

impl Modem for Radio {
    fn said(&mut self, bytes: &[u8], out: &mut Out) {
        self.come.extend(bytes);
        loop {
            let Some(start) = self.come.windows(2).position(|two| two == b"\x94\xc3") else {
                let keep = self.come.len().saturating_sub(1);
                self.come.drain(..keep);
                return;
            };
            self.come.drain(..start);
            let [_, _, high, low, rest @ ..] = &self.come[..] else { return };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length > 512 {
                self.come.drain(..2);
                continue;
            }
            let Some(message) = rest.get(..length).map(<[u8]>::to_vec) else { return };
            self.come.drain(..4 + length);
            self.handle(out, &message);
        }
    }

    fn heard(&mut self, frame: &[u8], out: &mut Out) {
        // -7.25 dB, -97 dBm.
        let strength = [&[8 << 3 | 5][..], &(-7.25_f32).to_le_bytes()].concat();
        let rssi = varints(&[12 << 3, (-97_i64).cast_unsigned()]);
        self.say(out, 2, &[frame, &strength, &rssi].concat());
    }
}
