//! How fast a link is, beside bare rustls and bare TCP on the same machine in the same run:
//! `cargo run --release -p postrider-transports --example tls_speed [MiB]`
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::{sync::Arc, time::Instant};

use postrider_base::NodeSecret;
use postrider_transports::{
    Arrival, Pipe, Stop, StreamPipe, Transport as _,
    tls::{TlsOptions, TlsTransport},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::AlwaysResolvesServerRawPublicKeys,
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const ROUNDS: usize = 5;
const CHUNK: usize = 64 << 10;

type End = Box<dyn StreamPipe>;

#[tokio::main]
async fn main() {
    let mib: usize = std::env::args().nth(1).map_or(512, |text| text.parse().unwrap());
    println!("{mib} MiB on loopback, one stream, both ends in one process; MB/s");
    for round in 1..=ROUNDS {
        let mut rates = Vec::new();
        for ends in [tcp().await, bare_rustls().await, link().await] {
            rates.push(rate(ends, mib << 20).await);
        }
        println!(
            "round {round}: tcp {:6.0}   bare rustls {:6.0}   link {:6.0}   link/bare {:.2}",
            rates[0],
            rates[1],
            rates[2],
            rates[2] / rates[1]
        );
    }
}

/// Megabytes per second from the first end to the second.
async fn rate((mut from, mut to): (End, End), bytes: usize) -> f64 {
    let begin = Instant::now();
    let sender = tokio::spawn(async move {
        let chunk = vec![7; CHUNK];
        for _ in 0..bytes / CHUNK {
            from.write_all(&chunk).await.unwrap();
        }
        from.shutdown().await.unwrap();
        from
    });
    let mut buffer = vec![0; CHUNK];
    let mut heard = 0;
    while let got @ 1.. = to.read(&mut buffer).await.unwrap() {
        heard += got;
    }
    let seconds = begin.elapsed().as_secs_f64();
    drop(sender.await);
    assert_eq!(heard, bytes / CHUNK * CHUNK);
    f64::from(u32::try_from(heard / 1000).unwrap()) / 1000.0 / seconds
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    near.set_nodelay(true).unwrap();
    (near, far)
}

async fn tcp() -> (End, End) {
    let (near, far) = connected().await;
    (Box::new(near), Box::new(far))
}

/// What rustls does by itself with a key of the same kind, the same ciphers and no options.
async fn bare_rustls() -> (End, End) {
    let seed = [3; 32];
    let spki = [
        &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..],
        NodeSecret::from_seed(seed).id().as_bytes(),
    ]
    .concat();
    let pkcs8 =
        [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &seed]
            .concat();
    let key = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).unwrap();
    let certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], key));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let (near, far) = connected().await;
    let name = ServerName::try_from("hub.invalid").unwrap();
    let (near, far) = tokio::join!(
        TlsConnector::from(Arc::new(client)).connect(name, near),
        TlsAcceptor::from(Arc::new(server)).accept(far)
    );
    (Box::new(near.unwrap()), Box::new(far.unwrap()))
}

async fn link() -> (End, End) {
    let [hub, node] = [1, 2].map(|seed| Arc::new(NodeSecret::from_seed([seed; 32])));
    let listen = vec!["tls://127.0.0.1:0".parse().unwrap()];
    let id = hub.id();
    let hub = TlsTransport::new(hub, TlsOptions { listen, ..TlsOptions::default() }).unwrap();
    let node = TlsTransport::new(node, TlsOptions::default()).unwrap();
    let to = format!("tls://{}", hub.listening()[0]).parse().unwrap();
    let (sender, mut arrivals) = mpsc::channel(1);
    let stop = Stop::new();
    tokio::spawn(Arc::new(hub).run(sender, stop.clone()));
    let near = node.dial(&to, Some(id)).await.unwrap();
    let Some(Arrival::Link(far)) = arrivals.recv().await else { unreachable!() };
    stop.cancel();
    match (near.pipe, far.pipe) {
        (Pipe::Stream(near), Pipe::Stream(far)) => (near, far),
        other => unreachable!("{other:?}"),
    }
}

/// Believes everybody: a measurement has no enemies.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
