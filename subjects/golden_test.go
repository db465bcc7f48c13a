package subjects_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

var update = flag.Bool("update", false, "add today's form of messages to testdata/golden.txt where it is new")

// inJSON are all messages of the control plane, and what they are made of, empty.
var inJSON = []any{
	&subjects.Heartbeat{}, &subjects.Disk{}, &subjects.Load{}, &subjects.Took{}, &subjects.Moving{},
	&subjects.RingGet{}, &subjects.RingReply{}, &subjects.ChangeRequest{}, &subjects.ChangeReply{}, &subjects.Event{},
	&subjects.AdminRequest{}, &subjects.ManagerRequest{}, &subjects.RemovedRequest{}, &subjects.EventsRequest{},
	&subjects.EventsReport{}, &subjects.AdminReply{}, &subjects.AdminDone{}, &subjects.CopiesRequest{},
	&subjects.CopiesReport{}, &subjects.Copy{}, &subjects.RecoverRequest{}, &subjects.RecoverReport{}, &subjects.NodeCopy{},
	&subjects.ClusterStatus{}, &subjects.NodeStatus{}, &subjects.PartitionCount{}, &subjects.Moves{}, &subjects.Move{},
	&subjects.CompareRequest{}, &subjects.CompareReport{}, &subjects.ComparedCopy{}, &subjects.MendRequest{},
	&subjects.SlowLogRequest{}, &subjects.SlowLog{}, &subjects.SlowOp{}, &subjects.HotKeys{}, &subjects.HotKey{},
	&subjects.KeyRange{}, &subjects.Version{}, &subjects.PartitionEpoch{}, &subjects.FreezeRequest{}, &subjects.FrozenCopy{},
	&subjects.FeedRequest{}, &subjects.FeedReport{}, &subjects.FeedSpan{},
	&subjects.ThawRequest{}, &subjects.DigestsRequest{}, &subjects.DigestsReport{}, &subjects.WireError{},
	&ring.Command{}, &ring.Sighting{}, &ring.Init{}, &ring.Target{}, &ring.Settings{}, &ring.Change{}, &ring.Result{},
	&ring.Refusal{}, &ring.Process{}, &ring.Table{}, &ring.Node{}, &ring.Config{}, &ring.Update{}, &ring.PartitionConfig{},
}

// sessions are written like a message, with the data.
type sessions struct{ subjects.Sessions }

// entry is the log's form of an entry.
type entry struct{ subjects.Entry }

func (e *entry) Append(b []byte) []byte { return e.Encode(b) }

func (e *entry) Decode(b []byte) error {
	_, err := e.Entry.Decode(b)
	e.Raw = nil
	return err
}

