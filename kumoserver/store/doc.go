// Package store keeps the copies of one server on its disk: a write-ahead log
// for what was agreed on, a memory table for what has committed, and a bbolt
// file to which committed values go in the background.
//
// The folder of a store:
//
//	LOCK         held (flock) by the process that has the store open; its pid
//	store.json   who the store is: format, random ID, cluster; written once or twice
//	run.json     how the last process ended: machine boot, sync mode, clean or not
//	data.db      bbolt: the values of committed entries, and each copy's state
//	data.db.new  its successor, while it is compacted; removed at the start
//	log/N.wal    the log's segments, N counting up; preallocated
//	log/reserve  disk space that is kept for promises, cuts and deletes
//
// One goroutine, the server's core loop, owns every call that changes something
// (Append, Promise, Cut, Reset, Range, Commit, Drop, Flush); reads come from
// any goroutine.
//
// # The path of a write
//
// Append puts an entry into the partition's log, in memory, and its bytes into
// a buffer; Flush writes the buffer with one write(2). Commit makes entries
// visible in the memory table, where Get looks first. A background goroutine
// takes what has committed, sorted by partition and key, to bbolt in small
// transactions, after which memory and log segments can go. A key that was
// overwritten meanwhile is written once.
//
// # Compaction
//
// When more than half of the bbolt file is free, the rest is copied to a new one
// in short steps, while whatever is written to the old one is written to the part
// that has been copied as well. So the two are alike when the copy is complete; a
// rename then replaces the file, which readers that are in it keep until they
// leave. Only the applier ever waits for any of this.
//
// # What recovery rests on
//
// Every record of the log has a position (LSN) that only grows, and a copy's
// state in bbolt says up to which position, and to which entry, it reflects the
// log. The log is synced through a position before bbolt commits it. Recovery
// reads the states, then performs the log's records again in their order:
// entries are results, so that doing one twice is harmless. Entries that are not
// known to have committed stay in the log as a tail of unknown fate.
//
// A copy is never shown as more than it is: when bbolt is damaged it is set
// aside and every copy is lost, that is incomplete with an empty log that is
// not whole; the replicas give it back.
package store
