//! How KISS puts frames on a line of bytes: a mark around each, two bytes escaped within.
//!
//! ```text
//! C0 (port << 4 | command) data C0            in it C0 is written DB DC, and DB is written DB DD
//! ```
//!
//! Each mark ends what came before it and begins what follows, so one that is lost costs one frame.

const MARK: u8 = 0xc0;
const ESCAPE: u8 = 0xdb;
const ESCAPED_MARK: u8 = 0xdc;
const ESCAPED_ESCAPE: u8 = 0xdd;

/// A frame as it goes to the modem; its first byte is the command.
pub(in super::super) fn enframe(parts: &[&[u8]]) -> Vec<u8> {
    let mut line = vec![MARK];
    for byte in parts.iter().copied().flatten() {
        match *byte {
            MARK => line.extend([ESCAPE, ESCAPED_MARK]),
            ESCAPE => line.extend([ESCAPE, ESCAPED_ESCAPE]),
            byte => line.push(byte),
        }
    }
    line.push(MARK);
    line
}

/// Finds frames in what a modem says, however it is cut.
#[derive(Debug)]
pub(in super::super) struct Deframer {
    frame: Vec<u8>,
    most: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing counts before the first mark, nor after a fault.
    Lost,
    Within,
    Escaped,
}

impl Deframer {
    /// Frames of at most so many bytes, the command included.
    pub(in super::super) fn new(most: usize) -> Self {
        Self { frame: Vec::new(), most, state: State::Lost }
    }

    /// The frame that ends with this byte, if one does; none is empty.
    pub(in super::super) fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        let byte = match (self.state, byte) {
            (state, MARK) => {
                self.state = State::Within;
                let frame = std::mem::take(&mut self.frame);
                return (state == State::Within && !frame.is_empty()).then_some(frame);
            }
            (State::Lost, _) => return None,
            (State::Within, ESCAPE) => {
                self.state = State::Escaped;
                return None;
            }
            (State::Within, byte) => byte,
            (State::Escaped, ESCAPED_MARK) => MARK,
            (State::Escaped, ESCAPED_ESCAPE) => ESCAPE,
            (State::Escaped, _) => return self.lose(),
        };
        if self.frame.len() == self.most {
            return self.lose();
        }
        self.frame.push(byte);
        self.state = State::Within;
        None
    }

    fn lose(&mut self) -> Option<Vec<u8>> {
        (self.frame, self.state) = (Vec::new(), State::Lost);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(deframer: &mut Deframer, said: &[u8]) -> Vec<Vec<u8>> {
        said.iter().filter_map(|byte| deframer.push(*byte)).collect()
    }

    #[test]
    fn every_byte_passes_however_the_line_is_cut() {
        let all: Vec<u8> = (0..=255).rev().collect();
        let line = [enframe(&[&all]), enframe(&[&[0xc0], &[0xdb, 0xdc]])].concat();
        for cut in 0..line.len() {
            let mut deframer = Deframer::new(256);
            let mut frames = found(&mut deframer, &line[..cut]);
            frames.extend(found(&mut deframer, &line[cut..]));
            assert_eq!(frames, [all.clone(), vec![0xc0, 0xdb, 0xdc]]);
        }
    }

    #[test]
    fn one_mark_may_stand_between_two_frames_and_many_are_nothing() {
        let mut deframer = Deframer::new(10);
        let said = [MARK, 1, MARK, MARK, MARK, 2, MARK, 3, MARK];
        assert_eq!(found(&mut deframer, &said), [[1], [2], [3]]);
    }

    #[test]
    fn a_fault_costs_one_frame() {
        for fault in [
            &[MARK, 1, ESCAPE, 7, 2, MARK][..],
            &[MARK, 1, ESCAPE, MARK],
            &[MARK, 1, 2, 3, 4, 5, MARK],
            &[1, 2, MARK],
        ] {
            let mut deframer = Deframer::new(4);
            assert_eq!(found(&mut deframer, fault), Vec::<Vec<u8>>::new(), "{fault:?}");
            assert_eq!(found(&mut deframer, &[9, 9, MARK]), [[9, 9]], "{fault:?}");
        }
    }

    #[test]
    fn an_endless_frame_takes_no_room() {
        let mut deframer = Deframer::new(100);
        deframer.push(MARK);
        for n in 0..100_000_u32 {
            assert_eq!(deframer.push(n.to_le_bytes()[0] & 0x3f), None);
            assert!(deframer.frame.capacity() <= 256);
        }
    }
}
