use super::*;
use proptest::prelude::*;
use unicode_general_category::{GeneralCategory, get_general_category};

fn all_characters() -> impl Iterator<Item = char> {
    (0..=0x10_FFFF).filter_map(char::from_u32)
}

/// Whether a character of Unicode's category "format" is visible: the signs of Arabic, Syriac and
/// Kaithi that stand before or over a number.
fn is_visible_format_character(c: char) -> bool {
    matches!(
        c,
        '\u{600}'
            ..='\u{605}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'
                | '\u{891}'
                | '\u{8e2}'
                | '\u{110bd}'
                | '\u{110cd}'
    )
}

#[test]
fn no_control_format_or_separator_character_of_unicode_passes() {
    for c in all_characters() {
        let is_disallowed = match get_general_category(c) {
            GeneralCategory::Control
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::Format => !is_visible_format_character(c),
            _ => u32::from(c) & 0xFFFE == 0xFFFE || ('\u{fdd0}'..='\u{fdef}').contains(&c),
        };
        let text = format!("a{c}b");
        if is_disallowed {
            assert!(!line(&text).contains(c), "{c:?} passes as a line");
            assert!(!lines(&text).contains(c) || matches!(c, '\n' | '\t'), "{c:?} passes as lines");
            assert!(!json(&text).contains(c) || matches!(c, '\n' | '\t'), "{c:?} passes as JSON");
            assert!(
                !snippet(&text).contains(c) || matches!(c, '\n' | '\t'),
                "{c:?} passes in a snippet"
            );
        }
        assert_eq!(line(&text).lines().count(), 1, "{c:?} makes two lines of one");
    }
}

#[test]
fn text_of_every_script_is_not_changed() {
    for text in [
        "plain text",
        "Größe, naïve, Ελληνικά, Русский, עברית, العربية, हिन्दी, ไทย, 한국어, 日本語, Tiếng Việt",
        "decomposed: e\u{301}, o\u{302}\u{323}",
        "Persian \u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
        "क्\u{200d}ष",
        "✓ ✗ ↩ ⚠\u{fe0f} 👍🏽 👩\u{200d}🚒 👁\u{fe0f}\u{200d}🗨\u{fe0f}",
        "₂ ﷺ \u{e000}",
    ] {
        assert!(matches!(line(text), Cow::Borrowed(_)), "{:?} became {:?}", text, line(text));
        assert!(is_plain(text) && first_not_in_line(text).is_none(), "{text:?}");
    }
}

#[test]
fn a_joiner_after_an_ascii_letter_is_removed() {
    for text in [
        "pass\u{200d}word",
        "a\u{200c}b",
        "a\u{fe0f}b",
        "\u{200d}",
        "é\u{200d}\u{200d}é",
        "é\u{fe00}\u{fe01}",
    ] {
        assert!(line(text).contains(REPLACEMENT), "{text:?}");
    }
}

#[test]
fn a_line_stays_one_line_and_removed_characters_are_replaced() {
    assert_eq!(line("a\nb\tc\r\nd"), "a b c d");
    assert_eq!(line("a\u{1b}[2Jb\u{7}"), "a\u{fffd}[2Jb\u{fffd}");
    assert_eq!(line("done\rfailed"), "done\u{fffd}failed");
    assert_eq!(line("a\u{2028}b\u{85}c"), "a b c");
    assert_eq!(lines("a\r\n\tb\rc\u{2028}"), "a\n\tb\u{fffd}c\u{fffd}");
    assert_eq!(line("\u{202e}\u{202e}\u{200b}x"), "\u{fffd}x");
}

#[test]
fn no_line_is_a_command_of_a_ci_service() {
    assert_eq!(
        for_terminal("a\n  ::error::x\n::set-output name=y::z"),
        "a\n  : :error::x\n: :set-output name=y::z"
    );
    assert_eq!(
        for_terminal("x ##[set-env name=y]z ##vso[task.x] a::b"),
        "x # #[set-env name=y]z # #vso[task.x] a::b"
    );
    assert_eq!(for_terminal("std::fs ## heading"), "std::fs ## heading");
}

#[test]
fn an_argument_is_one_word_for_a_real_shell() {
    assert_eq!(shell_argument("restart.each/undo"), "restart.each/undo");
    for text in [
        "a[k]",
        "a[x; echo $HOME]",
        "it's",
        "a[`id`]",
        "$(id)",
        "",
        "*",
        "a b",
        "~",
        "#x",
        "-",
        "\"",
        "a\\",
        "!x",
        "{a,b}",
    ] {
        let command = format!("printf %s {}", shell_argument(text));
        let output = std::process::Command::new("sh")
            .args(["-c", &command])
            .output()
            .expect("there is a shell");
        assert_eq!(String::from_utf8_lossy(&output.stdout), text);
    }
    assert_eq!(shell_argument("a\nrm -rf x"), "$'a\\nrm -rf x'");
    assert_eq!(shell_argument("x.age#name"), "x.age#name");
}

