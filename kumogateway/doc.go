// Package kumogateway is the daemon that memcached clients talk to. It holds
// no data: it finds the primary of a key's partition in the ring, sends the
// operation there, repeats it under the same operation ID while the cluster
// changes, and prints the answer.
//
//	conn.go     one connection: reads, parses, keeps answers in order
//	output.go   and writes them, on whatever goroutine has them
//	execute.go  what each request means
//	op.go       one operation on its way through attempts
//	router.go   which lane an operation takes; what waits for a newer ring
//
// No goroutine is parked per operation: a connection has one that reads, and
// the goroutine that receives a reply writes the answer.
package kumogateway
