//! The same work on many things, on as many cores as there are.

use std::{panic::resume_unwind, thread};

/// What `work` makes of each thing, in their order.
pub(super) fn in_parallel<T: Send, R: Send>(
    mut list: Vec<T>,
    workers: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    if workers <= 1 || list.len() <= 1 {
        return list.into_iter().map(work).collect();
    }
    let share = list.len().div_ceil(workers);
    thread::scope(|scope| {
        let work = &work;
        let mut running = Vec::with_capacity(workers);
        while !list.is_empty() {
            let rest = list.split_off(share.min(list.len()));
            let mine = std::mem::replace(&mut list, rest);
            running.push(scope.spawn(move || mine.into_iter().map(work).collect::<Vec<R>>()));
        }
        let done =
            running.into_iter().map(|share| share.join().unwrap_or_else(|p| resume_unwind(p)));
        done.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_things() {
        for workers in 0..5 {
            for n in 0..9_u32 {
                let doubled = in_parallel((0..n).collect(), workers, |n| 2 * n);
                assert_eq!(doubled, (0..n).map(|n| 2 * n).collect::<Vec<_>>(), "{workers} {n}");
            }
        }
    }
}