/// Each kind of invisible character, with different characters before and after it. No two names
/// become the same argument, and the shell reads each argument as exactly its name.
#[test]
fn a_shell_reads_a_name_with_invisible_characters_exactly() {
    let hidden = [
        "\t",
        "\n",
        "\r",
        "\u{1b}",
        "\u{7f}",
        "\u{85}",
        "\u{200b}",
        "\u{202e}",
        "\u{2028}",
        "\u{e0041}",
        "\u{fffe}",
        "\u{301}",
    ];
    let around = ["", "a", "'", "\\", "7", "=", "$(id)", "é", " "];
    let mut words = std::collections::BTreeSet::new();
    let (mut script, mut expected) = (String::new(), String::new());
    for hidden in hidden {
        for before in around {
            for after in around {
                let name = format!("{before}{hidden}{after}");
                let word = shell_argument(&name).into_owned();
                assert!(word.chars().all(|c| !c.is_control()) && line(&word) == word, "{word:?}");
                assert!(words.insert(word.clone()), "{name:?} is the same word as another");
                script.push_str(&format!("printf '%s\\0' {word}\n"));
                expected.push_str(&format!("{name}\0"));
            }
        }
    }
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .expect("there is a shell");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    // zsh would replace `=ls.toml` by the path of a program called `ls.toml`.
    assert_eq!(shell_argument("=ls.toml"), "'=ls.toml'");
}

#[test]
fn the_name_of_a_file_is_no_option_of_a_command() {
    for (name, word) in [
        ("a.toml", "a.toml"),
        ("--yes", "./--yes"),
        ("-x y", "'./-x y'"),
        ("", "''"),
        ("a-b", "a-b"),
    ] {
        assert_eq!(file_argument(name), word);
    }
}

#[test]
fn too_many_combining_marks_are_removed() {
    let text = format!("a{}b", "\u{301}".repeat(1000));
    assert_eq!(line(&text).chars().filter(|c| *c == '\u{301}').count(), 8);
    assert!(line(&text).ends_with("\u{fffd}b"));
    // A mark at the beginning has no letter: a terminal would show it on the character before the
    // text.
    assert_eq!(line("\u{338}x"), "\u{fffd}x");
}

#[test]
fn a_character_is_reported_with_its_name_and_offset() {
    assert_eq!(
        first_hidden("ab\u{202e}c"),
        Some(DisallowedCharacter { offset: 2, character: '\u{202e}' })
    );
    assert_eq!(describe('\u{202e}'), "U+202E (direction embedding or override)");
    assert_eq!(describe('\u{1b}'), "U+001B (escape)");
    assert_eq!(describe('\u{e0041}'), "U+E0041 (tag or invisible selector)");
    assert_eq!(first_hidden("a\nb\t"), None);
    assert_eq!(first_not_in_line("a\nb"), Some(DisallowedCharacter { offset: 1, character: '\n' }));
}

#[test]
fn a_long_text_is_cut_between_characters() {
    assert_eq!(shortened("ääääää", 8), "ää…");
    assert_eq!(shortened("short", 8), "short");
}

proptest! {
    #[test]
    fn sanitized_text_is_not_changed_again(text in any::<String>()) {
        for sanitized in [line(&text), lines(&text), json(&text)] {
            prop_assert!(is_plain(&sanitized), "{:?}", sanitized);
        }
        let once = line(&text).into_owned();
        prop_assert_eq!(line(&once).into_owned(), once);
    }

    #[test]
    fn a_snippet_is_as_long_as_its_text_and_has_the_same_lines(text in "[a-z\\r\\n\u{1b}\u{85}\u{ad}\u{202e}\u{e0041}é]{0,40}") {
        let shown = snippet(&text);
        prop_assert_eq!(shown.len(), text.len());
        prop_assert_eq!(shown.matches('\n').count(), text.matches('\n').count());
        let places = |text: &str| text.char_indices().filter(|(_, c)| *c == '\n').map(|(at, _)| at).collect::<Vec<_>>();
        prop_assert_eq!(places(&shown), places(&text));
        prop_assert!(first_hidden(&shown).is_none(), "{:?}", shown);
    }
}

#[test]
fn json_has_no_command_of_a_ci_service_and_keeps_its_value() {
    for text in ["##[error]x", "### a ##vso[task.x]", "\\##teamcity[x]", "a # b"] {
        let written = format!("{text:?}");
        let shown = json(&written);
        assert!(!shown.contains("##"), "{shown}");
        assert_eq!(shown.replace("\\u0023", "#"), written);
    }
}
