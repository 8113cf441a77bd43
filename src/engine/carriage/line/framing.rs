//! Frames: what stands between two 00, and what in it can be believed.
//!
//! Every 00 ends a frame and begins the next, so a reader cannot be out of step with a writer: after
//! whatever happened, the next 00 puts things right. What is said stands in `docs/line.md`.

use super::{
    checksum::crc,
    coding::{AVOIDED, Coding},
};

/// Bytes of a cell: the least that is sent or sent again. At one damaged bit in 1,000 a body of this
/// length is best.
pub const CELL_BYTES: usize = 32;
/// Cells of the longest body. From there on a longer one gains half a percent at most, and keeps
/// what is urgent waiting.
pub const BODY_CELLS_MAX: usize = 32;
/// Numbers of cells are sent to so many; who sends has fewer than these on the way.
pub const CELLS_MAX: u64 = 1 << 13;
/// Bytes of the longest letter: as the longest body.
pub const LETTER_MAX: usize = BODY_CELLS_MAX * CELL_BYTES;
/// A number that is this close to what is missing first needs one byte only.
const NEAR_CELLS: u64 = 1 << 7;
/// Bytes that may stand between two 00: the longest body in the longest coding is 1,289, and two that
/// can be repaired, with the 00 between them gone, are 2,231.
pub const PIECE_MAX: usize = 2240;
const CHECKSUM_BYTES: usize = 4;
/// Session numbers are hashed before a frame; of the frame that names one there are none yet.
const HELLO_KEY: u32 = 0;
/// Raw bytes before a hello: those that lines are known to swallow, to change or to act on. XOFF
/// comes before XON, so that a line that obeys them goes on.
pub const RAMP: [u8; 10] = [0x81, 0xff, 0x13, 0x11, 0x0d, 0x0a, 0x10, 0x1a, 0x1b, 0x7f];

const NEAR_BIT: u8 = 0x80;
const FAR: u8 = 0x80;
const ASK: u8 = 0x20;
const HELLO: u8 = 0xc0;
const HEARD: u8 = 3;
const HEARS: u8 = 4;
const DOUBTS: u8 = 8;
const POLL: u8 = 0xd0;
const LETTER: u8 = 0xd1;
const STATUS: u8 = 0xe0;
const ECHOED: u8 = 1;
const MORE: u8 = 2;
const REPAIRED: u8 = 4;
const OVER: u8 = 8;

/// A session number; never 0.
pub type Session = u32;

/// The beginning of the checksums of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// Before anybody is there.
    pub const NONE: Self = Self(0);

    /// What `from` sends to `to`.
    pub fn of(from: Session, to: Session) -> Self {
        Self(crc(crc(0, &from.to_be_bytes()), &to.to_be_bytes()))
    }

    fn of_cell(self, number: u64) -> u32 {
        crc(self.0, &number.to_be_bytes())
    }
}

/// Who is at the other end, and what of its bytes comes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender's.
    pub session: Session,
    /// Whom it heard.
    pub echo: Option<Session>,
    /// The coding in which it wants to be written to, if it heard a ramp.
    pub heard: Option<Coding>,
    /// It asks to be told again what came through.
    pub doubts: bool,
}

/// What has arrived, and how much more may.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// The low bits of the number of the first cell that is missing.
    pub base_low: u16,
    /// KiB from there on that there is room for.
    pub room_kib: u8,
    /// The last poll that arrived.
    pub echo: Option<u8>,
    /// Of the cells behind the first that is missing, up to the last that is not.
    pub map: Vec<bool>,
    /// The map was cut off: of what is behind it nothing is said.
    pub more: bool,
    /// Bytes of frames with data that were repaired since the last status.
    pub repaired: u8,
    /// Nothing follows: on a line where one is heard at a time, the turn is the reader's.
    pub over: bool,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// See [`Hello`].
    Hello(Hello),
    /// Cells from this number on; all of them are full, except for the last.
    Data {
        /// The whole number of the first.
        number: u64,
        /// A status is wanted at once.
        ask: bool,
        /// Their bytes; none is the end of all that is written.
        body: Vec<u8>,
    },
    /// See [`Status`].
    Status(Status),
    /// A status is wanted, with this number in it.
    Poll(u8),
    /// What stands for itself, and is said once, before there is a pipe.
    Letter(Vec<u8>),
}

