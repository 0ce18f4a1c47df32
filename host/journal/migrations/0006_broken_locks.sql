-- Each lock that a person took from the run that held it.
CREATE TABLE broken_locks (
    name     TEXT   NOT NULL,
    token    BIGINT NOT NULL,  -- that the run held
    run      TEXT   NOT NULL,
    at_ns    BIGINT NOT NULL,
    operator TEXT   NOT NULL,
    reason   TEXT   NOT NULL,
    PRIMARY KEY (name, token)
);

CREATE INDEX broken_locks_by_run ON broken_locks (run);
