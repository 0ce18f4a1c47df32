//! What a monitoring plugin prints: `TEXT | performance data` in the first line; below it more text
//! and, behind another `|`, more performance data up to the end.

use crate::performance_data::{self, Metric};
use runbook_sdk::process::Output as ProgramOutput;

/// The output of a monitoring plugin, in its parts.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PluginOutput {
    /// The text of the first line.
    pub(crate) text: String,
    /// The text of the lines below.
    pub(crate) long_text: String,
    /// All performance data, as it was printed, in one line.
    pub(crate) performance_data: String,
    /// The performance data that could be read.
    pub(crate) metrics: Vec<Metric>,
    /// The performance data that could not be read.
    pub(crate) unreadable: Vec<String>,
}

/// Reads what a program wrote to stdout. If the output was cut off, the last part of the
/// performance data is not read, because it may be the beginning of a longer number.
pub(crate) fn read(program_output: &ProgramOutput) -> PluginOutput {
    let stdout = String::from_utf8_lossy(&program_output.stdout);
    let mut lines = stdout.lines().skip_while(|line| line.trim().is_empty());
    let (text, data) = split(lines.next().unwrap_or_default());
    let mut data = vec![data.to_owned()];
    let mut long_text = Vec::new();
    for line in lines.by_ref() {
        match line.split_once('|') {
            None => long_text.push(line),
            Some((last, first)) => {
                long_text.push(last);
                data.push(first.trim().to_owned());
                break;
            }
        }
    }
    data.extend(lines.map(|line| line.trim().to_owned()));
    data.retain(|part| !part.is_empty());
    let performance_data = data.join(" ");
    let readable = if program_output.truncated {
        performance_data.rsplit_once(char::is_whitespace).map_or("", |(complete, _)| complete)
    } else {
        &performance_data
    };
    let (metrics, mut unreadable) = performance_data::read(readable);
    let rest = performance_data[readable.len()..].trim();
    unreadable.extend((!rest.is_empty()).then(|| rest.to_owned()));
    PluginOutput {
        text: text.to_owned(),
        long_text: long_text.join("\n").trim().to_owned(),
        performance_data,
        metrics,
        unreadable,
    }
}

fn split(line: &str) -> (&str, &str) {
    let (text, data) = line.split_once('|').unwrap_or((line, ""));
    (text.trim(), data.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin_output(stdout: &str, truncated: bool) -> PluginOutput {
        read(&ProgramOutput {
            exit_code: 0,
            stdout: stdout.as_bytes().to_vec(),
            stderr: Vec::new(),
            truncated,
            size_bytes: 0,
            produced_bytes: 0,
            digest: String::new(),
        })
    }

    #[test]
    fn wherever_the_output_was_cut_no_part_of_a_number_is_a_number() {
        let text = "OK | a=100 'b c'=200ms;300;400\nmore | d=500%\n";
        let all_metrics = plugin_output(text, false).metrics;
        assert_eq!(all_metrics.len(), 3);
        for end in 0..=text.len() {
            let cut = plugin_output(&text[..end], true);
            assert!(all_metrics.starts_with(&cut.metrics), "{:?}: {:?}", &text[..end], cut.metrics);
        }
    }

    /// The example of the guidelines.
    const DISK: &str = "DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n\
                        / 15272 MB (77%);\n\
                        /boot 68 MB (69%);\n\
                        /home 69357 MB (27%); | /boot=68MB;88;93;0;98\n\
                        /home=69357MB;253404;253409;0;253414\n\
                        /var/log=818MB;970;975;0;980\n";

    #[test]
    fn text_and_performance_data_of_all_lines_are_separated() {
        let plugin_output = plugin_output(DISK, false);
        assert_eq!(plugin_output.text, "DISK OK - free space: / 3326 MB (56%);");
        assert_eq!(
            plugin_output.long_text,
            "/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);"
        );
        let labels: Vec<_> =
            plugin_output.metrics.iter().map(|metric| metric.label.as_str()).collect();
        assert_eq!(labels, ["/", "/boot", "/home", "/var/log"]);
        assert_eq!(plugin_output.unreadable, Vec::<String>::new());
    }

    #[test]
    fn lines_without_data_and_without_text_are_read_too() {
        assert_eq!(plugin_output("", false), PluginOutput::default());
        assert_eq!(plugin_output("\n\nOK\n", false).text, "OK");
        let data_only = plugin_output("| a=1", false);
        assert_eq!((data_only.text.as_str(), data_only.metrics.len()), ("", 1));
        let no_data = plugin_output("OK\nfirst\nsecond\n", false);
        assert_eq!((no_data.long_text.as_str(), no_data.metrics.len()), ("first\nsecond", 0));
    }
}
