//! One file for a browser: no script, nothing fetched, whatever the texts in it hold.

use std::fmt::Write as _;

/// What both pages look like.
const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b1f24;background:#fff}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}td,th{text-align:left;vertical-align:top;padding:.25rem .6rem;border-bottom:1px solid #d8dee4}\
code,pre{font:13px ui-monospace,monospace}h2{margin-top:2rem}summary{cursor:pointer;font-weight:600;padding:.2rem 0}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}td,th{border-color:#30363d}}";

/// The beginning, up to the content of `body`.
pub(crate) fn begin(title: &str, style: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{}</title>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <style>{STYLE}{style}</style></head><body>\n",
        escape(title)
    )
}

/// The end.
pub(crate) const END: &str = "</body></html>\n";

/// Text of people, as text: whatever is in it cannot become markup, and every character of it is seen.
pub(crate) fn escape(text: &str) -> String {
    let text = runbook_text::lines(text);
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            // The log of a CI service is read for commands: `::error::`, `##[error]`, `##vso[…]`.
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
