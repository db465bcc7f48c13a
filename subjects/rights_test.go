package subjects_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
)

const clusterName = subjects.Cluster("kumo")

// overlap tells whether a subject can be of both patterns.
func overlap(a, b string) bool {
	p, q := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; ; i++ {
		switch {
		case i == len(p) || i == len(q):
			return len(p) == len(q)
		case p[i] == ">" || q[i] == ">":
			return true
		case p[i] != q[i] && p[i] != "*" && q[i] != "*":
			return false
		}
	}
}

// What a gateway, or an operator, must never be able to say or hear, whatever becomes
// of the table.
func TestRightsStayApart(t *testing.T) {
	c := clusterName
	members := []string{
		c.Heartbeat("x"), c.Ring(), c.RingChange(), c.Event("x"), c.Lease("x"), c.ServerReply("x"), c.Raft("x", "x"),
		c.Part("x", 1, subjects.VerbPrepare), c.Part("x", 1, subjects.VerbEpoch), c.Part("x", 1, subjects.VerbStream),
		strings.Replace(c.GatewayReplies(), "*", "x", 2),
	}
	changing := []string{c.Admin(subjects.AdminAttach), c.Admin(subjects.AdminSet), c.Admin(subjects.AdminRecover), c.NodeAdmin("x", subjects.NodeStop), c.NodeAdmin("x", subjects.NodeRemoved)}
	data := []string{c.Part("x", 1, subjects.VerbRead), c.Part("x", 1, subjects.VerbWrite), c.Pieces("x")}
	for role, never := range map[subjects.Role][]string{
		subjects.RoleGateway:  slices.Concat(members, changing, []string{c.Pieces("x")}),
		subjects.RoleAdmin:    members,
		subjects.RoleReadonly: slices.Concat(members, changing, data),
		subjects.RoleObserver: {">"},
	} {
		for _, send := range c.Rights(role).Send {
			for _, n := range never {
				if overlap(send, n) {
					t.Errorf("%s may send on %s", role, n)
				}
			}
		}
	}
	for _, role := range []subjects.Role{subjects.RoleGateway, subjects.RoleAdmin, subjects.RoleReadonly, subjects.RoleObserver} {
		for _, hear := range c.Rights(role).Hear {
			for _, n := range slices.Concat(changing, data) {
				if overlap(hear, n) && hear != "kumo.>" { // what of that is not heard is tried on a cluster
					t.Errorf("%s may hear %s", role, n)
				}
			}
		}
	}
}

// docs/security.md has the table as it is.
func TestRightsInDocs(t *testing.T) {
	var b strings.Builder
	b.WriteString("| what | subjects | may send | may hear |\n|---|---|---|---|\n")
	for _, row := range subjects.RightsTable {
		list := make([]string, 0, 3)
		for _, s := range row.Subjects(clusterName) {
			list = append(list, "`"+s+"`")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", row.What, strings.Join(list, " "), row.Send, row.Hear)
	}
	docs, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(docs), b.String()) {
		t.Errorf("docs/security.md does not have the table of rights as it is:\n%s", b.String())
	}
}
