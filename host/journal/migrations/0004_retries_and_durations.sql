-- The run that tries this one again: there is at most one, and it is written together with that run's first record.
ALTER TABLE runs ADD COLUMN tried_again_by TEXT;

-- How long it was executed, pauses left out, in milliseconds.
ALTER TABLE runs ADD COLUMN took_ms BIGINT NOT NULL DEFAULT 0;
