-- Who may see and do what: accounts, their sessions, and an audit that only grows.

CREATE TABLE accounts (
    account_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    role            text NOT NULL CHECK (role IN ('viewer', 'analyst', 'engineer', 'admin')),
    password        text,
    issuer          text,
    subject         text,
    flows           text[],
    dimensions      jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL,
    password_set_at timestamptz,
    signed_in_at    timestamptz,
    disabled_at     timestamptz,
    UNIQUE (issuer, subject),
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    CHECK ((issuer IS NULL) = (password IS NOT NULL))
);
COMMENT ON TABLE accounts IS 'People who sign in: with a password kept here as an Argon2id hash, or at an OpenID provider.';
COMMENT ON COLUMN accounts.flows IS 'Flows that may be seen; null: all.';
COMMENT ON COLUMN accounts.dimensions IS 'Dimension values that may be seen, {"branch": ["A"]}; {}: all.';

CREATE TABLE sessions (
    session_hash bytea PRIMARY KEY,
    account_id   bigint NOT NULL REFERENCES accounts,
    created_at   timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL,
    address      text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN sessions.session_hash IS 'SHA-256 of the identifier that only the browser has.';
CREATE INDEX sessions_account ON sessions (account_id, created_at);
CREATE INDEX sessions_seen ON sessions (seen_at);

ALTER TABLE audit ADD COLUMN address text NOT NULL DEFAULT '';
COMMENT ON COLUMN audit.address IS 'From where: a network address, or "command line".';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % only grows: rows are neither changed nor deleted', TG_TABLE_NAME;
END;
$$;
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
