-- What tells the holder's process from every other one, as JSON; empty: it is not known.
ALTER TABLE leases ADD COLUMN process TEXT NOT NULL DEFAULT '';
ALTER TABLE takeovers ADD COLUMN from_process TEXT NOT NULL DEFAULT '';

-- Who asked that a run be ended, and which execution of it: one that is resumed later is not meant.
CREATE TABLE cancel_requests (
    run      TEXT   NOT NULL,
    executor TEXT   NOT NULL,
    at_ns    BIGINT NOT NULL,
    operator TEXT   NOT NULL,
    PRIMARY KEY (run, executor)
);
