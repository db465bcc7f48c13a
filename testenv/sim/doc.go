// Package sim plays whole clusters of the pure machines — the replication of
// partitions and the managers' table — in one goroutine, with everything that
// is random drawn from one seed: the network, crashes, pauses, what a disk
// keeps, clients. A seed that finds a fault finds it again.
//
// Stores and managers are models. Servers' messages are encoded and decoded
// again on their way, so that nothing is shared that could not be.
package sim
