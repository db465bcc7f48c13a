// Package bus is the embedded NATS mesh that the daemons speak over. It knows
// subjects, messages and connections, and nothing of what they mean.
//
// There are two ways onto the bus:
//
//   - [Open] makes this process a member of the mesh: a NATS server in the
//     process, routes to the other members, and an in-process connection. The
//     routes given are those of a few well-known members; the rest is gossip.
//   - [Dial] is a plain client of any member. It does not fail when nobody
//     answers; it keeps trying.
//
// and three ways to talk:
//
//   - [Bus.Publish], [Bus.Subscribe], [Bus.Request] and [Bus.Service]: one
//     message at a time, for the control plane.
//   - [Bus.Handle] and [Outbox]: frames of many items, for a loop that works
//     in turns and sends at the end of each turn.
//   - [Caller] and [Lane]: calls from many goroutines that wait for answers.
//     Calls that wait for the same destination travel as one frame.
//
// # Frames
//
// A frame is one NATS message that carries many items. It is a msgpack array:
//
//	[wire version uint, cluster ID uint64, reply subject str, items array]
//
// and an item is
//
//	[id uint64, body any]
//
// where body is any single msgpack value and id is a number that the answer
// repeats; 0 asks for no answer. Answers are items too, in frames published on
// the reply subject. A frame of another wire version or another cluster ID, or one
// that does not parse to its last byte, is refused as a whole and counted.
//
// # Who may come
//
// Without a [Security] whoever reaches a port sends and hears what he likes. With one,
// all connections that leave a process are TLS with a certificate at both ends, routes
// by an authority of their own; clients show an identity besides, and the member that
// they are connected to allows what the identity's [Rights] say. Security.Replace
// changes all of it while the process runs.
//
// # What is promised
//
// At most once, and nothing more: a message may be lost although Publish
// returned nil, and messages that took different connections may arrive in
// any order. Messages of one connection on subjects of one subscription arrive
// in order. Every queue is bounded; what does not fit is dropped and counted.
package bus
