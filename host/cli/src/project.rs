//! A project: a folder with a `.runbook.toml`, which says where its runbooks lie. It is found from
//! any folder inside.
//!
//! The file comes with a checkout, so it can only say where runbooks are and hold limits besides
//! those of the host and the operator: for whoever stands in it, and for its runbooks wherever they
//! are named from. Where the journal, the keys and the compiled plugins lie is the operator's to
//! say, in their own configuration.

use crate::failure::Failure;
use crate::kind_of_file::{KindOfFile, PROJECT_FILE};
use crate::text_file;
use crate::{account, configuration, file_format, writable};
use runbook_document::{Diagnostics, Reader, Source, Value};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where runbooks lie if the project does not say.
const FOLDERS: [&str; 2] = [".", "runbooks"];

/// What a project may set as an operator may: limits, which hold besides theirs.
const LIMITS: [&str; 3] = ["boundary", "trust", "locked"];

/// A project, as its `.runbook.toml` describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// Its file, if there is one; without one the working directory is a project that says nothing.
    pub file: Option<PathBuf>,
    /// The folders of its runbooks.
    pub folders: Vec<PathBuf>,
    /// A boundary that holds besides all others.
    pub boundary: Option<PathBuf>,
    /// A trust file that holds besides all others.
    pub trust: Option<PathBuf>,
    /// Where it says that each runbook must be locked, such as `/srv/checks/.runbook.toml:3`;
    /// `None` if it does not.
    pub locked: Option<String>,
}

impl Project {
    /// The project of the working directory.
    ///
    /// # Errors
    /// As [`Self::all_of`].
    pub fn here() -> Result<Self, Failure> {
        let here = std::env::current_dir().unwrap_or_default();
        Ok(Self::nearest(&Self::all_of(&here)?, &here))
    }

    /// The one of the projects of a folder that says where runbooks are.
    pub fn nearest(projects: &[Self], folder: &Path) -> Self {
        projects.first().cloned().unwrap_or_else(|| Self::without_a_file(folder))
    }

    /// A folder without a project file: its runbooks lie in the folder itself.
    fn without_a_file(folder: &Path) -> Self {
        Self {
            folders: FOLDERS.iter().map(|name| beside(&folder.join(PROJECT_FILE), name)).collect(),
            ..Self::default()
        }
    }

    /// The projects of a folder, the nearest first: each `.runbook.toml` in it and above it. The
    /// nearest says where runbooks are; the limits of all hold.
    ///
    /// # Errors
    /// A file cannot be read, something in it is wrong, or another account has put it there.
    pub fn all_of(folder: &Path) -> Result<Vec<Self>, Failure> {
        folder
            .ancestors()
            .filter_map(|above| Self::read(&above.join(PROJECT_FILE), folder).transpose())
            .collect()
    }

    /// A project; `None` if there is no such file.
    fn read(path: &Path, folder: &Path) -> Result<Option<Self>, Failure> {
        let source = match text_file::source(path) {
            Ok(source) => source,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => {
                return Err(Failure::usage(format!(
                    "the project `{}` cannot be read: {error}",
                    path.display()
                )));
            }
        };
        refuse_planted(path, folder)?;
        writable::warn("the project", path);
        let mut diagnostics = Diagnostics::default();
        let mut read = parse(&source, &mut diagnostics);
        if diagnostics.has_errors() {
            return Err(Failure::findings(diagnostics));
        }
        for (key, limit) in [("boundary", &mut read.boundary), ("trust", &mut read.trust)] {
            if let Some(named) = limit {
                *named = located(path, key, named)?;
            }
        }
        Ok(Some(read))
    }
}

