"""A client with publisher confirms: python3-pika. `publish` prints the number of each message that was confirmed; `drain`
prints the number of each message that is there."""

import sys
import time

import pika

what, port = sys.argv[1], int(sys.argv[2])
QUEUES = {"classic": {}, "quorum": {"x-queue-type": "quorum"}}
parameters = pika.ConnectionParameters("127.0.0.1", port, socket_timeout=5, blocked_connection_timeout=20)


def connected():
    """Applications try again."""
    while True:
        connection = None
        try:
            connection = pika.BlockingConnection(parameters)
            channel = connection.channel()
            for name, arguments in QUEUES.items():
                channel.queue_declare(name, durable=True, arguments=arguments)
            channel.confirm_delivery()
            return channel
        except (pika.exceptions.AMQPError, OSError):
            if connection is not None and connection.is_open:
                connection.close()
            time.sleep(0.2)


def publish():
    number, channel = 0, connected()
    # A quorum queue is registered in a file that is saved every half second (ra_directory's auto_save): one that was declared
    # a moment before a crash is not found after it.
    time.sleep(3)
    while True:
        number += 1
        for name in QUEUES:
            try:
                properties = pika.BasicProperties(delivery_mode=2)
                channel.basic_publish("", name, str(number).encode(), properties, mandatory=True)
            except (pika.exceptions.AMQPError, OSError):
                channel = connected()
                continue
            # Returned without an error: the broker confirmed it.
            print(name, number, flush=True)


def drain():
    channel = connected()
    for name in QUEUES:
        while True:
            method, _, body = channel.basic_get(name, auto_ack=False)
            if method is None:
                break
            print(name, body.decode())
    sys.stdout.flush()


publish() if what == "publish" else drain()
