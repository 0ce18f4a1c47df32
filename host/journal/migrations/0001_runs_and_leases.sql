-- Times are nanoseconds since 1970 in UTC, so that they compare as numbers in every database.

CREATE TABLE runs (
    run         TEXT   NOT NULL PRIMARY KEY,  -- UUIDv7 in its usual form
    name        TEXT   NOT NULL,
    title       TEXT   NOT NULL,
    operator    TEXT   NOT NULL,
    environment TEXT,
    phase       TEXT   NOT NULL,              -- JSON; follows the events, so that listing needs no fold
    started_ns  BIGINT NOT NULL,
    ended_ns    BIGINT,
    digest      TEXT   NOT NULL,              -- of the definition
    sources     TEXT   NOT NULL,              -- JSON: the definition and what it includes, as [name, text] pairs
    params      TEXT   NOT NULL               -- JSON
);

CREATE INDEX runs_by_start ON runs (started_ns, run);

CREATE TABLE events (
    run   TEXT   NOT NULL REFERENCES runs (run),
    seq   BIGINT NOT NULL,
    at_ns BIGINT NOT NULL,
    event TEXT   NOT NULL,                    -- JSON
    PRIMARY KEY (run, seq)
);

-- A row stays when its lease is released: its token must never be given out again.
CREATE TABLE leases (
    name       TEXT   NOT NULL PRIMARY KEY,
    token      BIGINT NOT NULL,
    run        TEXT   NOT NULL,
    executor   TEXT   NOT NULL,
    host       TEXT   NOT NULL,
    pid        BIGINT NOT NULL,
    expires_ns BIGINT                         -- NULL: released
);

-- Each lease that was taken from a holder that had not released it.
CREATE TABLE takeovers (
    name          TEXT   NOT NULL,
    token         BIGINT NOT NULL,
    at_ns         BIGINT NOT NULL,
    reason        TEXT   NOT NULL,            -- expired, stolen, same-run
    run           TEXT   NOT NULL,
    from_token    BIGINT NOT NULL,
    from_run      TEXT   NOT NULL,
    from_executor TEXT   NOT NULL,
    from_host     TEXT   NOT NULL,
    from_pid      BIGINT NOT NULL,
    PRIMARY KEY (name, token)
);
