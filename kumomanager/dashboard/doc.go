// Package dashboard shows a cluster to people: a page that every manager serves
// at / of its HTTP port, and what keeps the page up to date.
//
//	/               the page, with /dashboard.css, /dashboard.js and /icon.svg
//	/events         State, Picture and Entry as server-sent events, for as long as one listens
//	/snapshot       the same at once, as one JSON object
//
// What the page shows comes from where this manager knows it best: the cluster's
// state from the leader, wherever that is, the placement of partitions from this
// manager's own table, events from the bus. The leader is asked once a second
// while somebody looks, and not at all otherwise.
//
// Nothing waits for a slow listener, and nothing is queued for one: each is told
// what is newest whenever it has taken what it was told before.
package dashboard
