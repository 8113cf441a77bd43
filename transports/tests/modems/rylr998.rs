//! A LoRa module that is told lines: REYAX RYLR998.

use super::{Modem, Out};

#[derive(Default)]
pub struct Rylr998 {
    line: Vec<u8>,
}

impl Modem for Rylr998 {
    fn said(&mut self, bytes: &[u8], out: &mut Out) {
        self.line.extend(bytes);
        while let Some(end) = self.line.windows(2).position(|two| two == b"\r\n") {
            let line: Vec<u8> = self.line.drain(..end + 2).take(end).collect();
            let answer = answer(&line, out);
            out.port.extend([answer.as_bytes(), b"\r\n"].concat());
        }
    }

    fn heard(&mut self, frame: &[u8], out: &mut Out) {
        let head = format!("+RCV=0,{},", frame.len());
        out.port.extend([head.as_bytes(), frame, b",-67,11\r\n"].concat());
    }
}

fn answer(line: &[u8], out: &mut Out) -> &'static str {
    let Some(sent) = line.strip_prefix(b"AT+SEND=") else {
        return match line {
            b"AT" => "+OK",
            b"AT+VER?" => "+VER=RYLR998_TEST",
            _ if line.starts_with(b"AT+") && line.contains(&b'=') => "+OK",
            _ => "+ERR=4",
        };
    };
    let mut parts = sent.splitn(3, |byte| *byte == b',');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<usize>().ok();
    let (_, length) = (number(), number());
    match parts.next() {
        Some(data) if data.len() > 240 => "+ERR=13",
        Some(data) if Some(data.len()) == length => {
            out.air.push(data.to_vec());
            "+OK"
        }
        _ => "+ERR=5",
    }
}
