//! Parcels: what is written to a medium for whoever comes by, and what is taken from it.
//!
//! A medium has nobody at the other end. So everything on it stands for itself: bundles that prove
//! themselves, gathered in containers that are written once and never changed, and notes that are
//! hints and nothing more. `docs/parcel.md` is the specification, with byte diagrams and limits.
//!
//! ```text
//! POSTRIDER/VOLUME.PR          marker: the volume id
//! POSTRIDER/C/xxxxxxxx.PRC     containers; xxxxxxxx.TMP while being written
//! POSTRIDER/R/xxxxxxxx.PRR     rests of bundles whose beginning went over a link; .TMP as above
//! POSTRIDER/N/xxxxxxxx.PRN     notes: receipts, marks of what was taken or found damaged
//! POSTRIDER/CARDS/xxxxxxxx.PRK contact cards, only on request
//! ```
//!
//! A visit, as the loop that moves the bytes goes through it:
//! 1. read [`VOLUME_FILE`] ([`VolumeId::decode`]; draw a new id when there is none) and all notes
//!    ([`Notes::decode`], [`Notes::merge`]);
//! 2. open each container ([`Container::open`]), take what is new from it, and tell the
//!    [`Planner`] what it holds;
//! 3. [`Planner::offer`] the spool's bundles in the order of [`Rank`], and obey each
//!    [`Step`] of [`Planner::poll`]: remove, or write a container with [`ContainerWriter`] under
//!    [`FileNumber::leftover_of`] and publish it under a random number;
//! 4. write the merged notes as one new file, then remove those it replaced.
//!
//! Nothing here reads a clock, a disk or a source of randomness.
//!
//! ```
//! use postrider_base::{BundleId, Lifetime, Niceness, bundle::Hop};
//! use postrider_engine::parcel::{Container, ContainerWriter, NewRecord, Salt};
//!
//! // Writing: the writer says which bytes go around the bodies, the caller moves all of them.
//! let mut writer = ContainerWriter::new(Salt([7; 8])); // random in earnest
//! let mut file = writer.header().to_vec();
//! let body = b"a sealed payload";
//! let record = NewRecord {
//!     id: BundleId([1; 32]),
//!     nice: Niceness::NORMAL,
//!     lifetime: Lifetime::new(86_400).unwrap(),
//!     hop: Hop { tokens: 1, hops: 0, age_s: 60, level: 0 },
//!     head: b"an envelope head",
//!     body_bytes: body.len() as u64,
//! };
//! file.extend(writer.begin_record(&record)?);
//! for chunk in body.chunks(5) {
//!     writer.body(chunk)?;
//!     file.extend(chunk);
//! }
//! file.extend(writer.end_record()?);
//! file.extend(writer.finish()?);
//!
//! // Reading: a DiskFile or bytes in memory.
//! let source = file.as_slice();
//! let container = Container::open(&source)?;
//! for content in container.contents(|id| *id == BundleId([1; 32])) {
//!     let found = content?.expect("no damage here");
//!     assert_eq!(found.record.head, b"an envelope head");
//!     let mut bytes: Vec<u8> = Vec::new();
//!     let mut chunk = [0; 4];
//!     let mut body_of = container.body(&found.record);
//!     loop {
//!         // The end (0) comes only after the record's check held.
//!         match body_of.read(&mut chunk)? {
//!             0 => break,
//!             n => bytes.extend(&chunk[..n]),
//!         }
//!     }
//!     assert_eq!(bytes, body);
//!     // Only now, and only if the bundle verifies, is anything of it believed.
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod container;
mod name;
mod notes;
mod plan;
mod rest;
mod volume;

pub use container::{
    Body, CONTAINER_RECORDS_MAX, CONTAINER_TARGET_BYTES, Container, ContainerError,
    ContainerWriter, Contents, Damage, Entry, Found, LifetimeClass, NewRecord, ReadAt, Record,
    RecordError, Salt, WriterError, record_bytes,
};
pub use name::{
    CARDS_DIR, CONTAINERS_DIR, FileKind, FileNumber, NOTES_DIR, RESTS_DIR, VOLUME_FILE, file_kind,
};
pub use notes::{
    DAMAGED_MAX, NOTES_FILE_MAX_BYTES, NOTES_FILES_MAX, Notes, NotesError, RECEIPTS_MAX, TAKEN_MAX,
};
pub use plan::{
    Access, BUNDLES_ON_MEDIUM_MAX, Budgets, CONTAINERS_MAX, Candidate, Class, Condition, LeftOut,
    Leftover, Listing, MediumContainer, MediumCopy, MediumRest, Planner, Rank, Removal, Room,
    Standing, Step, Verdict, Whose,
};
pub use rest::{NewRest, RESTS_MAX, Rest, RestBody, RestError, RestWriter, rest_bytes};
pub use volume::{MARKER_BYTES, VolumeId};
