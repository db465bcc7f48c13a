#!/bin/sh
# After an installation or upgrade (deb: configure; rpm: 1 or more).
# Nothing is started, and nothing that runs is restarted: which host of a cluster
# is next is for its operator to say (docs/operations.md).
set -e
command -v systemd-sysusers >/dev/null && systemd-sysusers kumofs.conf
command -v systemd-tmpfiles >/dev/null && systemd-tmpfiles --create kumofs.conf
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
exit 0
