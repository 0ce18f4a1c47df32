//! How a target over a network encrypts: whom it believes, and as whom the host shows itself. One
//! reading of these keys for every kind of target.

use super::{Folder, HostPath, PathView, PemFile, secret_reference};
use runbook_document::{Located, Reader, Span};

/// Certificates of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// A file in PEM.
    File(PemFile),
    /// The secret of this name holds the PEM.
    Secret(String),
}

/// The private key that belongs to the certificate of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivateKey {
    /// A file in PEM that neither the group nor others may read or write.
    File(HostPath),
    /// The secret of this name holds the PEM.
    Secret(String),
}

/// By what the host shows a server who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those of the authorities between it and the one that the server knows.
    pub certificates: Certificates,
    /// Its private key, which never leaves the host.
    pub key: PrivateKey,
}

/// Whom a target believes, and what it shows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsKeys {
    /// The authorities that are believed instead of the system's.
    pub ca: Option<Certificates>,
    /// What is shown to a server that asks who its client is.
    pub client: Option<ClientCertificate>,
}

impl Certificates {
    /// The file and its digest, or the name of the secret, as a review shows it.
    pub(crate) fn shown(&self, view: PathView) -> String {
        match self {
            Self::File(file) => file.shown(view),
            Self::Secret(name) => format!("secret:{name}"),
        }
    }

    /// Its file, if it has one.
    pub fn file(&self) -> Option<&PemFile> {
        match self {
            Self::File(file) => Some(file),
            Self::Secret(_) => None,
        }
    }

    fn secret(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Secret(name) => Some(name),
        }
    }
}

impl ClientCertificate {
    /// As a review shows it: `client.pem sha256:… with the key client.key`.
    pub(crate) fn shown(&self, view: PathView) -> String {
        let key = match &self.key {
            PrivateKey::File(path) => path.shown(view),
            PrivateKey::Secret(name) => format!("secret:{name}"),
        };
        format!("{} with the key {key}", self.certificates.shown(view))
    }
}

impl TlsKeys {
    /// The names of the secrets in it. None of them is sent to a server.
    pub(super) fn secrets(&self) -> Vec<&str> {
        let of_client = self.client.iter().flat_map(|client| {
            let key = match &client.key {
                PrivateKey::File(_) => None,
                PrivateKey::Secret(name) => Some(name.as_str()),
            };
            client.certificates.secret().into_iter().chain(key)
        });
        self.ca.iter().filter_map(Certificates::secret).chain(of_client).collect()
    }

    /// The files of certificates in it, whose content decides what it means.
    pub(super) fn files(&self) -> impl Iterator<Item = &PemFile> {
        let client = self.client.iter().map(|client| &client.certificates);
        self.ca.iter().chain(client).filter_map(Certificates::file)
    }

    /// Whom it believes and what it shows, as parts of a sentence.
    pub(crate) fn sentences(&self, view: PathView) -> Vec<String> {
        let ca = self.ca.iter();
        let client = self.client.iter();
        ca.map(|ca| format!("believing the authorities of {} alone", ca.shown(view)))
            .chain(client.map(|client| format!("showing the certificate {}", client.shown(view))))
            .collect()
    }
}

/// Why keys of TLS can have no effect on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    /// The connection is encrypted and the server verified.
    Verified,
    /// It is encrypted, and nobody looks at the server's certificate.
    Unverified,
    /// It may go without encryption, for this reason.
    Open(&'static str),
}

const CA: &str = "ca";
const CLIENT_CERT: &str = "client_cert";
const CLIENT_KEY: &str = "client_key";

