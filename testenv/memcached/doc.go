// Package memcached compares whole clusters with a memcached that is installed:
// its tests send random commands in all protocols to both and want the same
// answers, but for what two servers cannot have in common.
package memcached
