// Package memcache is what memcached clients say and hear, apart from any
// connection: Request and Reply say it in one shape for all syntaxes, and each
// codec parses and prints one syntax. What a command does is decided by the
// caller; a codec decides nothing that is not grammar.
//
// The package is pure: bytes in, values out, and time is the caller's.
package memcache
