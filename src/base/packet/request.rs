//! A request for files that somebody shares, and every answer to one that is not the files themselves.
//!
//! ```text
//! request = [0, [name, ...], glob | null, after | null]                      list
//!         | [1, [name, ...], glob | null, range | null, [[bytes, blake3], ...]]     get, unless it is one of these
//!         | [2, request, why, most | null]                                   no
//!         | [3, request, [[name, kind, bytes, mtime | null], ...], more]     what there is
//!         | [4, request, bytes, blake3]                                      it is one of these
//!         | [5, [name, ...], [bytes, blake3], [[from, length], ...]]         of this content I lack these bytes
//! range   = [from, length | null]
//! ```
//!
//! The first name is that of a share, and the others are looked for in it, one by one: a path here is a
//! list of names, never something that a disk could be asked for. Files that are found travel as a
//! message with files does, which answers the request.

use serde_bytes::ByteBuf;

use super::{
    PATH_DEPTH_MAX, PacketError,
    fields::{Few, digest, flag, holds, id},
    manifest::is_component,
};
use crate::{id::BundleId, wire};

/// The body is at most this long: a listing, of which there can be another.
pub const REQUEST_MAX: usize = 64 * 1024;
/// The names of a path are together at most this long, as a path is on Linux.
pub const PATH_BYTES_MAX: usize = 4096;

/// Whoever asks names at most so many contents that they have.
pub const KNOWN_MAX: usize = 16;
/// A listing has at most so many names.
pub const LISTED_MAX: usize = 1024;
/// Whoever lacks bytes of a file in more places than this asks for more than it lacks.
pub const RANGES_MAX: usize = 64;

/// What somebody asks of a node's shares, or is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Which files are there?
    List {
        /// The names on the way there; none, for the shares themselves.
        path: Vec<String>,
        /// Only names that fit this, in which `*` is any text and `?` any character.
        glob: Option<String>,
        /// Only names that sort behind this one.
        after: Option<String>,
    },
    /// Send me this.
    Get {
        /// The names on the way there, at least one.
        path: Vec<String>,
        /// The files in there that fit this, instead of the place itself.
        glob: Option<String>,
        /// Only these of its bytes.
        range: Option<Range>,
        /// Lengths and BLAKE3 of contents that need not be sent.
        known: Vec<(u64, [u8; 32])>,
    },
    /// I have this but for some of its bytes, from somebody else: send me those. All of it, if it is
    /// another content there.
    Rest {
        /// The names on the way there, at least one.
        path: Vec<String>,
        /// Its length.
        bytes: u64,
        /// BLAKE3 of all of it.
        blake3: [u8; 32],
        /// From which byte, and how many: at least one, rising, apart, within the length.
        ranges: Vec<(u64, u64)>,
    },
    /// What is said to a request.
    Answer {
        /// To which.
        request: BundleId,
        /// What.
        said: Told,
    },
}

/// Some bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first of them, from 0.
    pub from: u64,
    /// How many; all that follow, where nothing is said. More than there are is all that there are.
    pub length: Option<u64>,
}

/// What is said to a request when no file is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing is sent, and why.
    No(No),
    /// What there is.
    Listing {
        /// Strictly rising by the bytes of their names.
        entries: Vec<Listed>,
        /// Whether there is more behind the last.
        more: bool,
    },
    /// It is one of the contents that were named.
    Same {
        /// Its length.
        bytes: u64,
        /// Which.
        blake3: [u8; 32],
    },
}

/// A file or directory that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name, one component.
    pub name: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// Its length; 0 of a directory.
    pub bytes: u64,
    /// Unix seconds of its last change, where known.
    pub mtime: Option<u64>,
}

