//! What is said to a Meshtastic radio and what it says, as far as that matters here.
//!
//! The numbers are those of Meshtastic's protobuf descriptions (mesh.proto, config.proto, portnums.proto, of
//! version 2.7); whatever else stands there is passed over.

use super::wire::{Fields, Message, Value};
use crate::{contract::Strength, serial::drivers::options::LoraAir};

/// The port that Meshtastic leaves to programs of others.
const PRIVATE_APP: u32 = 256;
const ROUTING_APP: u32 = 5;
/// To everybody.
const BROADCAST: u32 = u32::MAX;
/// Of 16 symbols, as all radios with this firmware have it.
const PREAMBLE: u16 = 16;
/// In front of its payload a packet on the air has 16 bytes of Meshtastic's and some 9 of protobuf.
pub(super) const AROUND_BYTES: u16 = 25;
/// Regions that are bands of radio amateurs: nothing may be enciphered there.
const AMATEURS: [u32; 3] = [27, 28, 33];
const EU_868: u32 = 3;
/// 2.4 GHz: the presets are wider there, and others.
const LORA_24: u32 = 13;
/// A notice is a sentence.
const NOTICE_CHARS: usize = 160;

/// What a radio says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// Who it is.
    Me(u32),
    /// How it is set.
    Lora(LoraConfig),
    /// All was told that was asked for under this number.
    Complete(u32),
    /// It started anew.
    Rebooted,
    /// It took a packet, or did not; or how its queue stands.
    Queue(Queue),
    /// Somebody sent something.
    Heard(Packet),
    /// What became of a packet of ours.
    Routed { id: u32, error: u32 },
    /// For people.
    Notice(String),
    /// Something that does not matter here.
    Other,
}

/// How a queue stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    /// 0 if all is well.
    pub(super) error: u32,
    pub(super) free: u32,
    pub(super) most: u32,
    /// The packet of which this is said, or 0.
    pub(super) id: u32,
}

/// What somebody sent in the port of programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) from: u32,
    pub(super) payload: Vec<u8>,
    pub(super) strength: Strength,
}

/// How a radio is set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct LoraConfig {
    uses_preset: bool,
    preset: u32,
    bandwidth: u32,
    spreading: u32,
    coding: u32,
    pub(super) region: u32,
    pub(super) may_send: bool,
    frequency_mhz: f32,
}

/// Asks for all that a radio has to tell.
pub(super) fn want_config(number: u32) -> Vec<u8> {
    Message::default().number(3, number.into()).done()
}

/// Says that we are there, and asks how the queue stands.
pub(super) fn heartbeat() -> Vec<u8> {
    Message::default().bytes(7, b"").done()
}

/// A frame of ours to everybody who is near.
pub(super) fn packet(id: u32, channel: u32, hops: u32, payload: &[u8]) -> Vec<u8> {
    let data = Message::default().number(1, PRIVATE_APP.into()).bytes(2, payload).done();
    let packet = Message::default()
        .fixed32(2, BROADCAST)
        .number(3, channel.into())
        .bytes(4, &data)
        .fixed32(6, id)
        .number(9, hops.into())
        .done();
    Message::default().bytes(1, &packet).done()
}

/// Reads a message of the radio; `None` if nothing in it is a field.
pub(super) fn read(message: &[u8]) -> Option<Said> {
    let mut said = None;
    for (number, value) in Fields::of(message) {
        let read = match number {
            2 => read_packet(value.bytes()),
            3 => Said::Me(field(value.bytes(), 1).number()),
            5 => read_config(value.bytes()),
            7 => Said::Complete(value.number()),
            8 if value.number() != 0 => Said::Rebooted,
            11 => Said::Queue(read_queue(value.bytes())),
            16 => Said::Notice(notice(field(value.bytes(), 4).bytes())),
            _ => Said::Other,
        };
        if said.is_none() || read != Said::Other {
            said = Some(read);
        }
    }
    said
}

fn field(message: &[u8], number: u32) -> Value<'_> {
    Fields::last(message, number).unwrap_or(Value::Number(0))
}

