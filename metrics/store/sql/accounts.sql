-- name: account
SELECT
    account_id, name, role, password, issuer, subject, flows, dimensions, extract(epoch FROM created_at)::float8,
    extract(epoch FROM password_set_at)::float8, extract(epoch FROM signed_in_at)::float8,
    extract(epoch FROM disabled_at)::float8
FROM accounts
WHERE (%(name)s::text IS NULL OR name = %(name)s) AND (%(issuer)s::text IS NULL OR issuer = %(issuer)s AND subject = %(subject)s)
ORDER BY name

-- name: any
SELECT EXISTS (SELECT FROM accounts WHERE disabled_at IS NULL)

-- name: add
INSERT INTO accounts (name, role, password, issuer, subject, flows, dimensions, created_at, password_set_at)
VALUES (
    %(name)s, %(role)s, %(password)s, %(issuer)s, %(subject)s, %(flows)s, %(dimensions)s, to_timestamp(%(at)s),
    CASE WHEN %(password)s::text IS NOT NULL THEN to_timestamp(%(at)s) END
)
ON CONFLICT DO NOTHING
RETURNING account_id

-- name: set_password
UPDATE accounts SET password = %(password)s, password_set_at = to_timestamp(%(at)s) WHERE account_id = %(account_id)s

-- name: rehash
-- Only if it is still the one that was verified.
UPDATE accounts SET password = %(password)s WHERE account_id = %(account_id)s AND password = %(verified)s

-- name: set_access
UPDATE accounts SET role = %(role)s, flows = %(flows)s, dimensions = %(dimensions)s WHERE account_id = %(account_id)s

-- name: set_disabled
UPDATE accounts SET disabled_at = to_timestamp(%(at)s) WHERE account_id = %(account_id)s

-- name: signed_in
UPDATE accounts SET signed_in_at = to_timestamp(%(at)s) WHERE account_id = %(account_id)s

-- name: add_session
INSERT INTO sessions (session_hash, account_id, created_at, seen_at, address)
VALUES (%(hash)s, %(account_id)s, to_timestamp(%(at)s), to_timestamp(%(at)s), %(address)s)

-- name: prune_sessions
DELETE FROM sessions WHERE account_id = %(account_id)s AND session_hash NOT IN (
    SELECT session_hash FROM sessions WHERE account_id = %(account_id)s ORDER BY created_at DESC, session_hash LIMIT %(keep)s
)

-- name: session
SELECT
    account_id, name, role, password, issuer, subject, flows, dimensions, extract(epoch FROM a.created_at)::float8,
    extract(epoch FROM password_set_at)::float8, extract(epoch FROM signed_in_at)::float8,
    extract(epoch FROM disabled_at)::float8, extract(epoch FROM s.created_at)::float8, extract(epoch FROM s.seen_at)::float8
FROM sessions AS s JOIN accounts AS a USING (account_id)
WHERE session_hash = %(hash)s

-- name: touch_session
UPDATE sessions SET seen_at = to_timestamp(%(at)s) WHERE session_hash = %(hash)s AND seen_at < to_timestamp(%(at)s)

-- name: end_session
DELETE FROM sessions WHERE session_hash = %(hash)s

-- name: end_sessions
DELETE FROM sessions WHERE account_id = %(account_id)s AND session_hash IS DISTINCT FROM %(except_hash)s::bytea

-- name: expire_sessions
DELETE FROM sessions WHERE seen_at < to_timestamp(%(seen_before)s) OR created_at < to_timestamp(%(created_before)s)

-- name: audit
INSERT INTO audit (actor, action, subject, details, address)
VALUES (%(actor)s, %(action)s, %(subject)s, %(details)s, %(address)s)

-- name: audit_rows
SELECT audit_id, extract(epoch FROM at)::float8, actor, action, subject, details, address FROM audit
WHERE at >= to_timestamp(%(start)s) AND at < to_timestamp(%(end)s)
    AND (%(actor)s::text IS NULL OR actor = %(actor)s) AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(subject)s::text IS NULL OR strpos(subject, %(subject)s) > 0)
    AND (%(before)s::bigint IS NULL OR audit_id < %(before)s)
ORDER BY audit_id DESC LIMIT %(limit)s

-- name: audit_actions
SELECT DISTINCT action FROM audit ORDER BY action LIMIT 200
