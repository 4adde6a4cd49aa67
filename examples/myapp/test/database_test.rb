# frozen_string_literal: true

require_relative "helper"

class MigrationsTest < DatabaseTest
  def test_migrates_once
    assert_equal Database.versions, migrate
    assert_equal [], migrate
    assert_equal 1, rows("SELECT * FROM messages").length
  end

  def test_alters_the_table_of_an_earlier_version
    Database.connect do |connection|
      connection.exec(File.read(File.join(Database::MIGRATIONS, Database.versions.first)))
      connection.exec("CREATE TABLE migrations (version text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
      connection.exec_params("INSERT INTO migrations (version) VALUES ($1)", [Database.versions.first])
      refute Database.migrated?(connection)
    end
    assert_equal Database.versions.drop(1), migrate
    assert_includes rows("SELECT * FROM messages").first.keys, "read_at"
  end

  def test_the_database_refuses_an_empty_message
    migrate
    assert_raises(PG::CheckViolation) { rows("INSERT INTO messages (body) VALUES ('')") }
  end
end

class WorkerTest < DatabaseTest
  def test_reads_each_message_once
    migrate
    output = StringIO.new
    worker = Worker.new(output: output)
    counts = Database.connect { |connection| Array.new(2) { worker.read_messages(connection) } }
    assert_equal [1, 0], counts
    assert_equal "read message 1\n", output.string
    assert_empty rows("SELECT * FROM messages WHERE read_at IS NULL")
  end
end
