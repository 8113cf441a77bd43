//! What modems with a dialect of their own say to their drivers, in pieces of any size.

use postrider_transports::{
    frames::FRAME_MAX,
    serial::{PortAddress, read_profile, replay},
};

/// A modem that speaks KISS, with call signs or without, by the first byte.
pub fn kiss_modem(data: &[u8]) -> bool {
    let Some((first, said)) = data.split_first() else { return false };
    let driver = match first & 1 {
        0 => "kiss&call=DL1ABC-7",
        _ => "kiss&raw=yes&air=sf8,bw125,cr5&ack=yes&port=1",
    };
    heard(driver, said)
}

/// A board with RNode.
pub fn rnode_board(data: &[u8]) -> bool {
    heard("rnode&freq=868.1MHz&lock1h=1", data)
}

/// A radio with Meshtastic.
pub fn meshtastic_radio(data: &[u8]) -> bool {
    heard("meshtastic", data)
}

/// A modem that is spoken to in lines: which, by the first byte.
pub fn at_modem(data: &[u8]) -> bool {
    let Some((first, said)) = data.split_first() else { return false };
    let profiles =
        ["rylr998", "rn2483", "wio-e5", "iridium", "sms&number=+4917012345678&pin=1234&poll=1"];
    let profile = profiles[usize::from(*first) % profiles.len()];
    heard(&format!("at&profile={profile}"), said)
}

/// The profile of a modem, from anybody.
pub fn modem_profile(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    match read_profile(text) {
        Ok(name) => {
            assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
            true
        }
        Err(why) => {
            assert!(!why.is_empty(), "refused for no reason");
            false
        }
    }
}

/// Whether a frame was heard in what is said; the first byte says in how large pieces it comes.
fn heard(driver: &str, data: &[u8]) -> bool {
    let Some((piece, said)) = data.split_first() else { return false };
    let text = format!("serial:///dev/ttyS0?driver={driver}");
    let of = PortAddress::parse(&text.parse().unwrap()).unwrap();
    let came = replay(&of, said, usize::from(*piece)).unwrap();
    let bytes: usize = came.frames.iter().map(Vec::len).sum();
    assert!(bytes <= said.len(), "more came out than in");
    assert!(came.frames.iter().all(|frame| frame.len() <= FRAME_MAX + 72), "a frame without end");
    assert!(came.is_ready || came.frames.is_empty(), "heard by a modem that was not set up");
    assert!((came.told..=came.told + 1).contains(&came.given), "a frame without a fate");
    assert_ne!(came.ended.as_deref(), Some("it never stops"));
    !came.frames.is_empty()
}

pub(super) fn kiss_seeds() -> Vec<Vec<u8>> {
    let ax25 = b"\xa0\xa6\xa8\xa4\x88\xa4\xe0\x88\x98\x62\x82\x84\x86\x6f\x03\xf0";
    let signed = [b"\x00\x05\xc0\x00", &ax25[..], b"hello\xdb\xdc\xdb\xdd\xc0"].concat();
    let raw = b"\x01\x40\xc0\x1c\x00\x01\xc0\xc0\x10hello\xc0\x10again\xc0".to_vec();
    vec![signed, raw]
}

pub(super) fn rnode_seeds() -> Vec<Vec<u8>> {
    let answers: [&[u8]; 13] = [
        b"\x08\x46",
        b"\x50\x01\x50",
        b"\x01\x33\xbe\x27\xa0",
        b"\x02\x00\x01\xe8\x48",
        b"\x03\x0e",
        b"\x04\x08",
        b"\x05\x05",
        b"\x0c\x00\x64",
        b"\x06\x01",
        b"\x0f\x01",
        b"\x25\x00\x10\x00\x10\x00\x00\x00\x00",
        b"\x23\x40",
        b"\x24\xf0",
    ];
    let line = |frames: &[&[u8]]| {
        frames.iter().flat_map(|frame| [b"\xc0", *frame, b"\xc0"].concat()).collect::<Vec<u8>>()
    };
    let set = line(&answers);
    let went = line(&[b"\x00hello", b"\x0f\x01", b"\x00again", b"\x0f\x00", b"\x90\x04"]);
    [200, 7].map(|piece| [&[piece], &set[..], &went].concat()).into()
}

pub(super) fn meshtastic_seeds() -> Vec<Vec<u8>> {
    let messages: [&[u8]; 7] = [
        // Who it is, how it is set, all told, how its queue stands.
        b"\x1a\x02\x08\x07",
        b"\x2a\x08\x32\x06\x08\x01\x38\x03\x48\x01",
        b"\x38\x02",
        b"\x5a\x04\x10\x10\x18\x10",
        // Somebody's packet, with its strength; what became of ours.
        b"\x12\x1e\x0d\x01\x02\x03\x04\x22\x07\x08\x80\x02\x12\x02hi\x45\x00\x00\xe8\xc0\x60\x9f\xff\xff\xff\xff\xff\
          \xff\xff\xff\x01",
        b"\x12\x0d\x22\x0b\x08\x05\x12\x02\x18\x09\x35\x01\x00\x00\x00",
        b"\x5a\x06\x10\x0f\x18\x10\x20\x01",
    ];
    let said: Vec<u8> = messages
        .iter()
        .flat_map(|message| {
            let length = u8::try_from(message.len()).unwrap();
            [b"\x94\xc3\x00", &[length][..], *message].concat()
        })
        .collect();
    let between = b"INFO | a line of its log\r\n";
    vec![[&[255], &said[..]].concat(), [&[3], &between[..], &said, &between[..]].concat()]
}

pub(super) fn at_seeds() -> Vec<Vec<u8>> {
    let oks = |ok: &str, times: usize| format!("{ok}\r\n").repeat(times);
    let rylr = format!("+OK\r\n+VER=1\r\n{}+RCV=0,3,\u{7}hi,-5,5\r\n", oks("+OK", 6));
    let rn = format!("RN2483 1\r\n1\r\n{}radio_rx  6869\r\nok\r\n", oks("ok", 11));
    let wio = format!(
        "+AT: OK\r\n+VER: 4\r\n+MODE: TEST\r\n+TEST: RFCFG F\r\n{}{}",
        "+TEST: RXLRPKT\r\n", "+TEST: LEN:2, RSSI:-41, SNR:9\r\n+TEST: RX \"6869\"\r\n"
    );
    let set = "OK\r\nOK\r\nOK\r\nIRIDIUM 9600\r\nOK\r\nOK\r\n0\r\nOK\r\n";
    let sky =
        b"\r\nSBDRING\r\n0\r\nOK\r\n+SBDIX: 0, 1, 1, 1, 2, 0\r\nOK\r\n\x00\x02hi\x00\xd1\r\nOK\r\n";
    let iridium = [set.as_bytes(), &sky[..]].concat();
    let texts = [rylr.into_bytes(), rn.into_bytes(), wio.into_bytes(), iridium];
    (0..).zip(texts).map(|(which, text)| [&[which, 255], &text[..]].concat()).collect()
}

pub(super) fn profile_seeds() -> Vec<Vec<u8>> {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/transports/serial/drivers/at/shipped");
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../transports/serial/drivers/at/shipped");
    let names = std::fs::read_dir(shipped).or_else(|_| std::fs::read_dir(beside)).unwrap();
    let mut texts: Vec<Vec<u8>> =
        names.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    texts.sort();
    texts
}
