-- The version of the document (the hash of its file) that the answer was last compared with: after another one, the answer
-- loses words that the document no longer has. NULL: not compared yet.
ALTER TABLE message_documents ADD COLUMN version TEXT;
