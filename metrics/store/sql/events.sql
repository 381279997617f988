-- name: put
-- A second report of the same event changes it; that it has ended is not forgotten by a late first report.
INSERT INTO events (at, ended_at, kind, flow, step, title, details, version, identity)
VALUES (
    to_timestamp(%(at)s), to_timestamp(%(ended_at)s), %(kind)s, %(flow)s, %(step)s, %(title)s, %(details)s, %(version)s,
    %(identity)s
)
ON CONFLICT (coalesce(flow, ''), identity) DO UPDATE SET
    at = excluded.at, ended_at = coalesce(excluded.ended_at, events.ended_at), kind = excluded.kind, step = excluded.step,
    title = excluded.title, details = excluded.details, version = excluded.version

-- name: within
-- Events that began within a span, or last into it, newest first.
SELECT
    extract(epoch FROM at)::float8, extract(epoch FROM ended_at)::float8, kind, flow, step, title, details, version, identity
FROM events
WHERE at < to_timestamp(%(end)s) AND (at >= to_timestamp(%(start)s) OR ended_at >= to_timestamp(%(start)s))
    AND (%(flow)s::text IS NULL OR flow IS NULL OR flow = %(flow)s)
ORDER BY at DESC, event_id DESC
LIMIT %(limit)s

-- name: nearest
-- Events of a flow (or of all flows) that began within a span or were going on at a moment, nearest to the moment first.
SELECT
    extract(epoch FROM at)::float8, extract(epoch FROM ended_at)::float8, kind, flow, step, title, details, version, identity
FROM events
WHERE at <= to_timestamp(%(end)s)
    AND (at >= to_timestamp(%(start)s) OR ended_at >= to_timestamp(%(moment)s))
    AND (flow IS NULL OR flow = %(flow)s)
    AND (step IS NULL OR %(step)s::text IS NULL OR step = %(step)s)
ORDER BY abs(extract(epoch FROM at) - %(moment)s::float8), event_id
LIMIT %(limit)s

-- name: expire
DELETE FROM events WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM events WHERE coalesce(ended_at, at) < to_timestamp(%(before)s) LIMIT %(limit)s
))

-- name: of_kinds
-- Events of some kinds that began within a span or last into it, newest first.
SELECT
    extract(epoch FROM at)::float8, extract(epoch FROM ended_at)::float8, kind, flow, step, title, details, version, identity
FROM events
WHERE kind = ANY (%(kinds)s) AND (flow IS NULL OR flow = ANY (%(flows)s))
    AND at < to_timestamp(%(end)s) AND (at >= to_timestamp(%(start)s) OR coalesce(ended_at, 'infinity') >= to_timestamp(%(start)s))
ORDER BY at DESC, event_id DESC
LIMIT %(limit)s

-- name: identified
SELECT
    extract(epoch FROM at)::float8, extract(epoch FROM ended_at)::float8, kind, flow, step, title, details, version, identity
FROM events WHERE identity = %(identity)s AND kind = ANY (%(kinds)s) ORDER BY event_id LIMIT 1

-- name: end
UPDATE events SET ended_at = greatest(at, to_timestamp(%(at)s))
WHERE identity = %(identity)s AND kind = ANY (%(kinds)s) AND (ended_at IS NULL OR ended_at > to_timestamp(%(at)s))
