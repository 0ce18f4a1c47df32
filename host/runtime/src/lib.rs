//! Loads, verifies, links and calls plugin components; the capabilities behind their imports.
