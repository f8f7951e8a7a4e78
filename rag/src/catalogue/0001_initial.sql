-- One row of facts about the catalogue itself.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE collections (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL UNIQUE,
    updated_at INTEGER NOT NULL              -- seconds since 1970
);

-- A row is written as 'pending' before the first point of the document reaches the vector store,
-- because points carry its id; it becomes 'indexed' in the transaction that writes its passages.
CREATE TABLE documents (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    path          TEXT    NOT NULL,          -- relative to root, '/' between the parts
    root          TEXT    NOT NULL,          -- folder it was ingested from
    uploaded      INTEGER NOT NULL,          -- 1: came through an upload, not from a folder
    state         TEXT    NOT NULL CHECK (state IN ('pending', 'indexed', 'failed')),
    reason        TEXT,
    title         TEXT    NOT NULL,
    own_title     INTEGER NOT NULL DEFAULT 0, -- 1: the title is the document's, not its file name
    pages         INTEGER,
    passages      INTEGER NOT NULL DEFAULT 0, -- rows in the table of that name, counted once
    hash          TEXT,                       -- hex BLAKE3 of the file; null while pending
    bytes         INTEGER NOT NULL,
    modified_ns   INTEGER NOT NULL,           -- modification time of the file, since 1970
    pipeline      TEXT    NOT NULL,           -- how it was extracted and split
    embedder      TEXT    NOT NULL,           -- whose vectors its points have
    updated_at    INTEGER NOT NULL,
    UNIQUE (collection_id, path)
);

-- Apart from documents so that listing does not read the texts.
CREATE TABLE texts (
    document_id INTEGER PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
    text        TEXT NOT NULL,
    blocks      TEXT NOT NULL                 -- JSON, see StoredBlock
);

CREATE TABLE passages (
    id          INTEGER PRIMARY KEY,
    document_id INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    idx         INTEGER NOT NULL,
    point_id    BLOB    NOT NULL UNIQUE,
    start       INTEGER NOT NULL,             -- in characters of the document text
    end         INTEGER NOT NULL,
    page        INTEGER,
    heading     TEXT    NOT NULL,             -- JSON list
    header      TEXT    NOT NULL,             -- what was embedded before the text
    text        TEXT    NOT NULL,
    UNIQUE (document_id, idx)
);
