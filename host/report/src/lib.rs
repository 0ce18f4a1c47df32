//! Events and outcomes rendered for people and machines.
