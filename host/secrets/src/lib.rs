//! The age-encrypted secret store, zeroizing values and scrubbing.
