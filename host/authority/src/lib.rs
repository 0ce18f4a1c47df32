//! What a plugin may do: manifests, grants, boundaries and the one gate. Pure.
