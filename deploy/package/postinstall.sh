#!/bin/sh
# After the files are there: the user, who may read the configuration, and the service.
set -e
if ! getent passwd lmqgate >/dev/null; then
	group=--user-group
	if getent group lmqgate >/dev/null; then
		group="--gid lmqgate"
	fi
	useradd --system $group --no-create-home --home-dir /var/lib/lmqgate --shell /usr/sbin/nologin lmqgate
fi
chgrp lmqgate /etc/lmqgate
if [ -e /etc/lmqgate/lmqgate.yaml ]; then
	chgrp lmqgate /etc/lmqgate/lmqgate.yaml
fi
if [ ! -d /var/lib/lmqgate ]; then
	install -d -m 0750 -o lmqgate -g lmqgate /var/lib/lmqgate
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# The first time it is enabled and started: dpkg gives no earlier version then, rpm the number 1. Later a stopped one stays so.
	if [ "$1" = 1 ] || [ "$1" = configure ] && [ -z "$2" ]; then
		systemctl enable --quiet lmqgate
		systemctl restart --no-block lmqgate
	else
		systemctl try-restart --no-block lmqgate
	fi
fi
