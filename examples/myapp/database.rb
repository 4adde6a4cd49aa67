# frozen_string_literal: true

require "pg"

# The app's database: connections and migrations.
#
# DATABASE_SCHEMA keeps the tests away from the real tables.
module Database
  MIGRATIONS = File.expand_path("migrations", __dir__)
  # Any number: migrations of two processes wait for each other.
  LOCK = 20_161_122

  module_function

  def connect
    connection = PG.connect(ENV.fetch("DATABASE_URL"), connect_timeout: 5)
    connection.set_notice_processor { |_| nil }
    schema = ENV["DATABASE_SCHEMA"]
    connection.exec("SET search_path TO #{connection.quote_ident(schema)}") if schema
    yield connection
  ensure
    connection&.close
  end

  # Versions of all migrations, in order.
  def versions
    Dir.children(MIGRATIONS).grep(/\A\d+_\w+\.sql\z/).sort
  end

  # Versions that the database has.
  def applied(connection)
    return [] unless connection.exec("SELECT to_regclass('migrations') IS NOT NULL AS known").getvalue(0, 0) == "t"

    connection.exec("SELECT version FROM migrations ORDER BY version").column_values(0)
  end

  def migrated?(connection)
    (versions - applied(connection)).empty?
  end

  # Applies what is missing, each in a transaction, and yields its version.
  def migrate(connection)
    connection.exec_params("SELECT pg_advisory_lock($1)", [LOCK])
    connection.exec("CREATE TABLE IF NOT EXISTS migrations (version text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
    (versions - applied(connection)).each do |version|
      connection.transaction do
        connection.exec(File.read(File.join(MIGRATIONS, version)))
        connection.exec_params("INSERT INTO migrations (version) VALUES ($1)", [version])
      end
      yield version
    end
  ensure
    connection.exec_params("SELECT pg_advisory_unlock($1)", [LOCK])
  end
end
