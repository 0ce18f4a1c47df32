//! The Unix socket of an `http` target, and the sockets that no target may name: those of daemons
//! that act as root on this host, which have a kind of target of their own or none.

use super::base_url::HttpBase;
use super::{Folder, HostPath};
use runbook_document::Reader;
use std::path::Path;

/// The usual paths of sockets of container engines and package daemons. Whoever may send requests to
/// one of them can do anything on the host.
pub const ENGINE_SOCKETS: &[&str] = &[
    "/run/docker.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/containerd/containerd.sock",
    "/run/containerd/containerd.sock.ttrpc",
    "/run/k3s/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/incus/unix.socket",
    "/run/snapd.socket",
    "/run/snapd-snap.socket",
    "/var/lib/incus/unix.socket",
    "/var/lib/lxd/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
];

/// The paths of further such sockets, below the folder of a user in [`USER_FOLDERS`].
pub const USER_ENGINE_SOCKETS: &[&str] = &["docker.sock", "podman/podman.sock"];

/// The folder with a folder for each user who is logged in.
pub const USER_FOLDERS: &str = "/run/user";

/// Names that sockets of container engines have, in whichever folder.
const ENGINE_NAMES: &[&str] = &[
    "docker.sock",
    "docker.socket",
    "podman.sock",
    "containerd.sock",
    "containerd.sock.ttrpc",
    "crio.sock",
    "cri-dockerd.sock",
    "dockershim.sock",
    "buildkitd.sock",
    "snapd.socket",
    "snapd-snap.socket",
];

/// Folders of sockets by which the services of this host are controlled.
const SERVICE_MANAGER_FOLDERS: &[&str] = &["/run/systemd", "/run/dbus"];

/// What a socket belongs to, if no `http` target may name it. `path` is absolute, without `..`.
pub fn refused_socket(path: &Path) -> Option<&'static str> {
    let text = path.to_string_lossy();
    // On most hosts `/var/run` is a link to `/run`.
    let text = text.strip_prefix("/var").filter(|rest| rest.starts_with("/run/")).unwrap_or(&text);
    let path = Path::new(text);
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
    let has_engine_name = name.is_some_and(|name| ENGINE_NAMES.contains(&name.as_str()));
    if has_engine_name || ENGINE_SOCKETS.iter().any(|socket| path == Path::new(socket)) {
        Some("a container engine or package daemon, through which anything can be done as root")
    } else if SERVICE_MANAGER_FOLDERS.iter().any(|folder| path.starts_with(folder)) {
        Some("the service manager of the host")
    } else {
        None
    }
}

/// Reads `socket = "/run/app.sock"`, beside a base address with `http://`.
pub(super) fn read_socket(
    reader: &mut Reader<'_>,
    folder: Folder<'_>,
    base: Option<&HttpBase>,
) -> Option<HostPath> {
    let text = reader.optional::<String>("socket")?;
    let reason = match base {
        Some(HttpBase::Secret(_)) => Some("the address is a secret"),
        Some(HttpBase::Url(base)) if base.scheme() != "http" => Some("the address is `https`"),
        Some(HttpBase::Url(_)) | None => None,
    };
    if let Some(reason) = reason {
        let message = format!("`socket` goes with an address such as `http://app/`, and {reason}");
        reader.error("E0108", text.span, message, "a socket of this host is not encrypted");
        return None;
    }
    if text.value.is_empty() || text.value.chars().any(char::is_control) {
        let message = format!("`{}` is not the path of a socket", text.value.escape_debug());
        reader.error("E0103", text.span, message, "such as `/run/app.sock`");
        return None;
    }
    let socket = folder.locate(&text.value);
    let written = super::normalize_path(socket.unresolved());
    if let Some(owner) = refused_socket(&written).or_else(|| refused_socket(socket.real())) {
        let message = format!("`{}` is the socket of {owner}", text.value);
        let help = "a `docker` target reaches the containers that it names, and nothing else";
        reader.error_with_help("E0103", text.span, message, "no `http` target may name it", help);
        return None;
    }
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::http::tests::messages;

    /// Every socket of the lists, in every spelling and folder.
    #[test]
    fn no_http_target_names_the_socket_of_an_engine_or_of_the_service_manager() {
        let users = USER_ENGINE_SOCKETS.iter().map(|path| format!("{USER_FOLDERS}/1000/{path}"));
        let anywhere = ENGINE_NAMES.iter().map(|name| format!("/srv/app/{name}"));
        let managers = SERVICE_MANAGER_FOLDERS.iter().map(|folder| format!("{folder}/private"));
        let sockets = ENGINE_SOCKETS.iter().map(|path| (*path).to_owned());
        for path in sockets.chain(users).chain(anywhere).chain(managers) {
            let spellings = [
                path.clone(),
                format!("/var{path}"),
                format!("/run/x/../..{path}"),
                path.replace('/', "//"),
                path.replace("/run", "/./run"),
            ];
            for spelling in spellings.iter().filter(|path| !path.starts_with("/var/var")) {
                let line = format!("socket = \"{spelling}\"");
                let found = messages(&line);
                assert!(found.starts_with("E0103 ") && found.contains("the socket of"), "{line}");
            }
        }
        for line in ["socket = \"/run/app.sock\"", "socket = \"app.sock\""] {
            assert_eq!(messages(line), "", "{line}");
        }
        for line in ["socket = \"\"", "socket = \"/run/a\\nb\""] {
            assert!(messages(line).starts_with("E0103 "), "{line}");
        }
    }

    #[test]
    fn a_link_to_the_socket_of_an_engine_is_refused_as_the_socket_itself() {
        let follow = |path: &Path| match path.strip_prefix("/base/link") {
            Ok(_) => Path::new("/run/docker.sock").to_owned(),
            Err(_) => path.to_owned(),
        };
        let folder = Folder::new(Path::new("/base"), &follow).expect("absolute");
        assert!(refused_socket(folder.locate("link").real()).is_some());
        assert!(refused_socket(folder.locate("app.sock").real()).is_none());
    }
}
