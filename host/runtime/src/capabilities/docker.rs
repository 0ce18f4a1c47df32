//! The containers that a filter lets through, on one Docker engine.
