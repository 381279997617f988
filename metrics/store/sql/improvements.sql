-- name: add
INSERT INTO improvements (improvement_id, flow, step, measure, dimensions, action, owner, due, finding, note, planned_at)
VALUES (
    %(id)s, %(flow)s, %(step)s, %(measure)s, %(dimensions)s, %(action)s, %(owner)s, %(due)s::date, %(finding)s, %(note)s,
    to_timestamp(%(planned_at)s)
)

-- name: change
UPDATE improvements SET
    action = %(action)s, owner = %(owner)s, due = %(due)s::date, note = %(note)s, done_at = to_timestamp(%(done_at)s),
    dropped_at = to_timestamp(%(dropped_at)s)
WHERE improvement_id = %(id)s

-- name: lock
SELECT FROM improvements WHERE improvement_id = %(id)s FOR UPDATE

-- name: read
SELECT
    improvement_id, flow, step, measure, action, owner, coalesce(to_char(due, 'YYYY-MM-DD'), ''), finding,
    extract(epoch FROM planned_at)::float8, extract(epoch FROM done_at)::float8, note, dimensions,
    extract(epoch FROM dropped_at)::float8
FROM improvements
WHERE (%(flow)s::text IS NULL OR flow = %(flow)s) AND (%(id)s::text IS NULL OR improvement_id = %(id)s)
ORDER BY planned_at, improvement_id LIMIT %(limit)s

-- name: note
INSERT INTO improvement_trail (improvement_id, sequence, at, actor, action, details)
SELECT %(id)s, coalesce(max(sequence), 0) + 1, to_timestamp(%(at)s), %(actor)s, %(action)s, %(details)s
FROM improvement_trail WHERE improvement_id = %(id)s

-- name: trail
SELECT extract(epoch FROM at)::float8, actor, action, details FROM improvement_trail
WHERE improvement_id = %(id)s ORDER BY sequence

-- name: put_event
INSERT INTO events (at, kind, flow, step, title, identity)
VALUES (to_timestamp(%(at)s), 'improvement', %(flow)s, %(step)s, %(title)s, %(identity)s)
ON CONFLICT (coalesce(flow, ''), identity) DO UPDATE SET at = excluded.at, title = excluded.title

-- name: remove_event
DELETE FROM events WHERE kind = 'improvement' AND flow = %(flow)s AND identity = %(identity)s
