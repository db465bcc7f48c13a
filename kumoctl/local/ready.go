package local

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/etolabo/kumofs/subjects"
)

// The pace of polling, and how long one question may take.
const (
	pollEvery = 20 * time.Millisecond
	probeWait = time.Second
)

// Ready attaches servers that are new, and waits until every partition has a
// primary and every gateway answers.
func (c *Cluster) Ready(ctx context.Context) error {
	servers := c.started(subjects.RoleServer)
	attached := false
	err := c.poll(ctx, func(st *subjects.ClusterStatus) (bool, error) {
		up, fresh := 0, 0
		for _, n := range st.Nodes {
			if n.Role != subjects.RoleServer || !slices.Contains(servers, n.Addr) {
				continue
			}
			if n.State != "down" {
				up++
			}
			if n.State == "new" {
				fresh++
			}
		}
		if up < len(servers) {
			return false, nil
		}
		if fresh > 0 && !attached {
			attached = true
			if _, err := c.admin.Attach(ctx); err != nil {
				return false, fmt.Errorf("attach the servers: %w", err)
			}
			return false, nil
		}
		return fresh == 0 && st.Partitions.Total > 0 && st.Partitions.Down == 0, nil
	})
	if err != nil {
		return fmt.Errorf("wait until every partition has a primary: %w", err)
	}
	for _, addr := range c.started(subjects.RoleGateway) {
		if err := answers(ctx, addr); err != nil {
			return fmt.Errorf("wait for the gateway at %s: %w", addr, err)
		}
	}
	return nil
}

// started lists the addresses of the role's nodes that were started.
func (c *Cluster) started(role subjects.Role) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, n := range c.layout.Of(role) {
		if c.nodes[n.Name] != nil {
			list = append(list, n.Addr)
		}
	}
	return list
}

// poll asks for the status until done says so, ctx ends or a daemon ends by
// itself.
func (c *Cluster) poll(ctx context.Context, done func(*subjects.ClusterStatus) (bool, error)) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		st, err := c.admin.Status(ctx)
		if err == nil {
			ok, err := done(st)
			if ok || err != nil {
				return err
			}
		}
		for name, err := range c.Failed() {
			return fmt.Errorf("%s ended: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (last: %v)", ctx.Err(), err)
		case <-t.C:
		}
	}
}

// Failed returns the daemons that ended without being told to, and why.
func (c *Cluster) Failed() map[string]error {
	failed := make(map[string]error)
	for _, n := range c.Layout().Nodes {
		r, err := c.running(n.Name)
		if err != nil {
			continue
		}
		select {
		case <-r.ended():
			if err := r.err(); err != nil {
				failed[n.Name] = err
			}
		default:
		}
	}
	return failed
}

// answers waits until a gateway answers a get, which it does once it has a
// table and the primary of the key serves.
func answers(ctx context.Context, addr string) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		err := probe(ctx, addr)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-t.C:
		}
	}
}

func probe(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: probeWait}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write([]byte("get kumofs-is-there-anybody\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	// A gateway with an auth file tells no more to those who do not know a
	// password.
	if line != "END\r\n" && line != "CLIENT_ERROR unauthenticated\r\n" {
		return fmt.Errorf("the gateway says %q", line)
	}
	return nil
}
