#!/bin/sh
# After the files are gone. Only a purge of Debian's takes the data, the configuration and the user.
set -e
if [ "$1" = purge ]; then
	rm -rf /var/lib/lmqgate /etc/lmqgate
	if getent passwd lmqgate >/dev/null; then
		userdel lmqgate
	fi
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
