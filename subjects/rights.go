package subjects

import (
	"slices"
	"strings"
	"time"
)

// Others than daemons who come to the bus, and what for; see Rights.
const (
	RoleAdmin    Role = "admin"    // an operator's kumoctl, which may command
	RoleReadonly Role = "readonly" // one that may only look
	RoleObserver Role = "observer" // whoever listens to what happens, by the nats command perhaps
)

// ExpiresSoon is how long before a certificate expires somebody is told.
const ExpiresSoon = 30 * 24 * time.Hour

// IdentityRoles are those who may come to the bus of a cluster that has credentials.
var IdentityRoles = []Role{RoleManager, RoleServer, RoleGateway, RoleAdmin, RoleReadonly, RoleObserver}

// Right says who may send, and who may hear, on some subjects. The roles are told by
// their first letters: M, S, G, A, R, O.
type Right struct {
	What       string
	Subjects   func(Cluster) []string // patterns, as NATS has them
	Send, Hear string
}

// RightsTable is who may do what on the bus. It is for connections: between members
// of the mesh, which managers and servers are, everything is carried, and a member's
// own connection, within its process, is not asked.
//
// A server is also here what a gateway is, since one may run in its process.
var RightsTable = []Right{
	{"how managers and servers are", func(c Cluster) []string { return []string{c.Heartbeat("*")} }, "MS", "MSGARO"},
	{"how gateways are", func(c Cluster) []string { return []string{c.GatewayHeartbeat("*")} }, "MSG", "MSARO"},
	{"the partition table", func(c Cluster) []string { return []string{c.Ring()} }, "MS", "MSGARO"},
	{"what happens", func(c Cluster) []string { return []string{c.Event("*")} }, "MS", "MSARO"},
	{"questions for the table", func(c Cluster) []string { return []string{c.RingGet(), c.RingLatest()} }, "MSGAR", "MS"},
	{"changes of the table", func(c Cluster) []string { return []string{c.RingChange()} }, "MS", "MS"},
	{"the status", func(c Cluster) []string { return []string{c.Admin(AdminStatus)} }, "MSGAR", "MS"},
	{"what happened", func(c Cluster) []string { return []string{c.Admin(AdminEvents)} }, "MSAR", "MS"},
	{"commands to the leader", func(c Cluster) []string { return []string{c.Admin("*")} }, "MSA", "MS"},
	{"what a node counts and holds", func(c Cluster) []string {
		return []string{c.NodeAdmin("*", NodeStat), c.NodeAdmin("*", NodeCopies)}
	}, "MSAR", "MS"},
	{"commands to a node", func(c Cluster) []string { return []string{c.NodeAdmin("*", "*")} }, "MSA", "MS"},
	{"what a gateway counts, slow and hot keys", func(c Cluster) []string {
		return []string{c.GatewayAdmin("*", "*")}
	}, "AR", "MSG"},
	{"reads and writes of records", func(c Cluster) []string {
		return []string{c.Parts("*", VerbRead), c.Parts("*", VerbWrite)}
	}, "MSGA", "MS"},
	{"their answers", func(c Cluster) []string { return []string{c.GatewayReplies()} }, "MS", "MSGA"},
	{"records for backups", func(c Cluster) []string { return []string{c.Pieces("*")} }, "MSA", "MS"},
	{"who wants to hear of changes", func(c Cluster) []string { return []string{c.Feeds()} }, "MSA", "MS"},
	{"changes of keys", func(c Cluster) []string { return []string{c.Feed("*")} }, "MS", "MSA"},
	{"replication", func(c Cluster) []string {
		return []string{c.Parts("*", VerbPrepare), c.Parts("*", VerbEpoch), c.Parts("*", VerbStream)}
	}, "MS", "MS"},
	{"leases", func(c Cluster) []string { return []string{c.Lease("*")} }, "MS", "MS"},
	{"answers of servers", func(c Cluster) []string {
		return []string{c.ServerReply("*"), c.ServerReply("*") + ".*"}
	}, "MS", "MS"},
	{"the managers' log", func(c Cluster) []string { return []string{c.Raft("*", "*")} }, "MS", "MS"},
	{"NATS's own questions about services", func(Cluster) []string { return []string{"$SRV.>"} }, "MSAR", "MS"},
}

// Rights are what one role may do; see RightsTable.
type Rights struct {
	Send, Hear []string
	NotHear    []string // of what Hear says
	Inbox      string   // begins the subjects where it takes answers
}

// Rights are those of a role in this cluster. Each role takes answers to its own
// questions below its own prefix, so that the others do not hear them.
func (c Cluster) Rights(role Role) Rights {
	letter := strings.ToUpper(string(role)[:1])
	member := role == RoleManager || role == RoleServer
	r := Rights{Inbox: "_INBOX." + string(role)}
	r.Hear = append(r.Hear, r.Inbox+".>")
	switch {
	case member:
		r.Send = append(r.Send, "_INBOX.>")
	case role == RoleGateway:
		// NATS could allow it one answer to each question instead, wherever that is to
		// go: who asks and who answers would together send where neither may.
		for _, asks := range []Role{RoleAdmin, RoleReadonly} {
			r.Send = append(r.Send, "_INBOX."+string(asks)+".>")
		}
	}
	for _, row := range RightsTable {
		patterns := row.Subjects(c)
		if strings.Contains(row.Send, letter) {
			r.Send = append(r.Send, patterns...)
		}
		switch {
		case strings.Contains(row.Hear, letter):
			r.Hear = append(r.Hear, patterns...)
		case watches(role) && strings.HasPrefix(patterns[0], c.control()):
			r.NotHear = append(r.NotHear, patterns...)
		}
	}
	if watches(role) {
		// So that `nats sub 'kumo.>'` works, and shows what the role may hear.
		r.Hear = append(r.Hear, "kumo.>")
		// Whatever else begins so in the mesh is nobody's.
		r.NotHear = append(r.NotHear, c.control()+"admin.>", c.control()+"srv.>", c.control()+"gw.>")
	}
	slices.Sort(r.NotHear)
	r.NotHear = slices.Compact(r.NotHear)
	return r
}

// watches tells the roles of people who listen to what happens.
func watches(role Role) bool {
	return role == RoleAdmin || role == RoleReadonly || role == RoleObserver
}
