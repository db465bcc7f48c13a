package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/web"
)

// place is where a daemon's HTTP port goes.
type place struct {
	bind  string // host on which to listen, where --http names none
	seen  string // host that others use for it
	usual int    // port where --http says nothing; 0: none
}

// openPort opens the HTTP port of --http, nil for none. That the usual one is
// taken is no reason not to work.
func openPort(c *cli.Common, at place, log *slog.Logger) (*web.Port, error) {
	o := web.Options{Host: at.seen, Pprof: c.Pprof, Log: log}
	switch {
	case c.HTTP == cli.NoHTTP, c.HTTP == "" && at.usual == 0:
		if c.Pprof {
			return nil, cli.Usagef("--pprof: there is no HTTP port to show profiles on (--http)")
		}
		return nil, nil
	case c.HTTP == "":
		o.Listen = net.JoinHostPort(at.bind, strconv.Itoa(at.usual))
	default:
		host, port, err := cli.HTTPAddr(c.HTTP)
		if err != nil {
			return nil, err
		}
		if host != "" {
			at.bind, o.Host = host, ""
		}
		o.Listen = net.JoinHostPort(at.bind, port)
	}
	p, err := web.Open(o)
	if err != nil && c.HTTP == "" {
		log.Warn("no HTTP port", "err", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--http: %w", err)
	}
	return p, nil
}

// ported is a daemon with an HTTP port, which ends after it.
type ported struct {
	running
	port *web.Port
}

// withPort has a port show what there is to see of a daemon.
func withPort(d running, p *web.Port) (running, error) {
	if p == nil {
		return d, nil
	}
	n := d.node()
	n.Version = cli.Version()
	if err := p.Show(n); err != nil {
		return nil, errors.Join(err, d.Close(), p.Close())
	}
	return &ported{d, p}, nil
}

// Close ends the daemon and then the port.
func (d *ported) Close() error { return errors.Join(d.running.Close(), d.port.Close()) }

// ownPort refuses an address that others could not connect to.
func ownPort(listen string) error {
	host, port, _ := net.SplitHostPort(listen)
	if port == "0" {
		return cli.Usagef("-l %s: other nodes connect to this port, so that it cannot be any: name one", listen)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return cli.Usagef("-l %s: other nodes connect to this address, so that it cannot be any: name the one that they see, and --bind %s to listen on all", listen, host)
	}
	return nil
}
