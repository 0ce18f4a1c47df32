use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn a_filter_or_a_test_that_does_not_exist_is_found_before_it_is_reached() {
    let unknown_words = |text: &str| unknown_filters_and_tests(text, Form::Template);
    assert_eq!(
        unknown_words("{{ a | loud }} {{ b is not oddd }}"),
        ["filter `loud`", "test `oddd`"]
    );
    assert_eq!(
        unknown_words(
            "{{ a | default(0) | seconds }} {% if b is not defined and c is none %}x{% endif %}"
        ),
        [""; 0]
    );
    assert_eq!(unknown_words("a | loud {{ 'b | loud' ~ \"is oddd\" }} c is oddd"), [""; 0]);
    assert_eq!(
        unknown_filters_and_tests("steps.a.output.lag | loud > 3", Form::Expression),
        ["filter `loud`"]
    );
    assert_eq!(
        unknown_filters_and_tests("[1, 2] | map('upper') | join(' | loud')", Form::Expression),
        [""; 0]
    );
}

/// A part of an expression: its text, and whether it has a value.
#[derive(Debug, Clone)]
struct ExpressionPart {
    text: String,
    has_value: bool,
}

/// Names with and without a value. Some names and texts contain the words `default` and `is
/// defined`.
fn leaf() -> impl Strategy<Value = ExpressionPart> {
    let part = |text: &str, has_value| Just(ExpressionPart { text: text.to_owned(), has_value });
    prop_oneof![
        part("params.name", true),
        part("params.default", true),
        part("steps.look-twice.output.default", true),
        part("steps['look-twice'].output.rows", true),
        part("'| default(0)'", true),
        part("\"is defined\"", true),
        part("params.default_name", false),
        part("params.missing", false),
        part("steps.look-twice.output.is_defined", false),
        part("steps.skipped.output.rows", false),
        part("steps['skipped'].output", false),
        part("run.default", false),
    ]
}

fn part() -> impl Strategy<Value = ExpressionPart> {
    leaf().prop_recursive(4, 24, 3, |inner| {
        let labeled_part = |name: &'static str, text: String, has_value: bool| {
            (name, ExpressionPart { text, has_value }).1
        };
        prop_oneof![
            // Only the reference itself may be missing.
            leaf().prop_map(move |p| labeled_part(
                "default",
                format!("({} | default('x'))", p.text),
                true
            )),
            leaf().prop_map(move |p| labeled_part(
                "d",
                format!("({} | d('default'))", p.text),
                true
            )),
            leaf().prop_map(move |p| labeled_part(
                "defined",
                format!("({} is defined)", p.text),
                true
            )),
            leaf().prop_map(move |p| labeled_part(
                "guard",
                format!("({0} if {0} is defined else 'none')", p.text),
                true
            )),
            (leaf(), inner.clone()).prop_map(move |(p, other)| {
                labeled_part(
                    "beside",
                    format!("({} | default({}))", p.text, other.text),
                    other.has_value,
                )
            }),
            inner.clone().prop_map(move |p| labeled_part(
                "string",
                format!("({} | string)", p.text),
                p.has_value
            )),
            (inner.clone(), inner.clone()).prop_map(move |(a, b)| labeled_part(
                "join",
                format!("({} ~ {})", a.text, b.text),
                a.has_value && b.has_value
            )),
            (inner.clone(), inner.clone()).prop_map(move |(a, b)| labeled_part(
                "is",
                format!("({} == {})", a.text, b.text),
                a.has_value && b.has_value
            )),
            (inner.clone(), inner).prop_map(move |(a, b)| labeled_part(
                "list",
                format!("[{}, {}]", a.text, b.text),
                a.has_value && b.has_value
            )),
        ]
    })
}