/// How a frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// In which coding.
    pub coding: Coding,
    /// How many of its bytes were damaged on the way.
    pub repaired: usize,
}

/// Cuts what the port gave into pieces between 00.
#[derive(Debug, Default)]
pub struct Deframer {
    piece: Vec<u8>,
    is_too_long: bool,
}

impl Deframer {
    /// Takes one byte; the piece that it ended, unless that is empty or too long to be a frame.
    pub fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        if byte != 0 {
            if self.piece.len() < PIECE_MAX {
                self.piece.push(byte);
            } else {
                self.is_too_long = true;
            }
            return None;
        }
        let piece = std::mem::take(&mut self.piece);
        let fine = !std::mem::take(&mut self.is_too_long) && !piece.is_empty();
        fine.then_some(piece)
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> usize {
        self.piece.len()
    }
}

/// The cheapest coding that comes through where `piece` is what came of a [`RAMP`].
pub fn judge_ramp(piece: &[u8]) -> Coding {
    let spared = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().copied().filter(|byte| !AVOIDED.contains(byte)).collect()
    };
    if piece == RAMP {
        Coding::Plain
    } else if spared(piece) == spared(&RAMP) {
        Coding::Avoiding
    } else {
        Coding::SevenBit
    }
}

impl Frame {
    /// Writes it without the 00 around it. `near` is the first number that the other end may miss;
    /// a hello needs no key.
    pub fn encode(&self, key: Key, near: u64, coding: Coding, out: &mut Vec<u8>) {
        let (mut plain, mut begun) = (Vec::new(), key.0);
        match self {
            Self::Hello(hello) => {
                begun = HELLO_KEY;
                let heard = hello.heard.map_or(0, heard_number);
                let hears = if hello.echo.is_some() { HEARS } else { 0 };
                let doubts = if hello.doubts { DOUBTS } else { 0 };
                plain.push(HELLO | doubts | hears | heard);
                plain.extend_from_slice(&hello.session.to_be_bytes());
                plain.extend(hello.echo.into_iter().flat_map(u32::to_be_bytes));
            }
            Self::Data { number, ask, body } => {
                begun = key.of_cell(*number);
                let [.., high, low] = number.to_be_bytes();
                if number.wrapping_sub(near) < NEAR_CELLS && !ask {
                    plain.push(low & !NEAR_BIT);
                } else {
                    plain.push(FAR | if *ask { ASK } else { 0 } | high & 0x1f);
                    plain.push(low);
                }
                plain.extend_from_slice(body);
            }
            Self::Status(status) => {
                let echoed = if status.echo.is_some() { ECHOED } else { 0 };
                let mut map = written_map(&status.map);
                let more = if status.more || map.len() > MAP_MAX { MORE } else { 0 };
                map.truncate(MAP_MAX);
                let over = if status.over { OVER } else { 0 };
                let repaired = if status.repaired > 0 { REPAIRED } else { 0 };
                plain.push(STATUS | echoed | more | repaired | over);
                plain.extend_from_slice(&status.base_low.to_be_bytes());
                plain.push(status.room_kib);
                plain.extend(status.echo);
                plain.extend((status.repaired > 0).then_some(status.repaired));
                plain.extend_from_slice(&map);
            }
            Self::Poll(number) => plain.extend_from_slice(&[POLL, *number]),
            Self::Letter(letter) => {
                plain.push(LETTER);
                plain.extend_from_slice(letter);
            }
        }
        plain.extend_from_slice(&crc(begun, &plain).to_be_bytes());
        coding.encode(&plain, out);
    }

    /// The frame in a piece, and how it was written, if its checksum holds. `key` is of the session that is open, if one is;
    /// `near` the first cell that is missing here.
    pub fn decode(piece: &[u8], key: Option<Key>, near: u64) -> Option<(Self, Written)> {
        let read = |coding: Coding| {
            let (plain, repaired) = coding.decode(piece)?;
            Some((Self::read(&plain, key, near)?, Written { coding, repaired }))
        };
        Coding::ALL.into_iter().find_map(read)
    }

