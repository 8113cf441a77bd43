//! What a driver makes of bytes that a modem might say, without a port: for those who test drivers.

use std::time::Duration;

use super::{
    dialect,
    run::{Act, Dialect},
};
use crate::{
    contract::{Heard, OutFrame},
    serial::address::PortAddress,
};

/// Time that passes between two pieces of what is said.
const STEP: Duration = Duration::from_millis(250);
/// What a driver must not exceed for each input: it says little, and nothing for nothing.
const ACTS_MAX: usize = 4_096;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The modem was set up.
    pub is_ready: bool,
    /// Frames that were heard.
    pub frames: Vec<Vec<u8>>,
    /// Frames that were given to it, and those whose fate was told.
    pub given: usize,
    /// See `given`.
    pub told: usize,
    /// Bytes that were said to it.
    pub written_bytes: usize,
    /// Why the driver gave up.
    pub ended: Option<String>,
}

/// Says `said` to a driver in pieces of so many bytes, gives it a frame whenever it takes one, and lets time
/// pass. An address whose driver has no frames is an error.
pub fn replay(of: &PortAddress, said: &[u8], piece: usize) -> Result<Replay, &'static str> {
    let mut dialect = dialect(of, 0)?;
    let mut came = Replay::default();
    let mut now = Duration::ZERO;
    dialect.handle_timeout(now);
    came.drain(&mut *dialect);
    for piece in said.chunks(piece.max(1)) {
        if came.ended.is_some() {
            break;
        }
        dialect.handle_bytes(now, piece);
        came.drain(&mut *dialect);
        if came.is_ready && came.given == came.told && dialect.takes_frame() {
            let number = u32::try_from(came.given).unwrap_or(u32::MAX);
            dialect.handle_frame(now, OutFrame { number, bytes: b"frame".to_vec() });
            came.given += 1;
            came.drain(&mut *dialect);
        }
        now += STEP;
        if dialect.poll_timeout().is_some_and(|at| at <= now) {
            dialect.handle_timeout(now);
            came.drain(&mut *dialect);
        }
    }
    Ok(came)
}

impl Replay {
    fn drain(&mut self, dialect: &mut dyn Dialect) {
        for _ in 0..ACTS_MAX {
            match dialect.poll() {
                None => return,
                Some(_) if self.ended.is_some() => {}
                Some(Act::Write(bytes)) => self.written_bytes += bytes.len(),
                Some(Act::Ready(_)) => self.is_ready = true,
                Some(Act::End(why)) => self.ended = Some(why),
                Some(Act::Tell(Heard::Frame { bytes, .. })) => self.frames.push(bytes),
                Some(Act::Tell(Heard::Sent { .. } | Heard::Refused { .. })) => self.told += 1,
                Some(Act::Tell(_)) => {}
            }
        }
        self.ended = Some("it never stops".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chance that is the same each time.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, most: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % most
        }
    }

