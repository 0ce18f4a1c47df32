//! The pages of `docs/errors`, which are compiled into the program.

/// One page of `docs/errors`.
pub struct Page {
    /// The code that the page explains, such as `E0231` or `RB004`.
    pub code: &'static str,
    /// The page, in Markdown.
    pub text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Every code that has a page, with the title of its page.
pub fn codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    let title = |page: &Page| {
        page.text
            .lines()
            .next()
            .and_then(|line| line.split_once(": "))
            .map_or("", |(_, title)| title)
    };
    PAGES.iter().map(move |page| (page.code, title(page)))
}
