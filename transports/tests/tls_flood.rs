//! Thousands of strangers at once cost a listener a bounded amount of memory.
//!
//! Alone in its file because it counts what the whole process allocates.
//! `POSTRIDER_STORM=1` makes it 10,000 connections.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Node, assert_talks, dialler, heard_until_end, soon, stream};
use peak_alloc::PeakAlloc;
use postrider_transports::{Transport as _, tls::TlsOptions};
use tokio::{io::AsyncWriteExt as _, net::TcpSocket, task::JoinSet};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Open at the same time, from as many places, so that all slots are always taken.
const AT_ONCE: usize = 250;
/// The bound in `slots.rs`, 64 handshakes of 64 KiB, and as much again for the strangers
/// themselves, who live in this process.
const MEMORY_MAX: usize = 2 * 64 * (64 << 10);

#[tokio::test]
async fn a_flood_of_garbage_leaves_memory_bounded() {
    let storm = std::env::var_os("POSTRIDER_STORM").is_some();
    let connections: usize = if storm { 10_000 } else { 2_000 };
    let mut hub = Node::start(1, TlsOptions::default());
    let at = hub.at();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let mut open = JoinSet::new();
    for i in 0..connections {
        if open.len() >= AT_ONCE {
            open.join_next().await.unwrap().unwrap();
        }
        open.spawn(async move {
            let socket = TcpSocket::new_v4().unwrap();
            let place = u8::try_from(i % AT_ONCE).unwrap();
            socket.bind(([127, 0, 3, place], 0).into()).unwrap();
            let mut stream = soon(socket.connect(at)).await.unwrap();
            // A handshake record as long as records can be, with a hello that goes on behind it.
            let head = [0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xf0];
            // The listener may have closed in the middle of it.
            let _ = soon(async {
                stream.write_all(&head).await?;
                for _ in 0..40 {
                    stream.write_all(&[0; 1024]).await?;
                }
                std::io::Result::Ok(())
            })
            .await;
            assert!(heard_until_end(&mut stream).await.is_empty());
        });
    }
    while let Some(ended) = open.join_next().await {
        ended.unwrap();
    }
    let more = MEMORY.peak_usage().saturating_sub(before);
    let counts = hub.tls.counts();
    assert!(more < MEMORY_MAX, "{more} bytes more at the peak; {counts:?}");
    assert_eq!(counts.accepted, connections as u64);
    assert!(counts.no_token > 0, "the garbage was never looked at: {counts:?}");
    let near = soon(dialler(2, TlsOptions::default()).dial(&hub.address(), Some(hub.id))).await;
    assert_talks(&mut *stream(near.unwrap()), &mut *stream(hub.link().await)).await;
    eprintln!("peak {more} bytes; {counts:?}");
}
