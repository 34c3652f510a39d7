#!/bin/sh
# Installs a package file, or upgrades to it: install.sh PACKAGE.deb
set -eu
DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$1"
