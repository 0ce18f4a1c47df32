//! Tests of the real program against real services.
