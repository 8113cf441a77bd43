//! A frame as an SMS: eight-bit data behind a port number of ours (3GPP TS 23.040).
//!
//! ```text
//! out  00 | 51 | 00 | digits, type, number | 00 | 04 | A7 | length | 06 05 04 port 0000 | frame
//!      no centre of ours; SUBMIT, valid for a day, with a header; eight-bit data
//! in   length, centre | MTI 00, header 40 | digits, type, number | PID | DCS | time (7) | length | header | frame
//! ```
//!
//! The port number is what tells a frame from what people write to each other: everything else on the card
//! is left alone. Of 140 bytes it takes seven.

/// Application ports from 16000 to 16999 are for whoever wants one (TS 23.040, 9.2.3.24.4).
const PORT: u16 = 16_531;
/// Of every SMS: length of the header, element, its length, two port numbers.
const HEADER: [u8; 7] = {
    let port = PORT.to_be_bytes();
    [6, 5, 4, port[0], port[1], port[0], port[1]]
};
/// User data of an SMS.
const USER_DATA_MAX: usize = 140;
/// The longest frame.
pub(super) const FRAME_MAX: usize = USER_DATA_MAX - HEADER.len();
/// Digits of a number (E.164 has 15; short numbers are shorter).
pub(super) const DIGITS_MAX: usize = 20;
/// Of two numbers of one telephone, one national and one international, so many digits are the same.
const SAME_DIGITS: usize = 8;

/// An SMS that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Came {
    /// Of whom, as digits; empty where it is a name.
    pub(super) from: String,
    /// What it carries.
    pub(super) frame: Vec<u8>,
}

/// An SMS to be sent, and how long a modem wants it said to be. `None` if it is too long or to nobody.
pub(super) fn submit(to: &str, frame: &[u8]) -> Option<(Vec<u8>, usize)> {
    let digits = to.strip_prefix('+').unwrap_or(to);
    let fine = (1..=DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && frame.len() <= FRAME_MAX;
    if !fine {
        return None;
    }
    // SUBMIT (01), a relative time of validity (10), a header (40); the reference is the modem's.
    let mut pdu = vec![0x00, 0x51, 0x00];
    pdu.push(u8::try_from(digits.len()).ok()?);
    // International, or as it is dialled here.
    pdu.push(if to.starts_with('+') { 0x91 } else { 0x81 });
    pdu.extend(half_bytes(digits));
    // No protocol of its own; eight-bit data; valid for a day: the frame is sent again by then.
    pdu.extend([0x00, 0x04, 0xa7]);
    pdu.push(u8::try_from(HEADER.len() + frame.len()).ok()?);
    pdu.extend(HEADER);
    pdu.extend(frame);
    // The centre does not count.
    let length = pdu.len() - 1;
    Some((pdu, length))
}

/// What came, if it is a frame of ours.
pub(super) fn deliver(pdu: &[u8]) -> Option<Came> {
    let mut rest = pdu;
    let centre = byte(&mut rest)?;
    take(&mut rest, usize::from(centre))?;
    let first = byte(&mut rest)?;
    // DELIVER, with a header.
    if first & 0x03 != 0 || first & 0x40 == 0 {
        return None;
    }
    let digits = usize::from(byte(&mut rest)?);
    if digits > DIGITS_MAX {
        return None;
    }
    let kind = byte(&mut rest)?;
    let number = take(&mut rest, digits.div_ceil(2))?;
    let from = if kind & 0x70 == 0x50 { String::new() } else { number_of(number, digits) };
    let _protocol = byte(&mut rest)?;
    let coding = byte(&mut rest)?;
    // Eight-bit data of the general group (04), or of that with message classes (F4 to F7).
    if coding & 0xcc != 0x04 && coding & 0xfc != 0xf4 {
        return None;
    }
    let _time = take(&mut rest, 7)?;
    let length = usize::from(byte(&mut rest)?);
    if length > USER_DATA_MAX {
        return None;
    }
    let data = rest.get(..length)?;
    // Other elements beside ours would be parts of something longer, which we never send.
    let frame = data.strip_prefix(&HEADER)?;
    Some(Came { from, frame: frame.to_vec() })
}

/// Whether two numbers may be one, written with and without the country.
pub(super) fn same_number(one: &str, other: &str) -> bool {
    let tail = |number: &str| {
        let digits: Vec<u8> = number.bytes().filter(u8::is_ascii_digit).collect();
        digits[digits.len().saturating_sub(SAME_DIGITS)..].to_vec()
    };
    !tail(one).is_empty() && tail(one) == tail(other)
}

/// Digits two by two, the first of each pair in the lower half.
fn half_bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let high = pair.get(1).map_or(0xf0, |digit| (digit & 15) << 4);
        high | (pair[0] & 15)
    });
    pairs.collect()
}

