-- The version of the document (a digest of its file, path and title) that the answer was last compared with: after another one, the answer
-- loses words that the document no longer has. NULL: not compared yet.
ALTER TABLE message_documents ADD COLUMN version TEXT;
