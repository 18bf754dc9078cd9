//! TLS towards clients and backends, where the program is built with it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use orchestra::engine::Tasks;
use orchestra::net::{HttpProxy, Listening, Upstream, Workers};

/// How TLS is spoken.
#[derive(clap::Args)]
pub(crate) struct TlsArgs {
    /// Speaks TLS with clients, and shows them the certificate chain in this file (PEM). May be given again, for other hosts:
    /// clients get the one for the name that they ask for.
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "tcp")]
    tls_cert: Vec<PathBuf>,
    /// The private key (PEM) of the certificate in the same place.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Vec<PathBuf>,
    /// Speaks TLS with backends, whose certificates one of those in this file (PEM) must vouch for.
    #[arg(long, value_name = "FILE", requires = "backend_name", conflicts_with = "tcp")]
    backend_ca: Option<PathBuf>,
    /// The name that backends' certificates must be for.
    #[arg(long, value_name = "NAME", requires = "backend_ca")]
    backend_name: Option<String>,
}

impl TlsArgs {
    /// Whether clients are spoken to over TLS.
    pub(crate) fn serves(&self) -> bool {
        !self.tls_cert.is_empty()
    }
}

#[cfg(not(feature = "tls"))]
impl TlsArgs {
    pub(crate) fn to_backends(&self, _upstream: &Arc<Upstream>) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.serves() && self.backend_ca.is_none() && self.backend_name.is_none(),
            "--tls-cert and --backend-ca: this program is built without TLS; build it with --features tls"
        );
        Ok(())
    }

    pub(crate) async fn listen(
        &self,
        proxy: &HttpProxy,
        workers: &Workers,
        address: SocketAddr,
        _tasks: &Tasks,
    ) -> anyhow::Result<Listening> {
        Ok(proxy.bind_to(workers, address).await?)
    }
}

#[cfg(feature = "tls")]
impl TlsArgs {
    /// Has backends spoken to as it was said.
    pub(crate) fn to_backends(&self, upstream: &Arc<Upstream>) -> anyhow::Result<()> {
        use anyhow::Context;
        if let (Some(file), Some(name)) = (&self.backend_ca, &self.backend_name) {
            let roots = std::fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
            upstream.set_tls(Some(orchestra::net::ClientTls::new(name, &roots)?));
        }
        Ok(())
    }

    fn identities(&self) -> anyhow::Result<Vec<orchestra::net::Identity>> {
        anyhow::ensure!(
            self.tls_cert.len() == self.tls_key.len(),
            "each --tls-cert needs its --tls-key, in the same order"
        );
        let pairs = self.tls_cert.iter().zip(&self.tls_key);
        pairs.map(|(cert, key)| Ok(orchestra::net::Identity::from_files(cert, key)?)).collect()
    }

    /// Listens for clients. SIGHUP has the certificates read again.
    pub(crate) async fn listen(
        &self,
        proxy: &HttpProxy,
        workers: &Workers,
        address: SocketAddr,
        tasks: &Tasks,
    ) -> anyhow::Result<Listening> {
        if !self.serves() {
            return Ok(proxy.bind_to(workers, address).await?);
        }
        let tls = orchestra::net::ServerTls::new(self.identities()?)?;
        let listening = proxy.bind_tls_to(workers, address, &tls).await?;
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut told = signal(SignalKind::hangup())?;
            let again = Self {
                tls_cert: self.tls_cert.clone(),
                tls_key: self.tls_key.clone(),
                backend_ca: None,
                backend_name: None,
            };
            tasks.spawn("certificates", async move {
                while told.recv().await.is_some() {
                    let replaced = again.identities().and_then(|identities| Ok(tls.replace(identities)?));
                    match replaced {
                        Ok(()) => println!("shows the certificates as they are now"),
                        Err(error) => eprintln!("keeps the certificates as they were: {error:#}"),
                    }
                }
            });
        }
        #[cfg(not(unix))]
        let _ = tasks;
        Ok(listening)
    }
}