/// Why nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    /// There is no such thing, or none that this asker may know of.
    NotFound,
    /// This asker may have nothing at all here.
    NotAllowed,
    /// It is a directory.
    Directory,
    /// It is a link, a device, a pipe, or kept back by its owner.
    Special,
    /// It is more than is sent at once.
    TooLarge {
        /// So many bytes are.
        most: u64,
    },
    /// It is more than this asker gets within a day, for now.
    Spent,
    /// Too many answers to this asker wait already.
    Waiting,
    /// It changed whenever it was read.
    Changing,
    /// It could not be read.
    Unreadable,
    /// It ends before the first byte that is wanted.
    Beyond,
}

const LIST: u8 = 0;
const GET: u8 = 1;
const NO: u8 = 2;
const LISTING: u8 = 3;
const SAME: u8 = 4;
const REST: u8 = 5;
/// Where the number stands: behind the array's head.
const NUMBER_AT: usize = 1;
const TOO_LARGE: u8 = 4;

type Path = Few<String, PATH_DEPTH_MAX>;
type Known = Few<(u64, ByteBuf), KNOWN_MAX>;
type RangeWire = (u64, Option<u64>);
type ListedWire = (String, u8, u64, Option<u64>);
type ListWire = (u8, Path, Option<String>, Option<String>);
type GetWire = (u8, Path, Option<String>, Option<RangeWire>, Known);
type NoWire = (u8, ByteBuf, u8, Option<u64>);
type ListingWire = (u8, ByteBuf, Few<ListedWire, LISTED_MAX>, u8);
type SameWire = (u8, ByteBuf, u64, ByteBuf);
type RestWire = (u8, Path, (u64, ByteBuf), Few<(u64, u64), RANGES_MAX>);

