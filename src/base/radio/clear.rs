//! Bands on which nothing may be enciphered: what may be sent there, and whose station it is.
//!
//! On amateur bands a message must be readable by everybody, the station must say its call sign, and it
//! does not carry other people's private mail (ITU Radio Regulations, 25.2A, 25.3, 25.9). So a link
//! that is clear carries open bundles without a seal, and of those to a single node only the ones
//! between licensed stations.

use std::{fmt, str::FromStr};

use super::STATION;
use crate::{
    bundle::{Destination, Header, Origin, SealKind},
    id::NodeId,
    packet::{Body, Content, Manifest, Packet},
};

/// How often a station says its call sign while it sends, in seconds: ten minutes, as the rules of
/// most countries have it; also when it begins and when it ends.
pub const STATION_EVERY_S: u64 = 600;

/// A call sign in its frame is no longer: six characters, a hyphen, two digits.
const CALL_MAX: usize = 9;

/// Why a bundle may not be sent where nothing may be enciphered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotClear {
    /// Its payload is sealed.
    #[error("it is sealed")]
    Sealed,
    /// It says inside a seal who wrote it.
    #[error("it does not say who wrote it")]
    Hidden,
    /// Private mail whose author or recipient is not a licensed station.
    #[error("it is private mail of somebody who has no station")]
    ThirdParty,
    /// It brings something that was enciphered before.
    #[error("it brings something enciphered")]
    Enciphered,
    /// A part of files, which is nothing to read.
    #[error("nobody can read what it brings")]
    Unreadable,
}

/// Whether a bundle may be sent over a link that must be clear.
///
/// `packet` is what its payload decodes to: what does not decode can say nothing to those who listen,
/// and is not to be sent. `stations` are the nodes of licensed stations, this one among them: whoever
/// runs a station says which they are. To a group anybody's word may go, since it is said to all.
pub fn may_go_clear(header: &Header, packet: &Packet, stations: &[NodeId]) -> Result<(), NotClear> {
    may_header_go_clear(header, stations)?;
    if matches!(packet.body, Body::Part(_)) {
        return Err(NotClear::Unreadable);
    }
    if texts_and_files(&packet.body).any(is_enciphered) {
        return Err(NotClear::Enciphered);
    }
    Ok(())
}

/// The part of [`may_go_clear`] that the header decides, for whoever has no more: what it refuses need
/// not be read.
pub fn may_header_go_clear(header: &Header, stations: &[NodeId]) -> Result<(), NotClear> {
    if header.seal != SealKind::None {
        return Err(NotClear::Sealed);
    }
    let Origin::Open { source, .. } = &header.origin else { return Err(NotClear::Hidden) };
    match &header.destination {
        Destination::Group(_) => Ok(()),
        Destination::Node(node) if stations.contains(source) && stations.contains(node) => Ok(()),
        Destination::Node(_) | Destination::Tag(_) => Err(NotClear::ThirdParty),
    }
}

/// What a body brings for people: its text, and its files where they are inside. Files in parts
/// travel under a seal, and are refused with their parts.
fn texts_and_files(body: &Body) -> impl Iterator<Item = &[u8]> {
    let manifest = body.manifest();
    let text = match body {
        Body::Mail(text) => Some(&**text),
        _ => manifest.and_then(|manifest| manifest.text.as_deref()),
    };
    let (files, mut content) = match manifest {
        Some(Manifest { files, content: Content::Inline(content), .. }) => {
            (&files[..], &content[..])
        }
        _ => (&[][..], &[][..]),
    };
    let files = files.iter().map(move |file| {
        let bytes = usize::try_from(file.bytes).unwrap_or(usize::MAX).min(content.len());
        let (this, rest) = content.split_at(bytes);
        content = rest;
        this
    });
    text.map(str::as_bytes).into_iter().chain(files)
}

/// Whether something begins as age and OpenPGP write it. This keeps mistakes off the air; what
/// somebody hides on purpose nothing here can tell from noise.
fn is_enciphered(content: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 3] = [
        b"age-encryption.org/",
        b"-----BEGIN AGE ENCRYPTED FILE-----",
        b"-----BEGIN PGP MESSAGE-----",
    ];
    let content = content.trim_ascii_start();
    BEGINNINGS.iter().any(|beginning| content.starts_with(beginning))
}

