-- What each commit has to write, made less. A page that a commit touches is a page to write, and an index's page is one.

-- Messages that are kept for the usual 7 days expire in the order in which they were published: they need no index for it.
DROP INDEX messages_by_expiry;
CREATE INDEX messages_by_own_ttl ON messages (expires_ms) WHERE expires_ms - at_ms <> 604800000;

-- From here on `counters.seq` is the last place in the order of commits only if no entry of `activity` has a later one: a
-- transaction that ends with an entry there doesn't store it twice.
