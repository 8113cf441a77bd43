//! Links through commands: bytes, complaints, and what is left behind.
#![cfg(feature = "pipe")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use postrider_transports::{
    Link, Pipe, Stop, StreamPipe, Transport as _, TransportError, contract::Address,
    pipe::PipeTransport,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A test that takes longer hangs. It never decides what is right.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("the test hangs")
}

type Heard = Arc<Mutex<Vec<String>>>;

fn transport() -> (PipeTransport, Heard) {
    let heard = Heard::default();
    let log = heard.clone();
    (PipeTransport::new(Arc::new(move |_, line| log.lock().unwrap().push(line.to_owned()))), heard)
}

async fn dial(transport: &PipeTransport, text: &str) -> Result<Link, TransportError> {
    let to: Address = text.parse().unwrap();
    soon(transport.dial(&to, None)).await
}

async fn stream(transport: &PipeTransport, text: &str) -> Box<dyn StreamPipe> {
    let Pipe::Stream(stream) = dial(transport, text).await.unwrap().pipe else { unreachable!() };
    stream
}

async fn all(stream: &mut dyn StreamPipe) -> String {
    let mut heard = String::new();
    soon(stream.read_to_string(&mut heard)).await.unwrap();
    heard
}

/// Waits until something is so, which this process is not told about.
async fn until(mut so: impl FnMut() -> bool) {
    soon(async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while !so() {
            look.tick().await;
        }
    })
    .await;
}

/// Waits for a process to be gone: neither running nor waiting to be reaped.
async fn gone(process: &str) {
    let path = Path::new("/proc").join(process.trim());
    until(|| !path.exists()).await;
}

#[tokio::test]
async fn what_goes_in_comes_out() {
    let (transport, _) = transport();
    let link = dial(&transport, "pipe:cat").await.unwrap();
    assert_eq!((link.facts.peer, link.facts.dialled, link.facts.mtu_bytes), (None, true, None));
    let Pipe::Stream(mut stream) = link.pipe else { unreachable!() };
    let sent: String = ('a'..='z').cycle().take(1 << 20).collect();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let writing = async {
        write.write_all(sent.as_bytes()).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut heard = String::new();
    let reading = read.read_to_string(&mut heard);
    soon(async { tokio::join!(writing, reading) }).await.1.unwrap();
    assert!(heard == sent);
    assert!(stream.write_all(b"more").await.is_err(), "after the end there is no more");
}

#[tokio::test]
async fn words_are_split_and_nothing_else_is_done_to_them() {
    let (transport, _) = transport();
    let to = r#"pipe:printf %s, "one two" 'three $HOME' four\ five ; '|' * ~"#;
    let heard = all(&mut *stream(&transport, to).await).await;
    assert_eq!(heard, "one two,three $HOME,four five,;,|,*,~,");
}

#[tokio::test]
async fn what_is_no_command_is_refused() {
    let (transport, _) = transport();
    for text in ["pipe:", "pipe:  ", "pipe:cat 'open", "tls://host"] {
        let error = dial(&transport, text).await.unwrap_err();
        assert!(matches!(error, TransportError::Address { .. }), "{text}: {error}");
    }
    let error = dial(&transport, "pipe:/not/there --password x").await.unwrap_err();
    assert!(matches!(&error, TransportError::Spawn { command, .. } if command == "/not/there"));
}

#[tokio::test]
async fn a_command_that_dies_says_why() {
    let (transport, heard) = transport();
    let mut dead = stream(&transport, "pipe:sh -c 'echo no route >&2; exit 7'").await;
    assert_eq!(all(&mut *dead).await, "");
    until(|| heard.lock().unwrap().len() >= 2).await;
    let mut heard = heard.lock().unwrap().clone();
    heard.sort();
    assert_eq!(heard, ["exit status: 7", "no route"]);
}

#[tokio::test]
async fn a_command_that_shouts_is_not_held_up() {
    let (transport, heard) = transport();
    let shout = "pipe:sh -c 'yes shouting | head -n 100000 >&2; echo done'";
    assert_eq!(all(&mut *stream(&transport, shout).await).await, "done\n");
    assert!(heard.lock().unwrap().len() <= 1001);
}

#[tokio::test]
async fn a_dropped_pipe_leaves_no_process() {
    let (transport, _) = transport();
    // One that ends with its input, and one that has to be killed.
    for command in ["exec cat", "trap '' TERM; exec sleep 1000"] {
        let text = format!("pipe:sh -c \"echo \\$\\$; {command}\"");
        let mut stream = stream(&transport, &text).await;
        let mut process = String::new();
        soon(async {
            while !process.ends_with('\n') {
                process.push(char::from(stream.read_u8().await.unwrap()));
            }
        })
        .await;
        assert!(Path::new("/proc").join(process.trim()).exists());
        drop(stream);
        gone(&process).await;
    }
}

#[tokio::test]
async fn what_was_written_last_is_still_passed_on() {
    let (transport, _) = transport();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kept");
    let text = format!("pipe:sh -c 'cat > {0}.part; mv {0}.part {0}'", file.display());
    let mut stream = stream(&transport, &text).await;
    soon(stream.write_all(b"the last words")).await.unwrap();
    drop(stream);
    until(|| file.exists()).await;
    assert_eq!(std::fs::read(&file).unwrap(), b"the last words");
}

#[tokio::test]
async fn the_far_end_talks_over_its_own_standard_streams() {
    let (transport, _) = transport();
    let this = std::env::current_exe().unwrap();
    let text = format!("pipe:'{}' --exact --ignored --nocapture far_end", this.display());
    let mut stream = stream(&transport, &text).await;
    soon(stream.write_all(b"marco")).await.unwrap();
    // The test runner over there says a few words of its own first.
    assert!(all(&mut *stream).await.contains("polo"));
}

#[tokio::test]
#[ignore = "the other side of the test above"]
async fn far_end() {
    let Pipe::Stream(mut stream) = postrider_transports::pipe::stdio().pipe else { unreachable!() };
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"marco");
    stream.write_all(b"polo").await.unwrap();
    stream.flush().await.unwrap();
    std::process::exit(0);
}

#[tokio::test]
async fn there_is_nothing_to_listen_to_until_it_is_stopped() {
    let (transport, _) = transport();
    let (sender, mut arrivals) = tokio::sync::mpsc::channel(1);
    let stop = Stop::new();
    let run = tokio::spawn(Arc::new(transport).run(sender, stop.clone()));
    stop.cancel();
    soon(run).await.unwrap().unwrap();
    assert!(arrivals.recv().await.is_none());
}