/// A call sign, and which of its holder's stations it is: `DL1ABC-7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallSign {
    /// Capitals and digits, blanks behind.
    letters: [u8; 6],
    ssid: u8,
}

/// Why a text is not a call sign.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a call sign is up to six letters and digits, with both among them, then perhaps -0 to -15"
)]
pub struct CallSignError;

/// Whose station sends, for the driver of a clear link: in the source address of each AX.25 frame,
/// and as a frame of its own when it begins, every ten minutes, and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// The operator's call sign.
    pub call: CallSign,
}

impl Station {
    /// Whether it has to say its call sign before it sends now. Both in seconds of one clock that does
    /// not go back; `said` is when it did last, since it began.
    pub fn is_due(&self, said: Option<u64>, now: u64) -> bool {
        said.is_none_or(|said| now.saturating_sub(said) >= STATION_EVERY_S)
    }

    /// The frame that says it: 03, then the call sign as text, for everybody who listens.
    pub fn frame(&self) -> Vec<u8> {
        [&[STATION], self.call.to_string().as_bytes()].concat()
    }

    /// Whose station a frame says that it is.
    pub fn of_frame(frame: &[u8]) -> Result<Self, CallSignError> {
        let [STATION, text @ ..] = frame else { return Err(CallSignError) };
        if text.len() > CALL_MAX {
            return Err(CallSignError);
        }
        let text = std::str::from_utf8(text).map_err(|_| CallSignError)?;
        let call: CallSign = text.parse()?;
        // One spelling on the air.
        if call.to_string() != text {
            return Err(CallSignError);
        }
        Ok(Self { call })
    }
}

impl CallSign {
    /// The seven bytes of an AX.25 address (version 2.2, section 3.12): each character one bit to
    /// the left, then the number with both reserved bits set. The driver sets the bits for command
    /// and for the last address.
    pub fn ax25(&self) -> [u8; 7] {
        let mut out = [0x60 | self.ssid << 1; 7];
        for (to, letter) in out.iter_mut().zip(self.letters) {
            *to = letter << 1;
        }
        out
    }
}

impl FromStr for CallSign {
    type Err = CallSignError;

    fn from_str(text: &str) -> Result<Self, CallSignError> {
        let text = text.trim().to_ascii_uppercase();
        let (call, ssid) = match text.split_once('-') {
            Some((call, ssid)) => {
                let plain = matches!(ssid.as_bytes(), [b'0'..=b'9'] | [b'1', b'0'..=b'5']);
                (call, if plain { ssid.parse().ok() } else { None })
            }
            None => (&*text, Some(0)),
        };
        let has = |what: fn(&u8) -> bool| call.as_bytes().iter().any(what);
        let only = call.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let fine =
            call.len() <= 6 && only && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
        let mut letters = [b' '; 6];
        for (to, letter) in letters.iter_mut().zip(call.bytes()) {
            *to = letter;
        }
        match ssid {
            Some(ssid) if fine => Ok(Self { letters, ssid }),
            _ => Err(CallSignError),
        }
    }
}

impl fmt::Display for CallSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.letters.trim_ascii_end() {
            write!(f, "{}", char::from(*letter))?;
        }
        if self.ssid == 0 { Ok(()) } else { write!(f, "-{}", self.ssid) }
    }
}