    /// As [`Self::decode`], of a piece that somebody guessed: only what can be repaired.
    pub fn decode_repairable(piece: &[u8], key: Option<Key>, near: u64) -> Option<(Self, Written)> {
        let coding = Coding::Repairable;
        let (plain, repaired) = coding.decode(piece)?;
        Some((Self::read(&plain, key, near)?, Written { coding, repaired }))
    }

    fn read(plain: &[u8], key: Option<Key>, near: u64) -> Option<Self> {
        let (said, checksum) = plain.split_last_chunk::<CHECKSUM_BYTES>()?;
        let checksum = u32::from_be_bytes(*checksum);
        let (kind, rest) = said.split_first()?;
        if kind & 0xf0 == HELLO {
            return if crc(HELLO_KEY, said) == checksum { read_hello(*kind, rest) } else { None };
        }
        let key = key?;
        if kind & 0xc0 == 0xc0 {
            if crc(key.0, said) != checksum {
                return None;
            }
            return match (*kind, rest) {
                (POLL, [number]) => Some(Self::Poll(*number)),
                (LETTER, letter) if (1..=LETTER_MAX).contains(&letter.len()) => {
                    Some(Self::Letter(letter.to_vec()))
                }
                (kind, rest) if kind & !(ECHOED | MORE | REPAIRED | OVER) == STATUS => {
                    read_status(kind, rest)
                }
                _ => None,
            };
        }
        let (low, bound, ask, body) = if kind & NEAR_BIT == 0 {
            (u64::from(*kind), NEAR_CELLS, false, rest)
        } else {
            let (low, body) = rest.split_first()?;
            let high = u64::from(kind & 0x1f);
            (high << 8 | u64::from(*low), CELLS_MAX, kind & ASK != 0, body)
        };
        if body.len() > BODY_CELLS_MAX * CELL_BYTES {
            return None;
        }
        // One that is missing, or one that is here already because the status about it was lost.
        let ahead = near + (low.wrapping_sub(near) & (bound - 1));
        [Some(ahead), ahead.checked_sub(bound)].into_iter().flatten().find_map(|number| {
            let fits = crc(key.of_cell(number), said) == checksum;
            fits.then(|| Self::Data { number, ask, body: body.to_vec() })
        })
    }
}

/// What a hello calls a coding.
fn heard_number(coding: Coding) -> u8 {
    match coding {
        Coding::Repairable | Coding::Plain => 1,
        Coding::Avoiding => 2,
        Coding::SevenBit => 3,
    }
}

fn read_hello(kind: u8, rest: &[u8]) -> Option<Frame> {
    let (session, rest) = rest.split_first_chunk()?;
    let echo = match (kind & HEARS != 0, rest) {
        (false, []) => None,
        (true, rest) => Some(u32::from_be_bytes(rest.try_into().ok()?)),
        _ => return None,
    };
    let heard = match kind & HEARD {
        0 => None,
        n => Some(*Coding::ALL.get(usize::from(n) - 1)?),
    };
    let (session, doubts) = (u32::from_be_bytes(*session), kind & DOUBTS != 0);
    (session != 0).then_some(Frame::Hello(Hello { session, echo, heard, doubts }))
}

fn read_status(kind: u8, rest: &[u8]) -> Option<Frame> {
    let [high, low, room_kib, rest @ ..] = rest else { return None };
    let (echo, rest) = match (kind & ECHOED != 0, rest) {
        (true, [echo, rest @ ..]) => (Some(*echo), rest),
        (false, rest) => (None, rest),
        _ => return None,
    };
    let (repaired, map) = match (kind & REPAIRED != 0, rest) {
        (true, [repaired, map @ ..]) if *repaired > 0 => (*repaired, map),
        (false, map) => (0, map),
        _ => return None,
    };
    let base_low = u16::from_be_bytes([*high, *low]);
    let (map, more, over) = (read_map(map)?, kind & MORE != 0, kind & OVER != 0);
    let room_kib = *room_kib;
    Some(Frame::Status(Status { base_low, room_kib, echo, map, more, repaired, over }))
}

