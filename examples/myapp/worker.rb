# frozen_string_literal: true

require "io/wait"
require_relative "database"

# Reads new messages, one after the other, until SIGTERM.
class Worker
  PAUSE = 1

  def initialize(output: $stdout)
    @output = output
    @output.sync = true
    # Signals may not lock: the handler only writes a byte that wakes the loop.
    @wake, @stop = IO.pipe
  end

  def run
    %w[TERM INT].each { |signal| trap(signal) { @stop.write_nonblock(".") } }
    say "worker of release #{ENV.fetch("RELEASE", "")} started"
    step until @wake.wait_readable(PAUSE)
    say "worker stopped"
  end

  # Marks the unread messages; skips the ones that a worker of another release has in hand.
  def read_messages(connection)
    connection.transaction do
      rows = connection.exec("SELECT id, body FROM messages WHERE read_at IS NULL ORDER BY id LIMIT 10 FOR UPDATE SKIP LOCKED")
      rows.each do |row|
        connection.exec_params("UPDATE messages SET read_at = now() WHERE id = $1", [row["id"]])
        say "read message #{row["id"]}"
      end
      rows.ntuples
    end
  end

  private

  def step
    Database.connect { |connection| read_messages(connection) if Database.migrated?(connection) }
    say "the database answers again" if @failed
    @failed = false
  rescue PG::Error => e
    # The database may be away for a while; saying it once is enough.
    say "waiting for the database: #{e.message.lines.first.strip}" unless @failed
    @failed = true
  end

  def say(line)
    @output.puts(line)
  end
end

Worker.new.run if $PROGRAM_NAME == __FILE__