impl fmt::Debug for CallSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bundle::{LockField, Sequence},
        key::NodeSecret,
        packet::{FileEntry, PartHead, Tail},
    };

    fn node(n: u8) -> NodeId {
        NodeSecret::from_seed([n; 32]).id()
    }

    fn header(from: u8, destination: Destination) -> Header {
        Header {
            destination,
            lifetime: crate::Lifetime::DEFAULT,
            nice: crate::Niceness::NORMAL,
            seal: SealKind::None,
            lock: LockField::None,
            origin: Origin::Open {
                source: node(from),
                sequence: Sequence { epoch: 1, counter: 1 },
                created: 0,
            },
            length: 5,
            hash: None,
        }
    }

    fn packet(body: Body) -> Packet {
        Packet { body, tail: Tail::default() }
    }

    fn mail(text: &str) -> Packet {
        packet(Body::Mail(text.into()))
    }

    #[test]
    fn only_what_everybody_may_read_goes_clear() {
        let stations = [node(1), node(2)];
        let to = |n| Destination::Node(node(n));
        let group = Destination::Group([7; 16]);
        let asked = |header: &Header| may_go_clear(header, &mail("cq"), &stations);
        assert_eq!(asked(&header(1, to(2))), Ok(()));
        assert_eq!(asked(&header(1, group)), Ok(()));
        assert_eq!(
            asked(&header(9, group)),
            Ok(()),
            "what is said to all is nobody's private mail"
        );
        assert_eq!(asked(&header(1, to(9))), Err(NotClear::ThirdParty));
        assert_eq!(asked(&header(9, to(2))), Err(NotClear::ThirdParty));
        for seal in [SealKind::Compact, SealKind::Age] {
            assert_eq!(asked(&Header { seal, ..header(1, to(2)) }), Err(NotClear::Sealed));
        }
        let hidden = Header { origin: Origin::Hidden, ..header(1, to(2)) };
        assert_eq!(asked(&hidden), Err(NotClear::Hidden));
    }

    #[test]
    fn what_was_enciphered_before_stays_off_the_air() {
        let header = header(1, Destination::Group([7; 16]));
        let asked = |packet: &Packet| may_go_clear(&header, packet, &[]);
        assert_eq!(asked(&mail("\n-----BEGIN PGP MESSAGE-----\n")), Err(NotClear::Enciphered));
        assert_eq!(asked(&mail("about -----BEGIN PGP MESSAGE-----")), Ok(()));
        let files = |second: &[u8]| {
            let entry = |path: &str, bytes: &[u8]| FileEntry {
                path: vec![path.into()],
                bytes: bytes.len() as u64,
                blake3: *blake3::hash(bytes).as_bytes(),
                mtime: None,
                executable: false,
                directory: false,
            };
            let content = [&b"plain"[..], second].concat();
            packet(Body::Files(Manifest {
                text: None,
                files: vec![entry("a", b"plain"), entry("b", second)],
                content: Content::Inline(content),
            }))
        };
        assert_eq!(asked(&files(b"age-encryption.org/v1\n")), Err(NotClear::Enciphered));
        assert_eq!(asked(&files(b"as plain as the first")), Ok(()));
        let part = PartHead {
            set: crate::id::SetId([0; 16]),
            index: 0,
            stored_bytes: 1,
            plain_bytes: 1,
            compressed: false,
        };
        assert_eq!(asked(&packet(Body::Part(part))), Err(NotClear::Unreadable));
    }

    #[test]
    fn a_call_sign_has_one_spelling_and_an_address() {
        for (text, shown) in [("dl1abc-7", "DL1ABC-7"), ("K1A", "K1A"), (" 9a1aa-0 ", "9A1AA")] {
            let call: CallSign = text.parse().unwrap();
            assert_eq!(call.to_string(), shown);
            let station = Station { call };
            assert_eq!(Station::of_frame(&station.frame()), Ok(station));
        }
        for text in [
            "",
            "-1",
            "DL1ABCD",
            "DL1ABC-16",
            "DL1ABC-07",
            "DL1ABC-+1",
            "DL1-",
            "ABC",
            "123",
            "D\u{d6}1",
        ] {
            assert_eq!(text.parse::<CallSign>(), Err(CallSignError), "{text}");
        }
        for frame in [&b"\x03dl1abc"[..], b"\x03DL1ABC-0", b"\x02DL1ABC", b"\x03", b"\x03DL1ABC\0"]
        {
            assert_eq!(Station::of_frame(frame), Err(CallSignError), "{frame:?}");
        }
        let call: CallSign = "DL1AB-7".parse().unwrap();
        assert_eq!(call.ax25(), [0x88, 0x98, 0x62, 0x82, 0x84, 0x40, 0x6e]);
    }

    #[test]
    fn a_station_says_who_it_is_first_and_every_ten_minutes() {
        let station = Station { call: "DL1ABC".parse().unwrap() };
        for (said, now, due) in
            [(None, 0, true), (Some(5), 5, false), (Some(5), 604, false), (Some(5), 605, true)]
        {
            assert_eq!(station.is_due(said, now), due, "{said:?} {now}");
        }
    }
}
