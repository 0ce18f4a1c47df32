//! Request headers that the host sets, with a secret in them.

/// A request header that the host sets: text with at most one secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// What stands before the secret, or all of the value.
    pub before: String,
    /// The name of the secret in the value, if it has one.
    pub secret: Option<String>,
    /// How both become the value.
    pub encoding: HeaderEncoding,
}

/// How the parts of an injected header become its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderEncoding {
    /// As they are, one behind the other.
    Plain,
    /// `Basic`, a space, and the Base64 of the parts.
    Basic,
}

impl Injected {
    /// As a review shows it: a secret is its name.
    pub fn written(&self) -> String {
        let secret = self.secret.as_ref().map(|name| format!("secret:{name}")).unwrap_or_default();
        match self.encoding {
            HeaderEncoding::Plain => format!("{}{secret}", self.before),
            HeaderEncoding::Basic => format!("Basic {}{secret}", self.before),
        }
    }
}
