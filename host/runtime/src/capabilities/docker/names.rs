//! Names of containers and references of images, which become parts of paths of the engine's API.

use crate::fault::{Fault, FaultClass};

/// A name or an id, which becomes a part of a path of the engine's API: nothing in it may make
/// another path of that.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed) {
        return Ok(());
    }
    let message = format!("`{}` is not the name or the id of a container", name.escape_debug());
    Err(Fault::new(FaultClass::Invalid, "docker.name", message))
}

/// A reference of an image, for the same reason.
pub(super) fn check_image(image: &str) -> Result<(), Fault> {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':' | '@');
    let segment = |segment: &str| segment.starts_with(|c: char| c.is_ascii_alphanumeric());
    if image.chars().all(allowed) && image.split('/').all(segment) {
        return Ok(());
    }
    let message = format!("`{}` is not a reference of an image", image.escape_debug());
    Err(Fault::new(FaultClass::Invalid, "docker.image", message))
}

/// `host:5000/name:1` is `host:5000/name` and `1`; without a tag it is `latest`.
pub(super) fn repository_and_tag(image: &str) -> (&str, &str) {
    image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, "latest"))
}
