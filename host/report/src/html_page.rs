//! HTML pages, made from templates that escape every value. A page runs no script and fetches
//! nothing, whatever its texts contain.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, Output, State, UndefinedBehavior, Value, context};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// The templates, each with its name.
const TEMPLATES: &[(&str, &str)] = &[
    ("page.html", include_str!("../templates/page.html")),
    ("run.html", include_str!("../templates/run.html")),
    ("access_report.html", include_str!("../templates/access_report.html")),
    ("access_report_details.html", include_str!("../templates/access_report_details.html")),
    ("access_report_rows.html", include_str!("../templates/access_report_rows.html")),
];

/// Styles of all pages.
const STYLE: &str = include_str!("../templates/page.css");

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    pages.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    pages.set_syntax(syntax.expect("the delimiters are the usual ones"));
    pages.set_formatter(write_escaped);
    for (name, source) in TEMPLATES {
        pages
            .add_template(name, source)
            .expect("the templates of this program are right: every test of a page reads them");
    }
    pages
});

/// A whole page. `style` has the styles of this kind of page; `template` is the name of the
/// template of its body.
pub(crate) fn page(title: &str, style: &str, template: &str, body: Value) -> String {
    let style = Value::from_safe_string(format!("{STYLE}{style}"));
    render("page.html", context! { title, style, body => fragment(template, body) })
}

/// A rendered part of a page. Its markup is not escaped in the template that it is put into.
pub(crate) fn fragment(template: &str, values: Value) -> Value {
    Value::from_safe_string(render(template, values))
}

fn render(template: &str, values: Value) -> String {
    let page = PAGES.get_template(template).and_then(|found| found.render(values));
    page.unwrap_or_else(|error| panic!("a template uses only values that it is given: {error:#}"))
}

/// Writes a value into a page. Values other than fragments are escaped.
fn write_escaped(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = value.to_string();
    if value.is_safe() {
        out.write_str(&text)?;
    } else {
        out.write_str(&escape(&text))?;
    }
    Ok(())
}

/// Escapes a text for HTML: it contains no markup and no invisible character.
fn escape(text: &str) -> String {
    let text = runbook_text::lines(text);
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            // CI services search their logs for commands: `::error::`, `##[error]`, `##vso[…]`.
            '#' | ':' if text[at + 1..].starts_with(c) => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
