//! An `objects` target: the objects below one prefix of one bucket of an S3 store.

use super::auth::{AwsSigV4, HttpAuth, read_s3};
use super::base_url::parse_base;
use super::network::read_addresses;
use super::tls::{Encryption, read_tls};
use super::{Folder, PathView, TlsKeys};
use crate::pattern::{AddressPolicy, check_object_prefix};
use runbook_document::{ByteSize, Reader, Spanned};
use std::time::Duration;
use url::Url;

/// The objects of one store below one prefix, as an `objects` target describes them.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectsTarget {
    /// The name of the bucket.
    pub bucket: String,
    /// What stands before each key: empty, or a text that ends in `/`.
    pub prefix: String,
    /// The server: scheme, host and port.
    pub endpoint: Url,
    /// The keys that sign each request.
    pub keys: AwsSigV4,
    /// The addresses that the host name of the server may resolve to.
    pub addresses: AddressPolicy,
    /// The authorities to trust instead of the system's, and the client certificate.
    pub tls_keys: TlsKeys,
    /// How many bytes of an object a plugin is given, or may give.
    pub max_bytes: ByteSize,
    /// How many bytes an object may have that is copied from or to a file.
    pub max_copy: ByteSize,
    /// How many objects a list has.
    pub max_rows: u32,
    /// The storage class of what is put; `None` leaves it to the bucket.
    pub storage_class: Option<String>,
    /// For one request to the server, and for each pause in a body.
    pub timeout: Duration,
}

impl ObjectsTarget {
    /// The key of an object in its bucket.
    pub fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The header that signs requests, as a review shows it.
    pub(crate) fn header_line(&self, view: PathView) -> String {
        format!("authorization: {}", HttpAuth::AwsSigV4(self.keys.clone()).redacted(view))
    }

    pub(super) fn secrets(&self) -> Vec<&str> {
        self.keys.secrets().into_iter().chain(self.tls_keys.secrets()).collect()
    }

    pub(super) fn describe(&self) -> String {
        let endpoint = self.endpoint.as_str().trim_end_matches('/');
        format!("objects of s3://{}/{} at {endpoint}", self.bucket, self.prefix)
    }
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<ObjectsTarget> {
    let place = reader.required::<String>("objects").and_then(|text| read_place(reader, &text));
    let endpoint = reader.required::<String>("endpoint").and_then(|text| read_server(reader, text));
    let keys = read_s3(reader);
    let addresses = read_addresses(reader);
    let is_unencrypted = endpoint.as_ref().is_some_and(|url| url.scheme() == "http");
    let encryption = if is_unencrypted {
        Encryption::NotGuaranteed("`http` does not encrypt")
    } else {
        Encryption::Verified
    };
    let tls_keys = read_tls(reader, folder, encryption);
    let size = |reader: &mut Reader<'_>, key, default| {
        reader.optional::<ByteSize>(key).map_or(ByteSize(default), |size| size.value)
    };
    let max_bytes = size(reader, "max_bytes", 1 << 20);
    let max_copy = size(reader, "max_copy", 4 << 30);
    let max_rows = reader.optional::<u32>("max_rows").map_or(1000, |count| count.value);
    let storage_class = read_storage_class(reader);
    let timeout = reader
        .optional::<Duration>("timeout")
        .map_or(Duration::from_secs(30), |timeout| timeout.value);
    let (bucket, prefix) = place?;
    Some(ObjectsTarget {
        bucket,
        prefix,
        endpoint: endpoint?,
        keys: keys?,
        addresses,
        tls_keys,
        max_bytes,
        max_copy,
        max_rows,
        storage_class,
        timeout,
    })
}

fn read_place(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<(String, String)> {
    match parse_place(&text.value) {
        Ok((bucket, prefix)) => Some((bucket.to_owned(), prefix.to_owned())),
        Err(reason) => {
            let message = format!("`{}` names no objects: {reason}", text.value.escape_debug());
            let label = "such as \"s3://backups/orders/\"";
            reader.error("E0103", text.span.clone(), message, label);
            None
        }
    }
}

/// Parses `s3://BUCKET/PREFIX/`.
fn parse_place(text: &str) -> Result<(&str, &str), &'static str> {
    let rest = text.strip_prefix("s3://").ok_or("it does not begin with `s3://`")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let is_end = |b: Option<char>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_bucket = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(is_inner)
        && is_end(bucket.chars().next())
        && is_end(bucket.chars().last())
        && !bucket.contains("..");
    if !is_bucket {
        return Err("a bucket has 3 to 63 small letters, digits, dots and dashes");
    }
    if !prefix.is_empty() && !prefix.ends_with('/') {
        return Err("its prefix does not end in `/`, so names that only begin alike would fit");
    }
    if prefix.contains('*') {
        return Err("its prefix is a pattern; a target has one prefix");
    }
    check_object_prefix(prefix)
        .map_err(|_| "its prefix has an empty segment, a dot segment or a control character")?;
    Ok((bucket, prefix))
}

fn read_server(reader: &mut Reader<'_>, text: Spanned<String>) -> Option<Url> {
    let parsed = parse_base(&text.value).and_then(|url| match url.path() {
        "/" => Ok(url),
        _ => Err("it has a path; bucket and prefix stand in `objects`"),
    });
    if let Err(reason) = &parsed {
        let message = format!("`{}` cannot be an endpoint: {reason}", text.value.escape_debug());
        reader.error(
            "E0103",
            text.span,
            message,
            "such as \"https://s3.eu-central-1.amazonaws.com\"",
        );
    }
    parsed.ok()
}

fn read_storage_class(reader: &mut Reader<'_>) -> Option<String> {
    let class = reader.optional::<String>("storage_class")?;
    let is_class = !class.value.is_empty()
        && class.value.len() <= 64
        && class.value.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !is_class {
        let message = format!("`{}` is no storage class", class.value.escape_debug());
        reader.error("E0103", class.span, message, "such as \"STANDARD_IA\"");
        return None;
    }
    Some(class.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_a_prefix_that_ends_at_a_slash() {
        for (text, place) in [
            ("s3://backups", Some(("backups", ""))),
            ("s3://backups/", Some(("backups", ""))),
            ("s3://backups/a/", Some(("backups", "a/"))),
            ("s3://b.c-1/a/b c/", Some(("b.c-1", "a/b c/"))),
            ("s3://backups/a", None),
            ("s3://backups/a/b", None),
            ("s3://backups//", None),
            ("s3://backups/a//", None),
            ("s3://backups/../", None),
            ("s3://backups/a/../", None),
            ("s3://backups/./", None),
            ("s3://backups/a*/", None),
            ("s3://backups/a\u{0}/", None),
            ("s3://ba", None),
            ("s3://Backups", None),
            ("s3://-backups", None),
            ("s3://backups.", None),
            ("s3://a..b", None),
            ("s3://user@backups", None),
            ("s3://backups?x", None),
            ("s3:///a/", None),
            ("gs://backups", None),
            ("backups", None),
            ("", None),
        ] {
            assert_eq!(parse_place(text).ok(), place, "{text}");
        }
    }
}