// Messages and what is stored of them have the form that they had: today's is in
// testdata/golden.txt, and every older one there is still read. What becomes of a
// message that gets another field is a second vector of it, which go test -update
// adds; a vector is removed when no version that writes it is run beside any more.
func TestGolden(t *testing.T) {
	const path = "testdata/golden.txt"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	vectors := map[string][]string{} // by name, the newest last
	for line := range strings.Lines(string(text)) {
		name, vector, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && !strings.HasPrefix(line, "#") {
			vectors[name] = append(vectors[name], vector)
		}
	}
	known := map[string]bool{}
	add := ""
	check := func(name, now string, read func(vector string) error) {
		known[name] = true
		if list := vectors[name]; len(list) == 0 || list[len(list)-1] != now {
			if *update {
				add += name + " " + now + "\n"
			} else {
				t.Errorf("%s has a form that is not in %s; if older versions can read it and this one what they write, run go test ./subjects -update:\n%s", name, path, now)
			}
		}
		for i, v := range vectors[name] {
			if err := read(v); err != nil {
				t.Errorf("%s: vector %d cannot be read any more: %v", name, i+1, err)
			}
		}
	}
	for _, m := range append(slices.Clone(messages), &entry{}, &sessions{}) {
		checkMessage(m, check)
	}
	for _, m := range inJSON {
		checkJSON(t, m, check)
	}
	for name := range vectors {
		if !known[name] {
			t.Errorf("%s: %s is no message", path, name)
		}
	}
	if add != "" {
		if err := os.WriteFile(path, append(text, add...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func checkMessage(m message, check func(name, now string, read func(string) error)) {
	in := empty(m)
	if s, ok := in.(*sessions); ok {
		s.Sessions = fixedSessions()
	} else {
		n := 0
		fix(reflect.ValueOf(in).Elem(), &n)
	}
	now := hex.EncodeToString(in.Append(nil))
	check(reflect.TypeOf(m).Elem().Name(), now, func(vector string) error {
		b, err := hex.DecodeString(vector)
		out := empty(m)
		if err == nil {
			err = out.Decode(b)
		}
		if err == nil && vector == now {
			if again := out.Append(nil); hex.EncodeToString(again) != now {
				err = fmt.Errorf("it is written again as %x", again)
			}
		}
		return err
	})
}

func fixedSessions() (s subjects.Sessions) {
	n := 0
	for i := range 3 {
		var e subjects.Entry
		fix(reflect.ValueOf(&e).Elem(), &n)
		e.Version.Seq, e.Op.N, e.Op.Lowest, e.Clock = uint64(i+1), uint64(i+1), uint64(i), int64(1e12)+int64(i)
		s.Fold(&e)
	}
	return s
}

func checkJSON(t *testing.T, m any, check func(name, now string, read func(string) error)) {
	t.Helper()
	typ := reflect.TypeOf(m).Elem()
	in := reflect.New(typ)
	n := 0
	fix(in.Elem(), &n)
	now, err := json.Marshal(in.Interface())
	if err != nil {
		t.Fatal(err)
	}
	check("json:"+typ.Name(), string(now), func(vector string) error {
		out := reflect.New(typ)
		if err := json.Unmarshal([]byte(vector), out.Interface()); err != nil {
			return err
		}
		again, err := json.Marshal(out.Interface())
		if err == nil && vector == string(now) && !bytes.Equal(again, now) {
			err = fmt.Errorf("it is written again as %s", cmp.Diff(string(now), string(again)))
		}
		return err
	})
}

// fix gives every field a value of its own, always the same.
func fix(v reflect.Value, n *int) {
	*n++
	switch x := v.Addr().Interface().(type) {
	case *ring.PartitionSet:
		*x = ring.SetOf(1, ring.Partition(*n))
		return
	case *json.RawMessage:
		*x = fmt.Appendf(nil, "[%d]", *n)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Name != "Raw" && f.IsExported() {
				fix(v.Field(i), n)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fix(v.Elem(), n)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(fmt.Appendf(nil, "bytes %d", *n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fix(v.Index(0), n)
		fix(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fix(key, n)
		fix(val, n)
		v.SetMapIndex(key, val)
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n) << (v.Type().Bits() / 4))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(*n) + 0.5)
	default:
		v.SetUint(uint64(*n) << (v.Type().Bits() / 4))
	}
}

// Every struct of these packages that crosses the wire is among those that
// TestGolden looks at.
func TestGoldenIsComplete(t *testing.T) {
	have := map[string]bool{"Header": true, "Record": true, "OpID": true, "Recorded": true, "Entry": true, "Sessions": true} // within others
	for _, m := range messages {
		have[name(m)] = true
	}
	for _, m := range inJSON {
		have[reflect.TypeOf(m).Elem().Name()] = true
	}
	for _, dir := range []string{".", "ring"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				for _, name := range wired(n) {
					if !have[name] {
						t.Errorf("%s: %s crosses the wire, and is none of what TestGolden looks at", path, name)
					}
				}
				return true
			})
		}
	}
}

// wired names a struct that has fields with names in JSON, or a type that can append
// itself to a message.
func wired(n ast.Node) []string {
	switch n := n.(type) {
	case *ast.TypeSpec:
		st, ok := n.Type.(*ast.StructType)
		if !ok || !n.Name.IsExported() {
			return nil
		}
		for _, f := range st.Fields.List {
			if f.Tag != nil && strings.Contains(f.Tag.Value, "json:") {
				return []string{n.Name.Name}
			}
		}
	case *ast.FuncDecl:
		if n.Recv == nil || n.Name.Name != "Append" && n.Name.Name != "Encode" {
			return nil
		}
		typ := n.Recv.List[0].Type
		if star, ok := typ.(*ast.StarExpr); ok {
			typ = star.X
		}
		if id, ok := typ.(*ast.Ident); ok && id.IsExported() {
			return []string{id.Name}
		}
	}
	return nil
}
