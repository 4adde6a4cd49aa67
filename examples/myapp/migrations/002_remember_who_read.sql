ALTER TABLE messages ADD COLUMN read_at timestamptz;
CREATE INDEX messages_unread ON messages (id) WHERE read_at IS NULL;
