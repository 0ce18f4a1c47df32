//! A project: a folder with a `.runbook.toml`, which says where its runbooks are. It is found from
//! any folder inside.
//!
//! The file comes with a checkout, so it can only say where runbooks are and add limits to those of
//! the host and the operator. The limits apply when the working directory is in the project, and to
//! its runbooks wherever they are named from. Only the operator's configuration says where the
//! journal, the keys and the compiled plugins are.

use crate::failure::Failure;
use crate::kind_of_file::{KindOfFile, PROJECT_FILE};
use crate::text_file;
use crate::{account, configuration, file_format, writable};
use runbook_document::{Diagnostics, Reader, Source, Value};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folders of runbooks if the project names none.
const FOLDERS: [&str; 2] = [".", "runbooks"];

/// The keys of the operator's configuration that a project may set, too: limits.
const LIMITS: [&str; 3] = ["boundary", "trust", "locked"];

/// A project, as its `.runbook.toml` describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// Its file. Without one, the working directory counts as a project without settings.
    pub file: Option<PathBuf>,
    /// The folders of its runbooks.
    pub folders: Vec<PathBuf>,
    /// A boundary that applies in addition to all others.
    pub boundary: Option<PathBuf>,
    /// A trust file that applies in addition to all others.
    pub trust: Option<PathBuf>,
    /// Where `locked = true` is set, such as `/srv/checks/.runbook.toml:3`; `None` if it is not.
    pub locked: Option<String>,
}

impl Project {
    /// The project of the working directory.
    ///
    /// # Errors
    /// As [`Self::enclosing`].
    pub fn here() -> Result<Self, Failure> {
        let here = std::env::current_dir().unwrap_or_default();
        Ok(Self::nearest(&Self::enclosing(&here)?, &here))
    }

    /// The nearest of the projects around a folder; without one, the folder itself.
    pub fn nearest(projects: &[Self], folder: &Path) -> Self {
        projects.first().cloned().unwrap_or_else(|| Self::without_file(folder))
    }

    /// A folder without a project file: its runbooks are in the folder itself or in `runbooks`.
    fn without_file(folder: &Path) -> Self {
        Self {
            folders: FOLDERS
                .iter()
                .map(|name| relative_to_file(&folder.join(PROJECT_FILE), name))
                .collect(),
            ..Self::default()
        }
    }

    /// The projects around a folder, the nearest first: each `.runbook.toml` in it and above it.
    /// The nearest says where runbooks are; the limits of all apply.
    ///
    /// # Errors
    /// A file cannot be read, something in it is wrong, or it belongs to another account.
    pub fn enclosing(folder: &Path) -> Result<Vec<Self>, Failure> {
        folder
            .ancestors()
            .filter_map(|ancestor| Self::read(&ancestor.join(PROJECT_FILE), folder).transpose())
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
        refuse_foreign_owner(path, folder)?;
        writable::warn_if_world_writable("the project", path);
        let mut diagnostics = Diagnostics::default();
        let mut read = parse(&source, &mut diagnostics);
        if diagnostics.has_errors() {
            return Err(Failure::findings(diagnostics));
        }
        for (key, limit) in [("boundary", &mut read.boundary), ("trust", &mut read.trust)] {
            if let Some(limit_file) = limit {
                *limit_file = locate_limit_file(path, key, limit_file)?;
            }
        }
        Ok(Some(read))
    }
}

/// The path of a boundary or trust file that a project names. It must be in the checkout: error
/// messages quote its lines, and the author of the project may not be allowed to read other files
/// of this user.
fn locate_limit_file(project: &Path, key: &str, limit_file: &Path) -> Result<PathBuf, Failure> {
    let folder = project.parent().unwrap_or(Path::new(""));
    let raw_path = limit_file.strip_prefix(folder).unwrap_or(limit_file);
    match text_file::locate_below(folder, &raw_path.to_string_lossy()) {
        Ok(file) => Ok(file),
        // A missing file is reported when it is read.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(limit_file.to_owned()),
        Err(error) => {
            let message = format!(
                "`{key}` of the project `{}` cannot be `{}`: {error}",
                project.display(),
                raw_path.display()
            );
            Err(Failure::refused(message).hint(
                "put the file beside the project, or name it by a flag or in your `config.toml`",
            ))
        }
    }
}

