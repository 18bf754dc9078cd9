//! A root that certificates of tests come from, and clients and servers that believe in it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use orchestra_core::balance::Endpoint;
use orchestra_core::engine::Tasks;
use orchestra_net::Identity;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::backend::Backend;

/// Vouches for certificates.
pub(super) struct Authority {
    pub(super) root: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // No other has its name: programs look for the root by it.
        let name = format!("root {}", MADE.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let root = params.self_signed(&key).unwrap().pem();
        Self { root, issuer: Issuer::new(params, key) }
    }

    pub(super) fn pair(&self, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        Pair { chain: certificate.pem(), key: key.serialize_pem() }
    }

    pub(super) fn identity(&self, names: &[&str]) -> Identity {
        let pair = self.pair(names);
        Identity::from_pem(pair.chain.as_bytes(), pair.key.as_bytes()).unwrap()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from_pem_slice(self.root.as_bytes()).unwrap()).unwrap();
        Arc::new(store)
    }

    /// Connects, offers these protocols, and verifies that `name` answers.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
    }

    /// An endpoint that speaks TLS in front of a backend. `asks`: it wants to know who its clients are.
    pub(super) async fn endpoint(
        &self,
        backend: &Backend,
        name: &str,
        alpn: &[&str],
        asks: bool,
        tasks: &Tasks,
    ) -> Endpoint {
        let pair = self.pair(&[name]);
        let chain = vec![CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match asks {
            true => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(self.roots(), provider).build().unwrap(),
            ),
            false => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new(backend.pod(), listener.local_addr().unwrap());
        let (behind, group) = (backend.address, tasks.clone());
        tasks.spawn("tls-endpoint", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                group.spawn("tls-connection", async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut behind = TcpStream::connect(behind).await.unwrap();
                    drop(copy_bidirectional(&mut stream, &mut behind).await);
                });
            }
        });
        endpoint
    }
}

/// Files for programs that are given names of files. Gone when dropped.
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("orchestra-tls-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
