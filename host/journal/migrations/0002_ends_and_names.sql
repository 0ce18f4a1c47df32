-- What `prune` asks for, and what is usual for a runbook.
CREATE INDEX runs_by_end ON runs (ended_ns);
CREATE INDEX runs_by_name ON runs (name, started_ns);
