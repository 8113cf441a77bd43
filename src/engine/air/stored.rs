//! A ledger as bytes on a disk: written after each booking, so short; read after a crash, so checked.
//!
//! The format stands in `docs/air.md`. There is one way to write a ledger, and only that is read.

use std::collections::VecDeque;

use thiserror::Error;

use super::{
    Span,
    ledger::{ACCOUNTS_MAX, Ledger},
    spent::{SLOTS, Spent},
};

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;

/// Why bytes are no ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoredError {
    /// They are not what was written.
    #[error("the ledger is damaged")]
    Damaged,
    /// Written by a newer program.
    #[error("the ledger has version {0}, which this program cannot read")]
    Version(u8),
    /// Of another span.
    #[error("the ledger is of another kind")]
    Kind,
}

fn code(span: Span) -> u8 {
    match span {
        Span::Hour => 1,
        Span::Day => 2,
    }
}

pub(super) fn encode(ledger: &Ledger) -> Vec<u8> {
    let slot_ms = ledger.span.slot_ms();
    let slot_now = ledger.at_ms / slot_ms;
    let mut out = vec![VERSION, code(ledger.span)];
    out.extend_from_slice(&ledger.seen_ms.to_be_bytes());
    let phase_ms = u32::try_from(ledger.at_ms % slot_ms).unwrap_or(0);
    out.extend_from_slice(&phase_ms.to_be_bytes());
    let accounts = || ledger.accounts.iter().filter(|(_, spent)| !spent.is_empty());
    out.push(u8::try_from(accounts().count()).unwrap_or(u8::MAX));
    for (key, spent) in accounts() {
        out.extend_from_slice(&key.to_be_bytes());
        let open = u32::try_from(spent.opened()).unwrap_or(u32::MAX);
        out.extend_from_slice(&open.to_be_bytes());
        out.push(u8::try_from(spent.slots().len()).unwrap_or(u8::MAX));
        for (slot, amount) in spent.slots() {
            out.push(u8::try_from(slot_now.saturating_sub(*slot)).unwrap_or(u8::MAX));
            out.extend_from_slice(&amount.to_be_bytes());
        }
    }
    let check = xxhash_rust::xxh3::xxh3_64(&out);
    out.extend_from_slice(&check.to_be_bytes());
    out
}

pub(super) fn decode(bytes: &[u8], span: Span, now_ms: u64) -> Result<Ledger, StoredError> {
    match bytes {
        [VERSION, kind, ..] if *kind == code(span) => {}
        [VERSION, _, ..] => return Err(StoredError::Kind),
        [version, ..] => return Err(StoredError::Version(*version)),
        [] => return Err(StoredError::Damaged),
    }
    parse(bytes, span, now_ms).ok_or(StoredError::Damaged)
}

fn parse(bytes: &[u8], span: Span, now_ms: u64) -> Option<Ledger> {
    let (said, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
    if xxhash_rust::xxh3::xxh3_64(said).to_be_bytes() != check {
        return None;
    }
    let mut rest = said.get(2..)?;
    let seen_ms = u64::from_be_bytes(take(&mut rest)?);
    let phase_ms = u64::from(u32::from_be_bytes(take(&mut rest)?));
    if phase_ms >= span.slot_ms() {
        return None;
    }
    let mut ledger = Ledger::new(span, seen_ms);
    let slot_now = ledger.at_ms / span.slot_ms();
    ledger.at_ms += phase_ms;
    let [accounts] = take(&mut rest)?;
    if usize::from(accounts) > ACCOUNTS_MAX {
        return None;
    }
    let mut unsettled = Vec::new();
    for _ in 0..accounts {
        let key = u16::from_be_bytes(take(&mut rest)?);
        if ledger.accounts.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return None;
        }
        let open = u32::from_be_bytes(take(&mut rest)?);
        let slots = slots(&mut rest, slot_now)?;
        if open == 0 && slots.is_empty() {
            return None;
        }
        let mut spent = Spent::restore(span, slots);
        spent.open(u64::from(open));
        ledger.accounts.insert(key, spent);
        unsettled.push((key, u64::from(open)));
    }
    if !rest.is_empty() {
        return None;
    }
    // Time first: what was under way when it was written may have gone on until just now.
    ledger.look_at_clock(now_ms);
    for (key, open) in unsettled {
        let at_ms = ledger.at_ms;
        if let Some(spent) = ledger.accounts.get_mut(&key) {
            spent.close(at_ms, open, open);
        }
    }
    Some(ledger)
}

