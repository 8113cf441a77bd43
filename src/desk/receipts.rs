//! Receipts to hand on, in the order in which they became known here.
//!
//! A neighbour remembers how far it has taken them, as with bundles, so every receipt has a number
//! that rises, also over restarts: the last one is kept even when its time is over. Numbers are
//! given before the commit that makes a receipt durable, and commits of several threads overlap:
//! [`Numbered`] keeps the horizon below a number until its commit is over.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postrider_base::{bundle::Receipt, wire};
use postrider_spool::{Change, DurableSpool, Spool, contract::PAGE_MAX};

use super::{
    Failure,
    ledger::{ReceiptNote, remove_note, set_note, space},
};

/// Gives numbers to receipts.
#[derive(Clone, Debug, Default)]
pub(super) struct ReceiptNumbers(Arc<Mutex<Numbers>>);

#[derive(Debug, Default)]
struct Numbers {
    /// The last number given; `None` before the spool was asked.
    last: Option<u64>,
    /// Numbers whose commit is not over.
    open: BTreeSet<u64>,
}

/// A number that was given; dropped when the commit is over, however it ended.
#[derive(Debug)]
pub(super) struct Numbered {
    number: u64,
    numbers: ReceiptNumbers,
}

impl Drop for Numbered {
    fn drop(&mut self) {
        self.numbers.lock().open.remove(&self.number);
    }
}

impl ReceiptNumbers {
    /// The change that notes a receipt, useful until the custody clock shows `until_held_ms`.
    pub(super) fn note(
        &self,
        spool: &DurableSpool,
        receipt: &Receipt,
        until_held_ms: u64,
    ) -> Result<(Change, Numbered), Failure> {
        let mut numbers = self.lock();
        let number = numbers.last(spool)?.saturating_add(1);
        numbers.last = Some(number);
        numbers.open.insert(number);
        drop(numbers);
        let key = [&number.to_be_bytes()[..], &receipt.encode()].concat();
        let change = set_note(space::RECEIPT, &key, wire::encode(&ReceiptNote::new(until_held_ms)));
        Ok((change, Numbered { number, numbers: self.clone() }))
    }

    /// Every receipt with a number up to this one can be seen, or never will be.
    pub(super) fn horizon(&self, spool: &DurableSpool) -> Result<u64, Failure> {
        let mut numbers = self.lock();
        let last = numbers.last(spool)?;
        numbers.last = Some(last);
        Ok(numbers.open.first().map_or(last, |open| open - 1))
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbers {
    /// The last number given, in this process or before.
    fn last(&self, spool: &DurableSpool) -> Result<u64, Failure> {
        if let Some(last) = self.last {
            return Ok(last);
        }
        let mut last = 0;
        loop {
            let page = spool.notes(space::RECEIPT, &[], Some(&before(last)), PAGE_MAX)?;
            match page.last().and_then(|key| split(key)) {
                Some((number, _)) => last = number,
                None => return Ok(last),
            }
        }
    }
}

/// A look at receipts in their order.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Number and receipt of those that are still of use.
    pub list: Vec<(u64, Receipt)>,
    /// What removes those whose time is over.
    pub over: Vec<Change>,
    /// The number to go on after, while more may follow.
    pub next: Option<u64>,
}

/// Looks at up to `limit` receipts with a number above `after`.
pub(super) fn since(
    spool: &DurableSpool,
    after: u64,
    limit: usize,
    held_ms: u64,
) -> Result<Listed, Failure> {
    let mut listed = Listed::default();
    let limit = limit.min(PAGE_MAX);
    let keys = spool.notes(space::RECEIPT, &[], Some(&before(after)), limit)?;
    let full = keys.len() == limit;
    let last = keys.last().and_then(|key| split(key)).map(|(number, _)| number);
    for key in keys {
        let until = spool.note(space::RECEIPT, &key)?.as_deref().and_then(ReceiptNote::read);
        let numbered = split(&key);
        listed.next = numbered.map(|(number, _)| number).or(listed.next);
        match (numbered, until) {
            (Some(numbered), Some(note)) if note.1 > held_ms => listed.list.push(numbered),
            _ => listed.over.push(remove_note(space::RECEIPT, &key)),
        }
    }
    listed.next = listed.next.filter(|_| full);
    if !full && listed.list.last().map(|(number, _)| *number) != last {
        // The last of all keeps the numbers rising.
        listed.over.pop();
    }
    Ok(listed)
}

/// All receipts; see [`since`].
pub(super) fn all(spool: &DurableSpool, held_ms: u64) -> Result<Listed, Failure> {
    let mut whole = since(spool, 0, PAGE_MAX, held_ms)?;
    while let Some(after) = whole.next {
        let page = since(spool, after, PAGE_MAX, held_ms)?;
        whole.list.extend(page.list);
        whole.over.extend(page.over);
        whole.next = page.next;
    }
    Ok(whole)
}

/// The cursor after which the keys of all numbers above `number` stand: every key is longer than
/// its number alone.
fn before(number: u64) -> [u8; 8] {
    number.saturating_add(1).to_be_bytes()
}

fn split(key: &[u8]) -> Option<(u64, Receipt)> {
    let (number, receipt) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), Receipt::decode(receipt).ok()?))
}