fn read_queue(message: &[u8]) -> Queue {
    let number = |of| field(message, of).number();
    Queue { error: number(1), free: number(2), most: number(3), id: number(4) }
}

fn read_packet(message: &[u8]) -> Said {
    let data = field(message, 4).bytes();
    let payload = field(data, 2).bytes();
    match field(data, 1).number() {
        PRIVATE_APP if !payload.is_empty() => Said::Heard(Packet {
            from: field(message, 1).number(),
            payload: payload.to_vec(),
            strength: Strength {
                rssi_dbm: Fields::last(message, 12).and_then(|v| i16::try_from(v.signed()).ok()),
                snr_quarter_db: Fields::last(message, 8).and_then(|v| quarters(float(v))),
            },
        }),
        ROUTING_APP => {
            let id = field(data, 6).number();
            Said::Routed { id, error: field(payload, 3).number() }
        }
        _ => Said::Other,
    }
}

fn read_config(message: &[u8]) -> Said {
    let Some(lora) = Fields::last(message, 6).map(Value::bytes) else { return Said::Other };
    let number = |of| field(lora, of).number();
    Said::Lora(LoraConfig {
        uses_preset: number(1) != 0,
        preset: number(2),
        bandwidth: number(3),
        spreading: number(4),
        coding: number(5),
        region: number(7),
        may_send: number(9) != 0,
        frequency_mhz: float(field(lora, 14)),
    })
}

/// Without what a terminal would obey.
fn notice(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|c| !c.is_control()).take(NOTICE_CHARS).collect()
}

fn float(value: Value<'_>) -> f32 {
    match value {
        Value::Fixed32(bits) => f32::from_bits(bits),
        _ => 0.0,
    }
}

/// Decibels in quarters, where they can be any.
fn quarters(decibels: f32) -> Option<i16> {
    let quarters = (decibels * 4.0).round();
    // Within this a cast loses nothing; outside, and for what is no number, there is none.
    #[allow(clippy::cast_possible_truncation)]
    (-800.0..=800.0).contains(&quarters).then_some(quarters as i16)
}

impl LoraConfig {
    /// Nothing may be enciphered where it is set to.
    pub(super) fn is_amateurs(&self) -> bool {
        AMATEURS.contains(&self.region)
    }

    /// How it is modulated, where that is known.
    pub(super) fn air(&self) -> Option<LoraAir> {
        let (spreading, bandwidth_hz, coding) = if !self.uses_preset {
            let spreading = u8::try_from(self.spreading).ok()?;
            (spreading, self.bandwidth.checked_mul(1000)?, u8::try_from(self.coding).ok()?)
        } else if self.region == LORA_24 {
            return None;
        } else {
            match self.preset {
                0 => (11, 250_000, 5),
                1 => (12, 125_000, 8),
                2 => (12, 62_500, 8),
                3 => (10, 250_000, 5),
                4 => (9, 250_000, 5),
                5 => (8, 250_000, 5),
                6 => (7, 250_000, 5),
                7 => (11, 125_000, 8),
                8 => (7, 500_000, 5),
                9 => (11, 500_000, 8),
                _ => return None,
            }
        };
        let air = LoraAir { spreading, bandwidth_hz, coding, preamble: PREAMBLE };
        air.exists().then_some(air)
    }

