use super::*;
use runbook_contract::Outcome;
use runbook_secrets::Secret;

const SECRET: &str = "s3cr3t\nt0ken\u{9b}";

fn scrubber() -> Scrubber {
    Scrubber::new([("token", &Secret::from(SECRET))])
}

fn measurement(text: &str, value: f64) -> Measurement {
    let text = text.to_owned();
    Measurement {
        label: text.clone(),
        value,
        unit: text.clone(),
        warn: Some(text.clone()),
        crit: Some(text),
    }
}

/// Every kind of response, with `text` in every text field.
pub(crate) fn responses_with_text(text: &str) -> Vec<Response> {
    let owned_text = || text.to_owned();
    let json = || serde_json::json!({ text: [text] });
    let effect = Effect { verb: owned_text(), target: owned_text(), summary: owned_text() };
    let verdict =
        Case { name: owned_text(), outcome: Outcome::Fail, detail: owned_text(), duration_ms: 0 };
    let measurements = || vec![measurement(text, 1.0)];
    let (summary, output) = (owned_text(), json());
    vec![
        Response::Report(Report {
            outcome: Outcome::Pass,
            summary,
            output,
            measurements: measurements(),
        }),
        Response::Cases(vec![verdict]),
        Response::Proposal(Proposal {
            effects: vec![effect],
            summary: owned_text(),
            before: json(),
        }),
        Response::Observation(json()),
        Response::Completion(Completion {
            summary: owned_text(),
            output: json(),
            changed: true,
            measurements: measurements(),
        }),
    ]
}

/// All texts and all JSON values of a response. Every field is named, so that none is forgotten.
fn texts_and_values(answer: Response) -> (Vec<String>, Vec<serde_json::Value>) {
    let of_measurements = |measurements: Vec<Measurement>| -> Vec<String> {
        let measurement_texts = |Measurement { label, value: _, unit, warn, crit }| {
            [Some(label), Some(unit), warn, crit].into_iter().flatten()
        };
        measurements.into_iter().flat_map(measurement_texts).collect()
    };
    match answer {
        Response::Cases(verdicts) => {
            let case_texts = |Case { name, outcome: _, detail, duration_ms: _ }| [name, detail];
            (verdicts.into_iter().flat_map(case_texts).collect(), Vec::new())
        }
        Response::Proposal(Proposal { effects, summary, before }) => {
            let effect_texts = |Effect { verb, target, summary }| [verb, target, summary];
            let mut texts: Vec<_> = effects.into_iter().flat_map(effect_texts).collect();
            texts.push(summary);
            (texts, vec![before])
        }
        Response::Observation(value) => (Vec::new(), vec![value]),
        Response::Report(Report { outcome: _, summary, output, measurements })
        | Response::Completion(Completion { summary, output, changed: _, measurements }) => {
            ([vec![summary], of_measurements(measurements)].concat(), vec![output])
        }
    }
}

#[track_caller]
fn check_line(text: &str, from: &str) {
    assert_eq!(runbook_text::first_not_in_line(text), None, "{from:?} left as {text:?}");
    assert!(text.len() <= MAX_LINE, "{} bytes of {from:.20}", text.len());
}

#[test]
fn no_text_of_a_plugin_leaves_as_more_than_a_line_of_text() {
    let scrubber = scrubber();
    let sanitizer = OutputSanitizer::new(&scrubber);
    for hostile in runbook_tests::hostile_text::texts() {
        for answer in responses_with_text(&hostile) {
            let answer = sanitizer.response(answer, &mut Vec::new()).unwrap();
            texts_and_values(answer).0.iter().for_each(|text| check_line(text, &hostile));
        }
        let Fault { class: _, code, message, logs: _, effect: _ } =
            sanitizer.fault(&Fault::new(ErrorClass::Invalid, hostile.clone(), hostile.clone()));
        for truncation in [Truncation::Whole, Truncation::Beginning] {
            let logged = sanitizer.log(LogLevel::Info, &hostile, truncation, MAX_LINE);
            for LogLine { level: _, message } in logged {
                assert_eq!(
                    runbook_text::first_not_in_line(&message),
                    None,
                    "{hostile:?} left as {message:?}"
                );
            }
        }
        [code, message].iter().for_each(|text| check_line(text, &hostile));
    }
}

#[test]
fn no_text_of_a_plugin_leaves_with_a_secret_in_it() {
    let scrubber = scrubber();
    let sanitizer = OutputSanitizer::new(&scrubber);
    // With these lengths of the text before it, each cap is before, within and after the secret.
    for before in (0..24).chain(MAX_NAME - 24..MAX_NAME + 8).chain(MAX_LINE - 24..MAX_LINE + 8) {
        let text = format!("{}{SECRET}.", "x".repeat(before));
        let shows = |text: &str| text.contains("s3cr") || text.contains("t0ken");
        for answer in responses_with_text(&text) {
            let (texts, values) =
                texts_and_values(sanitizer.response(answer, &mut Vec::new()).unwrap());
            assert!(!texts.iter().any(|text| shows(text)), "after {before}: {texts:?}");
            assert!(
                !values.iter().any(|value| shows(&value.to_string())),
                "after {before}: {values:?}"
            );
        }
        let fault = sanitizer.fault(&Fault::new(ErrorClass::Invalid, text.clone(), text));
        assert!(!shows(&fault.to_string()), "after {before}: {fault}");
    }
}

#[test]
fn a_measurement_that_is_not_a_finite_number_is_refused_or_left_out() {
    let scrubber = Scrubber::default();
    let sanitizer = OutputSanitizer::new(&scrubber);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let [report, _, _, _, completion]: [Response; 5] =
            responses_with_text("lag").try_into().unwrap();
        let (Response::Report(report), Response::Completion(completion)) = (report, completion)
        else {
            unreachable!()
        };
        let measurements = vec![measurement("good", 1.0), measurement("lag", value)];
        let report = Response::Report(Report { measurements: measurements.clone(), ..report });
        let fault = sanitizer.response(report, &mut Vec::new()).unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (ErrorClass::Invalid, "output.measurement"));
        assert!(fault.message.contains("`lag`"), "{fault}");
        // A completion only loses the measurement.
        let mut notes = Vec::new();
        let response = sanitizer
            .response(Response::Completion(Completion { measurements, ..completion }), &mut notes)
            .unwrap();
        let Response::Completion(Completion { measurements, .. }) = response else {
            unreachable!()
        };
        assert_eq!((measurements.len(), measurements[0].label.as_str()), (1, "good"));
        assert!(
            notes[0].message.contains("`lag`") && notes[0].level == LogLevel::Warn,
            "{notes:?}"
        );
    }
}