/// Refuses a project file of another account of this host above the working directory, such as in
/// `/tmp`: its runbooks could have the names of the user's own. A link of another account is
/// refused too, even if it leads to a trusted file.
fn refuse_foreign_owner(file: &Path, folder: &Path) -> Result<(), Failure> {
    let uid = |found: std::io::Result<std::fs::Metadata>| found.map(|found| found.uid()).ok();
    let trusted = [Some(0), Some(account::user_id()), uid(std::fs::metadata(folder))];
    let owners = [uid(std::fs::symlink_metadata(file)), uid(std::fs::metadata(file))];
    match untrusted_owner(owners, trusted) {
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

/// The owner of a file, or of the link to it, if they are not trusted.
fn untrusted_owner(owners: [Option<u32>; 2], trusted: [Option<u32>; 3]) -> Option<u32> {
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
    let mut path = |key| {
        reader.optional::<String>(key).map(|raw_path| relative_to_file(&file, &raw_path.value))
    };
    let (boundary, trust) = (path("boundary"), path("trust"));
    let locked = reader
        .optional::<bool>("locked")
        .filter(|locked| locked.value)
        .map(|locked| source.place(&locked.span));
    for key in configuration::KEYS.into_iter().filter(|key| !LIMITS.contains(key)) {
        if let Some(node) = table.get(key) {
            reader.mark_known(key);
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
        folders: folders.iter().map(|name| relative_to_file(&file, name)).collect(),
        boundary,
        trust,
        locked,
        file: Some(file),
    }
}

fn relative_to_file(file: &Path, raw_path: &str) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    if raw_path == "." { folder.to_owned() } else { folder.join(raw_path) }
}

/// A runbook or suite of a project. Its file is parsed, but not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRunbook {
    /// Its `name`, by which commands find it.
    pub name: String,
    /// Whether it is a suite of checks.
    pub is_suite: bool,
    /// Its `title`, which may be empty.
    pub title: String,
    /// Its parameters, in the order of the file.
    pub parameters: Vec<ListedParameter>,
    /// The file, relative to the working directory if it is below it.
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
pub struct UnreadableFile {
    /// The path of the file.
    pub file: PathBuf,
    /// The first error.
    pub reason: String,
}

/// The runbooks and suites of a project by name, and those that cannot be read.
///
/// # Errors
/// A folder that the project names is not there.
pub fn runbooks(project: &Project) -> Result<(Vec<ListedRunbook>, Vec<UnreadableFile>), Failure> {
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
            let displayed_path =
                path.strip_prefix(&working_directory).map_or_else(|_| path.clone(), Path::to_owned);
            let Ok(text) = text_file::read(&path) else { continue };
            match read_listed(
                &Source::new(displayed_path.display().to_string(), text),
                &displayed_path,
            ) {
                FoundFile::Runbook(found) => listed.push(found),
                FoundFile::UnreadableFile(found) => unreadable.push(found),
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

/// The result of reading one TOML file in a folder of runbooks.
enum FoundFile {
    Runbook(ListedRunbook),
    UnreadableFile(UnreadableFile),
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
        return FoundFile::UnreadableFile(UnreadableFile { file: file.to_owned(), reason });
    };
    let json = table.to_json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let stem = || file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name =
        Some(text(&json["runbook"]["name"])).filter(|name| !name.is_empty()).unwrap_or_else(stem);
    // JSON does not keep the order of the file.
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
    FoundFile::Runbook(ListedRunbook {
        is_suite: table.get("check").is_some(),
        title: text(&json["runbook"]["title"]),
        parameters: parameters.collect(),
        file: file.to_owned(),
        name,
    })
}

/// The file with this path, else the file of the project's runbook with this name.
///
/// # Errors
/// Neither is there, or two runbooks have the name.
pub fn find(project: &Project, raw_path: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = bare_name(raw_path) else { return Ok(raw_path.to_owned()) };
    let (listed, unreadable) = runbooks(project)?;
    let found: Vec<&ListedRunbook> = listed.iter().filter(|entry| entry.name == name).collect();
    match found.as_slice() {
        [entry] => Ok(entry.file.clone()),
        [] => {
            let failure = Failure::usage(format!(
                "there is neither a file `{name}` nor a runbook of this name here"
            ));
            // An incomplete name is more common than a mistyped one.
            let containing = listed
                .iter()
                .find(|entry| entry.name.contains(name))
                .map(|entry| entry.name.as_str());
            let near = containing.or_else(|| {
                runbook_document::nearest(name, listed.iter().map(|entry| entry.name.as_str()))
            });
            let failure = failure.hint(near.map_or_else(
                || "`runbook list` shows the runbooks of this project".to_owned(),
                |near| format!("did you mean `{near}`?"),
            ));
            Err(unreadable.iter().fold(failure, |failure, entry| {
                failure.hint(format!(
                    "`{}` cannot be read, so its name is not known: {}",
                    entry.file.display(),
                    entry.reason
                ))
            }))
        }
        several => {
            let files: Vec<_> =
                several.iter().map(|entry| format!("`{}`", entry.file.display())).collect();
            Err(Failure::usage(format!(
                "{} runbooks are called `{name}`: {}",
                several.len(),
                files.join(", ")
            ))
            .hint("name the file"))
        }
    }
}

/// [`find`] for several files.
///
/// # Errors
/// The first that is not found.
pub fn find_all(project: &Project, raw_paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    raw_paths.iter().map(|raw_path| find(project, raw_path)).collect()
}

/// The argument, if it can only be the name of a runbook: it has no `/` and no extension, and no
/// such file exists.
fn bare_name(raw_path: &Path) -> Option<&str> {
    let name = raw_path.to_str()?;
    let is_word = !name.is_empty() && !name.contains('/') && raw_path.extension().is_none();
    (is_word && !raw_path.exists()).then_some(name)
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
    fn a_project_sets_the_folders_of_runbooks_and_limits() {
        let default_project = read("format = 1\n").expect("it is right");
        assert_eq!(
            default_project.folders,
            [Path::new("/srv/checks"), Path::new("/srv/checks/runbooks")]
        );
        let full_project = "format = 1\nrunbooks = [\"ops\", \"/etc/ops\"]\nboundary = \"b.toml\"\n\
                     trust = \"t.toml\"\nlocked = true\n";
        let full_project = read(full_project).expect("it is right");
        assert_eq!(full_project.folders, [Path::new("/srv/checks/ops"), Path::new("/etc/ops")]);
        assert_eq!(full_project.boundary.as_deref(), Some(Path::new("/srv/checks/b.toml")));
        assert_eq!(full_project.trust.as_deref(), Some(Path::new("/srv/checks/t.toml")));
        assert_eq!(full_project.locked.as_deref(), Some("/srv/checks/.runbook.toml:5"));
    }

    #[test]
    fn a_project_is_used_only_if_the_owners_of_its_file_and_of_the_link_to_it_are_trusted() {
        let (me, other, third) = (Some(1001), Some(1002), Some(1003));
        for folder in [me, Some(0), other] {
            let trusted = [Some(0), me, folder];
            for link in [Some(0), me, other, third] {
                for file in [Some(0), me, other, third] {
                    let expected =
                        [link, file].into_iter().find(|owner| !trusted.contains(owner)).flatten();
                    assert_eq!(
                        untrusted_owner([link, file], trusted),
                        expected,
                        "{link:?} {file:?} in a folder of {folder:?}"
                    );
                    let is_used = [link, file].iter().all(|owner| trusted.contains(owner));
                    assert_eq!(untrusted_owner([link, file], trusted).is_none(), is_used);
                }
            }
        }
    }

    #[test]
    fn a_project_cannot_set_what_only_an_operator_may_set() {
        for key in configuration::KEYS.into_iter().filter(|key| !LIMITS.contains(key)) {
            let message = read(&format!("format = 1\n{key} = \"x\"\n")).expect_err(key);
            assert!(message.contains("set by each operator"), "{key}: {message}");
        }
    }
}
