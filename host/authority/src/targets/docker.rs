//! A `docker` target: containers on one Docker engine.

use super::docker_endpoint::{DockerEndpoint, read_endpoint};
use super::variable::is_variable_name;
use super::{Folder, TlsKeys};
use crate::pattern::{AddressPolicy, ArgumentPattern};
use runbook_document::{ByteSize, Reader, Spanned};

/// The filter for the containers of the engine that a target allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerFilter {
    /// The container of this name.
    Name(String),
    /// The containers whose name matches. `*` stands for any run of characters.
    Pattern(String),
    /// The containers that have this label.
    Label {
        /// The key of the label.
        key: String,
        /// The value that the label must have.
        value: String,
    },
    /// The containers of this Compose project.
    Project(String),
}

/// The name and labels of a container, which the filter checks. They come from the inspected
/// container, not from the plugin.
#[derive(Debug, Clone, Copy)]
pub struct ContainerFacts<'a> {
    /// Name without the leading slash.
    pub name: &'a str,
    /// Its labels, as key and value.
    pub labels: &'a [(String, String)],
}

impl ContainerFilter {
    /// Whether the filter matches a container.
    pub fn matches(&self, container: ContainerFacts<'_>) -> bool {
        let has_label = |label_key: &str, label_value: &str| {
            container.labels.iter().any(|(key, value)| key == label_key && value == label_value)
        };
        match self {
            Self::Name(name) => container.name == name,
            Self::Pattern(pattern) => crate::pattern_matches(pattern, container.name),
            Self::Label { key, value } => has_label(key, value),
            Self::Project(project) => has_label("com.docker.compose.project", project),
        }
    }

    /// The name of the only container that it can match, if it filters by name.
    pub fn single_name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Pattern(_) | Self::Label { .. } | Self::Project(_) => None,
        }
    }
}

/// The containers of one Docker engine, as a `docker` target describes them.
#[derive(Debug, Clone, PartialEq)]
pub struct DockerTarget {
    /// The way to the engine.
    pub endpoint: DockerEndpoint,
    /// The filter for the allowed containers.
    pub filter: ContainerFilter,
    /// Images that may be pulled, tagged or run. `*` stands for any run of characters. Empty allows
    /// none.
    pub images: Vec<String>,
    /// Patterns of the program to run inside a container and its arguments, by position. Empty
    /// allows none.
    pub command: Vec<ArgumentPattern>,
    /// Variables that a plugin may set in a container that it creates: `NAME=value`. `*` in the
    /// value stands for any run of characters. Empty allows none.
    pub environment: Vec<String>,
    /// The network of containers that are created; `none` has no connection to anything.
    pub network: String,
    /// The memory limit of one created container.
    pub memory: ByteSize,
    /// The largest number of processes and threads in one created container.
    pub pids: u32,
}

impl DockerTarget {
    pub(super) fn describe(&self) -> String {
        let containers = match &self.filter {
            ContainerFilter::Name(name) => format!("container {name}"),
            ContainerFilter::Pattern(pattern) => format!("containers named {pattern}"),
            ContainerFilter::Label { key, value } => format!("containers labelled {key}={value}"),
            ContainerFilter::Project(project) => format!("containers of Compose project {project}"),
        };
        match &self.endpoint {
            DockerEndpoint::Socket(_) => containers,
            DockerEndpoint::Server(_) => {
                format!("{containers} of the Docker engine at {}", self.endpoint)
            }
        }
    }

    /// The addresses that the name of its engine may resolve to; `None` for an engine of this host.
    pub(super) fn addresses(&self) -> Option<&AddressPolicy> {
        self.endpoint.server().map(|server| &server.addresses)
    }

