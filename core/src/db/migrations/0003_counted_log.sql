-- How many entries the log has, so that those too many are found without a walk over all that are kept.

ALTER TABLE counters ADD COLUMN counted_seq INTEGER NOT NULL DEFAULT 0;  -- entries of `activity` are counted up to here
ALTER TABLE counters ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;      -- so many of those are stored
