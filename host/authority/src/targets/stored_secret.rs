//! A secret in a store, which `[secrets]` of a runbook names.

use super::host_path::{Folder, HostPath, PathView};

/// One secret of one store, as `[secrets.NAME] source` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    store: HostPath,
    name: String,
}

/// The beginning of a source.
const SCHEME: &str = "age:";

impl StoredSecret {
    /// The secret `name` of the store at a path. A relative path is below `folder`.
    pub fn locate(store: &str, name: &str, folder: Folder<'_>) -> Self {
        Self { store: folder.locate(store), name: name.to_owned() }
    }

    /// The source as text, for comparisons: `age:/srv/checks/secrets/prod.age#orders-db`.
    pub fn render(&self, view: PathView) -> String {
        format!("{SCHEME}{}#{}", self.store.render(view), self.name)
    }
}

/// Applies `change` to a path, or to the path in a source (`age:PATH#NAME`).
pub(crate) fn map_path(text: &str, change: impl Fn(&str) -> String) -> String {
    match text.strip_prefix(SCHEME) {
        Some(source) => {
            let (path, name) = source.split_at(source.rfind('#').unwrap_or(source.len()));
            format!("{SCHEME}{}{name}", change(path))
        }
        None => change(text),
    }
}

/// Whether a pattern of a boundary can match a source.
pub(crate) fn is_source_pattern(pattern: &str) -> bool {
    pattern.starts_with('*')
        || pattern.strip_prefix(SCHEME).is_some_and(|path| path.starts_with(['/', '*']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_path_changes_a_path_or_the_path_of_the_store_in_a_source() {
        let add_prefix = |path: &str| format!("/x{path}");
        assert_eq!(map_path("age:/s/a.age#b", add_prefix), "age:/x/s/a.age#b");
        assert_eq!(map_path("age:/s/#1/a.age#b", add_prefix), "age:/x/s/#1/a.age#b");
        assert_eq!(map_path("/s/a#b", add_prefix), "/x/s/a#b");
    }

    #[test]
    fn a_name_by_itself_matches_no_source() {
        assert!(
            ["*", "*#orders-*", "age:/srv/s.age#token", "age:*#token"]
                .into_iter()
                .all(is_source_pattern)
        );
        assert!(
            !["token", "age:s.age#token", "/srv/s.age#token", ""]
                .into_iter()
                .any(is_source_pattern)
        );
    }
}
