-- Which run held a lock with which token: whoever takes it again is told who was at work meanwhile.
CREATE TABLE lock_holders (
    name  TEXT   NOT NULL,
    token BIGINT NOT NULL,
    run   TEXT   NOT NULL,
    PRIMARY KEY (name, token)
);

CREATE INDEX lock_holders_by_run ON lock_holders (run);
