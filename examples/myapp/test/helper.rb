# frozen_string_literal: true

# Each run works in a schema of its own, so it needs no migrated database and leaves none behind.
ENV["DATABASE_SCHEMA"] = "test_#{Process.pid}_#{rand(1 << 32)}"
ENV["SECRET_KEY"] ||= "only for tests"
ENV["RACK_ENV"] = "test"

require "minitest/autorun"
require "rack/test"
require "stringio"
require_relative "../app"
require_relative "../worker"

class DatabaseTest < Minitest::Test
  def setup
    Database.connect { |connection| connection.exec("CREATE SCHEMA #{schema(connection)}") }
  end

  def teardown
    Database.connect { |connection| connection.exec("DROP SCHEMA IF EXISTS #{schema(connection)} CASCADE") }
  end

  def schema(connection)
    connection.quote_ident(ENV.fetch("DATABASE_SCHEMA"))
  end

  def migrate
    versions = []
    Database.connect { |connection| Database.migrate(connection) { |version| versions << version } }
    versions
  end

  def rows(query)
    Database.connect { |connection| connection.exec(query).to_a }
  end
end