/// Where a file lies that a project names. The project comes with a checkout, so it may only name
/// files of the checkout: lines of a wrong one are quoted, and its author may not be allowed to
/// read what the user of this program can read.
fn located(project: &Path, key: &str, named: &Path) -> Result<PathBuf, Failure> {
    let folder = project.parent().unwrap_or(Path::new(""));
    let written = named.strip_prefix(folder).unwrap_or(named);
    match text_file::locate_below(folder, &written.to_string_lossy()) {
        Ok(file) => Ok(file),
        // The reader of the file reports it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(named.to_owned()),
        Err(error) => {
            let message = format!(
                "`{key}` of the project `{}` cannot be `{}`: {error}",
                project.display(),
                written.display()
            );
            Err(Failure::refused(message).hint(
                "put the file beside the project, or name it by a flag or in your `config.toml`",
            ))
        }
    }
}

/// Refuses a file that some other account of this host has put above the working directory, such as
/// into `/tmp`: its runbooks would be found under the names of ours. Whoever makes a link to a file
/// of ours has put it there, too.
fn refuse_planted(file: &Path, folder: &Path) -> Result<(), Failure> {
    let uid = |found: std::io::Result<std::fs::Metadata>| found.map(|found| found.uid()).ok();
    let trusted = [Some(0), Some(account::user_id()), uid(std::fs::metadata(folder))];
    let owners = [uid(std::fs::symlink_metadata(file)), uid(std::fs::metadata(file))];
    match stranger(owners, trusted) {
        Some(uid) => {
            let message = format!(
                "the project `{}` belongs to another account of this host, uid {uid}",
                file.display()
            );
            Err(Failure::refused(message)
                .hint("change to a folder of your own, or have the file removed"))
        }
        None => Ok(()),
    }
}

/// The owner of a file, or of the link to it, if they are not trusted here.
fn stranger(owners: [Option<u32>; 2], trusted: [Option<u32>; 3]) -> Option<u32> {
    owners.into_iter().flatten().find(|owner| !trusted.contains(&Some(*owner)))
}

/// Reads a project. All mistakes are reported.
pub fn parse(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Project {
    let Some(table) = runbook_document::parse(source, diagnostics) else {
        return Project::default();
    };
    let file = PathBuf::from(source.name());
    let mut reader = Reader::new(source, &table, "the project", diagnostics);
    file_format::check(&mut reader, "E0125", "a project");
    let folders = reader.optional::<Vec<String>>("runbooks").map(|folders| folders.value);
    let mut path =
        |key| reader.optional::<String>(key).map(|written| beside(&file, &written.value));
    let (boundary, trust) = (path("boundary"), path("trust"));
    let locked = reader
        .optional::<bool>("locked")
        .filter(|locked| locked.value)
        .map(|locked| source.place(&locked.span));
    for key in configuration::KEYS.into_iter().filter(|key| !LIMITS.contains(key)) {
        if let Some(node) = table.get(key) {
            reader.knows(key);
            let message = format!(
                "`{key}` is set by each operator, never by a project, which comes with a checkout"
            );
            let help = "write it into `config.toml` of your configuration directory, `runbook/` below \
                 `$XDG_CONFIG_HOME` or `~/.config`";
            reader.error_with_help("E0125", node.span.clone(), message, "not in a project", help);
        }
    }
    reader.finish();
    let folders = folders.unwrap_or_else(|| FOLDERS.map(str::to_owned).to_vec());
    Project {
        folders: folders.iter().map(|name| beside(&file, name)).collect(),
        boundary,
        trust,
        locked,
        file: Some(file),
    }
}

fn beside(file: &Path, written: &str) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    if written == "." { folder.to_owned() } else { folder.join(written) }
}

/// A runbook or suite of a project, as far as its file says it without being checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its `name`, by which commands find it.
    pub name: String,
    /// Whether it is a suite of checks.
    pub is_suite: bool,
    /// Its `title`, which may be empty.
    pub title: String,
    /// Its parameters, in the order of the file.
    pub parameters: Vec<ListedParameter>,
    /// The file, from the working directory if it lies below it.
    pub file: PathBuf,
}

/// A parameter of a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedParameter {
    /// The name of the parameter.
    pub name: String,
    /// Whether it has to be given.
    pub is_required: bool,
    /// What it means, which may be empty.
    pub help: String,
}

