//! Certificates for tests: a certificate authority, and what it issues.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A certificate authority.
#[derive(Debug)]
pub struct CertificateAuthority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, in PEM.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl CertificateAuthority {
    /// A new authority.
    ///
    /// # Panics
    /// If none can be made.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is wrong");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("it can be signed"))
    }

    /// Its own certificate, in PEM.
    pub fn certificate(&self) -> String {
        self.0.pem()
    }

    /// A server certificate for this name or address.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn server(&self, name: &str) -> IssuedCertificate {
        self.issue(name, |params| {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        })
    }

    /// A server certificate that expired long ago.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn expired_server(&self, name: &str) -> IssuedCertificate {
        self.issue(name, |params| params.not_after = date_time_ymd(2001, 2, 3))
    }

    /// A client certificate for this name.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn client(&self, name: &str) -> IssuedCertificate {
        self.issue(name, |params| {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        })
    }

    /// A client certificate that expired long ago.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn expired_client(&self, name: &str) -> IssuedCertificate {
        self.issue(name, |params| {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
            params.not_after = date_time_ymd(2001, 2, 3);
        })
    }

    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> IssuedCertificate {
        let names = if name.contains('_') { Vec::new() } else { vec![name.to_owned()] };
        let mut params = CertificateParams::new(names).expect("a good name");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.0).expect("it can be signed");
        IssuedCertificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl IssuedCertificate {
    /// Writes `NAME.pem` and `NAME.key`, which only its owner may read.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) {
        fs::write(folder.join(format!("{name}.pem")), &self.certificate).expect("it is written");
        let key = folder.join(format!("{name}.key"));
        fs::write(&key, &self.key).expect("it is written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }
}
