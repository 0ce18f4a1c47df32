//! Answers of S3, which are small XML documents. A document type is refused, so no entity of a
//! server is ever expanded.

use quick_xml::Reader;
use quick_xml::events::Event;

/// The deepest that an answer of S3 is nested.
const MAX_DEPTH: usize = 8;

/// Why an answer cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct XmlError(pub(super) String);

/// One object of a list.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ListedObject {
    pub(super) key: String,
    pub(super) size: String,
    pub(super) modified: String,
    pub(super) etag: String,
    pub(super) storage_class: String,
}

/// One page of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) objects: Vec<ListedObject>,
    pub(super) is_truncated: bool,
    pub(super) next: Option<String>,
}

/// A document: its root, and the texts of its children.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) root: String,
    values: Vec<(String, String)>,
}

impl Fields {
    /// The text of a child of the root; empty without one.
    pub(super) fn get(&self, name: &str) -> &str {
        self.values.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text)
    }
}

/// Reads a document whose values are children of its root.
pub(super) fn fields(document: &[u8]) -> Result<Fields, XmlError> {
    let mut fields = Fields::default();
    walk(document, |path, text| match path {
        [root] => fields.root.clone_from(root),
        [root, name] => {
            fields.root.clone_from(root);
            fields.values.push((name.clone(), text));
        }
        _ => {}
    })?;
    Ok(fields)
}

/// Reads one page of a list.
pub(super) fn page(document: &[u8]) -> Result<Page, XmlError> {
    let mut page = Page::default();
    let mut object = ListedObject::default();
    let mut root = String::new();
    walk(document, |path, text| {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match names.as_slice() {
            [name] => (*name).clone_into(&mut root),
            [_, "IsTruncated"] => page.is_truncated = text == "true",
            [_, "NextContinuationToken"] => page.next = Some(text),
            [_, "Contents"] => page.objects.push(std::mem::take(&mut object)),
            [_, "Contents", field] => match *field {
                "Key" => object.key = text,
                "Size" => object.size = text,
                "LastModified" => object.modified = text,
                "ETag" => object.etag = text,
                "StorageClass" => object.storage_class = text,
                _ => {}
            },
            _ => {}
        }
    })?;
    if root != "ListBucketResult" {
        return Err(XmlError(format!("it is `{}` and no list", root.escape_debug())));
    }
    Ok(page)
}

/// Calls `visit` at the end of each element, with the names from the root to it and its own text.
fn walk(document: &[u8], mut visit: impl FnMut(&[String], String)) -> Result<(), XmlError> {
    let invalid = |error: &dyn std::fmt::Display| XmlError(format!("it is no XML: {error}"));
    let mut reader = Reader::from_reader(document);
    // The names of the open elements, and the text of each.
    let (mut path, mut texts) = (Vec::<String>::new(), Vec::<String>::new());
    let mut has_root = false;
    loop {
        match reader.read_event().map_err(|error| invalid(&error))? {
            Event::Start(start) => {
                let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                if path.len() == MAX_DEPTH || (path.is_empty() && has_root) {
                    return Err(XmlError("it has no form of S3".to_owned()));
                }
                has_root = true;
                path.push(name);
                texts.push(String::new());
            }
            Event::End(_) => {
                let text = texts.pop().unwrap_or_default();
                visit(&path, text);
                path.pop();
            }
            Event::Empty(empty) => {
                has_root = true;
                path.push(String::from_utf8_lossy(empty.local_name().as_ref()).into_owned());
                visit(&path, String::new());
                path.pop();
            }
            Event::Text(text) => {
                let text = text.decode().map_err(|error| invalid(&error))?;
                if let Some(own) = texts.last_mut() {
                    own.push_str(&text);
                }
            }
            Event::CData(text) => {
                let text = text.decode().map_err(|error| invalid(&error))?;
                if let Some(own) = texts.last_mut() {
                    own.push_str(&text);
                }
            }
            Event::GeneralRef(reference) => {
                let c = match reference.resolve_char_ref().map_err(|error| invalid(&error))? {
                    Some(c) => c,
                    None => match &*reference {
                        b"amp" => '&',
                        b"lt" => '<',
                        b"gt" => '>',
                        b"quot" => '"',
                        b"apos" => '\'',
                        _ => return Err(XmlError("it names an entity of its own".to_owned())),
                    },
                };
                if let Some(own) = texts.last_mut() {
                    own.push(c);
                }
            }
            Event::DocType(_) => return Err(XmlError("it has a document type".to_owned())),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if path.is_empty() && has_root => return Ok(()),
            Event::Eof => return Err(XmlError("it ends too early".to_owned())),
        }
    }
}

/// A text as it stands in an XML document.
pub(super) fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_every_way_to_write_a_character() {
        let document = br#"<?xml version="1.0"?><ListBucketResult xmlns="http://s3/">
            <IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken>
            <Contents><Key>a&lt;&#x41;&#66;<![CDATA[<&]]> b</Key><Size>5</Size>
              <LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag>
              <Owner><ID>x</ID></Owner></Contents>
            <Contents><Key>c</Key><StorageClass>GLACIER</StorageClass></Contents>
            <CommonPrefixes/></ListBucketResult>"#;
        let page = page(document).unwrap();
        assert_eq!((page.is_truncated, page.next.as_deref()), (true, Some("a&b")));
        let keys: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["a<AB<& b", "c"]);
        assert_eq!((page.objects[0].size.as_str(), page.objects[0].etag.as_str()), ("5", "\"e\""));
        // Nothing of one object is left for the next.
        assert_eq!(page.objects[1].size, "");
    }

    #[test]
    fn a_document_that_is_a_trap_or_no_list_is_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY x \"xxxxxxxxxx\"><!ENTITY y \"&x;&x;&x;\">]>\
                    <ListBucketResult><Contents><Key>&y;</Key></Contents></ListBucketResult>";
        let outside = "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>\
                       <ListBucketResult><Contents><Key>&x;</Key></Contents></ListBucketResult>";
        let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        for document in [
            bomb,
            outside,
            &deep,
            "<ListBucketResult><Contents><Key>&unknown;</Key></Contents></ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key>",
            "<ListBucketResult><Contents></ListBucketResult>",
            "<Error><Code>NoSuchBucket</Code></Error>",
            "<html><body>Hello</body></html>",
            "<a/><ListBucketResult></ListBucketResult>",
            "",
            "no xml",
            "<ListBucketResult><Contents><Key>\u{fffd}&#x110000;</Key></Contents></ListBucketResult>",
        ] {
            assert!(page(document.as_bytes()).is_err(), "{}", &document[..document.len().min(90)]);
        }
    }

    #[test]
    fn what_is_escaped_is_read_back() {
        let text = "a<b>&\"c'";
        let document = format!("<Error><Code>{}</Code></Error>", escaped(text));
        let found = fields(document.as_bytes()).unwrap();
        assert_eq!(
            (found.root.as_str(), found.get("Code"), found.get("None")),
            ("Error", text, "")
        );
    }
}
