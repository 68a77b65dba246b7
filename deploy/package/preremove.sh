#!/bin/sh
# Before the files go: stops the service, unless the package is only upgraded. Debian says "remove", rpm says how many are left.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --quiet --now lmqgate || true
	fi
	;;
esac