/// A file that seems to be a runbook and cannot be read as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The path of the file.
    pub file: PathBuf,
    /// What is wrong first.
    pub reason: String,
}

/// The runbooks and suites of a project by name, and those that cannot be read.
///
/// # Errors
/// A folder that the project names is not there.
pub fn runbooks(project: &Project) -> Result<(Vec<Listed>, Vec<Unreadable>), Failure> {
    let working_directory = std::env::current_dir().unwrap_or_default();
    let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
    for folder in &project.folders {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound && is_default(project, folder) => {
                continue;
            }
            Err(error) => {
                let file = project.file.as_deref().unwrap_or(Path::new(PROJECT_FILE));
                let message = format!(
                    "the folder of runbooks `{}` cannot be read: {error}",
                    folder.display()
                );
                return Err(Failure::usage(message)
                    .hint(format!("correct `runbooks` in `{}`", file.display())));
            }
        };
        for path in entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        {
            let shown =
                path.strip_prefix(&working_directory).map_or_else(|_| path.clone(), Path::to_owned);
            let Ok(text) = text_file::read(&path) else { continue };
            match read_listed(&Source::new(shown.display().to_string(), text), &shown) {
                FoundFile::Runbook(found) => listed.push(found),
                FoundFile::Unreadable(found) => unreadable.push(found),
                FoundFile::Other => {}
            }
        }
    }
    listed.sort_by(|a, b| (a.is_suite, &a.name, &a.file).cmp(&(b.is_suite, &b.name, &b.file)));
    listed.dedup();
    unreadable.sort_by(|a, b| a.file.cmp(&b.file));
    Ok((listed, unreadable))
}

/// Whether the folder is the default of the project.
fn is_default(project: &Project, folder: &Path) -> bool {
    let Some(first) = project.folders.first() else { return false };
    project.folders.len() == FOLDERS.len() && folder == first.join(FOLDERS[1])
}

enum FoundFile {
    Runbook(Listed),
    Unreadable(Unreadable),
    Other,
}

fn read_listed(source: &Arc<Source>, file: &Path) -> FoundFile {
    let mut diagnostics = Diagnostics::default();
    let table = runbook_document::parse(source, &mut diagnostics);
    if !matches!(KindOfFile::of(source), KindOfFile::Runbook) {
        return FoundFile::Other;
    }
    let Some(table) = table else {
        let reason =
            diagnostics.iter().next().map(|first| first.message.clone()).unwrap_or_default();
        return FoundFile::Unreadable(Unreadable { file: file.to_owned(), reason });
    };
    let json = table.to_json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let stem = || file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name =
        Some(text(&json["runbook"]["name"])).filter(|name| !name.is_empty()).unwrap_or_else(stem);
    // In the order of the file, which JSON does not keep.
    let params = match table.get("params").map(|node| &node.value) {
        Some(Value::Table(params)) => {
            params.entries.iter().map(|(key, _)| key.name.clone()).collect()
        }
        Some(_) | None => Vec::new(),
    };
    let parameters = params.into_iter().map(|name| {
        let param = &json["params"][&name];
        ListedParameter { is_required: param["required"] == true, help: text(&param["help"]), name }
    });
    FoundFile::Runbook(Listed {
        is_suite: table.get("check").is_some(),
        title: text(&json["runbook"]["title"]),
        parameters: parameters.collect(),
        file: file.to_owned(),
        name,
    })
}