impl Request {
    /// The body's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = |id: &BundleId| ByteBuf::from(id.0);
        match self {
            Self::List { path, glob, after } => {
                wire::encode::<ListWire>(&(LIST, Few(path.clone()), glob.clone(), after.clone()))
            }
            Self::Get { path, glob, range, known } => {
                let known = known.iter().map(|(bytes, hash)| (*bytes, ByteBuf::from(hash)));
                let range = range.map(|range| (range.from, range.length));
                let (path, known) = (Few(path.clone()), Few(known.collect()));
                wire::encode::<GetWire>(&(GET, path, glob.clone(), range, known))
            }
            Self::Rest { path, bytes, blake3, ranges } => {
                let content = (*bytes, ByteBuf::from(blake3));
                wire::encode::<RestWire>(&(REST, Few(path.clone()), content, Few(ranges.clone())))
            }
            Self::Answer { request, said: Told::No(why) } => {
                let (number, most) = why.number();
                wire::encode::<NoWire>(&(NO, bytes(request), number, most))
            }
            Self::Answer { request, said: Told::Listing { entries, more } } => {
                let entries = Few(entries.iter().map(Listed::to_wire).collect());
                wire::encode::<ListingWire>(&(LISTING, bytes(request), entries, u8::from(*more)))
            }
            Self::Answer { request, said: Told::Same { bytes: length, blake3 } } => {
                wire::encode::<SameWire>(&(SAME, bytes(request), *length, ByteBuf::from(blake3)))
            }
        }
    }

    /// Reads a body and checks every length in it.
    pub fn decode(body: &[u8]) -> Result<Self, PacketError> {
        if body.len() > REQUEST_MAX {
            return Err(PacketError::TooLong { limit: REQUEST_MAX, got: body.len() });
        }
        let answer = |request: &ByteBuf, said: Told| -> Result<Self, PacketError> {
            Ok(Self::Answer { request: id(request, "request")?, said })
        };
        let request = match body.get(NUMBER_AT).copied() {
            Some(LIST) => {
                let (_, path, glob, after): ListWire = wire::decode(body)?;
                Self::List { path: path.0, glob, after }
            }
            Some(GET) => {
                let (_, path, glob, range, known): GetWire = wire::decode(body)?;
                let known =
                    known.0.iter().map(|(bytes, hash)| Ok((*bytes, digest(hash, "known")?)));
                let known = known.collect::<Result<_, PacketError>>()?;
                let range = range.map(|(from, length)| Range { from, length });
                Self::Get { path: path.0, glob, range, known }
            }
            Some(NO) => {
                let (_, request, why, most): NoWire = wire::decode(body)?;
                answer(&request, Told::No(No::of(why, most)?))?
            }
            Some(LISTING) => {
                let (_, request, entries, more): ListingWire = wire::decode(body)?;
                let entries = entries.0.into_iter().map(Listed::from_wire);
                let entries = entries.collect::<Result<_, _>>()?;
                answer(&request, Told::Listing { entries, more: flag(more, "more")? })?
            }
            Some(SAME) => {
                let (_, request, bytes, hash): SameWire = wire::decode(body)?;
                answer(&request, Told::Same { bytes, blake3: digest(&hash, "blake3")? })?
            }
            Some(REST) => {
                let (_, path, (bytes, hash), ranges): RestWire = wire::decode(body)?;
                let (path, ranges) = (path.0, ranges.0);
                Self::Rest { path, bytes, blake3: digest(&hash, "blake3")?, ranges }
            }
            _ => return Err(PacketError::Field("request")),
        };
        request.check()?;
        Ok(request)
    }

    /// Whether all that is within its bounds; asked of one's own before it is sealed, and of others'
    /// when they are read.
    pub fn check(&self) -> Result<(), PacketError> {
        match self {
            Self::List { path, glob, after } => {
                holds(is_path(path), "path")?;
                holds(glob.as_deref().is_none_or(is_glob), "glob")?;
                holds(after.as_deref().is_none_or(is_component), "after")
            }
            Self::Get { path, glob, range, known } => {
                holds(is_path(path) && !path.is_empty(), "path")?;
                holds(glob.as_deref().is_none_or(is_glob), "glob")?;
                // Of many files nobody wants the same bytes.
                holds(range.is_none_or(|range| range.is_sound() && glob.is_none()), "range")?;
                holds(known.len() <= KNOWN_MAX, "known")
            }
            Self::Rest { path, bytes, ranges, .. } => {
                holds(is_path(path) && !path.is_empty(), "path")?;
                holds(are_ranges(ranges, *bytes), "ranges")
            }
            Self::Answer { said: Told::Listing { entries, more }, .. } => {
                holds(entries.len() <= LISTED_MAX, "entries")?;
                let sound = |it: &Listed| is_component(&it.name) && !(it.directory && it.bytes > 0);
                let rises = entries.windows(2).all(|two| two[0].name < two[1].name);
                holds(rises && entries.iter().all(sound), "entries")?;
                holds(!more || !entries.is_empty(), "more")
            }
            Self::Answer { .. } => Ok(()),
        }
    }
}

/// Whether names are a path: few, not long, and each of them one component.
fn is_path(path: &[String]) -> bool {
    let bytes: usize = path.iter().map(|name| name.len() + 1).sum();
    path.len() <= PATH_DEPTH_MAX
        && bytes <= PATH_BYTES_MAX
        && path.iter().all(|it| is_component(it))
}

/// A pattern for one name: what could not be in a name is not in it.
fn is_glob(glob: &str) -> bool {
    is_component(glob)
}

/// Whether there are ranges, none of them empty, each behind the one before, all within a length.
fn are_ranges(ranges: &[(u64, u64)], bytes: u64) -> bool {
    let mut at = 0;
    let rise = ranges.iter().all(|(from, length)| {
        let end = from.checked_add(*length).filter(|end| *length > 0 && *end <= bytes);
        // What touches is one range.
        let behind = *from > at || at == 0;
        at = end.unwrap_or(0);
        behind && end.is_some()
    });
    rise && (1..=RANGES_MAX).contains(&ranges.len())
}

impl Range {
    fn is_sound(self) -> bool {
        self.length.is_none_or(|length| length > 0 && self.from.checked_add(length).is_some())
    }
}

impl Listed {
    fn to_wire(&self) -> ListedWire {
        (self.name.clone(), u8::from(self.directory), self.bytes, self.mtime)
    }

