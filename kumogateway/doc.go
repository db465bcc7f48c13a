// Package kumogateway is the daemon that memcached clients talk to. It holds
// no data: it finds the primary of a key's partition in the ring, sends the
// operation there, repeats it under the same operation ID while the cluster
// changes, and prints the answer.
//
//	conn.go     one connection: reads and parses
//	queue.go    keeps answers in the order of requests, within bounds
//	output.go   writes them, on whatever goroutine has them
//	execute.go  what each request means
//	tls.go      TLS
//	users.go    who a client is; userfile.go reads the file that says so
//	rights.go   what he may do: the one place that decides
//	op.go       one operation on its way through attempts
//	router.go   which lane an operation takes
//	waiting.go  what waits for a newer ring, and what such a ring takes back
//
// No goroutine is parked per operation: a connection has one that reads, and
// the goroutine that receives a reply writes the answer.
package kumogateway