/// Bytes of a map; a longer one would get lost on the lines that need it. The rest is said later.
const MAP_MAX: usize = 64;
/// Cells in a byte of a map, and in each step of a run.
const MAP_BITS: usize = 7;
const RUN: u8 = 0x80;
const RUN_OF_ONES: u8 = 0x40;
const RUN_MAX: usize = 64;

/// In sevens: a byte each, or one for up to 64 that are all alike.
fn written_map(map: &[bool]) -> Vec<u8> {
    let mut out = Vec::new();
    let sevens: Vec<u8> = map.chunks(MAP_BITS).map(seven).collect();
    let mut rest = &sevens[..];
    while let Some(first) = rest.first() {
        let alike = rest.iter().take(RUN_MAX).take_while(|seven| *seven == first).count();
        if (*first == 0 || *first == 0x7f) && alike > 1 {
            let ones = if *first == 0 { 0 } else { RUN_OF_ONES };
            out.push(RUN | ones | u8::try_from(alike - 1).unwrap_or(0));
            rest = &rest[alike..];
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    out
}

/// The first cell is the highest bit; what is missing at the end is zero.
fn seven(cells: &[bool]) -> u8 {
    cells.iter().enumerate().fold(0, |bits, (at, here)| bits | u8::from(*here) << (6 - at))
}

fn read_map(bytes: &[u8]) -> Option<Vec<bool>> {
    let mut map = Vec::new();
    for byte in bytes {
        if byte & RUN == 0 {
            map.extend((0..MAP_BITS).map(|at| byte >> (6 - at) & 1 == 1));
        } else {
            let sevens = usize::from(byte & 0x3f) + 1;
            map.resize(map.len() + sevens * MAP_BITS, byte & RUN_OF_ONES != 0);
        }
        if map.len() as u64 > CELLS_MAX + (RUN_MAX * MAP_BITS) as u64 {
            return None;
        }
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: Key = Key(77);

    fn sent(frame: &Frame, near: u64, coding: Coding) -> Vec<u8> {
        let mut out = Vec::new();
        frame.encode(KEY, near, coding, &mut out);
        out
    }

    fn read(piece: &[u8], key: Option<Key>, near: u64) -> Option<Frame> {
        Frame::decode(piece, key, near).map(|(frame, _)| frame)
    }

    fn data(number: u64, ask: bool, length: usize) -> Frame {
        Frame::Data { number, ask, body: (0..=250).cycle().take(length).collect() }
    }

    fn frames() -> Vec<Frame> {
        let hello =
            |echo, heard, doubts| Frame::Hello(Hello { session: 0x0102_0304, echo, heard, doubts });
        vec![
            hello(None, None, false),
            hello(Some(9), Some(Coding::SevenBit), true),
            data(1000, false, 1024),
            data(1090, true, 1),
            data(9000, false, 0),
            Frame::Poll(255),
            Frame::Letter(vec![7]),
            Frame::Letter((0..=u8::MAX).cycle().take(LETTER_MAX).collect()),
            Frame::Status(Status::default()),
            Frame::Status(Status { echo: Some(0), map: vec![false; 7], ..Status::default() }),
            Frame::Status(Status { over: true, more: true, ..Status::default() }),
            Frame::Status(Status {
                echo: Some(9),
                repaired: 3,
                map: vec![true; 7],
                ..Status::default()
            }),
        ]
    }

    #[test]
    fn a_frame_is_read_in_every_coding() {
        for frame in frames() {
            for coding in Coding::ALL {
                let piece = sent(&frame, 1000, coding);
                assert!(piece.len() <= PIECE_MAX && !piece.contains(&0));
                assert_eq!(read(&piece, Some(KEY), 1000).as_ref(), Some(&frame));
            }
        }
    }

    #[test]
    fn another_session_or_number_is_not_taken_for_this() {
        let other = Key::of(1, 2);
        assert_ne!(other, Key::of(2, 1));
        for frame in frames() {
            let piece = sent(&frame, 1000, Coding::Plain);
            let is_hello = matches!(frame, Frame::Hello(_));
            for key in [None, Some(other)] {
                assert_eq!(read(&piece, key, 1000).is_some(), is_hello, "{frame:?}");
            }
        }
        // The low bits fit, the rest does not.
        let piece = sent(&data(1000, false, 5), 1000, Coding::Plain);
        assert_eq!(read(&piece, Some(KEY), 1000 + 3 * NEAR_CELLS), None);
    }

    #[test]
    fn a_cell_that_is_here_already_is_known_again() {
        for (number, near) in [(100, 220), (100, 101), (5, 8000), (0, 1), (1 << 40, (1 << 40) + 9)]
        {
            let frame = data(number, number + NEAR_CELLS <= near, 20);
            let piece = sent(&frame, number, Coding::Plain);
            assert_eq!(read(&piece, Some(KEY), near), Some(frame));
        }
    }

    #[test]
    fn a_small_body_costs_six_bytes_beside_and_the_longest_eleven() {
        assert_eq!(sent(&data(1000, false, 32), 990, Coding::Plain).len(), 32 + 6);
        assert!(sent(&data(2000, false, 1024), 990, Coding::Plain).len() <= 1024 + 11);
    }

    #[test]
    fn any_damage_to_any_byte_is_noticed() {
        // The seven bits of a hello are read as they were, whatever becomes of the eighth.
        let fine = |bad: &[u8], frame: &Frame| {
            read(bad, Some(KEY), 1000).is_none_or(|read| read == *frame)
        };
        for frame in frames() {
            let good = sent(&frame, 1000, Coding::Plain);
            for at in 0..good.len() {
                for bit in 0..8 {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << bit;
                    assert!(fine(&bad, &frame), "{frame:?} {at} {bit}");
                }
                let mut short = good.clone();
                short.remove(at);
                assert!(fine(&short, &frame), "{frame:?} {at}");
            }
        }
    }

    #[test]
    fn a_ramp_says_what_a_line_swallows() {
        let without = |swallowed: &[u8]| -> Vec<u8> {
            RAMP.into_iter().filter(|byte| !swallowed.contains(byte)).collect()
        };
        assert_eq!(judge_ramp(&RAMP), Coding::Plain);
        assert_eq!(judge_ramp(&without(&[0x11, 0x13])), Coding::Avoiding);
        assert_eq!(judge_ramp(&RAMP.map(|byte| byte & 0x7f)), Coding::SevenBit);
        assert_eq!(judge_ramp(&without(&[0x1b])), Coding::SevenBit);
        assert_eq!(judge_ramp(b"login: "), Coding::SevenBit);
    }

    proptest! {
        #[test]
        fn maps_are_read_as_they_were_written(runs in proptest::collection::vec((any::<bool>(), 1..40usize), 0..30)) {
            let map: Vec<bool> = runs.into_iter().flat_map(|(here, count)| vec![here; count]).collect();
            let written = written_map(&map);
            let mut read = read_map(&written).unwrap();
            prop_assert!(read.len() >= map.len() && read.len() < map.len() + MAP_BITS);
            prop_assert!(read.split_off(map.len()).iter().all(|here| !here));
            prop_assert_eq!(read, map);
        }

        #[test]
        fn anything_between_two_ends_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let mut deframer = Deframer::default();
            for byte in bytes {
                if let Some(piece) = deframer.push(byte) {
                    prop_assert_eq!(read(&piece, Some(KEY), 7), None);
                }
            }
            prop_assert!(deframer.held_bytes() <= PIECE_MAX);
            let read = read_map(&[0xff; 300]);
            prop_assert!(read.is_none());
        }
    }

    #[test]
    fn whatever_came_before_the_next_frame_is_found() {
        let frame = data(1000, false, 100);
        let piece = sent(&frame, 1000, Coding::Plain);
        let mut noises = vec![vec![], vec![0], vec![0, 0], vec![7; 5000], piece[..50].to_vec()];
        noises.push([&piece[..], &[0], &piece[20..]].concat());
        for noise in noises {
            let mut deframer = Deframer::default();
            let stream = [&noise[..], &[0], &piece, &[0]].concat();
            let pieces = stream.iter().filter_map(|byte| deframer.push(*byte));
            assert_eq!(pieces.last().as_deref(), Some(&piece[..]));
        }
    }
}
