//! Looking at everything: is each byte still what was written, and does the index say what the
//! log says?
//!
//! The log is read whole and folded into a fresh index, which is compared with the one in use.
//! Where they differ, the log is right, except for what rot took from it: a delivery or a
//! tombstone that the index still knows is written to the log again (losing it would show a
//! message twice), a bundle whose record or body is gone is forgotten without a tombstone (a good
//! copy is welcome), a note whose record is gone is removed (an older value must not come back).
//! Commits wait while the log is compared; bodies in files are read afterwards.

use crate::{
    contract::{BundleId, Change, Now, PAGE_MAX, Spool, Why},
    durable::DurableSpool,
    error::SpoolError,
    fold::decode_value,
    follow::follow,
    index::{
        Batch, BlockIndex, Index, MemoryIndex, Row, after_prefix,
        keys::{self, Live, Tombstone},
    },
    log::{
        LogDamage, Raw,
        record::{Kind, Retired, encode_delivered, encode_note, encode_retired},
    },
};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Live bundles that are whole.
    pub bundles: u64,
    /// What was damaged; of very much, the first thousand.
    pub damaged: Vec<Damage>,
    /// Bytes of an unfinished write that were found at the end of the log when it was opened:
    /// normal after a crash, and then never acknowledged; otherwise the last record was lost.
    pub torn_bytes: u64,
    /// Things put right: rows of the index, records written again, bundles and notes forgotten.
    pub repaired: u64,
}

/// Damage listed at most; more than that is one disk to replace.
const DAMAGE_MAX: usize = 1000;

/// One damaged thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A spot of the log.
    Log(LogDamage),
    /// A bundle whose record is gone.
    Bundle(BundleId),
    /// A bundle whose body's file is missing, short or changed.
    Body(BundleId),
    /// A note whose record is gone.
    Note {
        /// Its namespace.
        space: u8,
        /// Its key.
        key: Vec<u8>,
    },
}

impl DurableSpool {
    /// Reads and compares everything, and repairs what can be.
    pub fn check(&self, now: Now) -> Result<CheckReport, SpoolError> {
        let mut report = CheckReport { torn_bytes: self.torn_bytes, ..CheckReport::default() };
        let mut blobs = Vec::new();
        self.compare_with_log(&mut report, &mut blobs)?;
        for (id, length, check) in blobs {
            if self.writer.blobs.verify(&id, length, check)? || self.entry(&id)?.is_none() {
                continue;
            }
            report.damaged.push(Damage::Body(id));
            self.commit(now, vec![Change::Retire { id, why: Why::Damaged }])?;
            report.repaired += 1;
        }
        self.sweep_bodies()?;
        report.bundles = self.stats()?.bundles();
        report.damaged.truncate(DAMAGE_MAX);
        Ok(report)
    }

    /// Makes the index anew from the log.
    pub fn rebuild_index(&self) -> Result<(), SpoolError> {
        self.compare_with_log(&mut CheckReport::default(), &mut Vec::new())
    }

    fn compare_with_log(
        &self,
        report: &mut CheckReport,
        blobs: &mut Vec<(BundleId, u64, u64)>,
    ) -> Result<(), SpoolError> {
        let mut log = self.writer.log();
        let fresh = BlockIndex::new(MemoryIndex::default());
        let mut damage = Vec::new();
        follow(&log, &fresh, &mut damage)?;
        report.damaged.extend(damage.into_iter().map(Damage::Log));

        let used: &dyn Index = &self.writer.index;
        if self.writer.index.has_failed() {
            self.writer.heal(&log)?;
        }
        let mut corrections = Batch::new();
        let mut rescued = Vec::new();
        let now_ms = self.writer.latest_ms();
        each_row(used, |(key, value)| {
            let truth = fresh.get(&key)?;
            if truth.as_ref() == Some(&value) {
                return Ok(());
            }
            rescue(&key, &value, truth.is_none(), now_ms, report, &mut rescued)?;
            // An ended tombstone is dropped at leisure, so either may still have it.
            let ended = matches!(key.first(), Some(&keys::TOMBSTONE_END | &keys::TOMBSTONE));
            report.repaired += u64::from(!ended && !is_total(&key));
            corrections.insert(key, truth);
            Ok(())
        })?;
        each_row(&fresh, |(key, value)| {
            if key.first() == Some(&keys::LIVE)
                && let Some(Live { blob: Some(check), entry, .. }) =
                    decode_value(Some(value.clone()), Live::decode)?
            {
                blobs.push((entry.id, entry.summary.length, check));
            }
            if used.get(&key)?.is_none() {
                let tombstone =
                    matches!(key.first(), Some(&keys::TOMBSTONE_END | &keys::TOMBSTONE));
                report.repaired += u64::from(!tombstone && !is_total(&key));
                corrections.insert(key, Some(value));
            }
            Ok(())
        })?;
        used.apply(&corrections)?;
        if !rescued.is_empty() {
            report.repaired += rescued.len() as u64;
            self.writer.append(&mut log, &rescued)?;
        }
        Ok(())
    }
}

/// A row the log no longer backs: what must be written so that it stays, or stays away.
fn rescue(
    key: &[u8],
    value: &[u8],
    gone: bool,
    now_ms: u64,
    report: &mut CheckReport,
    rescued: &mut Vec<Raw>,
) -> Result<(), SpoolError> {
    match key.first() {
        Some(&keys::ID) if gone => report.damaged.extend(keys::id_of(key).map(Damage::Bundle)),
        Some(&keys::TOMBSTONE) if gone => {
            let tombstone = decode_value(Some(value.to_vec()), Tombstone::decode)?;
            if let (Some(t), Some(id)) = (tombstone, keys::id_of(key))
                && t.until_held_ms > now_ms
            {
                let retired = Retired { id, why: t.why, until_held_ms: t.until_held_ms };
                rescued.push(Raw::new(Kind::Retired, encode_retired(&retired)));
            }
        }
        Some(&keys::DELIVERED) => {
            if let Some((source, epoch, counter)) = keys::sequence_of(key) {
                let ids: Vec<(u64, [u8; 8])> = value
                    .chunks_exact(8)
                    .filter_map(|id8| Some((counter, id8.try_into().ok()?)))
                    .collect();
                rescued.push(Raw::new(Kind::Delivered, encode_delivered(&source, epoch, &ids)));
            }
        }
        Some(&keys::NOTE) => {
            if let Some((space, name)) = key[1..].split_first() {
                report.damaged.push(Damage::Note { space: *space, key: name.to_vec() });
                rescued.push(Raw::new(Kind::Note, encode_note(*space, name, None)));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Sums follow from the other rows, so that a difference in them is no finding of its own.
fn is_total(key: &[u8]) -> bool {
    matches!(key.first(), Some(&keys::TOTALS | &keys::SEGMENT)) || key == keys::WATERMARK
}

fn each_row(
    index: &dyn Index,
    mut visit: impl FnMut(Row) -> Result<(), SpoolError>,
) -> Result<(), SpoolError> {
    let mut low = Vec::new();
    let end = after_prefix(&[u8::MAX - 1]);
    loop {
        let rows = index.range(&low, &end, PAGE_MAX)?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        low.clone_from(last);
        low.push(0);
        for row in rows {
            visit(row)?;
        }
    }
}
