//! What `df -P -k` prints, the format that POSIX defines.

use runbook_sdk::prelude::*;

/// One file system, as `df` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct FileSystem {
    /// The path at which it is mounted.
    pub(crate) mount: String,
    /// The size of the file system, in bytes.
    pub(crate) size_bytes: u64,
    /// The space that a user without special rights can still use, in bytes.
    pub(crate) free_bytes: u64,
    /// How full it is, in percent, rounded up as `df` does.
    pub(crate) used_percent: u64,
}

/// Reads each line below the heading. A line that cannot be read is a fault, because a file system
/// that is left out would look healthy.
pub(crate) fn read(text: &str) -> Result<Vec<FileSystem>> {
    let mut found: Vec<FileSystem> = Vec::new();
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let file_system = read_line(line).ok_or_else(|| {
            Fault::invalid(
                "disk.df",
                format!("`df` printed `{line}`, which is no line of `df -P -k`"),
            )
        })?;
        if !found.iter().any(|known| known.mount == file_system.mount) {
            found.push(file_system);
        }
    }
    Ok(found)
}

/// Reads `device 1024-blocks used available capacity mount`. A device and a mount may have spaces
/// in them, so the line is read from its percent sign outwards.
fn read_line(line: &str) -> Option<FileSystem> {
    let (percent_index, _) = line.match_indices('%').find(|(percent_index, _)| {
        line[percent_index + 1..].starts_with(' ')
            && numbers_before(&line[..*percent_index]).is_some()
    })?;
    let [size, _, free, percent] = numbers_before(&line[..percent_index])?;
    let mount = line[percent_index + 1..].trim();
    let bytes = |blocks: u64| blocks.checked_mul(1024);
    (!mount.is_empty()).then_some(())?;
    Some(FileSystem {
        mount: mount.to_owned(),
        size_bytes: bytes(size)?,
        free_bytes: bytes(free)?,
        used_percent: percent,
    })
}

/// The last four numbers of a text, after the name of a device.
fn numbers_before(text: &str) -> Option<[u64; 4]> {
    let mut words = text.split_whitespace().rev();
    let mut next_number = || words.next()?.parse::<u64>().ok();
    let (percent, free, used, size) =
        (next_number()?, next_number()?, next_number()?, next_number()?);
    words.next().map(|_| [size, used, free, percent])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_system(mount: &str, size: u64, free: u64, used_percent: u64) -> FileSystem {
        FileSystem {
            mount: mount.to_owned(),
            size_bytes: size * 1024,
            free_bytes: free * 1024,
            used_percent,
        }
    }

    #[test]
    fn each_file_system_is_read_once() {
        let text = "Filesystem     1024-blocks      Used Available Capacity Mounted on\n\
                    /dev/root         61611820  21438372  40157064      35% /\n\
                    my device            1000       900       100      90% /mnt/a b 5% c\n\
                    /dev/root         61611820  21438372  40157064      35% /\n\
                    tmpfs                    0         0         0       0% /run\n";
        let found = read(text).expect("lines of df");
        let expected = [
            file_system("/", 61_611_820, 40_157_064, 35),
            file_system("/mnt/a b 5% c", 1000, 100, 90),
            file_system("/run", 0, 0, 0),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_unreadable_line_of_df_is_a_fault() {
        for line in [
            "tmpfs - - - - /run",
            "total",
            "a 1 2 3% /",
            "a 1 2 3 4%",
            "a 1 2 3 4% ",
            "a 99999999999999999999 2 3 4% /",
        ] {
            assert!(read(&format!("heading\n{line}\n")).is_err(), "{line}");
        }
        assert_eq!(read("heading\n").expect("no line"), Vec::new());
    }
}
