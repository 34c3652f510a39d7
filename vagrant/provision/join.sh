#!/bin/sh
# Joins this machine; the token comes on standard input: join.sh LINK[,LINK...] [--witness]
set -eu
links=$1
shift
hactl cluster join --links "$links" "$@" -
