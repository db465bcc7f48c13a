package testenv

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/etolabo/kumofs/subjects"
)

// clientTimeout is longer than a gateway takes to give an operation up.
const clientTimeout = 20 * time.Second

// Client is a memcached client of one connection, for one goroutine. It speaks
// the text protocol and knows nothing that a test does not need.
type Client struct {
	conn net.Conn
	r    *bufio.Reader
}

// A ServerError is an answer that starts with SERVER_ERROR, CLIENT_ERROR or
// ERROR.
type ServerError string

func (e ServerError) Error() string { return string(e) }

// ErrMiss says that a key has no value.
var ErrMiss = errors.New("miss")

// DialMemcached connects to a gateway.
func DialMemcached(addr string) (*Client, error) {
	conn, err := net.DialTimeout("tcp", addr, clientTimeout)
	if err != nil {
		return nil, err
	}
	return &Client{conn, bufio.NewReader(conn)}, nil
}

// Addr is the gateway that it is connected to.
func (c *Client) Addr() string { return c.conn.RemoteAddr().String() }

// Close hangs up.
func (c *Client) Close() error { return c.conn.Close() }

// Line sends a request, without its line end, and returns the answer's first
// line, without its.
func (c *Client) Line(format string, args ...any) (string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(clientTimeout)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(c.conn, format+"\r\n", args...); err != nil {
		return "", err
	}
	return c.line()
}

func (c *Client) line() (string, error) {
	s, err := c.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	s = strings.TrimRight(s, "\r\n")
	if strings.HasPrefix(s, "SERVER_ERROR") || strings.HasPrefix(s, "CLIENT_ERROR") || s == "ERROR" {
		return "", ServerError(s)
	}
	return s, nil
}

// Store sends set, add, replace, append or prepend, and returns the answer.
func (c *Client) Store(verb, key, value string) (string, error) {
	return c.Line("%s %s 0 0 %d\r\n%s", verb, key, len(value), value)
}

// Set stores a value.
func (c *Client) Set(key, value string) error {
	return want("STORED")(c.Store("set", key, value))
}

// Delete removes a value; ErrMiss if there was none.
func (c *Client) Delete(key string) error {
	s, err := c.Line("delete %s", key)
	if s == "NOT_FOUND" {
		return ErrMiss
	}
	return want("DELETED")(s, err)
}

func want(answer string) func(string, error) error {
	return func(s string, err error) error {
		if err == nil && s != answer {
			return fmt.Errorf("answer %q, want %q", s, answer)
		}
		return err
	}
}

// Get returns a value, or ErrMiss.
func (c *Client) Get(key string) (string, error) {
	v, _, err := c.get("get", key)
	return v, err
}

// Gets returns a value with its CAS token.
func (c *Client) Gets(key string) (value string, token uint64, err error) {
	return c.get("gets", key)
}

// Cas stores a value if the token is still the key's: STORED, EXISTS or
// NOT_FOUND.
func (c *Client) Cas(key, value string, token uint64) (string, error) {
	return c.Line("cas %s 0 0 %d %d\r\n%s", key, len(value), token, value)
}

func (c *Client) get(verb, key string) (value string, token uint64, err error) {
	s, err := c.Line("%s %s", verb, key)
	if err != nil {
		return "", 0, err
	}
	if s == "END" {
		return "", 0, ErrMiss
	}
	f := strings.Fields(s)
	if len(f) < 4 || f[0] != "VALUE" || f[1] != key {
		return "", 0, fmt.Errorf("answer %q to %s %s", s, verb, key)
	}
	n, err := strconv.Atoi(f[3])
	if err != nil {
		return "", 0, fmt.Errorf("answer %q: %w", s, err)
	}
	if len(f) > 4 {
		if token, err = strconv.ParseUint(f[4], 10, 64); err != nil {
			return "", 0, fmt.Errorf("answer %q: %w", s, err)
		}
	}
	data := make([]byte, n+2)
	if _, err := io.ReadFull(c.r, data); err != nil {
		return "", 0, err
	}
	return string(data[:n]), token, want("END")(c.line())
}

// Client returns a connection to a gateway by number, from 0, as soon as it
// listens. It ends with the test and must not be shared by goroutines.
func (c *Cluster) Client(gateway int) *Client {
	c.t.Helper()
	l := c.Layout()
	addr := l.Addrs(subjects.RoleGateway)[gateway]
	var m *Client
	c.until("somebody listens at "+addr, func() (ok bool) {
		var err error
		m, err = DialMemcached(addr)
		return err == nil
	})
	c.clients = append(c.clients, m)
	return m
}

// first is the connection of Set and Get.
func (c *Cluster) first() *Client {
	c.t.Helper()
	if len(c.clients) == 0 {
		c.Client(0)
	}
	return c.clients[0]
}

// Set stores a value through the first gateway.
func (c *Cluster) Set(key, value string) {
	c.t.Helper()
	if err := c.first().Set(key, value); err != nil {
		c.t.Fatalf("set %s: %v", key, err)
	}
}

// Get reads a value through the first gateway; "" on a miss.
func (c *Cluster) Get(key string) string {
	c.t.Helper()
	v, err := c.first().Get(key)
	if err != nil && !errors.Is(err, ErrMiss) {
		c.t.Fatalf("get %s: %v", key, err)
	}
	return v
}