    fn from_wire((name, kind, bytes, mtime): ListedWire) -> Result<Self, PacketError> {
        Ok(Self { name, directory: flag(kind, "kind")?, bytes, mtime })
    }
}

impl No {
    fn number(self) -> (u8, Option<u64>) {
        match self {
            Self::NotFound => (0, None),
            Self::NotAllowed => (1, None),
            Self::Directory => (2, None),
            Self::Special => (3, None),
            Self::TooLarge { most } => (TOO_LARGE, Some(most)),
            Self::Spent => (5, None),
            Self::Waiting => (6, None),
            Self::Changing => (7, None),
            Self::Unreadable => (8, None),
            Self::Beyond => (9, None),
        }
    }

    fn of(number: u8, most: Option<u64>) -> Result<Self, PacketError> {
        Ok(match (number, most) {
            (0, None) => Self::NotFound,
            (1, None) => Self::NotAllowed,
            (2, None) => Self::Directory,
            (3, None) => Self::Special,
            (TOO_LARGE, Some(most)) => Self::TooLarge { most },
            (5, None) => Self::Spent,
            (6, None) => Self::Waiting,
            (7, None) => Self::Changing,
            (8, None) => Self::Unreadable,
            (9, None) => Self::Beyond,
            _ => return Err(PacketError::Field("why")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn list(names: &[&str]) -> Request {
        Request::List { path: path(names), glob: None, after: None }
    }

    fn get(names: &[&str]) -> Request {
        Request::Get { path: path(names), glob: None, range: None, known: vec![] }
    }

    fn rest(ranges: &[(u64, u64)]) -> Request {
        let (path, ranges) = (path(&["a"]), ranges.to_vec());
        Request::Rest { path, bytes: u64::MAX, blake3: [6; 32], ranges }
    }

    fn answer(said: Told) -> Request {
        Request::Answer { request: BundleId([5; 32]), said }
    }

    fn listed(name: &str) -> Listed {
        Listed { name: name.into(), directory: false, bytes: 7, mtime: None }
    }

    fn every() -> Vec<Request> {
        let range = |from, length| {
            let range = Some(Range { from, length });
            Request::Get { path: path(&["a"]), glob: None, range, known: vec![(0, [0; 32])] }
        };
        let whys = [
            No::NotFound,
            No::NotAllowed,
            No::Directory,
            No::Special,
            No::TooLarge { most: u64::MAX },
            No::Spent,
            No::Waiting,
            No::Changing,
            No::Unreadable,
            No::Beyond,
        ];
        let listing = Told::Listing {
            entries: vec![
                Listed { directory: true, bytes: 0, ..listed("a") },
                Listed { mtime: Some(9), ..listed("ä") },
            ],
            more: true,
        };
        let glob = Some("*.j?g".to_owned());
        vec![
            list(&[]),
            Request::List { path: path(&["a"]), glob: glob.clone(), after: Some("b".into()) },
            get(&["maps", "north", "a b.pdf"]),
            range(0, None),
            range(u64::MAX - 1, Some(1)),
            Request::Get {
                path: path(&["a"]),
                glob,
                range: None,
                known: vec![(u64::MAX, [7; 32]); KNOWN_MAX],
            },
            rest(&[(0, 5)]),
            rest(&[(0, 1), (2, 1), (4, u64::MAX - 4)]),
            answer(listing),
            answer(Told::Listing { entries: vec![], more: false }),
            answer(Told::Same { bytes: 1 << 40, blake3: [3; 32] }),
        ]
        .into_iter()
        .chain(whys.map(|why| answer(Told::No(why))))
        .collect()
    }

    #[test]
    fn every_request_and_answer_round_trips_and_no_prefix_of_one_is_one() {
        for request in every() {
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes), Ok(request));
            for cut in 0..bytes.len() {
                assert!(Request::decode(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }

    /// NNCP's CVE-2025-60020: `../../` in what was asked for. Here such a thing cannot be said.
    #[test]
    fn nncp_cve_2025_60020_a_path_that_leaves_its_share_is_no_request() {
        for wrong in ["..", ".", "", "a/b", "/etc/passwd", "a\\b", "a\0", "a\n", &"x".repeat(256)] {
            let rest = Request::Rest {
                path: path(&["share", wrong]),
                bytes: 1,
                blake3: [0; 32],
                ranges: vec![(0, 1)],
            };
            let gets = [get(&[wrong]), get(&["share", wrong, "x"])];
            for request in gets.into_iter().chain([list(&["share", wrong]), rest]) {
                let refused = Request::decode(&request.encode());
                assert_eq!(refused, Err(PacketError::Field("path")), "{wrong:?}");
            }
        }
    }

    #[test]
    fn a_path_of_65_names_or_4097_bytes_is_refused() {
        assert!(Request::decode(&get(&["n"; 64]).encode()).is_ok());
        let deep = Request::decode(&get(&["n"; 65]).encode());
        assert!(matches!(deep, Err(PacketError::Wire(_))), "{deep:?}");
        let long = "x".repeat(255);
        assert!(Request::decode(&get(&vec![&*long; 16]).encode()).is_ok());
        let refused = Request::decode(&get(&[&vec![&*long; 16][..], &["x"]].concat()).encode());
        assert_eq!(refused, Err(PacketError::Field("path")));
    }

    #[test]
    fn what_is_out_of_its_bounds_is_refused_by_name() {
        let range = |from, length, glob: Option<&str>| Request::Get {
            path: path(&["a"]),
            glob: glob.map(Into::into),
            range: Some(Range { from, length }),
            known: vec![],
        };
        let listing = |entries: Vec<Listed>, more| answer(Told::Listing { entries, more });
        let directory = Listed { directory: true, ..listed("a") };
        for (field, request) in [
            ("path", get(&[])),
            ("glob", Request::List { path: vec![], glob: Some("a/*".into()), after: None }),
            ("glob", Request::List { path: vec![], glob: Some(String::new()), after: None }),
            ("after", Request::List { path: vec![], glob: None, after: Some("..".into()) }),
            ("range", range(0, Some(0), None)),
            ("range", range(u64::MAX, Some(1), None)),
            ("range", range(0, None, Some("*"))),
            ("ranges", rest(&[])),
            ("ranges", rest(&[(0, 0)])),
            ("ranges", rest(&[(0, 5), (5, 1)])),
            ("ranges", rest(&[(7, 1), (0, 1)])),
            ("ranges", rest(&[(u64::MAX, 1)])),
            ("entries", listing(vec![listed("a"), listed("a")], false)),
            ("entries", listing(vec![listed("b"), listed("a")], false)),
            ("entries", listing(vec![listed("..")], false)),
            ("entries", listing(vec![directory], false)),
            ("more", listing(vec![], true)),
        ] {
            assert_eq!(Request::decode(&request.encode()), Err(PacketError::Field(field)));
        }
        let many = (0..=LISTED_MAX).map(|n| listed(&format!("{n:05}"))).collect();
        let known = vec![(0, [0; 32]); KNOWN_MAX + 1];
        let known = Request::Get { path: path(&["a"]), glob: None, range: None, known };
        for request in [listing(many, false), known] {
            assert!(matches!(Request::decode(&request.encode()), Err(PacketError::Wire(_))));
        }
        for (why, most) in [(10, None), (0, Some(1)), (4, None)] {
            let body = wire::encode::<NoWire>(&(NO, ByteBuf::from([5; 32]), why, most));
            assert_eq!(Request::decode(&body), Err(PacketError::Field("why")), "{why}");
        }
        let mut unknown = get(&["a"]).encode();
        unknown[NUMBER_AT] = 6;
        assert_eq!(Request::decode(&unknown), Err(PacketError::Field("request")));
        let long = Request::decode(&vec![0; REQUEST_MAX + 1]);
        assert!(matches!(long, Err(PacketError::TooLong { .. })));
    }
}
