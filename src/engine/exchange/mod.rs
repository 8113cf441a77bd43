//! The exchange: one two-way protocol over every link that can talk back.

mod limits;
mod unit;

pub use limits::{
    CHUNK_MAX, CHUNK_MIN, DEBT_MAX, FLOOD_HOPS_MAX, FORGED_MAX, LINKS_MAX, OFFERS_MAX, OFFERS_OPEN,
    PARTIALS_MAX, PINGS_LOST_MAX, RECEIPTS_MAX, ROWS_MAX, SORT_MAX, UNIT_MAX, WANTS_OPEN,
    WINDOW_BYTES,
};
pub use unit::{Begin, Hello, Offered, Unit, UnitError, VERSION};