/// Reads `ca`, `client_cert` and `client_key`.
pub(super) fn read_tls(
    reader: &mut Reader<'_>,
    folder: Folder<'_>,
    encryption: Encryption,
) -> TlsKeys {
    let ca = reader.optional::<String>(CA);
    let certificate = reader.optional::<String>(CLIENT_CERT);
    let key = reader.optional::<String>(CLIENT_KEY);
    let of_client = [(CLIENT_CERT, certificate.as_ref()), (CLIENT_KEY, key.as_ref())]
        .map(|(name, text)| (name, text.map(|text| text.span.clone())));
    let spans = [(CA, ca.as_ref().map(|text| text.span.clone()))].into_iter().chain(of_client);
    for (name, span) in spans.filter_map(|(name, span)| Some((name, span?))) {
        refuse_without_effect(reader, name, span, encryption);
    }
    match (&certificate, &key) {
        (Some(alone), None) => misses(reader, alone.span.clone(), CLIENT_CERT, CLIENT_KEY),
        (None, Some(alone)) => misses(reader, alone.span.clone(), CLIENT_KEY, CLIENT_CERT),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let client = certificate.zip(key).and_then(|(certificate, key)| {
        let certificates = certificates(reader, CLIENT_CERT, &certificate, folder);
        let key = private_key(reader, &key, folder);
        Some(ClientCertificate { certificates: certificates?, key: key? })
    });
    TlsKeys { ca: ca.and_then(|ca| certificates(reader, CA, &ca, folder)), client }
}

/// Reads `ca` alone: of a target that shows nothing of itself.
pub(super) fn read_ca(
    reader: &mut Reader<'_>,
    folder: Folder<'_>,
    encryption: Encryption,
) -> TlsKeys {
    let ca = reader.optional::<String>(CA);
    if let Some(text) = &ca {
        refuse_without_effect(reader, CA, text.span.clone(), encryption);
    }
    TlsKeys { ca: ca.and_then(|ca| certificates(reader, CA, &ca, folder)), client: None }
}

fn misses(reader: &mut Reader<'_>, span: Span, key: &str, other: &str) {
    let message = format!("`{key}` needs `{other}` beside it");
    reader.error("E0108", span, message, "half of a pair");
}

fn refuse_without_effect(reader: &mut Reader<'_>, key: &str, span: Span, encryption: Encryption) {
    let (reason, help) = match encryption {
        Encryption::Verified => return,
        Encryption::Unverified if key != CA => return,
        Encryption::Unverified => (
            "nobody looks at the certificate of the server",
            "write `?sslmode=verify-full` behind the address",
        ),
        Encryption::Open(reason) => (reason, "remove it, or let the connection be encrypted"),
    };
    let message = format!("`{key}` has no effect here: {reason}");
    reader.error_with_help("E0108", span, message, "never used", help);
}

fn certificates(
    reader: &mut Reader<'_>,
    key: &str,
    text: &Located<String>,
    folder: Folder<'_>,
) -> Option<Certificates> {
    match reference(reader, key, text)? {
        Reference::Secret(name) => Some(Certificates::Secret(name)),
        Reference::Path => Some(Certificates::File(PemFile::locate(&text.value, folder))),
    }
}

fn private_key(
    reader: &mut Reader<'_>,
    text: &Located<String>,
    folder: Folder<'_>,
) -> Option<PrivateKey> {
    match reference(reader, CLIENT_KEY, text)? {
        Reference::Secret(name) => Some(PrivateKey::Secret(name)),
        Reference::Path => Some(PrivateKey::File(folder.locate(&text.value))),
    }
}

/// What a text stands for.
enum Reference {
    Secret(String),
    Path,
}

fn reference(reader: &mut Reader<'_>, key: &str, text: &Located<String>) -> Option<Reference> {
    if let Some(name) = secret_reference(&text.value) {
        return Some(Reference::Secret(name.to_owned()));
    }
    // The text itself may be the key, so it is not repeated.
    if text.value.is_empty() || text.value.starts_with("secret:") || text.value.contains("-----") {
        let message = format!("`{key}` must be the path of a PEM file or `secret:NAME`");
        reader.error("E0103", text.span.clone(), message, "never the PEM itself");
        return None;
    }
    Some(Reference::Path)
}
