//! Every limit of the exchange, with its reason.

/// Bytes of the longest chunk of a body: at 1 Gbit/s 2 ms, and one read and one write.
pub const CHUNK_MAX: usize = 256 << 10;
/// Bytes of the shortest chunk: below this the framing of a narrow link costs more than the wait.
pub const CHUNK_MIN: usize = 512;
/// Bytes of the longest unit: four of the longest chunks, so that a later version may have larger
/// ones, and the few bytes around it.
pub const UNIT_MAX: usize = (1 << 20) + 64;
/// Offers without an answer, per link and direction: 27 KiB of unit and of table.
pub const OFFERS_OPEN: usize = 1024;
/// Offers in one unit: a batch that a narrow link carries in a second.
pub const OFFERS_MAX: usize = 256;
/// No unit begins with a handle beyond this: a link that has carried 4 billion offers begins anew.
pub(crate) const HANDLE_MAX: u32 = u32::MAX - 0xffff;
/// Wants outstanding, per link: with small bundles, two round trips of 5,000 a second.
pub const WANTS_OPEN: usize = 256;
/// Nothing more is wanted while so many bytes of bodies that are no less urgent are wanted and have
/// not come, per link: 8 Gbit/s at 8 ms.
pub const WINDOW_BYTES: u64 = 8 << 20;
/// Bytes of bodies that are whole and not durable yet, per link, or one bundle: four parts of a
/// file, so that several are opened at once and share a sync while others come.
pub const KEEPING_BYTES: u64 = 36 << 20;
/// Receipts in one unit: 7 KiB.
pub const RECEIPTS_MAX: usize = 256;
/// Rows asked of the spool at once; the spool's own page.
pub const ROWS_MAX: usize = 1024;
/// Rows after a cursor that are read and sorted at once; where there are more, pages by niceness.
pub const SORT_MAX: usize = 4096;
/// Bodies that were cut and wait to be continued.
pub const PARTIALS_MAX: usize = 64;
/// The sender of a body hears how much has come after so many bytes: the longest chunk, so that it
/// costs a fast link one small unit for each.
pub const HAVE_EVERY_BYTES: u64 = CHUNK_MAX as u64;
/// On a slow link after so long, if so much has come: at 9600 Bd a fifth of a percent goes back.
pub(crate) const HAVE_EVERY_MS: u64 = 5_000;
pub(crate) const HAVE_LEAST_BYTES: u64 = 16 << 10;
/// What is here of a body is worth remembering from so much on: less is sent again in less time than
/// a stick takes to be found.
pub const HELD_FROM_BYTES: u64 = 64 << 10;
/// Forged or damaged bundles on one link before it is halted: bad luck on a bad line is rarer.
pub const FORGED_MAX: u32 = 8;
/// Pings without an answer before a link counts as dead.
pub const PINGS_LOST_MAX: u32 = 3;
/// Bytes of units that wait in a carriage beyond its room before the peer counts as stuck.
pub const DEBT_MAX: u64 = 1 << 20;
/// Links at once: 3 MiB of tables at worst.
pub const LINKS_MAX: usize = 256;
/// Bundles passed on by flooding have passed fewer nodes than this.
pub const FLOOD_HOPS_MAX: u8 = 16;
/// Rows that are offered without a reconciliation: 1.5 KiB, for which it would take some round
/// trips and 100 bytes to find that they are known.
pub const PLAIN_MAX: usize = 64;
/// Reconciliations at once, over all links: each holds up to 44 MiB for a set of a million. Links
/// beyond take the plain list.
pub const RECONCILED_AT_ONCE: usize = 4;
/// One that a neighbour asks for so soon after the last is answered with the plain list: each costs
/// this end all its rows.
pub(crate) const RECONCILE_GAP_MS: u64 = 600_000;
/// So long may the other end take for a step, then the plain list is taken: a million rows are read
/// in some seconds, a batch takes a quarter of a second on the narrowest link.
pub(crate) const RECONCILE_PATIENCE_MS: u64 = 120_000;
/// After so much time with links to a neighbour, the cursors are not believed any more.
pub(crate) const RECONCILE_EVERY_MS: u64 = 24 * 3600 * 1000;
/// Neighbours of whom something is remembered between links.
pub(crate) const NEIGHBOURS_MAX: usize = 1024;
