//! Classifies characters by their effect on the text around them.

use unicode_width::UnicodeWidthChar as _;

/// The effect of a character on the text around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is shown, and has no effect on other characters.
    Plain,
    /// The line feed, `\n`.
    Break,
    /// The tab, `\t`.
    Tab,
    /// Some programs read it as the end of a line.
    AmbiguousBreak,
    /// A mark on the letter before it.
    Mark,
    /// U+200C or U+200D: needed between letters of some scripts, and in emoji.
    Joiner,
    /// U+FE00 to U+FE0F, variation selectors: they change how the sign before them looks.
    Selector,
    /// It is invisible, or it is a control character.
    Hidden,
}

/// Ranges of control and invisible characters, apart from C0 and C1, noncharacters and plane 14:
/// first, last, name.
const HIDDEN: &[(u32, u32, &str)] = &[
    (0x00AD, 0x00AD, "soft hyphen"),
    (0x034F, 0x034F, "combining grapheme joiner"),
    (0x061C, 0x061C, "Arabic letter mark"),
    (0x115F, 0x1160, "Hangul filler"),
    (0x17B4, 0x17B5, "invisible vowel"),
    (0x180B, 0x180F, "Mongolian selector"),
    (0x200B, 0x200B, "zero width space"),
    (0x200E, 0x200F, "direction mark"),
    (0x202A, 0x202E, "direction embedding or override"),
    (0x2060, 0x2064, "invisible operator"),
    (0x2065, 0x2065, "unassigned and invisible"),
    (0x2066, 0x2069, "direction isolate"),
    (0x206A, 0x206F, "deprecated format character"),
    (0x3164, 0x3164, "Hangul filler"),
    (0xFEFF, 0xFEFF, "byte order mark"),
    (0xFFA0, 0xFFA0, "Hangul filler"),
    (0xFFF0, 0xFFF8, "unassigned and invisible"),
    (0xFFF9, 0xFFFB, "interlinear annotation"),
    (0x13430, 0x1345F, "hieroglyph format character"),
    (0x1BCA0, 0x1BCA3, "shorthand format character"),
    (0x1D173, 0x1D17A, "musical format character"),
    (0xE0000, 0xE0FFF, "tag or invisible selector"),
];

/// The effect of the character `c` on the text around it.
pub(crate) fn kind(c: char) -> Kind {
    match c {
        ' '..='~' => Kind::Plain,
        '\n' => Kind::Break,
        '\t' => Kind::Tab,
        '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Kind::AmbiguousBreak,
        '\u{200c}' | '\u{200d}' => Kind::Joiner,
        '\u{fe00}'..='\u{fe0f}' => Kind::Selector,
        c if c.is_control() || is_noncharacter(c) || hidden(c).is_some() => Kind::Hidden,
        c if c.width() == Some(0) => Kind::Mark,
        _ => Kind::Plain,
    }
}

fn hidden(c: char) -> Option<&'static str> {
    let code = u32::from(c);
    HIDDEN.iter().find(|(first, last, _)| (*first..=*last).contains(&code)).map(|(.., name)| *name)
}

/// U+FDD0 to U+FDEF, and the last two of each plane: noncharacters, which will never be assigned.
fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

/// A character that cannot be shown, for people: `U+202E (direction embedding or override)`.
pub fn describe(c: char) -> String {
    let name = match c {
        '\u{1b}' => "escape",
        '\r' => "carriage return",
        '\n' => "line break",
        '\t' => "tab",
        '\u{2028}' | '\u{2029}' | '\u{85}' => "line separator",
        '\u{200c}' | '\u{200d}' => "joiner",
        '\u{fe00}'..='\u{fe0f}' => "variation selector",
        c if c.is_control() => "control character",
        c if is_noncharacter(c) => "noncharacter",
        c => hidden(c).unwrap_or("combining mark"),
    };
    format!("U+{:04X} ({name})", u32::from(c))
}
