#!/bin/sh
# Prepares redis on a node: reachable from the network, and started by Holdfast alone.
set -eu
if ! command -v redis-server >/dev/null; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q redis-server
fi
systemctl disable --now redis-server.service
sed -i -e 's/^bind .*/bind * -::*/' -e 's/^protected-mode .*/protected-mode no/' /etc/redis/redis.conf
