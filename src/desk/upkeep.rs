//! `spool`, `doctor`: upkeep.

use postrider_spool::{Class, Spool};

use super::{
    Desk, Failure, Watch, alarm, clock,
    inbox::note_keys,
    ledger::{remove_note, space},
    reply::{Checked, Finding},
};
use crate::home::is_private;

/// How much is here, in numbers.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Bundles and bytes by class.
    pub classes: [(&'static str, u64, u64); Class::ALL.len()],
    /// Messages that arrived.
    pub messages: u64,
    /// Receipts that are handed on.
    pub receipts: u64,
    /// Free bytes of the disk.
    pub disk_free: u64,
}

impl Desk {
    /// How much is here.
    pub fn figures(&self, watch: &dyn Watch) -> Result<Figures, Failure> {
        let spool = self.spool(watch)?;
        let shares = spool.stats()?.classes;
        Ok(Figures {
            classes: Class::ALL.map(|class| {
                let share = shares[class as usize];
                (class.word(), share.bundles, share.bytes)
            }),
            messages: note_keys(spool, space::MESSAGE)?.len() as u64,
            receipts: note_keys(spool, space::RECEIPT)?.len() as u64,
            disk_free: self.free_bytes()?,
        })
    }

    /// Figures about the spool.
    pub fn spool_stats(&self, watch: &dyn Watch) -> Result<Vec<Finding>, Failure> {
        let spool = self.spool(watch)?;
        let stats = spool.stats()?;
        let row = |check: &str, detail: String| Finding {
            check: check.to_owned(),
            verdict: "ok".into(),
            detail,
            next: None,
        };
        let mut rows = Vec::new();
        for line in self.class_lines(&stats)? {
            let share = format!("{} bundles, {} bytes", line.bundles, line.bytes);
            let detail = match (line.quota_bundles, line.quota_bytes) {
                (Some(bundles), Some(bytes)) => {
                    let counted = line.counted_bytes;
                    format!("{share}; {counted} of {bytes} bytes, of {bundles} bundles at most")
                }
                _ => share,
            };
            let name = match &*line.class {
                "own" => "own".to_owned(),
                class => format!("{class}s"),
            };
            rows.push(row(&name, detail));
        }
        rows.extend([
            row("messages", note_keys(spool, space::MESSAGE)?.len().to_string()),
            row("receipts", note_keys(spool, space::RECEIPT)?.len().to_string()),
            row("disk free", format!("{} bytes", self.free_bytes()?)),
        ]);
        Ok(rows)
    }

    /// Reads every byte of the spool and says what is not as it was written.
    pub fn spool_check(&self, watch: &dyn Watch) -> Result<Checked, Failure> {
        let spool = self.spool(watch)?;
        let report = spool.check(clock::now())?;
        let mut findings: Vec<String> =
            report.damaged.iter().map(|damage| format!("{damage:?}")).collect();
        let (contacts_damaged, contacts_repaired) = self.home.contacts()?.damage();
        if contacts_damaged > 0 {
            findings.push(format!("{contacts_damaged} damaged lines in the contacts file"));
            // Writing it anew drops what is damaged and keeps what was recovered.
            self.home.edit_contacts(|_| Ok(()))?;
        }
        Ok(Checked {
            verb: "check".into(),
            bundles: report.bundles,
            damaged: findings.len() as u64,
            repaired: report.repaired + contacts_repaired as u64,
            findings,
        })
    }

    /// Makes the index anew from the log.
    pub fn spool_rebuild(&self, watch: &dyn Watch) -> Result<Checked, Failure> {
        let spool = self.spool(watch)?;
        spool.rebuild_index()?;
        let bundles = spool.stats()?.bundles();
        Ok(Checked {
            verb: "rebuild".into(),
            bundles,
            damaged: 0,
            repaired: 0,
            findings: Vec::new(),
        })
    }

    /// Gives back what is no longer needed.
    pub fn spool_gc(&self, watch: &dyn Watch) -> Result<Checked, Failure> {
        let spool = self.spool(watch)?;
        self.tidy(spool)?;
        let held_ms = spool.held_ms(clock::now());
        let mut over = Vec::new();
        for key in note_keys(spool, space::DONE)? {
            let until = spool.note(space::DONE, &key)?;
            let until = until.and_then(|value| Some(u64::from_be_bytes(value.try_into().ok()?)));
            if until.is_none_or(|until| until < held_ms) {
                over.push(key);
            }
        }
        for keys in over.chunks(1024) {
            let changes = keys.iter().map(|key| remove_note(space::DONE, key)).collect();
            spool.commit(clock::now(), changes)?;
        }
        let old = self.early_receipts.over(spool, held_ms)?;
        if !old.is_empty() {
            spool.commit(clock::now(), old)?;
        }
        let report = spool.compact(clock::now())?;
        let bundles = spool.stats()?.bundles();
        let findings = vec![format!(
            "{} bytes of the log and {} files were given back",
            report.freed_bytes, report.orphans
        )];
        Ok(Checked { verb: "gc".into(), bundles, damaged: 0, repaired: 0, findings })
    }

    /// Looks for what commonly goes wrong.
    pub fn doctor(&self, watch: &dyn Watch) -> Result<Vec<Finding>, Failure> {
        let finding =
            |check: &str, verdict: &'static str, detail: String, next: Option<&str>| Finding {
                check: check.to_owned(),
                verdict: verdict.into(),
                detail,
                next: next.map(str::to_owned),
            };
        let mut found = Vec::new();
        let private = is_private(self.home.dir()).unwrap_or(false);
        found.push(if private {
            finding("key", "ok", "only its owner can read it".into(), None)
        } else {
            finding(
                "key",
                "warn",
                "the file system does not keep the key private".into(),
                Some("move the home to a disk with permissions"),
            )
        });
        for alarm in self.alarms(watch)? {
            found.push(finding("alarm", "fail", alarm, Some(alarm::IDENTITY_NEXT)));
        }
        for ill in self.roster_ills(&*self.home.contacts()?) {
            found.push(finding("roster", "warn", ill, Some("postrider roster show")));
        }
        let wall_s = clock::wall_s();
        found.push(if wall_s >= BUILT_AFTER_S {
            finding("clock", "ok", "plausible".into(), None)
        } else {
            finding(
                "clock",
                "warn",
                "it stands before this program was made".into(),
                Some("dates shown to others will be wrong; nothing expires because of it"),
            )
        });
        let free = self.free_bytes()?;
        found.push(if free > 1 << 30 {
            finding("disk", "ok", format!("{} MiB free", free >> 20), None)
        } else {
            finding("disk", "warn", format!("{} MiB free", free >> 20), Some("free some space"))
        });
        let (damaged, repaired) = self.home.contacts()?.damage();
        found.push(if damaged == 0 {
            finding("contacts", "ok", "whole".into(), None)
        } else {
            finding(
                "contacts",
                "fail",
                format!("{damaged} damaged lines, {repaired} of them recovered"),
                Some("postrider spool check writes the file anew; add missing contacts again"),
            )
        });
        let report = self.spool_check(watch)?;
        found.push(if report.damaged == 0 {
            finding("spool", "ok", format!("{} bundles, all whole", report.bundles), None)
        } else {
            finding("spool", "fail", report.findings.join("; "), Some("postrider spool check"))
        });
        Ok(found)
    }
}

/// 2026-11-01: no clock of a machine that runs this stands before it, unless it is wrong.
pub(crate) const BUILT_AFTER_S: u64 = 1_793_491_200;
