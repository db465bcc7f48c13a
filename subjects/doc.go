// Package subjects is what nodes say to each other: every subject, the message
// on it and what sender and receiver promise. Start reading here.
//
// # One set, from the socket to three disks and back
//
//	client ── set ──▶ gateway            parses, finds the partition by hash and the primary in the ring
//	gateway ── Write ──▶ primary         kumodata.<cluster>.srv.<node>.part.<pid>.write
//	primary                              judges the condition against the newest prepared value, makes an Entry
//	primary ── Prepare ──▶ each replica  kumodata.<cluster>.srv.<node>.part.<pid>.prepare, while it logs the Entry itself
//	replica ── PrepareReply ──▶ primary  kumodata.<cluster>.srv.<node>.reply, once the Entry is in its log
//	primary                              all in-sync replicas have it: committed, visible, applied later
//	primary ── Reply ──▶ gateway         kumodata.<cluster>.gw.<boot>.reply…
//	gateway ── STORED ──▶ client
//
// # One value made anew, by one of many clients
//
//	client ── mg N30 ──▶ gateway         of a key that has no value, or a stale one, or one that is soon over
//	gateway ── Write ──▶ primary         VerbFetch with OptionVivify
//	primary                              no value: an Entry with an empty one, MarkSent, and MarkWon for this operation
//	gateway ── … W ──▶ client            which makes the value, while others are told MarkSent (Z) and wait
//	client ── ms C<token> ──▶ gateway    and stores it under the token that it was told; that takes the marks away
//
// # One change of the ring, from a missed heartbeat to the gateways
//
//	server ── Heartbeat ──▶ managers     kumo.<cluster>.heartbeat.<node>; then silence, or a closed proof connection
//	leader                               proposes Down and a Change of every partition that the process led
//	managers                             agree on both in their replicated log (ring.Apply)
//	leader ── ring.Update ──▶ all        kumo.<cluster>.ring
//	new primary ── Epoch ──▶ members     kumodata.<cluster>.srv.<node>.part.<pid>.epoch; they promise and cut
//	members ── EpochReply ──▶ primary    and it rolls forward what it holds, then serves
//	gateway                              repeats what waited, now to the new primary
//
// # One copy, from attach to in sync
//
//	kumoctl ── AttachRequest ──▶ leader  kumo.<cluster>.admin.attach; the planner sets targets, then learners
//	primary ── Epoch ──▶ learner         which answers with the outline of its log
//	primary ── Prepare ──▶ learner       the suffix that it lacks, where the log still has it; otherwise
//	primary ── Range ──▶ learner         kumodata.<cluster>.srv.<node>.part.<pid>.stream, in key order, between entries
//	primary ── ChangeRequest ──▶ leader  kumo.<cluster>.ring.change: the learner is in sync
//
// # One change, as a watcher hears of it
//
//	kumoctl ── FeedRequest ──▶ servers   kumodata.<cluster>.feeds, every two seconds: keys that begin with user:
//	server ── FeedReport ──▶ kumoctl     kumodata.<cluster>.feed.<hash>: how far each partition is that it leads
//	primary                              commits an entry and, beside its other work, reads its log up to there
//	primary ── FeedReport ──▶ kumoctl    what became of the keys, and from where to where that is all
//
// Control subjects start with kumo.<cluster>. and carry JSON, so that
// `nats sub 'kumo.>'` reads like a log and draws no data. Data subjects start
// with kumodata.<cluster>. and carry frames of msgpack arrays (package bus);
// feeds, which carry keys, are JSON.
// User keys never appear in a subject.
package subjects
