//! The TLS keys of a target: the authorities to trust, and the client certificate. They are read in
//! the same way for every kind of target.

use super::{Folder, HostPath, PathView, PemFile, secret_reference};
use runbook_document::{Reader, Span, Spanned};

/// One or more certificates in PEM, in a file or a secret.
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

/// The client certificate with which the host identifies itself to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, followed by its intermediate certificates.
    pub certificates: Certificates,
    /// Its private key, which never leaves the host.
    pub key: PrivateKey,
}

/// The `ca`, `client_cert` and `client_key` of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsKeys {
    /// The authorities to trust instead of the system's.
    pub ca: Option<Certificates>,
    /// The certificate for a server that asks for one.
    pub client: Option<ClientCertificate>,
}

impl Certificates {
    /// The path and digest of the file, or the name of the secret.
    pub(crate) fn render(&self, view: PathView) -> String {
        match self {
            Self::File(file) => file.render(view),
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
    /// The certificate and its key as text: `client.pem sha256:… with the key client.key`.
    pub(crate) fn render(&self, view: PathView) -> String {
        let key = match &self.key {
            PrivateKey::File(path) => path.render(view),
            PrivateKey::Secret(name) => format!("secret:{name}"),
        };
        format!("{} with the key {key}", self.certificates.render(view))
    }
}

impl TlsKeys {
    /// The names of the secrets in it. None of them is sent to a server.
    pub(super) fn secrets(&self) -> Vec<&str> {
        let client_secrets = self.client.iter().flat_map(|client| {
            let key = match &client.key {
                PrivateKey::File(_) => None,
                PrivateKey::Secret(name) => Some(name.as_str()),
            };
            client.certificates.secret().into_iter().chain(key)
        });
        self.ca.iter().filter_map(Certificates::secret).chain(client_secrets).collect()
    }

    /// The files with its certificates.
    pub(super) fn files(&self) -> impl Iterator<Item = &PemFile> {
        let client = self.client.iter().map(|client| &client.certificates);
        self.ca.iter().chain(client).filter_map(Certificates::file)
    }

    /// The trusted authorities and the client certificate, as parts of a sentence.
    pub(crate) fn sentences(&self, view: PathView) -> Vec<String> {
        let ca = self.ca.iter();
        let client = self.client.iter();
        ca.map(|ca| format!("trusting only the authorities of {}", ca.render(view)))
            .chain(client.map(|client| format!("showing the certificate {}", client.render(view))))
            .collect()
    }
}

/// How the connections of a target are encrypted. It decides which TLS keys have an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    /// The connection is encrypted and the server is verified.
    Verified,
    /// The connection is encrypted, but the server's certificate is not verified.
    Unverified,
    /// The connection may be without encryption, for this reason.
    NotGuaranteed(&'static str),
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
    let client_spans = [(CLIENT_CERT, certificate.as_ref()), (CLIENT_KEY, key.as_ref())]
        .map(|(name, text)| (name, text.map(|text| text.span.clone())));
    let spans = [(CA, ca.as_ref().map(|text| text.span.clone()))].into_iter().chain(client_spans);
    for (name, span) in spans.filter_map(|(name, span)| Some((name, span?))) {
        refuse_without_effect(reader, name, span, encryption);
    }
    match (&certificate, &key) {
        (Some(certificate), None) => {
            report_missing_key(reader, certificate.span.clone(), CLIENT_CERT, CLIENT_KEY);
        }
        (None, Some(key)) => {
            report_missing_key(reader, key.span.clone(), CLIENT_KEY, CLIENT_CERT);
        }
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

fn report_missing_key(reader: &mut Reader<'_>, span: Span, key: &str, other: &str) {
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
        Encryption::NotGuaranteed(reason) => {
            (reason, "remove it, or let the connection be encrypted")
        }
    };
    let message = format!("`{key}` has no effect here: {reason}");
    reader.error_with_help("E0108", span, message, "never used", help);
}

fn certificates(
    reader: &mut Reader<'_>,
    key: &str,
    text: &Spanned<String>,
    folder: Folder<'_>,
) -> Option<Certificates> {
    match reference(reader, key, text)? {
        Reference::Secret(name) => Some(Certificates::Secret(name)),
        Reference::Path => Some(Certificates::File(PemFile::locate(&text.value, folder))),
    }
}

fn private_key(
    reader: &mut Reader<'_>,
    text: &Spanned<String>,
    folder: Folder<'_>,
) -> Option<PrivateKey> {
    match reference(reader, CLIENT_KEY, text)? {
        Reference::Secret(name) => Some(PrivateKey::Secret(name)),
        Reference::Path => Some(PrivateKey::File(folder.locate(&text.value))),
    }
}

/// The meaning of the text of a TLS key.
enum Reference {
    Secret(String),
    Path,
}

fn reference(reader: &mut Reader<'_>, key: &str, text: &Spanned<String>) -> Option<Reference> {
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
