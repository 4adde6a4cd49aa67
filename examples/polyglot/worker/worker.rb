# frozen_string_literal: true

# Does the orders that the queue names, one after the other.

require "pg"
require "redis"

$stdout.sync = true

# Seconds a wait for orders takes at most, so that the end of the process is noticed.
WAIT = 1

stopping = false
trap("TERM") { stopping = true }

queue = Redis.new(url: ENV.fetch("QUEUE_URL"))
database = PG.connect(ENV.fetch("DATABASE_URL"))
puts "waiting for orders"

until stopping
  _, number = queue.blpop("orders", timeout: WAIT)
  next unless number

  done = database.exec_params("UPDATE orders SET state = 'done' WHERE id = $1 RETURNING what", [number])
  done.each { |order| puts "order #{number} is done: #{order['what']}" }
end

puts "ending"
