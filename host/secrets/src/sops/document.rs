//! The tree of a file, in its order, and the metadata that `sops` adds. No error quotes the file.

use super::SopsFormat;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
    /// A number or a boolean in plain text, as `sops` authenticates it: `12`, `1.5`, `True`.
    Other(String),
    Null,
}

/// What `sops` keeps in a file about its encryption.
#[derive(Debug)]
pub(super) struct Metadata {
    /// The data key, encrypted to each age recipient.
    pub(super) age: Vec<String>,
    pub(super) last_modified: String,
    pub(super) mac: String,
    pub(super) mac_only_encrypted: bool,
}

/// How deep a document may be nested.
const MAX_DEPTH: usize = 64;

/// How many nodes a document may have.
const MAX_NODES: usize = 100_000;

const NO_METADATA: &str = "it has no metadata of `sops`";

/// The tree of a file without its metadata, and the metadata.
pub(super) fn parse(text: &str, format: SopsFormat) -> Result<(Node, Metadata), &'static str> {
    let mut entries = match format {
        SopsFormat::Yaml => YamlBuilder::default().build(text)?,
        SopsFormat::Json => {
            let value: serde_json::Value =
                serde_json::from_str(text).map_err(|_| "it is not JSON")?;
            match json_node(value) {
                Node::Map(entries) => entries,
                Node::List(_) | Node::Text(_) | Node::Other(_) | Node::Null => {
                    return Err("it is not a JSON object");
                }
            }
        }
        SopsFormat::Dotenv => return parse_dotenv(text),
    };
    let position = entries.iter().position(|(key, _)| key == "sops").ok_or(NO_METADATA)?;
    let (_, metadata) = entries.remove(position);
    Ok((Node::Map(entries), Metadata::of(&metadata)?))
}

impl Node {
    fn get(&self, key: &str) -> Option<&Node> {
        match self {
            Self::Map(entries) => {
                entries.iter().find(|(known, _)| known == key).map(|(_, node)| node)
            }
            Self::List(_) | Self::Text(_) | Self::Other(_) | Self::Null => None,
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Self::Text(text) => Some(text),
            Self::Map(_) | Self::List(_) | Self::Other(_) | Self::Null => None,
        }
    }
}

impl Metadata {
    fn of(node: &Node) -> Result<Self, &'static str> {
        if node.get("key_groups").is_some() {
            return Err("its data key is divided among key groups, which is not supported");
        }
        let age = match node.get("age") {
            Some(Node::List(entries)) => {
                entries.iter().filter_map(|entry| entry.text("enc")).map(str::to_owned).collect()
            }
            Some(Node::Map(_) | Node::Text(_) | Node::Other(_) | Node::Null) | None => Vec::new(),
        };
        let required = |key| node.text(key).map(str::to_owned).ok_or(NO_METADATA);
        let flag = node.get("mac_only_encrypted");
        let is_true = |node: &Node| matches!(node, Node::Other(text) if text == "True");
        Ok(Self {
            age,
            last_modified: required("lastmodified")?,
            mac: required("mac")?,
            mac_only_encrypted: flag.is_some_and(is_true),
        })
    }
}

fn json_node(value: serde_json::Value) -> Node {
    match value {
        serde_json::Value::Null => Node::Null,
        serde_json::Value::Bool(flag) => Node::Other(boolean(flag)),
        serde_json::Value::Number(number) => Node::Other(json_number(&number)),
        serde_json::Value::String(text) => Node::Text(text),
        serde_json::Value::Array(items) => Node::List(items.into_iter().map(json_node).collect()),
        serde_json::Value::Object(entries) => {
            Node::Map(entries.into_iter().map(|(key, value)| (key, json_node(value))).collect())
        }
    }
}

/// As `sops` writes a boolean.
fn boolean(flag: bool) -> String {
    if flag { "True" } else { "False" }.to_owned()
}

/// As `sops` writes a number of JSON, which it reads as a float.
fn json_number(number: &serde_json::Number) -> String {
    number.as_f64().map_or_else(|| number.to_string(), |float| float.to_string())
}