/// The file that is meant: a file as it is written, else the runbook of the project with this name.
///
/// # Errors
/// Neither is there, or two runbooks have the name.
pub fn find(project: &Project, written: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = bare_name(written) else { return Ok(written.to_owned()) };
    let (listed, unreadable) = runbooks(project)?;
    let found: Vec<&Listed> = listed.iter().filter(|one| one.name == name).collect();
    match found.as_slice() {
        [one] => Ok(one.file.clone()),
        [] => {
            let failure = Failure::usage(format!(
                "there is neither a file `{name}` nor a runbook of this name here"
            ));
            // An incomplete name is a more common mistake than a wrong letter.
            let part =
                listed.iter().find(|one| one.name.contains(name)).map(|one| one.name.as_str());
            let near = part.or_else(|| {
                runbook_document::nearest(name, listed.iter().map(|one| one.name.as_str()))
            });
            let failure = failure.hint(near.map_or_else(
                || "`runbook list` shows the runbooks of this project".to_owned(),
                |near| format!("did you mean `{near}`?"),
            ));
            Err(unreadable.iter().fold(failure, |failure, one| {
                failure.hint(format!(
                    "`{}` cannot be read, so its name is not known: {}",
                    one.file.display(),
                    one.reason
                ))
            }))
        }
        several => {
            let files: Vec<_> =
                several.iter().map(|one| format!("`{}`", one.file.display())).collect();
            Err(Failure::usage(format!(
                "{} runbooks are called `{name}`: {}",
                several.len(),
                files.join(", ")
            ))
            .hint("name the file"))
        }
    }
}

/// [`find`] for each of several.
///
/// # Errors
/// The first that is not found.
pub fn find_all(project: &Project, written: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    written.iter().map(|written| find(project, written)).collect()
}

/// The word, if it can only be a name: it has no folder and no ending, and no such file is here.
fn bare_name(written: &Path) -> Option<&str> {
    let name = written.to_str()?;
    let is_word = !name.is_empty() && !name.contains('/') && written.extension().is_none();
    (is_word && !written.exists()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Project, String> {
        let mut diagnostics = Diagnostics::default();
        let found = parse(&Source::new("/srv/checks/.runbook.toml", text), &mut diagnostics);
        match diagnostics.iter().next() {
            None => Ok(found),
            Some(diagnostic) => Err(diagnostic.message.clone()),
        }
    }

    #[test]
    fn a_project_says_where_runbooks_are_and_what_holds_besides() {
        let plain = read("format = 1\n").expect("it is right");
        assert_eq!(plain.folders, [Path::new("/srv/checks"), Path::new("/srv/checks/runbooks")]);
        let whole = "format = 1\nrunbooks = [\"ops\", \"/etc/ops\"]\nboundary = \"b.toml\"\n\
                     trust = \"t.toml\"\nlocked = true\n";
        let whole = read(whole).expect("it is right");
        assert_eq!(whole.folders, [Path::new("/srv/checks/ops"), Path::new("/etc/ops")]);
        assert_eq!(whole.boundary.as_deref(), Some(Path::new("/srv/checks/b.toml")));
        assert_eq!(whole.trust.as_deref(), Some(Path::new("/srv/checks/t.toml")));
        assert_eq!(whole.locked.as_deref(), Some("/srv/checks/.runbook.toml:5"));
    }

    #[test]
    fn a_project_is_taken_only_if_its_file_and_the_link_to_it_are_of_somebody_who_is_trusted() {
        let (me, other, third) = (Some(1001), Some(1002), Some(1003));
        for folder in [me, Some(0), other] {
            let trusted = [Some(0), me, folder];
            for link in [Some(0), me, other, third] {
                for file in [Some(0), me, other, third] {
                    let expected =
                        [link, file].into_iter().find(|owner| !trusted.contains(owner)).flatten();
                    assert_eq!(
                        stranger([link, file], trusted),
                        expected,
                        "{link:?} {file:?} in a folder of {folder:?}"
                    );
                    let is_taken = [link, file].iter().all(|owner| trusted.contains(owner));
                    assert_eq!(stranger([link, file], trusted).is_none(), is_taken);
                }
            }
        }
    }

    #[test]
    fn nothing_that_is_the_operators_can_be_set_by_a_project() {
        for key in configuration::KEYS.into_iter().filter(|key| !LIMITS.contains(key)) {
            let said = read(&format!("format = 1\n{key} = \"x\"\n")).expect_err(key);
            assert!(said.contains("set by each operator"), "{key}: {said}");
        }
    }
}
