#!/bin/sh
# Adds to the cluster's configuration what comes on standard input, and has the cluster take it over.
set -eu
new=$(mktemp)
trap 'rm -f "$new"' EXIT
{
    hactl config show
    echo
    cat
} >"$new"
hactl config check "$new"
hactl config apply "$new"
