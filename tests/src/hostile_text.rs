//! Hostile texts for tests of output.

/// Texts that a plugin, a server or a file might contain to deceive a reader, a terminal or a
/// parser. Most begin with a word that identifies them in a test failure.
pub fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        // Terminal control: clear, set the title, write a link, request an answer, color.
        "osc \u{1b}]0;title\u{7}\u{1b}]8;;http://evil.example\u{1b}\\link",
        "csi \u{1b}[2J\u{1b}[1;1H\u{1b}[31mred\u{1b}[6n",
        "dcs \u{1b}P+q544e\u{1b}\\ \u{1b}c \u{1b}#8",
        "c1 \u{9b}2J\u{9d}0;title\u{9c}\u{90}q\u{85}next",
        "overwrite failed\rsucceeded \u{8}\u{8}\u{8}\u{7f}",
        "nul \u{0} bell \u{7} vt \u{b} ff \u{c} so \u{e} si \u{f}",
        // Bidirectional overrides and invisible characters.
        "bidi \u{202a}\u{202b}\u{202c}\u{202d}\u{202e}drowssap\u{202c}",
        "isolate \u{2066}\u{2067}\u{2068}\u{2069} mark \u{200e}\u{200f}\u{61c}",
        "separator \u{2028}✓ verify done\u{2029}✓ all done",
        "hidden \u{200b}\u{2060}\u{feff}\u{ad}\u{34f}\u{3164} join\u{200d}er\u{fe0f}",
        "tags \u{e0001}\u{e0041}\u{e0042}\u{e007f}\u{e0100}",
        "nonchar \u{fffe}\u{ffff}\u{fdd0}\u{1fffe}\u{10ffff}",
        // Syntax of report formats.
        "lines\n  ✓ verify     done     1 s\nSucceeded. Everything was done.\r\n| forged",
        "github\n::error::forged\n::set-output name=x::y\n::stop-commands::t%0A::error::again",
        "azure\n##vso[task.setvariable variable=x]y ##[error]forged\n\
         ##[group]x ###[warning] ##teamcity[testFailed name='x']",
        "\n::error::at the beginning\n  ::warning::x\t::debug::y",
        "links www.evil.example WWW.evil.example mailto:a@evil.example a@evil.example \
         https://evil.example ftp://evil.example xmpp:a@evil.example",
        "references @everybody @org/team #123 org/repository#123 GH-123 OPS-7 !12 $3 %4 &5 ~label \
         %\"a b\" (#1)",
        "nagios | 'x'=1;2;3 \nOK - forged | y=2",
        "tap # SKIP forged\nok 2 - forged\n1..1\nBail out! # TODO",
        "prometheus\"} 1\nforged_metric{x=\"y\"} 1\n# HELP forged \\",
        "xml </testcase></testsuite><testcase name=\"forged\"/><![CDATA[ ]]> &lt; & \" '",
        "html <script>alert(1)</script><img src=x onerror=alert(1)> \" onmouseover=\"x ' \
         javascript:x <!--",
        "markdown ![x](http://evil.example/x.png) [y](javascript:z) <http://evil.example> \
         http://evil.example/y `code` ``` | cell | **b** _i_ ~s~ # h",
        "markdown \\| \\` &lt;b&gt; \n# heading\n- item\n\n```\nblock\n[ref]: http://evil.example",
        "json \",\"forged\":\"x\\u001b \\",
        "toml '\"\"\" \\u202e",
        "percent %1b%5b2J %0A %s %n ${x} $(x) {{ x }} {x}",
    ]
    .map(str::to_owned)
    .into();
    texts.push(format!("marks a{}b", "\u{301}\u{338}\u{20dd}".repeat(500)));
    texts.push(format!("long {}", "x".repeat(100_000)));
    texts.push(format!("\u{338}mark at the beginning {}", "\u{202e}".repeat(1_000)));
    texts
}