fn with_scope<T>(read: impl FnOnce(&Scope<'_>) -> T) -> T {
    let lookup = |key: &str| match key {
        "look_twice" => {
            let output = json!({ "default": 1, "rows": [1, 2] });
            Some((StepId::from("look-twice"), StepView::Done { outcome: "pass", output }))
        }
        "skipped" => {
            Some((StepId::from("skipped"), StepView::Absent("the step was skipped".to_owned())))
        }
        _ => None,
    };
    let map = |value: Json| value.as_object().cloned().unwrap_or_default();
    let params = map(json!({ "name": "orders", "default": "x", "apps_exist": 1 }));
    read(&Scope { params, steps: &lookup, run: map(json!({ "id": "r1" })), ..Scope::default() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_name_that_is_missing_is_an_error_unless_that_very_name_has_a_default(part in part()) {
        let value = with_scope(|scope| evaluate(&part.text, scope));
        prop_assert_eq!(value.is_ok(), part.has_value, "{}: {:?}", part.text, value);
        let text = with_scope(|scope| render(&Json::from(format!("a {{{{ {} }}}} b", part.text)), scope));
        prop_assert_eq!(text.is_ok(), part.has_value, "{}: {:?}", part.text, text);
    }
}

#[test]
fn a_missing_name_is_allowed_after_a_definedness_test_and_a_missing_key_of_it_is_an_error() {
    let holds = |text: &str| with_scope(|scope| holds(text, scope));
    assert_eq!(
        holds("steps.skipped.output is defined and steps.skipped.output.rows > 3"),
        Ok(false)
    );
    assert_eq!(
        holds("steps.skipped.output is undefined or steps.skipped.output.rows > 3"),
        Ok(true)
    );
    assert_eq!(
        holds("not (steps.skipped.output is defined) or steps.skipped.output.rows"),
        Ok(true)
    );
    // The value exists, but has no such key.
    assert!(
        holds("steps.look-twice.output is defined and steps.look-twice.output.row > 3").is_err()
    );
    assert!(holds("steps.look-twice.output is defined or steps.skipped.output.rows").is_err());
    let text = "{% if steps.skipped.output is defined %}{{ steps.skipped.output.rows \
                }}{% else %}none{% endif %}";
    assert_eq!(with_scope(|scope| render(&Json::from(text), scope)), Ok(Json::from("none")));
}

#[test]
fn a_slice_of_a_missing_value_is_an_error() {
    assert!(with_scope(|scope| evaluate("steps.skipped.output[0:2]", scope)).is_err());
    assert_eq!(
        with_scope(|scope| evaluate("steps.look-twice.output.rows[0:1]", scope)),
        Ok(json!([1]))
    );
}

#[test]
fn an_id_with_dashes_is_written_in_each_of_three_ways_and_named_as_in_the_file() {
    for text in [
        "steps.look-twice.output.rows",
        "steps['look-twice'].output.rows",
        "steps[\"look-twice\"]['output'].rows",
    ] {
        assert_eq!(with_scope(|scope| evaluate(text, scope)), Ok(json!([1, 2])), "{text}");
        let missing = with_scope(|scope| evaluate(&text.replace("rows", "row"), scope))
            .expect_err("there is no such name")
            .to_string();
        assert_eq!(
            missing,
            "`steps.look-twice.output.row` is not there: the output of `look-twice` has no `row`",
            "{text}"
        );
        assert_eq!(
            references(text, Form::Expression).expect("it parses"),
            BTreeSet::from(["steps.look_twice.output.rows".to_owned()])
        );
    }
    // The name of a parameter keeps its `_`.
    assert_eq!(with_scope(|scope| evaluate("params.apps_exist", scope)), Ok(json!(1)));
    assert!(
        with_scope(|scope| evaluate("params.apps_exits", scope))
            .expect_err("it is misspelt")
            .to_string()
            .contains("`params.apps_exits`")
    );
}

#[test]
fn a_template_without_end_is_stopped() {
    let endless = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}{{ 'xxxxxxxxxxxxxxxx' * 9999 }}{% endfor %}",
        "{{ 'x' * 8000000000 }}",
        "{{ ('x' * 9999) | replace('x', 'x' * 9999) | replace('x', 'x' * 9999) }}",
        "{{ range(99999) | join('x' * 99999) }}",
        "{{ ('&' * 9999999) | escape | escape | escape | escape | escape | escape | escape | \
         escape | escape | escape | length }}",
        "{% set x = 'x' %}{% set x = x ~ x %}{{ x }}",
        "{% with x = 'x' %}{{ x }}{% endwith %}",
        "{% for a in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
    ];
    for text in endless {
        let rendered = with_scope(|scope| render(&Json::from(text), scope));
        assert!(
            rendered.is_err(),
            "{text}: {} bytes",
            rendered.map(|text| text.to_string().len()).unwrap_or_default()
        );
    }
    let longest = with_scope(|scope| {
        render(&Json::from("{% for a in range(9999) %}{{ 'x' * 1000 }}{% endfor %}"), scope)
    });
    assert_eq!(longest.expect("it is within the limit").as_str().map(str::len), Some(9_999_000));
}
