// Package proof shows to other machines that a process has ended.
//
// Silence proves nothing: a process that is stopped, swapped out or cut off
// comes back. But a process may keep a listener ([Listen]) that nothing but its
// end closes, and who wants to know keeps one connection to it ([Watcher]). A
// connection that the peer closed, followed by a refused dial to the same
// address, shows that the process is gone: its kernel closes both, and a stopped
// process loses neither. Nothing else shows anything, least of all a refused dial
// alone, or a connection that timed out.
//
// This holds where the address leads to the machine of the process itself; a
// port that another machine or container forwards may close and refuse by itself.
package proof
