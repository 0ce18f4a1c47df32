//! `net:dns`

use runbook_sdk::net::{Names, RecordKind, Resolution};
use runbook_sdk::prelude::*;

/// Which records are asked for, and what they must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// One of the names that the target lets through; may be left out if it lists one.
    name: Option<String>,
    /// The type of the records.
    #[serde(rename = "type")]
    kind: Type,
    /// Values that must be there. A value is written as in a zone file, names without the dot at
    /// their end: `10 mail.example.com` of an `MX`.
    #[serde(default)]
    contains: Vec<String>,
    /// All values that there are, in any order.
    equals: Option<Vec<String>>,
    /// Whether there must be no such record.
    #[serde(default)]
    absent: bool,
}

/// A type of records.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Type {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Which authorities may issue certificates.
    Caa,
    /// What a name is an alias of.
    Cname,
    /// Where mail goes.
    Mx,
    /// The name servers of a zone.
    Ns,
    /// The name of an address.
    Ptr,
    /// The serial number and the times of a zone.
    Soa,
    /// Where a service is.
    Srv,
    /// Texts.
    Txt,
}

impl Type {
    fn kind(self) -> (RecordKind, &'static str) {
        match self {
            Self::A => (RecordKind::A, "A"),
            Self::Aaaa => (RecordKind::Aaaa, "AAAA"),
            Self::Caa => (RecordKind::Caa, "CAA"),
            Self::Cname => (RecordKind::Cname, "CNAME"),
            Self::Mx => (RecordKind::Mx, "MX"),
            Self::Ns => (RecordKind::Ns, "NS"),
            Self::Ptr => (RecordKind::Ptr, "PTR"),
            Self::Soa => (RecordKind::Soa, "SOA"),
            Self::Srv => (RecordKind::Srv, "SRV"),
            Self::Txt => (RecordKind::Txt, "TXT"),
        }
    }
}

/// One record.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Record {
    /// Who has it.
    name: String,
    /// Its type.
    #[serde(rename = "type")]
    kind: String,
    /// Its value, as a zone file writes it.
    value: String,
    /// For how many seconds it may be kept.
    ttl_s: u32,
}

/// What the resolver answered.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// `NOERROR`, `NXDOMAIN`, ….
    code: String,
    /// All records of the answer, with the aliases on the way to those that were asked for.
    records: Vec<Record>,
    /// Whether there were more than the target allows.
    truncated: bool,
    /// The resolver that answered, as `ip:port`.
    resolver: String,
}

pub(crate) fn dns(_job: &Job, input: Input) -> Result<Report<Output>> {
    if input.absent && (!input.contains.is_empty() || input.equals.is_some()) {
        let message = "`absent` and an expected value exclude each other";
        return Err(Fault::invalid("net.dns-input", message));
    }
    let (kind, _) = input.kind.kind();
    report(&input, Names::slot(slot!("names")).lookup(input.name.as_deref(), kind)?)
}

fn report(input: &Input, answer: Resolution) -> Result<Report<Output>> {
    // Any other code leaves open whether the name exists: the resolver did not find out.
    if !matches!(answer.code.as_str(), "NOERROR" | "NXDOMAIN") {
        let message = format!("the resolver {} did not answer: {}", answer.resolver, answer.code);
        return Err(Fault::transient("net.dns-code", message));
    }
    let (_, word) = input.kind.kind();
    let mut found: Vec<&str> = answer
        .records
        .iter()
        .filter(|record| record.kind == word)
        .map(|record| record.data.as_str())
        .collect();
    found.sort_unstable();
    let nothing = match answer.code.as_str() {
        "NXDOMAIN" => format!("{}: NXDOMAIN, there is no such name", answer.name),
        _ => format!("{} has no {word} record", answer.name),
    };
    let more = if answer.cut { "; there are more than the target lets through" } else { "" };
    let listed = format!("{} {word} {}{more}", answer.name, found.join(", "));
    let problem = problem(input, &answer, &found, &nothing)?;
    let (outcome, summary) = match problem {
        Some(problem) => (Outcome::Fail, problem),
        None if found.is_empty() => (Outcome::Pass, nothing),
        None => (Outcome::Pass, listed),
    };
    let milliseconds = std::time::Duration::from_micros(answer.duration_us).as_secs_f64() * 1000.0;
    let records = answer.records.iter().map(|record| Record {
        name: record.name.clone(),
        kind: record.kind.clone(),
        value: record.data.clone(),
        ttl_s: record.ttl_s,
    });
    let output = Output {
        code: answer.code.clone(),
        records: records.collect(),
        truncated: answer.cut,
        resolver: answer.resolver.clone(),
    };
    Ok(Report::new(outcome, summary, output).measure(measurement("dns", milliseconds, "ms")))
}

