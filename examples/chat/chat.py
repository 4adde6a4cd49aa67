"""A chat room: what one says, all hear, whichever process they are connected to."""

import asyncio
import http
import os
import signal
import socket
from pathlib import Path

import redis.asyncio
import websockets

CHANNEL = "room"
PAGE = Path(__file__).with_name("index.html").read_bytes()
ME = socket.gethostname()

guests = set()


async def answer(path, _headers):
    """Answers what is no conversation."""
    if path == "/chat":
        return None
    if path == "/health":
        return http.HTTPStatus.OK, [("Content-Type", "text/plain")], b"ok\n"
    if path == "/":
        return http.HTTPStatus.OK, [("Content-Type", "text/html; charset=utf-8")], PAGE
    return http.HTTPStatus.NOT_FOUND, [("Content-Type", "text/plain")], b"there is no such page\n"


async def talk(guest, room):
    """Passes on what a guest says, until it leaves."""
    guests.add(guest)
    print(f"a guest has come, {len(guests)} are here")
    try:
        await guest.send(f"* this is {ME}")
        async for words in guest:
            await room.publish(CHANNEL, words)
    except websockets.ConnectionClosed:
        pass
    finally:
        guests.discard(guest)
        print(f"a guest has left, {len(guests)} are here")


async def listen(room):
    """Tells the guests of this process what is said anywhere."""
    async with room.pubsub() as ears:
        await ears.subscribe(CHANNEL)
        async for message in ears.listen():
            if message["type"] == "message":
                websockets.broadcast(guests, message["data"])


async def main():
    room = redis.asyncio.from_url(os.environ["ROOM_URL"], decode_responses=True)
    listening = asyncio.create_task(listen(room))
    ending = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set_result, None)
    async with websockets.serve(
        lambda guest: talk(guest, room), "", int(os.environ["PORT"]), process_request=answer, max_size=10_000
    ):
        print(f"{ME} listens")
        # Without its ears the process is of no use: the rack starts another.
        await asyncio.wait({ending, listening}, return_when=asyncio.FIRST_COMPLETED)
    # Leaving the block has told every guest goodbye.
    if listening.done():
        listening.result()


asyncio.run(main())
