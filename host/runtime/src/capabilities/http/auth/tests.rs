//! Signatures, compared with those that are published.

use super::*;

const AMAZON: (&str, &str) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
const BUCKET: (&str, &str) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");

fn aws(region: &str, service: &str) -> AwsSigV4 {
    AwsSigV4 {
        access_key: ClientName::Plain(String::new()),
        secret_key: String::new(),
        session_token: None,
        region: region.to_owned(),
        service: service.to_owned(),
    }
}

fn authorization(
    aws: &AwsSigV4,
    (access_key, secret_key): (&str, &str),
    session_token: Option<&str>,
    now: &str,
    (method, url, body): (&str, &str, &str),
) -> String {
    let keys = AwsKeys {
        access_key: access_key.into(),
        secret_key: secret_key.into(),
        session_token: session_token.map(Secret::from),
    };
    let now: jiff::Timestamp = now.parse().unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let (url, body) = (Url::parse(url).unwrap(), Secret::from(body));
    let mut headers = HeaderMap::new();
    sign_request(aws, &keys, now.into(), (&method, &url, body.expose()), &mut headers).unwrap();
    headers[AUTHORIZATION].to_str().unwrap().to_owned()
}

/// The `Authorization` that a request should have, from what came over the wire.
pub(in super::super) fn signature_of(
    target: &str,
    keys: (&str, &str),
    session_token: Option<&str>,
    (request, origin): (&str, &str),
) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let line: Vec<_> = head.lines().next().unwrap().split(' ').collect();
    let date = head.lines().find_map(|line| line.strip_prefix("x-amz-date: ")).unwrap();
    let date = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).unwrap();
    let service = if target.contains("\"s3\"") { "s3" } else { "execute-api" };
    let url = format!("{origin}{}", line[1]);
    let now = date.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().to_string();
    let aws = aws("eu-central-1", service);
    authorization(&aws, keys, session_token, &now, (line[0], &url, body))
}

/// Vectors that AWS publishes: of its signing test suite, and of the manual of S3.
#[test]
fn a_signature_is_the_one_that_aws_publishes_for_the_same_request() {
    let suite = aws("us-east-1", "service");
    let at = "2015-08-30T12:36:00Z";
    let origin = "https://example.amazonaws.com";
    let session = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    for (session, method, path, signature) in [
        (None, "GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            None,
            "GET",
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            None,
            "POST",
            "/?Param1=value1",
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ),
        (
            Some(session),
            "GET",
            "/",
            "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
        ),
    ] {
        let url = format!("{origin}{path}");
        let found = authorization(&suite, AMAZON, session, at, (method, &url, ""));
        assert!(found.ends_with(&format!("Signature={signature}")), "{path}: {found}");
        let scope = "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        assert!(found.contains(scope), "{found}");
    }
    let bucket = aws("us-east-1", "s3");
    let at = "2013-05-24T00:00:00Z";
    for (path, signature) in [
        ("/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "/?max-keys=2&prefix=J",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let url = format!("https://examplebucket.s3.amazonaws.com{path}");
        let found = authorization(&bucket, BUCKET, None, at, ("GET", &url, ""));
        assert!(found.ends_with(&format!("Signature={signature}")), "{path}: {found}");
    }
}

/// The address that a request to this one is sent to and signed with.
fn sent(service: &str, url: &str) -> String {
    let aws = format!(
        "[targets.t]\nhttp = \"https://h\"\nauth = {{ aws-sigv4 = {{ access_key = \"A\", secret_key = \
         \"secret:token\", region = \"r\", service = \"{service}\" }} }}\n"
    );
    let slots: &[crate::testing::Slot] = &[("s", &["http.get"], "t")];
    let grants = crate::testing::effective_grants(slots, &aws, std::path::Path::new("/"));
    let target = std::sync::Arc::clone(&grants.get("s").unwrap().target);
    signed_form(target.http().unwrap(), &Url::parse(url).unwrap()).to_string()
}

/// The rule of the manual of S3: each byte but letters, digits and `-_.~/` is encoded, with capital
/// letters, whatever the request has.
#[test]
fn a_path_of_s3_is_sent_in_the_one_form_in_which_it_is_signed() {
    for byte in 0x20..0x7f_u8 {
        let c = char::from(byte);
        let expected = if c.is_ascii_alphanumeric() || "-_.~/".contains(c) {
            c.to_string()
        } else {
            format!("%{byte:02X}")
        };
        for written in [c.to_string(), format!("%{byte:02X}"), format!("%{byte:02x}")] {
            // A URL that is written with one of these ends its path there, or has another one.
            if matches!(written.as_str(), "?" | "#" | "\\" | "%" | "%2F" | "%2f") {
                continue;
            }
            let expected = format!("https://h/a{expected}b?x=a+b");
            assert_eq!(sent("s3", &format!("https://h/a{written}b?x=a+b")), expected, "{written}");
        }
    }
    assert_eq!(sent("s3", "https://h/"), "https://h/");
    assert_eq!(sent("execute-api", "https://h/a+b=c"), "https://h/a+b=c");
}
