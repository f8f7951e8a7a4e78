-- A suspended account keeps its conversations, and nobody can use it.
ALTER TABLE users ADD COLUMN suspended_at INTEGER;

-- The documents that an answer shows or was made from. Kept beside `details`, so that the answers of a document that is
-- gone are found without reading all of them.
CREATE TABLE message_documents (
    document_id   INTEGER NOT NULL,
    message_seq   INTEGER NOT NULL REFERENCES messages (seq) ON DELETE CASCADE,
    PRIMARY KEY (document_id, message_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX documents_of_message ON message_documents (message_seq);

INSERT OR IGNORE INTO message_documents (document_id, message_seq)
SELECT json_extract(item.value, '$.document'), m.seq
FROM messages m, json_each(CASE WHEN json_valid(m.details) THEN m.details ELSE '{}' END, '$.citations') item
WHERE json_type(item.value, '$.document') = 'integer';
INSERT OR IGNORE INTO message_documents (document_id, message_seq)
SELECT json_extract(item.value, '$.document'), m.seq
FROM messages m, json_each(CASE WHEN json_valid(m.details) THEN m.details ELSE '{}' END, '$.sources') item
WHERE json_type(item.value, '$.document') = 'integer';

-- An FTS5 index otherwise keeps the words of deleted rows until its segments happen to be merged. Built again once, because
-- it still holds those of rows that were deleted before.
INSERT INTO message_search (message_search, rank) VALUES ('secure-delete', 1);
INSERT INTO title_search (title_search, rank) VALUES ('secure-delete', 1);
INSERT INTO message_search (message_search) VALUES ('rebuild');
INSERT INTO title_search (title_search) VALUES ('rebuild');
