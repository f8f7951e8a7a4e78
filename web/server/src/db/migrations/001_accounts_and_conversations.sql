-- Times are milliseconds since the Unix epoch, UTC.

CREATE TABLE users (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    email         TEXT    NOT NULL UNIQUE COLLATE NOCASE,  -- lower-cased before it gets here
    role          TEXT    NOT NULL CHECK (role IN ('admin', 'member')),
    password_hash TEXT    NOT NULL,                        -- argon2id, PHC string
    created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    id_hash       BLOB    PRIMARY KEY,                     -- SHA-256 of the id; the id itself is in the cookie alone
    user_id       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL                         -- absolute end
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_user ON sessions (user_id);

-- At most one row: the link printed at the last start, while no administrator exists.
CREATE TABLE setup_links (
    token_hash    BLOB    PRIMARY KEY,
    created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name          TEXT    NOT NULL,
    prefix        TEXT    NOT NULL,                        -- first characters, to tell keys apart in lists
    key_hash      BLOB    NOT NULL UNIQUE,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER,
    revoked_at    INTEGER
) STRICT;
CREATE INDEX api_keys_of_user ON api_keys (user_id);

CREATE TABLE conversations (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT    NOT NULL UNIQUE,
    user_id       INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title         TEXT    NOT NULL,
    collections   TEXT    NOT NULL,                        -- JSON list of ids; [] means all
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX conversations_of_user ON conversations (user_id, updated_at);

CREATE TABLE messages (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT    NOT NULL UNIQUE,
    conversation_id TEXT    NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id         INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    question        TEXT    NOT NULL,
    answer          TEXT    NOT NULL,
    status          TEXT    NOT NULL CHECK (status IN ('running', 'done', 'stopped', 'failed')),
    refused         INTEGER NOT NULL,
    mode            TEXT    NOT NULL CHECK (mode IN ('generated', 'quote_only')),
    notice          TEXT,
    error           TEXT,
    model           TEXT,
    prompt_version  TEXT,
    details         TEXT    NOT NULL,                      -- JSON: citations, unsupported, sources, collections, usage, timings
    created_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX messages_of_conversation ON messages (conversation_id, seq);
CREATE INDEX messages_running ON messages (status) WHERE status = 'running';

CREATE VIRTUAL TABLE message_search USING fts5 (
    question, answer, content = 'messages', content_rowid = 'seq', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER messages_added AFTER INSERT ON messages BEGIN
    INSERT INTO message_search (rowid, question, answer) VALUES (new.seq, new.question, new.answer);
END;
CREATE TRIGGER messages_removed AFTER DELETE ON messages BEGIN
    INSERT INTO message_search (message_search, rowid, question, answer) VALUES ('delete', old.seq, old.question, old.answer);
END;
CREATE TRIGGER messages_changed AFTER UPDATE OF question, answer ON messages BEGIN
    INSERT INTO message_search (message_search, rowid, question, answer) VALUES ('delete', old.seq, old.question, old.answer);
    INSERT INTO message_search (rowid, question, answer) VALUES (new.seq, new.question, new.answer);
END;

CREATE VIRTUAL TABLE title_search USING fts5 (
    title, content = 'conversations', content_rowid = 'seq', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER conversations_added AFTER INSERT ON conversations BEGIN
    INSERT INTO title_search (rowid, title) VALUES (new.seq, new.title);
END;
CREATE TRIGGER conversations_removed AFTER DELETE ON conversations BEGIN
    INSERT INTO title_search (title_search, rowid, title) VALUES ('delete', old.seq, old.title);
END;
CREATE TRIGGER conversations_changed AFTER UPDATE OF title ON conversations BEGIN
    INSERT INTO title_search (title_search, rowid, title) VALUES ('delete', old.seq, old.title);
    INSERT INTO title_search (rowid, title) VALUES (new.seq, new.title);
END;
