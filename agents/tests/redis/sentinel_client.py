"""A client of Sentinel as applications have one: python3-redis, unchanged."""

import sys
import time

import redis
from redis.sentinel import MasterNotFoundError, Sentinel, SlaveNotFoundError

first, second, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
sentinel = Sentinel([(first, port), (second, port)], socket_timeout=2)
UNSETTLED = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.ResponseError,
             MasterNotFoundError, SlaveNotFoundError)


def until(action):
    """Applications try again."""
    while True:
        try:
            return action()
        except UNSETTLED:
            time.sleep(0.02)


def say(*words):
    print(*words, flush=True)


master = sentinel.master_for("shop", socket_timeout=2)
until(lambda: master.set("count", 1))
say("primary", until(lambda: sentinel.discover_master("shop"))[0])
# Subscribed after the primary is known: so what is heard is the change.
messages = redis.Redis(first, port).pubsub(ignore_subscribe_messages=True)
messages.subscribe("+switch-master")
message = None
while message is None:
    message = messages.get_message(timeout=60)
name, old, _, new, _ = message["data"].decode().split()
say("switched", old, new)
until(lambda: master.incr("count"))
say("primary", until(lambda: sentinel.discover_master("shop"))[0])
replica = sentinel.slave_for("shop", socket_timeout=2)
while until(lambda: replica.get("count")) != b"2":
    time.sleep(0.02)
say("replica reads", until(lambda: replica.get("count")).decode())
sys.stdin.read()
