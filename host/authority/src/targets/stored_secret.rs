//! The stored secret that a name of `[secrets]` refers to.

use super::host_path::{Folder, HostPath, PathView};

/// One secret of one store, as `[secrets.NAME] source` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    store: HostPath,
    name: String,
}

/// What a source begins with.
const SCHEME: &str = "age:";

impl StoredSecret {
    /// The secret `name` of the store at a path, as it is written; a relative one is below
    /// `folder`.
    pub fn locate(store: &str, name: &str, folder: Folder<'_>) -> Self {
        Self { store: folder.locate(store), name: name.to_owned() }
    }

    /// `age:/srv/checks/secrets/prod.age#orders-db`: the text that is compared.
    pub fn shown(&self, view: PathView) -> String {
        format!("{SCHEME}{}#{}", self.store.shown(view), self.name)
    }
}

/// The same text with another path: of a source (`age:PATH#NAME`) that of its store.
pub(crate) fn with_path(text: &str, change: impl Fn(&str) -> String) -> String {
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
    fn of_a_source_the_path_of_its_store_is_changed_and_of_a_path_all_of_it() {
        let below = |path: &str| format!("/x{path}");
        assert_eq!(with_path("age:/s/a.age#b", below), "age:/x/s/a.age#b");
        assert_eq!(with_path("age:/s/#1/a.age#b", below), "age:/x/s/#1/a.age#b");
        assert_eq!(with_path("/s/a#b", below), "/x/s/a#b");
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
