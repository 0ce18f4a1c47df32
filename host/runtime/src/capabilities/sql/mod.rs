//! One database: PostgreSQL, MySQL or MariaDB, or SQLite.
