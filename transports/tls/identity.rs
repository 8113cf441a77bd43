//! The node key as TLS identity: raw Ed25519 public keys (RFC 7250) on both sides, TLS 1.3 only.
//!
//! There are no certificates, names or authorities: the peer *is* its key. What is accepted is
//! exactly one form of it, and signatures are checked by the strict rules of `base`. Nothing is
//! resumed and nothing is sent early: a ticket would link two connections, 0-RTT can be replayed.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureAlgorithm, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, Signer, SigningKey},
};

use postrider_base::{NodeId, NodeSecret};

use super::door;

/// What comes before the key in the one accepted SubjectPublicKeyInfo (RFC 8410, section 4):
/// a sequence of the algorithm 1.3.101.112 without parameters and a bit string of 32 bytes.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// This node towards TLS.
#[derive(Debug)]
pub(super) struct Identity {
    id: NodeId,
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl Identity {
    pub(super) fn new(secret: Arc<NodeSecret>) -> Self {
        let id = secret.id();
        let spki = CertificateDer::from(spki(&id));
        Self {
            id,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            key: Arc::new(CertifiedKey::new(vec![spki], Arc::new(NodeKey(secret)))),
        }
    }

    pub(super) fn id(&self) -> NodeId {
        self.id
    }

    /// The listening side; with `expect`, only for this peer.
    pub(super) fn server(&self, expect: Option<NodeId>) -> Result<Arc<ServerConfig>, Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(PeerKey { expect }))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.key.clone())));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    /// The dialling side, and the server name it shows. Without `expect` there is no name to show,
    /// and only public listeners answer.
    pub(super) fn client(
        &self,
        expect: Option<NodeId>,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), Error> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PeerKey { expect }))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                self.key.clone(),
            )));
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        let name = match expect {
            Some(node) => {
                let mut nonce = [0; 8];
                self.provider.secure_random.fill(&mut nonce)?;
                ServerName::try_from(door::server_name(&node, nonce))
                    .map_err(|_| Error::General("the door token is no host name".into()))?
            }
            // rustls sends no server name for an IP address.
            None => ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0; 4]))),
        };
        Ok((Arc::new(config), name))
    }
}

/// The key in the only form in which it is sent and accepted.
fn spki(node: &NodeId) -> Vec<u8> {
    [&SPKI_PREFIX[..], node.as_bytes()].concat()
}

/// Whose key a peer showed. Another algorithm, another encoding, a weak key are all refused.
pub(super) fn node_of(spki: &[u8]) -> Result<NodeId, Error> {
    spki.strip_prefix(&SPKI_PREFIX)
        .and_then(|key| NodeId::from_bytes(key).ok())
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// What [`PeerKey`] says when a valid key is not the expected one.
pub(super) const UNEXPECTED: Error =
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);

/// Signs handshakes; the secret stays in `base`.
struct NodeKey(Arc<NodeSecret>);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey")
    }
}

