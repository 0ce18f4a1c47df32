//! How the host logs in to a gateway: with a private key of the store, or with those of an agent.

use super::Client;
use super::host_keys::TrustedKeys;
use crate::blocking;
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use crate::net::tls::read_pinned;
use runbook_authority::targets::{Gateway, HostKeys, SshCredential, SshGateway};
use runbook_secrets::Secret;
use russh::client::AuthResult;
use russh::client::Handle;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixStream;

/// Everything that a session with a gateway is opened with.
pub(crate) struct Login {
    pub(super) trusted_keys: TrustedKeys,
    pub(super) credential: Credential,
    pub(super) user: String,
}

/// By what the host logs in.
pub(super) enum Credential {
    Key(Arc<PrivateKey>),
    Agent(PathBuf),
}

/// Class, code and description of a failure.
type Failure = (FaultClass, &'static str, String);

fn invalid(code: &'static str, what: impl Into<String>) -> Failure {
    (FaultClass::Invalid, code, what.into())
}

impl Host {
    /// Reads the trusted keys and the credential of a gateway. Nothing is connected to.
    pub(in crate::net) async fn ssh_login(
        &self,
        gateway: &Gateway,
        ssh: &SshGateway,
    ) -> Result<Login, Fault> {
        let fault = |(class, code, what): Failure| {
            Fault::new(class, code, format!("{}: {what}", gateway.describe()))
        };
        let trusted_keys = trusted_keys(ssh).await.map_err(fault)?;
        let credential = match &ssh.credential {
            SshCredential::Agent { socket } => Credential::Agent(socket.real().to_owned()),
            SshCredential::Key { secret, passphrase } => {
                let key = self.secret(secret).await?;
                let passphrase_value = match passphrase {
                    Some(name) => Some(self.secret(name).await?),
                    None => None,
                };
                // Deriving a key from a passphrase takes a while.
                let read = blocking::run(move |_| private_key(&key, passphrase_value.as_ref()));
                let key = read
                    .await
                    .map_err(|why| fault(invalid("ssh.key", format!("secret `{secret}` {why}"))))?;
                Credential::Key(Arc::new(key))
            }
        };
        Ok(Login { trusted_keys, credential, user: ssh.user.clone() })
    }
}

async fn trusted_keys(ssh: &SshGateway) -> Result<TrustedKeys, Failure> {
    let file = match &ssh.host_keys {
        HostKeys::Listed(keys) => return Ok(TrustedKeys::listed(keys)),
        HostKeys::KnownHosts(file) => file.clone(),
    };
    let name = format!("the `known_hosts` file `{}`", file.real().display());
    let (host, port) = (ssh.host.clone(), ssh.port);
    let read = blocking::run(move |_| {
        let metadata = std::fs::metadata(file.real()).map_err(|error| error.to_string())?;
        if metadata.permissions().mode() & 0o022 != 0 {
            let path = file.real().display();
            return Err(format!("others may write it: run `chmod go-w {path}`"));
        }
        let text = String::from_utf8_lossy(&read_pinned(&file)?).into_owned();
        TrustedKeys::in_known_hosts(&text, &host, port)
    });
    read.await.map_err(|why| invalid("ssh.known-hosts", format!("{name} cannot be used: {why}")))
}

/// The private key in a secret. No message repeats a part of it.
fn private_key(key: &Secret, passphrase: Option<&Secret>) -> Result<PrivateKey, &'static str> {
    let text = key.expose_text().ok_or("is not text")?;
    let passphrase = match passphrase {
        Some(passphrase) => {
            let text = passphrase.expose_text().ok_or("has a passphrase that is not text")?;
            Some(text.trim_end_matches(['\r', '\n']))
        }
        None => None,
    };
    russh::keys::decode_secret_key(text, passphrase).map_err(|_| match passphrase {
        Some(_) => "holds no private key that its passphrase opens",
        None => "holds no private key in the format of OpenSSH without a passphrase",
    })
}

/// Logs in.
pub(super) async fn authenticate(
    handle: &mut Handle<Client>,
    user: &str,
    credential: Credential,
) -> Result<(), Failure> {
    match credential {
        Credential::Key(key) => {
            let hash = rsa_hash(handle, key.algorithm().is_rsa()).await?;
            let key = PrivateKeyWithHashAlg::new(key, hash);
            let answer = handle.authenticate_publickey(user, key).await.map_err(|e| lost(&e))?;
            accepted(&answer, user).map_err(|what| invalid("ssh.login", what))
        }
        Credential::Agent(socket) => with_agent(handle, user, socket).await,
    }
}

/// Tries the keys of an agent one after the other.
async fn with_agent(
    handle: &mut Handle<Client>,
    user: &str,
    socket: PathBuf,
) -> Result<(), Failure> {
    let place = socket.display().to_string();
    let unusable = |what: String| invalid("ssh.agent", format!("the agent at `{place}` {what}"));
    let stream = UnixStream::connect(&socket)
        .await
        .map_err(|error| unusable(format!("cannot be reached: {error}")))?;
    let mut agent = AgentClient::connect(stream);
    let identities = agent
        .request_identities()
        .await
        .map_err(|error| unusable(format!("does not list its keys: {error}")))?;
    let mut last = unusable("holds no key".to_owned());
    for identity in identities {
        let AgentIdentity::PublicKey { key, .. } = identity else { continue };
        let hash = rsa_hash(handle, key.algorithm().is_rsa()).await?;
        match handle.authenticate_publickey_with(user, key, hash, &mut agent).await {
            Ok(answer) => match accepted(&answer, user) {
                Ok(()) => return Ok(()),
                Err(what) => last = invalid("ssh.login", what),
            },
            Err(_) if handle.is_closed() => {
                let what = "it ended the connection before a key of the agent was accepted";
                return Err(invalid("ssh.login", what));
            }
            Err(error) => last = unusable(format!("does not sign: {error}")),
        }
    }
    Err(last)
}

/// The hash for a signature with RSA; `None` for other keys.
async fn rsa_hash(handle: &Handle<Client>, is_rsa: bool) -> Result<Option<HashAlg>, Failure> {
    if !is_rsa {
        return Ok(None);
    }
    match handle.best_supported_rsa_hash().await.map_err(|error| lost(&error))? {
        Some(Some(hash)) => Ok(Some(hash)),
        // The server does not say which it accepts.
        None => Ok(Some(HashAlg::Sha512)),
        Some(None) => Err(invalid(
            "ssh.login",
            "it accepts signatures with RSA only by SHA-1, which is broken",
        )),
    }
}

fn accepted(answer: &AuthResult, user: &str) -> Result<(), String> {
    match answer {
        AuthResult::Success => Ok(()),
        AuthResult::Failure { partial_success: true, .. } => {
            Err(format!("it asks more of `{user}` than a key"))
        }
        AuthResult::Failure { partial_success: false, .. } => {
            Err(format!("it does not accept the key for the user `{user}`"))
        }
    }
}

fn lost(error: &russh::Error) -> Failure {
    (FaultClass::Transient, "ssh.connect", format!("the connection broke at the login: {error}"))
}
