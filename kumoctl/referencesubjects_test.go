package main

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// referSubjects writes the bus's subjects with what package subjects says of them.
func referSubjects(t *testing.T, b *strings.Builder) {
	t.Helper()
	b.WriteString(`
## Subjects

Of a cluster called ` + "`kumo`" + `; what the messages hold is in [subjects/](../subjects/doc.go). Those that begin with ` + "`kumo.`" + `
carry JSON, so that ` + "`nats sub 'kumo.>'`" + ` reads like a log.

| subject | meaning |
|---|---|
`)
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, "../subjects/names.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := doc.NewFromFiles(files, []*ast.File{parsed}, "subjects")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, typ := range pkg.Types {
		for _, m := range typ.Methods {
			f := reflect.ValueOf(subjects.Cluster("kumo")).MethodByName(m.Name)
			if typ.Name != "Cluster" || f.Type().Out(0).Kind() != reflect.String {
				continue
			}
			out := f.Call(placeholders(t, m.Decl, f.Type()))[0].String()
			out = strings.NewReplacer(".99.", ".PARTITION.", ring.BootID(99).String(), "BOOT").Replace(out)
			_, text, _ := strings.Cut(strings.Join(strings.Fields(m.Doc), " "), " ") // without its name
			fmt.Fprintf(b, "| `%s` | %s |\n", out, cell(text))
			rows++
		}
	}
	if rows < 10 {
		t.Fatalf("only %d subjects found", rows)
	}
}

// placeholders are arguments that show in a subject what they are.
func placeholders(t *testing.T, decl *ast.FuncDecl, f reflect.Type) (args []reflect.Value) {
	t.Helper()
	for _, field := range decl.Type.Params.List {
		for _, name := range field.Names {
			to := f.In(len(args))
			v := reflect.New(to).Elem()
			switch {
			case v.Kind() == reflect.String:
				v.SetString(strings.ToUpper(name.Name))
			case v.CanUint():
				v.SetUint(99)
			case v.CanInt():
				v.SetInt(99)
			default:
				t.Fatalf("%s: a %s in a subject", decl.Name, to)
			}
			args = append(args, v)
		}
	}
	return args
}