    /// What modems say, and what looks like it.
    const WORDS: [&[u8]; 38] = [
        b"\xc0\x00\xa0\xa6\xa8\xa4\x88\xa4\xe0\x88\x98\x62\x82\x84\x86\x6f\x03\xf0hi\xc0",
        b"\xc0\x08\x46\xc0\xc0\x01\x33\xbe\x27\xa0\xc0\xc0\x02\x00\x01\xe8\x48\xc0\xc0\x03\x0e\xc0\
          \xc0\x04\x08\xc0\xc0\x05\x05\xc0\xc0\x0c\x00\x64\xc0\xc0\x06\x01\xc0\xc0\x0f\x01\xc0",
        b"\x94\xc3\x00\x04\x1a\x02\x08\x07\x94\xc3\x00\x0a\x2a\x08\x32\x06\x08\x01\x38\x03\x48\x01\
          \x94\xc3\x00\x02\x38\x02\x94\xc3\x00\x06\x5a\x04\x10\x10\x18\x10",
        b"\xc0",
        b"\xdb\xdc",
        b"\xdb",
        b"\xc0\x00hello\xc0",
        b"\xc0\x0c\x00\x01\xc0",
        b"\xa0\xa6\xa8\xa4\x88\xa4\xe0\x88\x98\x62\x82\x84\x86\x6f\x03\xf0",
        b"\xc0\x08\x46\xc0",
        b"\xc0\x01\x33\xbe\x27\xa0\xc0",
        b"\xc0\x02\x00\x01\xe8\x48\xc0\xc0\x03\x0e\xc0\xc0\x04\x08\xc0\xc0\x05\x05\xc0",
        b"\xc0\x06\x01\xc0",
        b"\xc0\x0f\x01\xc0",
        b"\xc0\x0f\x00\xc0",
        b"\xc0\x90\x02\xc0",
        b"\xc0\x25\x27\x10\x27\x10\x00\x00\x00\x00\xc0",
        b"\xc0\x23\x40\xc0\xc0\x24\xf0\xc0",
        b"\x94\xc3",
        b"\x94\xc3\x00\x04\x1a\x02\x08\x07",
        b"\x94\xc3\x00\x0a\x2a\x08\x32\x06\x08\x01\x38\x03\x48\x01",
        b"\x94\xc3\x00\x02\x38\x02",
        b"\x94\xc3\x00\x06\x5a\x04\x10\x10\x18\x10",
        b"\x94\xc3\x00\x10\x12\x0e\x0d\x01\x02\x03\x04\x22\x07\x08\x80\x02\x12\x02hi",
        b"\x94\xc3\x02\x00",
        b"\r\nOK\r\n",
        b"\x00\xff\x80\x7f",
        b"+OK\r\n+VER=1\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
        b"+RCV=0,3,\x07hi,-5,5\r\n",
        b"+ERR=17\r\n",
        b"+READY\r\n",
        b"RN2483 1\r\n1\r\nok\r\nok\r\nok\r\nok\r\nok\r\nok\r\nok\r\nok\r\nok\r\n",
        b"ok\r\nradio_rx  6869\r\n",
        b"ok\r\nok\r\nradio_tx_ok\r\n",
        b"OK\r\nOK\r\nOK\r\nIRIDIUM 9600\r\nOK\r\nOK\r\n0\r\nOK\r\n",
        b"SBDRING\r\n0\r\nOK\r\n+SBDIX: 0, 1, 1, 1, 2, 0\r\nOK\r\n\x00\x02hi\x00\xd1OK\r\n",
        b"READY\r\n0\r\nOK\r\n+SBDIX: 0, 1, 1, 1, 2, 9\r\nOK\r\n\x00\x02hi\x00\xd1OK\r\n",
        b"+SBDIX: 32, 1, 2, 0, 0, 0\r\n",
    ];

    const DRIVERS: [&str; 8] = [
        "kiss&call=DL1ABC-7",
        "kiss&raw=yes&air=sf8,bw125,cr5&ack=yes",
        "rnode&freq=868.1MHz",
        "rnode&freq=868.1MHz&lock1h=1",
        "meshtastic",
        "at&profile=rylr998",
        "at&profile=rn2483",
        "at&profile=iridium",
    ];

    fn address(driver: &str) -> PortAddress {
        let text = format!("serial:///dev/ttyS0?driver={driver}");
        PortAddress::parse(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn whatever_a_modem_says_nothing_breaks_and_nothing_grows() {
        for driver in DRIVERS {
            let of = address(driver);
            let (mut ready, mut heard, mut ended) = (0, 0, 0);
            for seed in 1..400_u64 {
                let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let mut said = Vec::new();
                for _ in 0..chance.below(200) {
                    match chance.below(4) {
                        0 => said.push(u8::try_from(chance.below(256)).unwrap()),
                        _ => said.extend(WORDS[chance.below(WORDS.len())]),
                    }
                    if chance.below(16) == 0 && !said.is_empty() {
                        let at = chance.below(said.len());
                        said[at] ^= 1 << chance.below(8);
                    }
                }
                let came = replay(&of, &said, 1 + chance.below(40)).unwrap();
                let bytes: usize = came.frames.iter().map(Vec::len).sum();
                assert!(bytes <= said.len(), "{driver} {seed}: more came out than in");
                assert!(came.told <= came.given && came.given <= came.told + 1, "{driver} {seed}");
                assert!(came.is_ready || came.given == 0, "{driver} {seed}");
                assert!(came.written_bytes <= 8_192 + 64 * said.len(), "{driver} {seed}");
                assert_ne!(came.ended.as_deref(), Some("it never stops"), "{driver} {seed}");
                ready += usize::from(came.is_ready);
                heard += came.frames.len();
                ended += usize::from(came.ended.is_some());
            }
            println!("{driver}: {ready} ready, {heard} frames heard, {ended} given up");
            assert!(ready > 0 && heard > 0, "{driver}: the storm reaches nothing");
        }
    }

    #[test]
    fn a_wire_has_nothing_to_replay() {
        assert!(replay(&address("wire"), b"x", 1).is_err());
    }
}
