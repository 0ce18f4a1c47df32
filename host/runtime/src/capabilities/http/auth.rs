//! Authentication of requests, by the key `auth` of a target. The headers are added to one request;
//! the next hop of a redirect gets its own.

use super::{Request, header_name, header_value};
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use runbook_authority::Target;
use runbook_authority::targets::{AwsSigV4, ClientName, HttpAuth, HttpTarget};
use runbook_secrets::Secret;
use std::borrow::Cow;
use std::time::SystemTime;
use url::{Position, Url};

/// Secrets of an AWS signature, for one request.
pub(super) struct AwsKeys {
    access_key: Secret,
    secret_key: Secret,
    session_token: Option<Secret>,
}

impl Host {
    /// Adds the headers that authenticate a request.
    pub(super) async fn authenticate(
        &mut self,
        (http, target): (&HttpTarget, &Target),
        request: &Request,
        (url, body): (&Url, &Secret),
        headers: &mut HeaderMap,
    ) -> Result<(), Fault> {
        match &http.auth {
            None => Ok(()),
            Some(HttpAuth::Header(injected)) => {
                let value = self.target_header(injected).await?;
                headers.insert(AUTHORIZATION, header_value("authorization", value.expose())?);
                Ok(())
            }
            Some(HttpAuth::AwsSigV4(aws)) => {
                let keys = self.aws_keys(aws).await?;
                let signed = (&request.method, url, body.expose());
                sign_request(aws, &keys, SystemTime::now(), signed, headers)
            }
            Some(HttpAuth::OAuth2(client)) => {
                let token = self.token((http, target), client, request).await?;
                insert_bearer(headers, &token)
            }
            Some(HttpAuth::VaultAppRole(role)) => {
                let token = self.approle_token((http, target), role, request).await?;
                insert_bearer(headers, &token)
            }
        }
    }

    /// The name by which a server knows this client.
    pub(super) async fn client_name(&self, name: &ClientName) -> Result<Secret, Fault> {
        match name {
            ClientName::Plain(name) => Ok(Secret::from(name.as_str())),
            ClientName::Secret(secret) => self.secret(secret).await,
        }
    }

    pub(super) async fn aws_keys(&self, aws: &AwsSigV4) -> Result<AwsKeys, Fault> {
        let session_token = match &aws.session_token {
            Some(name) => Some(self.secret(name).await?),
            None => None,
        };
        Ok(AwsKeys {
            access_key: self.client_name(&aws.access_key).await?,
            secret_key: self.secret(&aws.secret_key).await?,
            session_token,
        })
    }
}

fn insert_bearer(headers: &mut HeaderMap, token: &Secret) -> Result<(), Fault> {
    let bearer = Secret::new([b"Bearer ".as_slice(), token.expose()].concat());
    headers.insert(AUTHORIZATION, header_value("authorization", bearer.expose())?);
    Ok(())
}

/// Signs the method, the address and the body of a request, its `Content-Type`, and its headers
/// that begin with `x-amz-`.
pub(super) fn sign_request(
    aws: &AwsSigV4,
    keys: &AwsKeys,
    now: SystemTime,
    (method, url, body): (&Method, &Url, &[u8]),
    headers: &mut HeaderMap,
) -> Result<(), Fault> {
    let text = |secret: &Secret| {
        let text = secret.expose_text().map(str::to_owned);
        text.ok_or_else(|| signing_fault("a key of it is not text"))
    };
    let session = keys.session_token.as_ref().map(text).transpose()?;
    let credentials = Credentials::new(
        text(&keys.access_key)?,
        text(&keys.secret_key)?,
        session,
        None,
        "the target",
    );
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&aws.region)
        .name(&aws.service)
        .time(now)
        .settings(signing_settings(aws))
        .build()
        .map_err(|error| signing_fault(&error.to_string()))?;
    let signed_headers = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-amz-") || **name == CONTENT_TYPE);
    let signed_headers: Vec<_> = signed_headers
        .map(|(name, value)| value.to_str().map(|value| (name.as_str(), value)))
        .collect::<Result<_, _>>()
        .map_err(|_| signing_fault("a header to sign is not ASCII"))?;
    let address = &url[..Position::AfterQuery];
    let bytes = SignableBody::Bytes(body);
    let request = SignableRequest::new(method.as_str(), address, signed_headers.into_iter(), bytes)
        .map_err(|error| signing_fault(&error.to_string()))?;
    let output = sign(request, &params.into())
        .map_err(|error| signing_fault(&error.to_string()))?
        .into_parts()
        .0;
    for (name, value) in output.headers() {
        headers.insert(header_name(name)?, header_value(name, value.as_bytes())?);
    }
    Ok(())
}

/// What is encoded in a path of S3: all but the characters that its signature has as they are, and
/// `/`.
pub(in crate::capabilities) const S3_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The address of a request in the form that is signed. A server of S3 signs each path in one
/// form, whatever was sent, so a `+` or `=` is sent in that form too.
pub(super) fn signed_form<'a>(http: &HttpTarget, url: &'a Url) -> Cow<'a, Url> {
    match &http.auth {
        Some(HttpAuth::AwsSigV4(aws)) if aws.service.starts_with("s3") => {
            let path: Vec<u8> = percent_decode_str(url.path()).collect();
            let mut signed = url.clone();
            signed.set_path(&percent_encode(&path, S3_PATH).to_string());
            Cow::Owned(signed)
        }
        Some(
            HttpAuth::AwsSigV4(_)
            | HttpAuth::Header(_)
            | HttpAuth::OAuth2(_)
            | HttpAuth::VaultAppRole(_),
        )
        | None => Cow::Borrowed(url),
    }
}

/// For S3, the path is signed as it is and a header has the digest of the body. For other services,
/// the path is encoded once more and dot segments are resolved.
fn signing_settings(aws: &AwsSigV4) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if aws.service.starts_with("s3") {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}

fn signing_fault(why: &str) -> Fault {
    let message = format!("the request cannot be signed for AWS: {why}");
    Fault::new(FaultClass::Invalid, "http.auth", message)
}

#[cfg(test)]
pub(super) mod tests;
