-- name: add
INSERT INTO service_tokens (token_id, name, secret_hash, role, flows, dimensions, created_at, created_by, expires_at)
VALUES (
    %(token_id)s, %(name)s, %(secret_hash)s, %(role)s, %(flows)s, %(dimensions)s, to_timestamp(%(at)s), %(by)s,
    to_timestamp(%(expires_at)s)
)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING token_id

-- name: read
SELECT
    token_id, name, secret_hash, role, flows, dimensions, extract(epoch FROM created_at)::float8, created_by,
    extract(epoch FROM expires_at)::float8, extract(epoch FROM revoked_at)::float8, extract(epoch FROM used_at)::float8,
    used_from
FROM service_tokens
WHERE %(token_id)s::text IS NULL OR token_id = %(token_id)s
ORDER BY revoked_at IS NOT NULL, name, created_at LIMIT %(limit)s

-- name: revoke
UPDATE service_tokens SET revoked_at = to_timestamp(%(at)s)
WHERE revoked_at IS NULL AND (token_id = %(wanted)s OR name = %(wanted)s)
RETURNING token_id, name

-- name: touch
UPDATE service_tokens SET used_at = to_timestamp(%(at)s), used_from = %(address)s WHERE token_id = %(token_id)s
