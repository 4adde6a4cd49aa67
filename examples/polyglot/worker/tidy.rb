# frozen_string_literal: true

# Removes all orders that are done but for the last ten: what the timer runs.

require "pg"

KEPT = 10

gone = PG.connect(ENV.fetch("DATABASE_URL")).exec_params(<<~SQL, [KEPT])
  DELETE FROM orders
  WHERE state = 'done' AND id NOT IN (SELECT id FROM orders WHERE state = 'done' ORDER BY id DESC LIMIT $1)
SQL
puts "#{gone.cmd_tuples} orders are tidied up"
