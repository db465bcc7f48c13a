#!/bin/sh
# After an installation or upgrade (deb: configure; rpm: 1 or more).
# Nothing is started, and nothing that runs is restarted: which host of a cluster
# is next is for its operator to say (docs/operations.md).
set -e
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers kumofs.conf
fi
if command -v systemd-tmpfiles >/dev/null; then
	systemd-tmpfiles --create kumofs.conf || true # the units make the folder, too
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
