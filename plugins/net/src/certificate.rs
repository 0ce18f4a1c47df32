//! `net:certificate`

use runbook_sdk::net::{Certificate, Inspection, Server};
use runbook_sdk::prelude::*;

/// Milliseconds of a day.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// Whose certificate is looked at, and what it must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// One of the target's hosts; may be left out if it lists one.
    host: Option<String>,
    /// One of the target's ports; may be left out if it lists one.
    port: Option<u16>,
    /// Fewer days of validity left, of any certificate of the chain, are a warning.
    #[serde(default = "default_warn")]
    warn_days: u64,
    /// Fewer are a failure.
    #[serde(default = "default_fail")]
    fail_days: u64,
    /// Names that must be among those of the certificate, as it writes them.
    #[serde(default)]
    names: Vec<String>,
    /// Text that the name of the issuer must have.
    issuer: Option<String>,
    /// Whether it must be good for a client that verifies: trusted, for this name, and at this time.
    #[serde(default = "default_verified")]
    verified: bool,
}

fn default_warn() -> u64 {
    30
}

fn default_fail() -> u64 {
    7
}

fn default_verified() -> bool {
    true
}

/// What the server shows.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The address that answered, as `ip:port`.
    peer: String,
    /// The version of TLS, such as `TLSv1.3`.
    protocol: String,
    /// The cipher suite.
    cipher: String,
    /// Which of `h2` and `http/1.1` the server chose, if one.
    alpn: Option<String>,
    /// Whom the server's certificate is for.
    subject: String,
    /// Who issued it.
    issuer: String,
    /// The names that it is for.
    names: Vec<String>,
    /// Its serial number, in hexadecimal.
    serial: String,
    /// Milliseconds since 1970 from which it is valid.
    not_before_ms: u64,
    /// Milliseconds since 1970 until which it is valid.
    not_after_ms: u64,
    /// Whole days until the first certificate of the chain ends; negative if one has.
    days_left: i64,
    /// Its key, such as `EC P-256`.
    key: String,
    /// `sha256:` and the digest of the certificate.
    fingerprint: String,
    /// Whether a client that verifies would accept it.
    verified: bool,
    /// Why not.
    problems: Vec<String>,
}

pub(crate) fn certificate(_job: &Job, input: Input) -> Result<Report<Output>> {
    if input.fail_days > input.warn_days {
        let message = "`fail_days` is more than `warn_days`, so nothing would be a warning";
        return Err(Fault::invalid("net.days", message));
    }
    let mut server = Server::slot(slot!("server"));
    if let Some(host) = &input.host {
        server = server.host(host);
    }
    if let Some(port) = input.port {
        server = server.port(port);
    }
    report(&input, server.inspect_tls()?, clock::now_ms())
}

fn report(input: &Input, seen: Inspection, now_ms: u64) -> Result<Report<Output>> {
    let Some(own) = seen.chain.first() else {
        return Err(Fault::assertion("net.no-certificate", "it shows no certificate"));
    };
    if own.serial.is_empty() {
        let message = "the certificate of the server cannot be read";
        return Err(Fault::assertion("net.unreadable-certificate", message));
    }
    // The chain ends when any of its certificates does, also that of an authority.
    let readable = seen.chain.iter().filter(|one| !one.serial.is_empty());
    let first_end = readable.min_by_key(|one| one.not_after_ms).unwrap_or(own);
    let days_left = days(now_ms, first_end.not_after_ms);
    let problems: Vec<String> =
        seen.problems.iter().map(|problem| problem.message.clone()).collect();
    let place = format!("{}:{}", seen.host, seen.port);
    let mut assertions = Assertions::new();
    if input.verified {
        for problem in &problems {
            assertions.holds(false, || problem.clone());
        }
    }
    for name in &input.names {
        let is_there = own.names.iter().any(|known| known.eq_ignore_ascii_case(name));
        assertions.holds(is_there, || {
            format!("its certificate is for {}, not for {name}", own.names.join(", "))
        });
    }
    if let Some(issuer) = &input.issuer {
        assertions.contains("the issuer", &own.issuer, issuer);
    }
    let limit = |days: u64| i64::try_from(days).unwrap_or(i64::MAX);
    let has_too_few_days = days_left < limit(input.fail_days);
    let outcome = if !assertions.all_hold() || has_too_few_days {
        Outcome::Fail
    } else if days_left < limit(input.warn_days) {
        Outcome::Warn
    } else {
        Outcome::Pass
    };
    let validity = format!("{} is valid for {days_left} days more", certificate_label(first_end));
    let summary = if assertions.all_hold() {
        format!("{place}: {validity}")
    } else {
        format!("{place}: {}", assertions.failures().join("; "))
    };
    #[expect(clippy::cast_precision_loss, reason = "days of validity are few")]
    let measured = measurement("days_left", days_left as f64, "");
    let measured = Measurement {
        warn: Some(format!("{}:", input.warn_days)),
        crit: Some(format!("{}:", input.fail_days)),
        ..measured
    };
    let output = Output {
        peer: seen.peer.clone(),
        protocol: seen.protocol.clone(),
        cipher: seen.cipher.clone(),
        alpn: seen.alpn.clone(),
        subject: own.subject.clone(),
        issuer: own.issuer.clone(),
        names: own.names.clone(),
        serial: own.serial.clone(),
        not_before_ms: own.not_before_ms,
        not_after_ms: own.not_after_ms,
        days_left,
        key: own.key.clone(),
        fingerprint: own.fingerprint.clone(),
        verified: problems.is_empty(),
        problems,
    };
    Ok(Report::new(outcome, summary, output).measure(measured))
}

