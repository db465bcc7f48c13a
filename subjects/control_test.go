package subjects

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Whoever names a kind of event is told which there are, so that none may be missing.
func TestEventKindsAreAll(t *testing.T) {
	f, err := parser.ParseFile(gotoken.NewFileSet(), "control.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 || !strings.HasPrefix(v.Names[0].Name, "Event") {
			return true
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok && lit.Kind == gotoken.STRING {
			kind, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, kind)
		}
		return true
	})
	if len(kinds) < 10 {
		t.Fatalf("found only %q", kinds)
	}
	if !slices.Equal(kinds, EventKinds) {
		t.Errorf("there are %q, and EventKinds says %q", kinds, EventKinds)
	}
}