fn number_of(half_bytes: &[u8], digits: usize) -> String {
    let all = half_bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]).take(digits);
    all.filter_map(|digit| char::from_digit(u32::from(digit), 10)).collect()
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    Some(*first)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a centre makes of a SUBMIT: a DELIVER from somebody.
    fn delivered(from: &str, pdu: &[u8]) -> Vec<u8> {
        let digits = usize::from(pdu[3]);
        let data = &pdu[5 + digits.div_ceil(2) + 3..];
        let mut out = vec![0x02, 0x91, 0x44, 0x40 | 0x04];
        let plain = from.trim_start_matches('+');
        out.push(u8::try_from(plain.len()).unwrap());
        out.push(0x91);
        out.extend(half_bytes(plain));
        out.extend([0x00, 0x04, 0x62, 0x11, 0x92, 0x21, 0x43, 0x65, 0x80]);
        out.extend(data);
        out
    }

    #[test]
    fn a_frame_goes_as_an_sms_and_comes_back() {
        let (pdu, length) = submit("+491701234567", b"\x00\xffframe").unwrap();
        let head =
            [0x00, 0x51, 0x00, 12, 0x91, 0x94, 0x71, 0x10, 0x32, 0x54, 0x76, 0x00, 0x04, 0xa7];
        assert_eq!(pdu[..head.len()], head);
        assert_eq!((pdu[head.len()], length), (14, pdu.len() - 1));
        let came = deliver(&delivered("+49170765432", &pdu)).unwrap();
        assert_eq!(came, Came { from: "49170765432".into(), frame: b"\x00\xffframe".to_vec() });
        let (longest, _) = submit("12345", &[7; FRAME_MAX]).unwrap();
        assert_eq!(longest[4..8], [0x81, 0x21, 0x43, 0xf5]);
        assert_eq!(deliver(&delivered("1", &longest)).unwrap().frame, [7; FRAME_MAX]);
        assert_eq!(FRAME_MAX, 133);
        for (to, frame) in
            [("", 1), ("+", 1), ("12a", 1), (&*"1".repeat(21), 1), ("1", FRAME_MAX + 1)]
        {
            assert!(submit(to, &vec![0; frame]).is_none(), "{to}");
        }
    }

    #[test]
    fn what_people_write_and_what_lies_is_left_alone() {
        // "hello" in the seven-bit alphabet, as the standard's examples have it.
        let text = b"07911326040000F0040B911346610089F60000208062917314080CC8F71D14969741F977FD07";
        assert_eq!(deliver(&super::super::codec::from_hex(text).unwrap()), None);
        let good = delivered("+49170765432", &submit("1", b"frame").unwrap().0);
        for cut in 0..good.len() {
            assert_eq!(deliver(&good[..cut]), None, "{cut}");
        }
        for (at, byte) in [(0, 0xff), (3, 0x00), (3, 0x45), (4, 0xff), (13, 0x08), (21, 200)] {
            let mut wrong = good.clone();
            wrong[at] = byte;
            assert_eq!(deliver(&wrong), None, "{at}");
        }
    }

    #[test]
    fn a_number_is_the_same_with_its_country_and_without() {
        assert!(same_number("+49 170 1234567", "01701234567"));
        assert!(!same_number("+491701234567", "+491701234568"));
        assert!(!same_number("", ""));
    }
}