/// The slots of one account, oldest first.
fn slots(rest: &mut &[u8], slot_now: u64) -> Option<VecDeque<(u64, u32)>> {
    let [count] = take(rest)?;
    let mut slots = VecDeque::new();
    let mut newer_than = SLOTS + 1;
    for _ in 0..count {
        let [back] = take(rest)?;
        let back = u64::from(back);
        let amount = u32::from_be_bytes(take(rest)?);
        if back >= newer_than || amount == 0 {
            return None;
        }
        newer_than = back;
        slots.push_back((slot_now.checked_sub(back)?, amount));
    }
    Some(slots)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::air::{Lane, May, Why, ledger::Limit};

    fn sealed(said: &[u8]) -> Vec<u8> {
        let mut bytes = said.to_vec();
        bytes.extend_from_slice(&xxhash_rust::xxh3::xxh3_64(said).to_be_bytes());
        bytes
    }

    fn filled(spendings: &[(u64, u16, u32)]) -> Ledger {
        let mut ledger = Ledger::new(Span::Hour, 0);
        let mut now_ms = 0;
        for (wait_ms, key, amount) in spendings {
            now_ms += wait_ms;
            let amount = u64::from(*amount);
            let limit = Limit::new(*key, None);
            if let Ok(booking) = ledger.book(now_ms, limit, Lane::Normal, amount) {
                ledger.settle(now_ms, booking, amount);
            }
        }
        ledger
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(
            spendings in prop::collection::vec((0u64..400_000, 0u16..40, any::<u32>()), 0..60),
            later_ms in 0u64..8_000_000,
        ) {
            let mut ledger = filled(&spendings);
            let bytes = ledger.encode();
            let mut read = Ledger::decode(&bytes, Span::Hour, ledger.seen_ms).unwrap();
            prop_assert_eq!(&read.encode(), &bytes);
            let now_ms = ledger.seen_ms + later_ms;
            for key in 0..40 {
                prop_assert_eq!(read.spent(now_ms, key), ledger.spent(now_ms, key));
            }
            for short in 0..bytes.len() {
                prop_assert!(Ledger::decode(&bytes[..short], Span::Hour, 0).is_err());
            }
        }

        #[test]
        fn whatever_is_read_is_refused_or_written_the_same(
            said in prop::collection::vec(any::<u8>(), 0..200),
            now_ms in any::<u64>(),
        ) {
            let mut said = said;
            said.splice(0..0, [VERSION, 1]);
            let bytes = sealed(&said);
            if let Ok(mut ledger) = Ledger::decode(&bytes, Span::Hour, now_ms) {
                prop_assert!(ledger.encode().len() <= 20 << 10);
                ledger.spent(u64::MAX, 0);
                ledger.spent(0, 0);
                ledger.spent(u64::MAX, 0);
            }
        }
    }

    #[test]
    fn each_fault_is_found() {
        let head = |accounts: u8| {
            let mut said = vec![VERSION, 1];
            said.extend_from_slice(&[0; 8]);
            said.extend_from_slice(&[0, 0, 0, 1]);
            said.push(accounts);
            said
        };
        let with = |accounts, rest: &[u8]| sealed(&[&head(accounts), rest].concat());
        let read = |bytes: &[u8]| Ledger::decode(bytes, Span::Hour, 0);
        let account = [0, 5, 0, 0, 0, 0, 2, 120, 0, 0, 0, 9, 0, 0, 0, 0, 8];
        let mut good = read(&with(1, &account)).unwrap();
        assert_eq!(good.spent(0, 5), 17);
        for (at, wrong, why) in [
            (6, 0, "an account without anything, and bytes behind it"),
            (6, 3, "a slot that is not there"),
            (7, 121, "a slot that no longer counts"),
            (7, 0, "slots in the wrong order"),
            (11, 0, "an empty slot"),
        ] {
            let mut account = account;
            account[at] = wrong;
            assert_eq!(read(&with(1, &account)), Err(StoredError::Damaged), "{why}");
        }
        assert_eq!(read(&with(2, &[account, account].concat())), Err(StoredError::Damaged));
        assert_eq!(read(&with(33, &account)), Err(StoredError::Damaged));
        assert_eq!(read(&with(1, &[0, 5, 0, 0, 0, 0, 0])), Err(StoredError::Damaged));
        let mut late = head(0);
        late[10..14].copy_from_slice(&30_000u32.to_be_bytes());
        assert_eq!(read(&sealed(&late)), Err(StoredError::Damaged));
        let bytes = with(1, &account);
        for at in 2..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(read(&bytes), Err(StoredError::Damaged));
        }
        assert_eq!(Ledger::decode(&bytes, Span::Day, 0), Err(StoredError::Kind));
        assert_eq!(read(&[2]), Err(StoredError::Version(2)));
        assert_eq!(read(&[]), Err(StoredError::Damaged));
    }

    #[test]
    fn the_fullest_ledger_is_read_again() {
        let mut ledger = Ledger::new(Span::Hour, 0);
        for now_ms in (0..3_630_000).step_by(30_000) {
            for key in 0..40 {
                let limit = Limit::new(key, None);
                match ledger.book(now_ms, limit, Lane::Bulk, 1) {
                    Ok(booking) => ledger.settle(now_ms, booking, u64::MAX),
                    Err(no) => assert_eq!((no, key >= 32), (May::Never(Why::Accounts), true)),
                }
            }
        }
        let bytes = ledger.encode();
        assert!(bytes.len() > 19 << 10 && bytes.len() <= 20 << 10, "{}", bytes.len());
        assert_eq!(Ledger::decode(&bytes, Span::Hour, ledger.seen_ms).unwrap().encode(), bytes);
    }
}