    /// The middle of its channel, where that does not hang on the channel's name.
    pub(super) fn frequency_hz(&self) -> Option<u64> {
        let khz = (self.frequency_mhz * 1000.0).round();
        if (1_000.0..=3_000_000.0).contains(&khz) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            return Some(khz as u64 * 1000);
        }
        // The sub-band has room for just one of that width.
        let is_one = self.region == EU_868 && self.air()?.bandwidth_hz == 250_000;
        is_one.then_some(869_525_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(number: u32, within: &[u8]) -> Option<Said> {
        read(&Message::default().number(1, 9).bytes(number, within).done())
    }

    /// Written by Meshtastic's own Python client, 2.7.11.
    #[test]
    fn a_packet_and_a_question_are_as_the_radio_expects_them() {
        let expected = b"\n\x1b\x15\xff\xff\xff\xff\x18\x02\"\x0b\x08\x80\x02\x12\x06frames\
                         5\x04\x03\x02\x01\x48\x03";
        let written = packet(0x0102_0304, 2, 3, b"frames");
        assert_eq!(written.len(), expected.len());
        assert_eq!(written, expected);
        assert_eq!(want_config(0x5001), b"\x18\x81\xa0\x01");
        assert_eq!(heartbeat(), b"\x3a\x00");
    }

    #[test]
    fn what_is_heard_is_read_with_its_strength() {
        let data = Message::default().number(1, 256).bytes(2, b"hello").done();
        let packet = |data: &[u8]| {
            Message::default()
                .fixed32(1, 0xa1b2_c3d4)
                .bytes(4, data)
                .fixed32(8, (-7.25_f32).to_bits())
                .number(12, (-97_i64).cast_unsigned())
                .done()
        };
        let strength = Strength { rssi_dbm: Some(-97), snr_quarter_db: Some(-29) };
        let heard = Packet { from: 0xa1b2_c3d4, payload: b"hello".to_vec(), strength };
        assert_eq!(said(2, &packet(&data)), Some(Said::Heard(heard)));
        let text = Message::default().number(1, 1).bytes(2, b"hello").done();
        assert_eq!(said(2, &packet(&text)), Some(Said::Other));
        let error = Message::default().number(3, 9).done();
        let routed = Message::default().number(1, 5).bytes(2, &error).fixed32(6, 77).done();
        assert_eq!(said(2, &packet(&routed)), Some(Said::Routed { id: 77, error: 9 }));
        for (number, quarter) in [(f32::NAN, None), (f32::INFINITY, None), (0.3, Some(1))] {
            assert_eq!(quarters(number), quarter);
        }
    }

    #[test]
    fn how_a_radio_is_set_becomes_what_it_is_like() {
        let read = |lora: Message| match said(5, &Message::default().bytes(6, &lora.done()).done())
        {
            Some(Said::Lora(config)) => config,
            other => panic!("{other:?}"),
        };
        let long_fast = read(Message::default().number(1, 1).number(7, 3).number(9, 1));
        assert_eq!(
            long_fast.air().map(|air| (air.spreading, air.bandwidth_hz)),
            Some((11, 250_000))
        );
        assert_eq!((long_fast.frequency_hz(), long_fast.may_send), (Some(869_525_000), true));
        let own = Message::default().number(3, 62).number(4, 9).number(5, 7).number(7, 1);
        let own = read(own.fixed32(14, 915.5_f32.to_bits()));
        assert_eq!(own.air().map(|air| (air.spreading, air.coding)), Some((9, 7)));
        assert_eq!((own.frequency_hz(), own.may_send), (Some(915_500_000), false));
        let wide = read(Message::default().number(1, 1).number(7, 13));
        assert_eq!((wide.air(), wide.frequency_hz()), (None, None));
        assert!(read(Message::default().number(7, 27)).is_amateurs());
    }

    #[test]
    fn what_else_it_says_is_told_apart() {
        let queue = Message::default().number(2, 15).number(3, 16).number(4, 5).done();
        let stands = Queue { error: 0, free: 15, most: 16, id: 5 };
        assert_eq!(said(11, &queue), Some(Said::Queue(stands)));
        let words = Message::default().bytes(4, "Duty \u{1b}[31mlimit".as_bytes()).done();
        assert_eq!(said(16, &words), Some(Said::Notice("Duty [31mlimit".into())));
        assert_eq!(read(b"\x38\x81\xa0\x01"), Some(Said::Complete(0x5001)));
        assert_eq!(read(b"\x40\x01"), Some(Said::Rebooted));
        assert_eq!(said(4, b"\xff\xff"), Some(Said::Other));
        assert_eq!(read(b"\xff"), None);
    }
}
