"""Keeps the orders: in the database, with their numbers in the queue for the worker."""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2
import redis

LARGEST = 10_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id serial PRIMARY KEY,
    what text NOT NULL,
    state text NOT NULL DEFAULT 'ordered',
    made timestamptz NOT NULL DEFAULT now()
)
"""


def database():
    return psycopg2.connect(os.environ["DATABASE_URL"])


def prepare():
    """Makes the table; of several processes that start at once one does."""
    with database() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(1)")
        cursor.execute(SCHEMA)


def orders():
    with database() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, what, state FROM orders ORDER BY id DESC LIMIT 20")
        return [dict(zip(("id", "what", "state"), row)) for row in cursor.fetchall()]


def order(what):
    with database() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders (what) VALUES (%s) RETURNING id", (what,))
        (number,) = cursor.fetchone()
    # After the commit, so that the worker finds what it is told of.
    redis.Redis.from_url(os.environ["QUEUE_URL"]).rpush("orders", number)
    return {"id": number, "what": what, "state": "ordered"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            self.reply(200, "ok")
        elif self.path == "/orders":
            self.reply(200, orders())
        else:
            self.reply(404, "there is nothing here")

    def do_POST(self):
        size = int(self.headers.get("Content-Length", 0))
        if size > LARGEST:
            self.close_connection = True
            return self.reply(413, "an order is shorter than that")
        what = self.rfile.read(size).decode(errors="replace").strip()
        if self.path != "/orders":
            return self.reply(404, "there is nothing here")
        if not what:
            return self.reply(400, "an order says what is wanted")
        return self.reply(201, order(what))

    def log_message(self, form, *words):
        if self.path != "/health":
            print(form % words)


def main():
    prepare()
    server = ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler)
    # From another thread: shutdown waits for the loop that the signal interrupts.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on {server.server_port}")
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    sys.exit(main())
