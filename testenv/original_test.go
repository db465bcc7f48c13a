package testenv_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/testenv"
)

// many makes a script that stores every other of so many keys and asks for all,
// and its answers.
func many(n int) (script, answers string) {
	var sets, keys, values strings.Builder
	for i := range n {
		fmt.Fprintf(&keys, " many%d-%d", n, i)
		if i%2 == 0 {
			fmt.Fprintf(&sets, "set many%d-%d %d 0 %d noreply\r\n%d\r\n", n, i, i, len(fmt.Sprint(i)), i)
			fmt.Fprintf(&values, "VALUE many%d-%d %d %d\r\n%d\r\n", n, i, i, len(fmt.Sprint(i)), i)
		}
	}
	return sets.String() + "get" + keys.String() + "\r\nmn\r\n", values.String() + "END\r\nMN\r\n"
}

// pipeline makes a script of requests that take longer and shorter, and its
// answers in order.
func pipeline() (script, answers string) {
	var s, a strings.Builder
	for i := range 500 {
		fmt.Fprintf(&s, "set p%d 0 0 3\r\n%03d\r\nget p%d\r\nversion\r\nget p-none\r\nincr p%d 1\r\n", i%40, i, i%40, i%40)
		fmt.Fprintf(&a, "STORED\r\nVALUE p%d 0 3\r\n%03d\r\nEND\r\nVERSION 1.6.40\r\nEND\r\n%d\r\n", i%40, i, i+1)
	}
	return s.String(), a.String()
}

// What the kumofs of 2009 did wrong is done right. Each script comes at once on a
// connection that the client half-closes behind it, as printf | nc does.
func TestFaultsOfTheOriginal(t *testing.T) {
	t.Parallel()
	c := testenv.New(t)
	addr := c.Client(0).Addr()
	longest, tooLong := strings.Repeat("k", 250), strings.Repeat("k", 251)
	type row struct{ name, send, want string }
	rows := []row{
		{"an unknown command keeps the connection", "nonsense\r\nget\r\nmn\r\n", "ERROR\r\nERROR\r\nMN\r\n"},
		{"an empty value", "set e 7 0 0\r\n\r\nget e\r\nappend e 0 0 1\r\nx\r\nget e\r\n", "STORED\r\nVALUE e 7 0\r\n\r\nEND\r\nSTORED\r\nVALUE e 7 1\r\nx\r\nEND\r\n"},
		{"delete of nothing", "delete none\r\nset d 0 0 1\r\nx\r\ndelete d\r\ndelete d\r\n", "NOT_FOUND\r\nSTORED\r\nDELETED\r\nNOT_FOUND\r\n"},
		{"cas of nothing", "cas none 0 0 1 5\r\nx\r\nget none\r\n", "NOT_FOUND\r\nEND\r\n"},
		{"cas that asks for silence", "set c 0 0 1\r\nx\r\ncas c 0 0 1 1 noreply\r\ny\r\ncas none 0 0 1 1 noreply\r\ny\r\nget c none\r\n", "STORED\r\nVALUE c 0 1\r\nx\r\nEND\r\n"},
		{"flags of 32 bits", "set f 4294967295 0 1\r\nx\r\nset g 2147483648 0 1\r\ny\r\nget f g\r\n", "STORED\r\nSTORED\r\nVALUE f 4294967295 1\r\nx\r\nVALUE g 2147483648 1\r\ny\r\nEND\r\n"},
		{"a key of 250 bytes", "set " + longest + " 0 0 1\r\nx\r\nget " + longest + "\r\n", "STORED\r\nVALUE " + longest + " 0 1\r\nx\r\nEND\r\n"},
		{"a key of 251 bytes", "get " + tooLong + "\r\ndelete " + tooLong + "\r\nset " + tooLong + " 0 0 2\r\nmn\r\nmn\r\n", strings.Repeat("CLIENT_ERROR bad command line format\r\n", 3) + "MN\r\nMN\r\n"},
		{"a half-closed connection", "set h 0 0 5\r\nhello\r\nget h\r\n", "STORED\r\nVALUE h 0 5\r\nhello\r\nEND\r\n"},
	}
	send, want := pipeline()
	rows = append(rows, row{"pipelined answers", send, want})
	for _, n := range []int{1, 255, 256, 257, 10_000} {
		send, want := many(n)
		rows = append(rows, row{fmt.Sprintf("a get of %d keys", n), send, want})
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if got := converse(t, addr, r.send); got != r.want {
				at := 0
				for at < min(len(got), len(r.want)) && got[at] == r.want[at] {
					at++
				}
				t.Errorf("from byte %d: got %.200q, want %.200q", at, got[at:], r.want[at:])
			}
		})
	}
	t.Run("nc", func(t *testing.T) {
		nc, err := exec.LookPath("nc")
		if err != nil {
			t.Skip("nc is not installed")
		}
		host, port, _ := net.SplitHostPort(addr)
		cmd := exec.Command(nc, "-q", "1", host, port)
		cmd.Stdin = strings.NewReader("set n 0 0 1\r\nx\r\nget n\r\n")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err = cmd.Run()
		if strings.Contains(errs.String(), "invalid option") {
			t.Skip("this nc has no -q")
		}
		if want := "STORED\r\nVALUE n 0 1\r\nx\r\nEND\r\n"; err != nil || out.String() != want {
			t.Errorf("%q, %v, %s", out.String(), err, &errs)
		}
	})
}

// converse sends a script, half-closes, and returns all that comes back.
func converse(t *testing.T, addr, script string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testenv.Patience))
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, script)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("after %d bytes: %v", len(got), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	return string(got)
}
