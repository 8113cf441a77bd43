//! A board with RNode: it takes what it is told, and says so.

use super::{
    Modem, Out,
    kiss::{framed, frames},
};

#[derive(Default)]
pub struct Rnode {
    line: Vec<u8>,
    is_on: bool,
    /// In hundredths of a percent; an hour's duty is used up from the first frame on if it is the least.
    lock: Option<u16>,
}

impl Modem for Rnode {
    fn said(&mut self, bytes: &[u8], out: &mut Out) {
        for frame in frames(&mut self.line, bytes) {
            let mut say = |frame: &[u8]| out.port.extend(framed(frame));
            match frame[..] {
                [0x00, ref data @ ..] if self.is_on => {
                    out.air.push(data.to_vec());
                    if self.lock == Some(1) {
                        say(&[0x25, 0, 1, 0, 1, 0, 0, 0, 0]);
                    }
                }
                [0x08, 0x73] => say(&[0x08, 0x46]),
                [0x50, _] => say(&[0x50, 1, 80]),
                [0x48, _] => say(&[0x48, 0x80]),
                [0x49, _] => say(&[0x49, 0x81]),
                [0x06, state] => {
                    self.is_on = state == 1;
                    say(&[0x06, state]);
                }
                [0x0c, high, low] => {
                    self.lock = Some(u16::from_be_bytes([high, low]));
                    say(&frame);
                }
                [0x0f, ..] => say(&[0x0f, 1]),
                // All its chips end there.
                [0x03, power] if power > 22 => say(&[0x03, 22]),
                [0x01..=0x05 | 0x0b, ..] => say(&frame),
                _ => {}
            }
        }
    }

    fn heard(&mut self, frame: &[u8], out: &mut Out) {
        if !self.is_on {
            return;
        }
        // -97 dBm, -5 dB.
        for told in [&[0x23, 60][..], &[0x24, 0xec], &[&[0x00], frame].concat()] {
            out.port.extend(framed(told));
        }
    }
}
