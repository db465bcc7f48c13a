// Package sim plays whole clusters in one goroutine, with everything that is
// random drawn from one seed: the network, crashes, pauses, clocks, what a disk
// keeps, the managers' log, gateways and their clients. A seed that finds a fault
// finds it again.
//
// What decides is the product's own: the replication of partitions
// (kumoserver/replica), the table and its rules (subjects/ring), the planner
// (kumomanager/rebalance), who is alive (kumomanager/members), the sessions of
// gateways (subjects) and how they repeat (kumogateway/repeat). Stores, the
// managers' log, the network and the clocks are models. Messages of servers are
// encoded and decoded again on their way, so that nothing is shared that could
// not be.
//
// # What must hold, and where it is looked at
//
// After each step of a machine, by the rules of docs/protocol.md:
//
//	R1  each configuration follows from the one before by one change of that
//	    epoch; the primary is in sync; who joins was certified     manager.checkChange
//	R1  every member of the newest in-sync set has all that has
//	    committed, in memory, on disk, and with fsyncs before each
//	    answer on its machine's disk                               checkHeld
//	R2  a promise is never lowered; what is acknowledged or
//	    promised to others is on disk, a promise synced            copyOf.promise, node.assure
//	R2  one process leads an epoch, the one that the table says    part.check
//	R3  a version is one entry, in every log; the first to have
//	    it is the primary of its epoch; clocks do not go back      ledger.appended
//	R4  commits are one sequence, everywhere; the primary commits
//	    first; a success is answered after its entry committed     ledger.committed, checkAnswer
//	R4  a store holds what the committed entries make              part.checkData
//	R5  what is answered to a read had committed everywhere        part.checkRead
//	R6  while a primary commits an entry, no other process may
//	    answer reads of its key, by its own clock                  checkLeases
//	R7  nobody is left alone at its word while others are heard    manager.checkJudged
//	R7, R8  where managers can do something about a partition that
//	    stands still, they do                                      checkProgress
//	R8  who begins to serve has everything that has committed;
//	    nothing is cut that has                                    part.serve, copyOf.do
//	R9  no operation takes effect twice; no gateway that still
//	    waits is told that nothing is known                        ledger.add, gateway.outcome
//	R10 ranges come in order, and into an incomplete copy only     copyOf.install
//	R12 the table does not change while managers have no quorum;
//	    where nothing else is wrong, nobody notices                manager.apply, operation.slow
//	R13 after everything was killed it is served again, without a
//	    command; who is not clean does not lead                    quiet, manager.checkChange
//	R16 partitions with one copy left are served                   checkProgress
//
// At the end of each run, when all trouble is over and it is quiet again:
//
//	R4, R9  each acknowledged write is in the log, once, with the answer that its
//	    client has; what a gateway gave up as not done was not     last
//	R9  every replica remembers the same answers                   part.checkSessions
//	R10 the copies are equal                                       part.checkData
//	R11 a process that was told to stop has led nothing any more   stopOne
//	R15 each key's history is linearizable, with the ends of keys
//	    and flushes in it; outcomes that nobody knows are left
//	    open (porcupine)                                           checkHistory, model
//
// R14, disks that fail or lie, is not played: kumoserver/store has tests of its
// own for it.
package sim
