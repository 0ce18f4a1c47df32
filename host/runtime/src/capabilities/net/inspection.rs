//! Inspection of the certificates of a server.

use super::failure::Failure;
use super::{ServerAccess, certificate, micros, secret_in, shows_a_secret};
use crate::bindings::runbook::net::types::{Inspection, Problem, ProblemKind};
use crate::fault::Fault;
use crate::host::Host;
use crate::net::handshake::TlsFailure;
use crate::net::recording::{ServerCertificates, take_certificates};
use crate::net::route::ServerStream;
use crate::net::tls::{HTTP_PROTOCOLS, encrypt};
use std::time::Duration;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

/// The protocols that are offered by ALPN in each attempt. The second attempt offers none: a server
/// that speaks none of the first may end the handshake before it shows a certificate.
const ALPN_OFFERS: [&[&[u8]]; 2] = [HTTP_PROTOCOLS, &[]];

/// A connection and its handshake.
struct Attempt {
    certificates: Option<ServerCertificates>,
    stream: Result<TlsStream<ServerStream>, TlsFailure>,
    peer: String,
    connect: Duration,
    tls: Duration,
}

impl Host {
    /// The certificates of the server and the result of the handshake. No data is sent after it.
    pub(super) async fn inspection(&mut self, access: &ServerAccess) -> Result<Inspection, Fault> {
        let place = access.place();
        let route = self.route(&access.server()).await;
        let route = route.map_err(|why| Failure::ConnectError(why).into_fault(&place))?;
        let mut why = TlsFailure::Interrupted("the handshake did not end".to_owned());
        for protocols in ALPN_OFFERS {
            let (config, recording) =
                self.recording_config(&access.net().tls_keys, protocols, "net.tls").await?;
            let began = Instant::now();
            let connected = route.connect().await;
            let (stream, peer) =
                connected.map_err(|why| Failure::ConnectError(why).into_fault(&place))?;
            let (connect, peer) = (began.elapsed(), peer.to_string());
            let began = Instant::now();
            let stream = encrypt(stream, &access.host, config).await;
            let attempt = Attempt {
                certificates: take_certificates(&recording),
                stream,
                peer,
                connect,
                tls: began.elapsed(),
            };
            match (attempt.certificates, attempt.stream) {
                (Some(shown), stream) => {
                    let attempt = Attempt { certificates: None, stream, ..attempt };
                    return self.inspection_result(access, route.dns(), &shown, attempt);
                }
                (None, Err(failure @ TlsFailure::Protocol(_))) => why = failure,
                (None, Err(failure)) => return Err(Failure::Tls(failure).into_fault(&place)),
                (None, Ok(_)) => break,
            }
        }
        Err(Failure::Tls(why).into_fault(&place))
    }

    /// The inspection as a plugin gets it.
    fn inspection_result(
        &mut self,
        access: &ServerAccess,
        dns: Duration,
        shown: &ServerCertificates,
        attempt: Attempt,
    ) -> Result<Inspection, Fault> {
        let mut problems = shown.chain.first().map_or_else(Vec::new, |own| {
            certificate::problems_of(own, &access.host, &shown.errors)
        });
        let (mut protocol, mut cipher, mut alpn) = (String::new(), String::new(), None);
        match &attempt.stream {
            Ok(stream) => {
                let session = &stream.get_ref().1;
                protocol = session.protocol_version().map_or_else(String::new, |version| {
                    version.as_str().unwrap_or_default().replace("v1_", "v1.")
                });
                let suite = session.negotiated_cipher_suite();
                let name = suite.and_then(|suite| suite.suite().as_str()).unwrap_or_default();
                name.clone_into(&mut cipher);
                alpn = session
                    .alpn_protocol()
                    .map(|protocol| String::from_utf8_lossy(protocol).into_owned());
            }
            Err(failure) => problems.push(Problem {
                kind: ProblemKind::Handshake,
                message: failure.reason().to_owned(),
            }),
        }
        self.count_transferred(shown.chain.iter().map(|certificate| certificate.len()).sum());
        let chain: Vec<_> = shown.chain.iter().map(certificate::read).collect();
        let texts = chain.iter().flat_map(|one| {
            [&one.subject, &one.issuer].into_iter().chain(&one.names).map(String::as_str)
        });
        if let Some(name) = secret_in(&self.scrubber(), texts) {
            return Err(shows_a_secret(&access.place(), &name));
        }
        Ok(Inspection {
            host: access.host.clone(),
            port: access.port,
            peer: attempt.peer,
            protocol,
            cipher,
            alpn,
            chain,
            problems,
            dns_us: micros(dns),
            connect_us: micros(attempt.connect),
            tls_us: micros(attempt.tls),
        })
    }
}
