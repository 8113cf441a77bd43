//! A modem that speaks KISS, with the word that a frame has gone if that is asked for.

use super::{Modem, Out};

#[derive(Default)]
pub struct Kiss {
    line: Vec<u8>,
}

/// Splits a line at its marks; what is left over stays in it.
pub fn frames(line: &mut Vec<u8>, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for byte in bytes {
        if *byte != 0xc0 {
            line.push(*byte);
            continue;
        }
        let frame = std::mem::take(line);
        let mut plain = Vec::new();
        let mut rest = frame.iter();
        while let Some(byte) = rest.next() {
            plain.push(match byte {
                0xdb if rest.next() == Some(&0xdc) => 0xc0,
                0xdb => 0xdb,
                byte => *byte,
            });
        }
        if !plain.is_empty() {
            found.push(plain);
        }
    }
    found
}

pub fn framed(frame: &[u8]) -> Vec<u8> {
    let mut line = vec![0xc0];
    for byte in frame {
        match byte {
            0xc0 => line.extend([0xdb, 0xdc]),
            0xdb => line.extend([0xdb, 0xdd]),
            byte => line.push(*byte),
        }
    }
    line.push(0xc0);
    line
}

impl Modem for Kiss {
    fn said(&mut self, bytes: &[u8], out: &mut Out) {
        for frame in frames(&mut self.line, bytes) {
            match frame[..] {
                [0x00, ref data @ ..] => out.air.push(data.to_vec()),
                [0x0c, high, low, ref data @ ..] => {
                    out.air.push(data.to_vec());
                    out.port.extend(framed(&[0x0c, high, low]));
                }
                _ => {}
            }
        }
    }

    fn heard(&mut self, frame: &[u8], out: &mut Out) {
        out.port.extend(framed(&[&[0x00], frame].concat()));
    }
}
