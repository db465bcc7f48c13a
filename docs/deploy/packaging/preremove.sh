#!/bin/sh
# Before a removal, but not before an upgrade (deb: remove; rpm: 0). Stops the
# daemons in the order in which clients notice least.
set -e
case "${1:-}" in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl --no-reload disable --now kumo-gateway.service kumo-server.service kumo-manager.service || true
fi
