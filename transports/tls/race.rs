//! Happy Eyeballs (RFC 8305): several addresses are tried at once, each a little after the one
//! before, and the first that answers wins. A broken IPv6 then costs a quarter of a second, not a
//! minute.

use std::{
    collections::BTreeSet, future::poll_fn, io, net::SocketAddr, task::Poll, time::Duration,
};

use crate::contract::BoxFuture;

/// How long an attempt is alone before the next one joins (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried; a resolver's answer may hold hundreds.
pub(super) const ADDRESSES_MAX: usize = 16;

/// The order in which addresses are tried: IPv6 first, then the families in turn, none twice.
pub(super) fn in_turn(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = BTreeSet::new();
    let (v6, v4): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .take(4 * ADDRESSES_MAX)
        .filter(|address| seen.insert(*address))
        .partition(SocketAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] {
            ordered.truncate(ADDRESSES_MAX);
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

/// Connects to the first of `addresses` that answers; the error is that of the last attempt.
/// Attempts are no tasks: dropping this future drops them all.
pub(super) async fn race<'a, T>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> BoxFuture<'a, io::Result<T>>,
) -> io::Result<(SocketAddr, T)> {
    let mut waiting = addresses.iter().copied();
    let mut attempts: Vec<(SocketAddr, BoxFuture<'a, io::Result<T>>)> = Vec::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(to) = waiting.next() {
            attempts.push((to, connect(to)));
        } else if attempts.is_empty() {
            return Err(failure);
        }
        tokio::select! {
            (to, ended) = first(&mut attempts) => match ended {
                Ok(stream) => return Ok((to, stream)),
                // The next address need not wait any longer.
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

/// Takes out the first attempt that has ended.
async fn first<'a, T>(
    attempts: &mut Vec<(SocketAddr, BoxFuture<'a, io::Result<T>>)>,
) -> (SocketAddr, io::Result<T>) {
    poll_fn(|context| {
        for at in 0..attempts.len() {
            if let Poll::Ready(ended) = attempts[at].1.as_mut().poll(context) {
                return Poll::Ready((attempts.remove(at).0, ended));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_ipv6_begins() {
        let given =
            addresses(&["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1", "[::1]:1", "1.1.1.1:1", "[::2]:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "3.3.3.3:1"]);
        assert_eq!(in_turn(given), expected);
    }

    #[test]
    fn a_flood_of_addresses_is_cut() {
        let flood = (0..u16::MAX).map(|port| SocketAddr::from(([1, 1, 1, 1], port)));
        assert_eq!(in_turn(flood).len(), ADDRESSES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_delays_the_next_by_one_stagger() {
        let both = addresses(&["[::1]:1", "1.1.1.1:1"]);
        let begin = tokio::time::Instant::now();
        let result = race(&both, |to| {
            Box::pin(async move {
                if to.is_ipv6() { std::future::pending().await } else { Ok("answer") }
            })
        })
        .await;
        assert_eq!(result.unwrap(), (both[1], "answer"));
        assert_eq!(begin.elapsed(), STAGGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusing_address_delays_nothing() {
        let three = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1"]);
        let begin = tokio::time::Instant::now();
        let result = race(&three, |to| {
            Box::pin(async move {
                if to.port() == 1 && to.ip().to_string() != "::2" {
                    Err(io::ErrorKind::ConnectionRefused.into())
                } else {
                    Ok(())
                }
            })
        })
        .await;
        assert_eq!(result.unwrap().0, three[2]);
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_attempt_may_still_win_late() {
        let both = addresses(&["[::1]:1", "1.1.1.1:1"]);
        let started = RefCell::new(Vec::new());
        let result = race(&both, |to| {
            started.borrow_mut().push(to);
            Box::pin(async move {
                let wait = if to.is_ipv6() { 2 } else { 3 };
                tokio::time::sleep(STAGGER * wait).await;
                Ok(())
            })
        })
        .await;
        assert_eq!(result.unwrap().0, both[0]);
        assert_eq!(*started.borrow(), both);
    }

    #[tokio::test(start_paused = true)]
    async fn losers_are_dropped_and_the_last_failure_is_told() {
        struct Open(Arc<AtomicUsize>);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let open = Arc::new(AtomicUsize::new(0));
        let both = addresses(&["[::1]:1", "1.1.1.1:1"]);
        let won = race(&both, |to| {
            open.fetch_add(1, Ordering::SeqCst);
            let socket = Open(open.clone());
            Box::pin(async move {
                let _socket = socket;
                if to.is_ipv6() { std::future::pending().await } else { Ok(()) }
            })
        })
        .await;
        assert!(won.is_ok());
        assert_eq!(open.load(Ordering::SeqCst), 0);
        let none: io::Result<(SocketAddr, ())> =
            race(&both, |_| Box::pin(async { Err(io::ErrorKind::NetworkUnreachable.into()) }))
                .await;
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::NetworkUnreachable);
        let empty: io::Result<(SocketAddr, ())> = race(&[], |_| Box::pin(async { Ok(()) })).await;
        assert!(empty.is_err());
    }
}
