#!/bin/sh
# After a removal. Data in /var/lib/kumofs stays, whatever was asked for.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
