#!/bin/sh
# After the files are there: the user, who may read the configuration, and the service.
set -e
if ! getent passwd lmqgate >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /var/lib/lmqgate --shell /usr/sbin/nologin lmqgate
fi
chgrp lmqgate /etc/lmqgate /etc/lmqgate/lmqgate.yaml
if [ ! -d /var/lib/lmqgate ]; then
	install -d -m 0750 -o lmqgate -g lmqgate /var/lib/lmqgate
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl enable --quiet lmqgate
	systemctl restart --no-block lmqgate
fi