/// The message of a failed check: how the records differ from the expected ones.
fn problem(
    input: &Input,
    answer: &Resolution,
    found: &[&str],
    nothing: &str,
) -> Result<Option<String>> {
    if input.absent && !(found.is_empty() && answer.cut) {
        let there = || format!("{} has {}, and should have none", answer.name, found.join(", "));
        return Ok((!found.is_empty()).then(there));
    }
    if found.is_empty() && !answer.cut {
        let expects_some = input.equals.as_ref().is_none_or(|equals| !equals.is_empty());
        return Ok(expects_some.then(|| nothing.to_owned()));
    }
    let same = |one: &str, other: &str| {
        // Case does not count in names, but in texts.
        if matches!(input.kind, Type::Txt | Type::Caa) {
            one == other
        } else {
            one.trim_end_matches('.').eq_ignore_ascii_case(other)
        }
    };
    let missing = |values: &[String]| -> Vec<String> {
        let is_there = |value: &String| found.iter().any(|found| same(value, found));
        values.iter().filter(|value| !is_there(value)).cloned().collect()
    };
    let expected: Vec<String> =
        input.contains.iter().chain(input.equals.iter().flatten()).cloned().collect();
    let missing = missing(&expected);
    if answer.cut && (found.is_empty() || !missing.is_empty() || input.equals.is_some()) {
        let message = "the answer has more records than the target lets through: raise its \
                       `max_records` or `max_bytes`";
        return Err(Fault::limit("net.dns-cut", message));
    }
    if !missing.is_empty() {
        let (name, missing) = (&answer.name, missing.join(", "));
        return Ok(Some(format!("{name} has {}, and not {missing}", found.join(", "))));
    }
    let Some(equals) = &input.equals else { return Ok(None) };
    let more: Vec<&str> = found
        .iter()
        .filter(|found| !equals.iter().any(|value| same(value, found)))
        .copied()
        .collect();
    Ok((!more.is_empty()).then(|| format!("{} has also {}", answer.name, more.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_sdk::net::DnsRecord;

    fn answer(code: &str, records: &[(&str, &str)], cut: bool) -> Resolution {
        let record = |(kind, data): &(&str, &str)| DnsRecord {
            name: "example.com".to_owned(),
            kind: (*kind).to_owned(),
            data: (*data).to_owned(),
            ttl_s: 60,
        };
        Resolution {
            name: "example.com".to_owned(),
            code: code.to_owned(),
            records: records.iter().map(record).collect(),
            cut,
            resolver: "10.0.0.53:53".to_owned(),
            duration_us: 1,
        }
    }

    fn judged(json: &Json, answer: Resolution) -> Result<(Outcome, String)> {
        let input: Input = serde_json::from_value(json.clone()).expect("good input");
        report(&input, answer).map(|report| (report.outcome, report.summary))
    }

    #[test]
    fn a_name_that_does_not_exist_is_a_failed_check_with_its_words() {
        let (outcome, summary) =
            judged(&json!({ "type": "A" }), answer("NXDOMAIN", &[], false)).expect("an answer");
        assert_eq!(outcome, Outcome::Fail);
        assert_eq!(summary, "example.com: NXDOMAIN, there is no such name");
        let (outcome, summary) =
            judged(&json!({ "type": "A" }), answer("NOERROR", &[("CNAME", "b")], false))
                .expect("an answer");
        assert_eq!((outcome, summary.as_str()), (Outcome::Fail, "example.com has no A record"));
        for code in ["NXDOMAIN", "NOERROR"] {
            let absent = judged(&json!({ "type": "A", "absent": true }), answer(code, &[], false));
            assert_eq!(absent.expect("an answer").0, Outcome::Pass);
        }
    }

    #[test]
    fn a_resolver_that_did_not_find_out_gives_no_verdict() {
        for code in ["SERVFAIL", "REFUSED", "NOTIMP"] {
            let fault = judged(&json!({ "type": "A" }), answer(code, &[], false)).expect_err(code);
            assert_eq!(fault.class, FaultClass::Transient, "{code}");
        }
    }

    #[test]
    fn values_are_compared_in_any_order_and_names_in_any_letters() {
        let records = [("MX", "10 a.example.com"), ("MX", "20 b.example.com"), ("NS", "x")];
        let of = |json: &Json| judged(json, answer("NOERROR", &records, false)).expect("an answer");
        for (json, outcome) in [
            (json!({ "type": "MX" }), Outcome::Pass),
            (json!({ "type": "MX", "contains": ["20 B.example.com."] }), Outcome::Pass),
            (json!({ "type": "MX", "contains": ["30 c.example.com"] }), Outcome::Fail),
            (
                json!({ "type": "MX", "equals": ["20 b.example.com", "10 a.example.com"] }),
                Outcome::Pass,
            ),
            (json!({ "type": "MX", "equals": ["10 a.example.com"] }), Outcome::Fail),
            (json!({ "type": "MX", "absent": true }), Outcome::Fail),
            (json!({ "type": "TXT", "absent": true }), Outcome::Pass),
        ] {
            assert_eq!(of(&json).0, outcome, "{json}: {}", of(&json).1);
        }
        let txt = judged(
            &json!({ "type": "TXT", "contains": ["V=spf1"] }),
            answer("NOERROR", &[("TXT", "v=spf1")], false),
        );
        assert_eq!(txt.expect("an answer").0, Outcome::Fail);
    }

    #[test]
    fn an_answer_that_was_cut_proves_only_what_is_in_it() {
        let cut = || answer("NOERROR", &[("A", "10.0.0.1")], true);
        let contains = |value: &str| json!({ "type": "A", "contains": [value] });
        assert_eq!(judged(&contains("10.0.0.1"), cut()).expect("found").0, Outcome::Pass);
        let fault = judged(&contains("10.0.0.2"), cut()).expect_err("it may be behind the cut");
        assert_eq!(fault.class, FaultClass::Limit);
        assert!(judged(&json!({ "type": "A", "equals": ["10.0.0.1"] }), cut()).is_err());
    }
}
