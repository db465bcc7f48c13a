// Package quorum is a replicated log: commands proposed to one voter are applied in the same order by the machine of
// every voter, and a command whose Propose returned without an error is on the disks of a majority.
//
// The algorithm is Raft (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014, with the
// pre-vote of Ongaro's thesis, 9.6) as hashicorp/raft has it. This package gives it a transport over the messages of a
// bus (transport.go, inbound.go, install.go, wire.go), a log with checksums in bbolt (store.go, boundary.go), and an
// interface that knows deadlines and says which outcomes are unknown (quorum.go, propose.go, voters.go).
//
// # What the bus may do
//
// The bus is a lossy pipe: a message may be lost, come twice, late, or after a younger one. Raft stands all of that for
// votes and appends. What it does not stand by itself is handled here:
//
//   - An answer counts only for the very request that it answers: correlation numbers start at random per process.
//   - hashicorp/raft takes every commit index up to the end of its own log; here one reaches no further than the entries
//     that came or were checked with it (Raft, figure 2), see wireAppend.request.
//   - hashicorp/raft handles heartbeats beside its main loop, where they could set a term back; here only those take this
//     way that change nothing, see inbound.heartbeat.
//   - hashicorp/raft keeps what is in a log before a snapshot that came from another voter, committed or not, and does not
//     know the snapshot's last entry once something follows it; here the log begins anew behind it, see boundary.
//   - An old snapshot would set a machine back that is further; it is answered without being installed, see installs.
//   - A late request to take leadership over would disturb a later leader; it carries the term it was made for.
//
// # Who may vote
//
// A voter is its folder. One that lost its folder has forgotten its votes and must come back under another ID, or be
// removed and added again. A voter that was removed may start again without harm: the others know that it is no member
// and refuse its pre-votes before any term has changed.
package quorum