/// Lines of `NAME=value`; the metadata is in names with `sops_` before them.
fn parse_dotenv(text: &str) -> Result<(Node, Metadata), &'static str> {
    let mut entries = Vec::new();
    let mut metadata = Vec::new();
    let mut age = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once('=').ok_or("one of its lines has no `=`")?;
        let value = value.replace("\\n", "\n");
        match name.strip_prefix("sops_") {
            None => entries.push((name.to_owned(), Node::Text(value))),
            Some("mac_only_encrypted") => {
                metadata
                    .push(("mac_only_encrypted".to_owned(), Node::Other(boolean(value == "true"))));
            }
            Some(name) if name.starts_with("key_groups") => {
                metadata.push(("key_groups".to_owned(), Node::Null));
            }
            Some(name) if name.starts_with("age__list_") && name.ends_with("__map_enc") => {
                age.push(Node::Map(vec![("enc".to_owned(), Node::Text(value))]));
            }
            Some(name) => metadata.push((name.to_owned(), Node::Text(value))),
        }
    }
    metadata.push(("age".to_owned(), Node::List(age)));
    Ok((Node::Map(entries), Metadata::of(&Node::Map(metadata))?))
}

/// Makes a tree of the events of the YAML parser. Anchors are refused: by aliases, a short file
/// can stand for a tree of any size.
#[derive(Default)]
struct YamlBuilder {
    open: Vec<OpenNode>,
    n_nodes: usize,
    root: Option<Node>,
}

enum OpenNode {
    Map { entries: Vec<(String, Node)>, key: Option<String> },
    List(Vec<Node>),
}

impl YamlBuilder {
    fn build(mut self, text: &str) -> Result<Vec<(String, Node)>, &'static str> {
        let mut parser = Parser::new_from_str(text);
        loop {
            let (event, _) = parser.next_token().map_err(|_| "it is not YAML")?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart if self.root.is_some() => {
                    return Err("it has several YAML documents");
                }
                Event::Nothing | Event::StreamStart | Event::DocumentStart | Event::DocumentEnd => {
                }
                Event::Alias(_) => return Err("it has an alias, which `sops` does not keep"),
                Event::Scalar(text, style, _, tag) => {
                    let is_plain = style == TScalarStyle::Plain && tag.is_none();
                    let node = if is_plain { plain_scalar(text) } else { Node::Text(text) };
                    self.add(node)?;
                }
                Event::SequenceStart(..) => self.begin(OpenNode::List(Vec::new()))?,
                Event::MappingStart(..) => {
                    self.begin(OpenNode::Map { entries: Vec::new(), key: None })?;
                }
                Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                    Some(OpenNode::List(items)) => self.add(Node::List(items))?,
                    Some(OpenNode::Map { entries, .. }) => self.add(Node::Map(entries))?,
                    None => return Err("it is not YAML"),
                },
            }
        }
        match self.root {
            Some(Node::Map(entries)) => Ok(entries),
            Some(Node::List(_) | Node::Text(_) | Node::Other(_) | Node::Null) | None => {
                Err("it is not a table in YAML")
            }
        }
    }

    fn begin(&mut self, node: OpenNode) -> Result<(), &'static str> {
        if self.open.len() >= MAX_DEPTH {
            return Err("it is nested too deeply");
        }
        self.open.push(node);
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), &'static str> {
        self.n_nodes += 1;
        if self.n_nodes > MAX_NODES {
            return Err("it has too many values");
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(OpenNode::List(items)) => items.push(node),
            Some(OpenNode::Map { entries, key }) => match (key.take(), node) {
                (None, Node::Text(text) | Node::Other(text)) => *key = Some(text),
                (None, Node::Map(_) | Node::List(_) | Node::Null) => {
                    return Err("one of its keys is no text");
                }
                (Some(key), node) => {
                    if entries.iter().any(|(known, _)| *known == key) {
                        return Err("it has a key twice");
                    }
                    entries.push((key, node));
                }
            },
        }
        Ok(())
    }
}

/// A scalar without quotes, by the core schema of YAML 1.2.
fn plain_scalar(text: String) -> Node {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "true" | "True" | "TRUE" => return Node::Other(boolean(true)),
        "false" | "False" | "FALSE" => return Node::Other(boolean(false)),
        _ => {}
    }
    if let Ok(integer) = text.parse::<i64>() {
        return Node::Other(integer.to_string());
    }
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(float) if has_digit => Node::Other(float.to_string()),
        Ok(_) | Err(_) => Node::Text(text),
    }
}