    /// The authorities and the client certificate of its engine; `None` without encryption.
    pub(super) fn tls_keys(&self) -> Option<&TlsKeys> {
        self.endpoint.server()?.tls.as_ref()
    }
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<DockerTarget> {
    let filter = reader.section("docker", "`docker`", |reader| {
        let subject_span = reader.table().span.clone();
        let name = reader.optional::<String>("name");
        let pattern = reader.optional::<String>("pattern");
        let label = reader.optional::<String>("label");
        let project = reader.optional::<String>("project");
        match (name, pattern, label, project) {
            (Some(name), None, None, None) => Some(ContainerFilter::Name(name.value)),
            (None, Some(pattern), None, None) => Some(ContainerFilter::Pattern(pattern.value)),
            (None, None, Some(label), None) => read_label(reader, &label),
            (None, None, None, Some(project)) => Some(ContainerFilter::Project(project.value)),
            _ => {
                reader.error(
                    "E0108",
                    subject_span,
                    "a docker target must have exactly one of name, pattern, label, project",
                    "which containers?",
                );
                None
            }
        }
    });
    let endpoint = read_endpoint(reader, folder);
    let images =
        reader.optional::<Vec<String>>("images").map(|list| list.value).unwrap_or_default();
    let command = super::process::read_arguments(reader, "command").unwrap_or_default();
    let environment = reader
        .optional::<Vec<Spanned<String>>>("environment")
        .map(|list| read_environment(reader, list.value))
        .unwrap_or_default();
    let network =
        reader.optional::<String>("network").and_then(|network| read_network(reader, network));
    let memory =
        reader.optional::<ByteSize>("memory").map_or(DEFAULT_MEMORY, |memory| memory.value);
    let pids = reader.optional::<u32>("pids").map_or(DEFAULT_PIDS, |pids| pids.value);
    let network = network.unwrap_or_else(|| NO_NETWORK.to_owned());
    Some(DockerTarget {
        endpoint: endpoint?,
        filter: filter.flatten()?,
        images,
        command,
        environment,
        network,
        memory,
        pids,
    })
}

/// The name of Docker's network without connections.
pub const NO_NETWORK: &str = "none";
const DEFAULT_MEMORY: ByteSize = ByteSize(512 << 20);
const DEFAULT_PIDS: u32 = 256;

/// Reads the name of a network. The network of the host and that of another container are refused,
/// because they would not isolate the new container.
fn read_network(reader: &mut Reader<'_>, network: Spanned<String>) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_name = network.value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && network.value.chars().all(is_plain);
    if is_name && network.value != "host" {
        return Some(network.value);
    }
    let message = format!(
        "`{}` is not a network that a created container may be in",
        network.value.escape_debug()
    );
    reader.error_with_help(
        "E0103",
        network.span,
        message,
        "this network",
        "name a network of the engine, such as `bridge`; without this key it has none",
    );
    None
}

/// Reads variables: `NAME`, which allows that name with any value, or `NAME=value`.
fn read_environment(reader: &mut Reader<'_>, texts: Vec<Spanned<String>>) -> Vec<String> {
    let mut patterns = Vec::new();
    for text in texts {
        let (name, value) = text.value.split_once('=').unwrap_or((&text.value, "*"));
        if !is_variable_name(name) {
            let message = format!("`{}` is not the name of a variable", name.escape_debug());
            reader.error(
                "E0103",
                text.span,
                message,
                "letters, digits and `_`, and no digit first; then `=value`, if only that",
            );
        } else if super::secret_reference(value).is_some() {
            let message = format!(
                "`{}` names a secret, and a plugin sets this variable",
                text.value.escape_debug()
            );
            reader.error("E0103", text.span, message, "the host puts no secret into a container");
        } else {
            patterns.push(format!("{name}={value}"));
        }
    }
    patterns
}

fn read_label(reader: &mut Reader<'_>, label: &Spanned<String>) -> Option<ContainerFilter> {
    let filter = label.value.split_once('=').map(|(key, value)| ContainerFilter::Label {
        key: key.to_owned(),
        value: value.to_owned(),
    });
    if filter.is_none() {
        reader.error(
            "E0103",
            label.span.clone(),
            format!("`{}` is not `key=value`", label.value),
            "such as \"role=worker\"",
        );
    }
    filter
}