fn certificate_label(certificate: &Certificate) -> String {
    match certificate.names.first() {
        Some(name) => format!("the certificate for {name}"),
        None => format!("the certificate of `{}`", certificate.subject),
    }
}

/// Whole days from one moment to another; negative if the second is earlier.
fn days(from_ms: u64, to_ms: u64) -> i64 {
    let days = |ms: u64| i64::try_from(ms / DAY).unwrap_or(i64::MAX);
    if to_ms >= from_ms { days(to_ms - from_ms) } else { -days(from_ms - to_ms) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_sdk::net::{Problem, ProblemKind};

    const NOW: u64 = 1_000 * DAY;

    fn certificate(names: &[&str], days_left: i64) -> Certificate {
        let end = i64::try_from(NOW + DAY / 2).expect("small") + days_left * 86_400_000;
        Certificate {
            subject: "CN=a".to_owned(),
            issuer: "CN=Team Root".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            serial: "01".to_owned(),
            not_before_ms: 0,
            not_after_ms: u64::try_from(end).expect("after 1970"),
            key: "EC P-256".to_owned(),
            signature: "ecdsa-with-SHA256".to_owned(),
            fingerprint: "sha256:00".to_owned(),
        }
    }

    fn inspection(chain: Vec<Certificate>, problems: &[&str]) -> Inspection {
        let problem =
            |text: &&str| Problem { kind: ProblemKind::Other, message: (*text).to_owned() };
        Inspection {
            host: "a.example".to_owned(),
            port: 443,
            peer: "10.0.0.7:443".to_owned(),
            protocol: "TLSv1.3".to_owned(),
            cipher: "TLS13_AES_256_GCM_SHA384".to_owned(),
            alpn: None,
            chain,
            problems: problems.iter().map(problem).collect(),
            dns_us: 0,
            connect_us: 0,
            tls_us: 0,
        }
    }

    fn judged(json: &Json, seen: Inspection) -> Report<Output> {
        let input: Input = serde_json::from_value(json.clone()).expect("good input");
        report(&input, seen, NOW).expect("it shows a certificate")
    }

    #[test]
    fn the_certificate_of_the_chain_that_ends_first_decides() {
        for (own, authority, outcome) in [
            (30, 400, Outcome::Pass),
            (29, 400, Outcome::Warn),
            (7, 400, Outcome::Warn),
            (6, 400, Outcome::Fail),
            (300, 6, Outcome::Fail),
            (-1, 400, Outcome::Fail),
        ] {
            let chain = vec![certificate(&["a.example"], own), certificate(&[], authority)];
            let report = judged(&json!({}), inspection(chain, &[]));
            assert_eq!(report.outcome, outcome, "{own} {authority}: {}", report.summary);
            assert_eq!(report.output.days_left, own.min(authority));
        }
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_no_pass_whatever_its_authority_is() {
        let unreadable = Certificate { serial: String::new(), ..certificate(&[], 100) };
        let input = || serde_json::from_value(json!({ "verified": false })).expect("good input");
        let chain = vec![unreadable, certificate(&[], 400)];
        assert!(report(&input(), inspection(chain, &[]), NOW).is_err());
    }

    #[test]
    fn what_a_client_would_not_accept_is_a_failure_unless_it_may_be() {
        let seen = || inspection(vec![certificate(&["a.example"], 100)], &["it is self-signed"]);
        let failed = judged(&json!({}), seen());
        assert_eq!(failed.outcome, Outcome::Fail);
        assert_eq!(failed.summary, "a.example:443: it is self-signed");
        let passed = judged(&json!({ "verified": false }), seen());
        assert_eq!((passed.outcome, passed.output.verified), (Outcome::Pass, false));
    }

    #[test]
    fn names_and_issuer_are_compared() {
        let seen = || inspection(vec![certificate(&["a.example", "*.b.example"], 100)], &[]);
        let good = json!({ "names": ["A.example", "*.b.example"], "issuer": "Team" });
        assert_eq!(judged(&good, seen()).outcome, Outcome::Pass);
        let other = judged(&json!({ "names": ["c.example"] }), seen());
        assert_eq!(other.outcome, Outcome::Fail);
        assert!(other.summary.contains("not for c.example"), "{}", other.summary);
        assert_eq!(judged(&json!({ "issuer": "Other" }), seen()).outcome, Outcome::Fail);
    }
}