impl SigningKey for NodeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let ours = offered.contains(&SignatureScheme::ED25519);
        ours.then(|| Box::new(Self(self.0.clone())) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(spki(&self.0.id()).into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.sign_tls(message);
        signature.map(Vec::from).ok_or(Error::General("not a TLS 1.3 transcript".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Checks the other side's key and signature, in both roles.
#[derive(Debug)]
struct PeerKey {
    expect: Option<NodeId>,
}

impl PeerKey {
    fn check(&self, shown: &[u8], more: &[CertificateDer<'_>]) -> Result<(), Error> {
        let node = node_of(shown)?;
        if !more.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        if self.expect.is_some_and(|expected| expected != node) { Err(UNEXPECTED) } else { Ok(()) }
    }
}

fn verify_signature(
    message: &[u8],
    shown: &[u8],
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let node = node_of(shown)?;
    let fits = signed.scheme == SignatureScheme::ED25519
        && <&[u8; 64]>::try_from(signed.signature())
            .is_ok_and(|signature| node.verify_tls(message, signature));
    if fits {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    }
}

/// TLS 1.2 is not offered, so nobody can ask for this.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken here".into()))
}

impl ServerCertVerifier for PeerKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for PeerKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_of_one_key_is_accepted() {
        let node = NodeSecret::from_seed([1; 32]).id();
        let good = spki(&node);
        assert_eq!(node_of(&good), Ok(node));
        for at in 0..SPKI_PREFIX.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(node_of(&changed).is_err(), "byte {at}");
        }
        assert!(node_of(&good[..43]).is_err());
        assert!(node_of(&[&good[..], &[0]].concat()).is_err());
        assert!(node_of(&[]).is_err());
    }

    #[test]
    fn weak_and_non_canonical_keys_are_refused() {
        let neutral = {
            let mut key = [0; 32];
            key[0] = 1;
            key
        };
        let order_two = {
            let mut key = [0xff; 32];
            key[0] = 0xec;
            key[31] = 0x7f;
            key
        };
        // y = 3 + p, and the neutral element with the sign bit set: second spellings.
        let above_p = {
            let mut key = [0xff; 32];
            key[0] = 0xf0;
            key[31] = 0x7f;
            key
        };
        let minus_zero = {
            let mut key = neutral;
            key[31] = 0x80;
            key
        };
        for key in [[0; 32], neutral, order_two, above_p, minus_zero] {
            let shown = [&SPKI_PREFIX[..], &key].concat();
            let peer = PeerKey { expect: None };
            assert!(peer.check(&shown, &[]).is_err(), "{key:02x?}");
        }
    }

    #[test]
    fn only_the_expected_key_passes() {
        let (node, other) = ([1; 32], [2; 32]);
        let [node, other] = [node, other].map(|seed| NodeSecret::from_seed(seed).id());
        let peer = PeerKey { expect: Some(node) };
        assert_eq!(peer.check(&spki(&node), &[]), Ok(()));
        assert_eq!(peer.check(&spki(&other), &[]), Err(UNEXPECTED));
        let chain = [CertificateDer::from(spki(&node))];
        assert!(peer.check(&spki(&node), &chain).is_err());
    }

    /// Somebody who shows the key `shown` and signs with the secret of `signs`.
    fn showing(shown: &[u8; 32], signs: [u8; 32]) -> Identity {
        let honest = Identity::new(Arc::new(NodeSecret::from_seed(signs)));
        let spki = CertificateDer::from([&SPKI_PREFIX[..], shown].concat());
        let key = Arc::new(CertifiedKey::new(vec![spki], honest.key.key.clone()));
        Identity { key, ..honest }
    }

    /// A handshake in memory: what both ends say in the end.
    fn handshake(
        client: &Identity,
        server: &Identity,
        expect: NodeId,
    ) -> (Result<(), Error>, Result<(), Error>) {
        let (config, name) = client.client(Some(expect)).unwrap();
        let mut client = rustls::ClientConnection::new(config, name).unwrap();
        let mut server = rustls::ServerConnection::new(server.server(None).unwrap()).unwrap();
        let (mut near, mut far) = (Ok(()), Ok(()));
        // Three flights, and one for an alert on either side.
        for _ in 0..5 {
            let mut flight = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut flight).unwrap();
            }
            server.read_tls(&mut &flight[..]).unwrap();
            far = far.and(server.process_new_packets().map(drop));
            let mut flight = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut flight).unwrap();
            }
            client.read_tls(&mut &flight[..]).unwrap();
            near = near.and(client.process_new_packets().map(drop));
        }
        assert!(near.is_err() || !client.is_handshaking());
        assert!(far.is_err() || near.is_err() || !server.is_handshaking());
        (near, far)
    }

    #[test]
    fn a_key_without_its_secret_opens_nothing() {
        let [a, b] =
            [[1; 32], [2; 32]].map(|seed| Identity::new(Arc::new(NodeSecret::from_seed(seed))));
        let impostor = showing(a.id.as_bytes(), [3; 32]);
        let forged = Err(Error::InvalidCertificate(CertificateError::BadSignature));
        assert_eq!(handshake(&b, &a, a.id), (Ok(()), Ok(())));
        assert_eq!(handshake(&b, &impostor, a.id).0, forged, "a server");
        assert_eq!(handshake(&impostor, &b, b.id).1, forged, "a client");
    }

    #[test]
    fn a_weak_key_ends_the_handshake_on_either_side() {
        let honest = Identity::new(Arc::new(NodeSecret::from_seed([1; 32])));
        let weak = showing(&[0; 32], [3; 32]);
        let refused = Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        assert_eq!(handshake(&honest, &weak, weak.id).0, refused, "a server");
        assert_eq!(handshake(&weak, &honest, honest.id).1, refused, "a client");
    }
}
