//! Checks names of containers and references of images, which become parts of paths of the engine's
//! API.

use crate::fault::{Fault, FaultClass};

/// Checks the name or id of a container. It must not be able to change the path of the API request.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_allowed) {
        return Ok(());
    }
    let message = format!("`{}` is not the name or the id of a container", name.escape_debug());
    Err(Fault::new(FaultClass::Invalid, "docker.name", message))
}

/// Checks the reference of an image, for the same reason.
pub(super) fn check_image(image: &str) -> Result<(), Fault> {
    let is_allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':' | '@');
    let is_valid_segment =
        |is_valid_segment: &str| is_valid_segment.starts_with(|c: char| c.is_ascii_alphanumeric());
    if image.chars().all(is_allowed) && image.split('/').all(is_valid_segment) {
        return Ok(());
    }
    let message = format!("`{}` is not a reference of an image", image.escape_debug());
    Err(Fault::new(FaultClass::Invalid, "docker.image", message))
}

/// `host:5000/name:1` is `host:5000/name` and `1`; without a tag it is `latest`.
pub(super) fn repository_and_tag(image: &str) -> (&str, &str) {
    image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, "latest"))
}
