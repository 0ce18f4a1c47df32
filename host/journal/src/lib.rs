//! The durable record of runs, over SQLite.
