//! Request headers that the host sets, with a secret in them.

/// A request header that the host sets: text with at most one secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectedHeader {
    /// The text before the secret, or the whole value if there is no secret.
    pub prefix: String,
    /// The name of the secret in the value, if it has one.
    pub secret: Option<String>,
    /// How the text and the secret become the value.
    pub encoding: HeaderEncoding,
}

/// How the parts of an injected header become its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderEncoding {
    /// The text, followed by the secret.
    Plain,
    /// `Basic`, a space, and the Base64 of the parts.
    Basic,
}

impl InjectedHeader {
    /// The value with `secret:NAME` in place of the secret.
    pub fn redacted(&self) -> String {
        let secret = self.secret.as_ref().map(|name| format!("secret:{name}")).unwrap_or_default();
        match self.encoding {
            HeaderEncoding::Plain => format!("{}{secret}", self.prefix),
            HeaderEncoding::Basic => format!("Basic {}{secret}", self.prefix),
        }
    }
}
