#!/bin/sh
# Makes the cluster, with this machine as its first node: first.sh NAME LINK[,LINK...]
set -eu
hactl cluster init --name "$1" --links "$2"
