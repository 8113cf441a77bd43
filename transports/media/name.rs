//! Names on a medium: ours are few and plain, so that every file system keeps them as they are.

/// Longest stem and longest ending of a name: 8.3, which a FAT directory stores in one 32-byte
/// entry (a longer name takes several, and a small FAT has a fixed number of them).
const STEM_MAX: usize = 8;
const ENDING_MAX: usize = 3;

/// Words that DOS and Windows take for devices in every directory, with any ending.
const DEVICE_WORDS: [&[u8]; 4] = [b"CON", b"PRN", b"AUX", b"NUL"];

/// Whether `name` is one that we could have written: upper-case ASCII letters, digits and `-` in
/// 8.3 form, and no device word of Windows.
///
/// Such a name contains no separator, is never `.` or `..`, has no case or Unicode form to differ
/// in, and is kept unchanged by FAT, exFAT, NTFS and every Unix file system.
pub fn is_our_name(name: &[u8]) -> bool {
    let mut halves = name.splitn(2, |byte| *byte == b'.');
    let stem = halves.next().unwrap_or_default();
    let plain = |part: &[u8], longest: usize| {
        (1..=longest).contains(&part.len())
            && part.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'-')
    };
    plain(stem, STEM_MAX)
        && halves.next().is_none_or(|ending| plain(ending, ENDING_MAX))
        && !is_device_word(stem)
}

/// The name of ours that `listed` becomes on a file system that ignores case: some drivers show
/// upper-case 8.3 names in lower case.
pub(super) fn folded(listed: &[u8]) -> Option<String> {
    // Longer names cannot fold to one of ours; looking at the length first keeps a hostile
    // directory full of 255-byte names cheap.
    if listed.len() > STEM_MAX + 1 + ENDING_MAX {
        return None;
    }
    let upper = listed.to_ascii_uppercase();
    is_our_name(&upper).then(|| String::from_utf8(upper).ok()).flatten()
}

fn is_device_word(stem: &[u8]) -> bool {
    let numbered =
        |word: &[u8]| stem.len() == 4 && stem.starts_with(word) && stem[3].is_ascii_digit();
    DEVICE_WORDS.contains(&stem) || numbered(b"COM") || numbered(b"LPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_upper_case_8_3_names_are_ours() {
        for good in ["C", "N", "CARDS", "VOLUME.PR", "0A1B2C3D.PRC", "00000000.TMP", "A-B.1"] {
            assert!(is_our_name(good.as_bytes()), "{good}");
        }
        let bad: [&[u8]; 24] = [
            b"",
            b".",
            b"..",
            b"...",
            b".A",
            b"A.",
            b"A..B",
            b"A.B.C",
            b"a",
            b"Volume.PR",
            b"123456789",
            b"A.ABCD",
            b"A/B",
            b"/",
            b"A\\B",
            b"A B",
            b"A\n",
            b"A\0",
            b"\x1b[2J",
            b"CON",
            b"NUL.PRC",
            b"COM1",
            b"LPT9.PRC",
            "\u{202e}A".as_bytes(),
        ];
        for name in bad {
            assert!(!is_our_name(name), "{:?}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn lower_case_names_fold_to_ours_and_others_do_not() {
        assert_eq!(folded(b"volume.pr").as_deref(), Some("VOLUME.PR"));
        assert_eq!(folded(b"0a1b2c3d.prc").as_deref(), Some("0A1B2C3D.PRC"));
        assert_eq!(folded(b"con"), None);
        assert_eq!(folded(&[b'a'; 255]), None);
        assert_eq!(folded("ﬀ".as_bytes()), None);
    }
}
