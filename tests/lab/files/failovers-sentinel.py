"""A client of Sentinel as applications have one: python3-redis, unchanged. Says of each write that was acknowledged by whom."""

import sys
import time

import redis
from redis.sentinel import Sentinel

addresses, port = sys.argv[2:], int(sys.argv[1])
sentinel = Sentinel([(address, port) for address in addresses], socket_timeout=0.5)
master = sentinel.master_for("mymaster", socket_timeout=0.5)
while True:
    try:
        master.incr("sentinel")
        print(master.connection_pool.master_address[0], flush=True)
    except redis.RedisError:
        pass  # Applications try again.
    time.sleep(0.01)
