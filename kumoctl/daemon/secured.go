package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/credentials"
	"github.com/etolabo/kumofs/subjects"
)

// loopback is where daemons listen that were not told where: nobody else reaches
// them there. It is no address for one whose others, host:port, are elsewhere.
func loopback(port int, others []string) string {
	for _, o := range others {
		host, _, err := net.SplitHostPort(o)
		if ip := net.ParseIP(host); err != nil || host != "localhost" && !ip.IsLoopback() {
			return ""
		}
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// expiryEvery is how often it is looked whether certificates are soon over.
const expiryEvery = 12 * time.Hour

// secured is a daemon with its credentials, if it has some.
type secured struct {
	running
	security *bus.Security // nil: none
	log      *slog.Logger
}

// loadCredentials reads those of --credentials; nil for none.
func loadCredentials(o options, log *slog.Logger) (*credentials.Folder, error) {
	c := o.common()
	if c.Credentials == "" {
		return nil, nil
	}
	f, err := credentials.Load(c.Credentials, o.role())
	if err != nil {
		return nil, cli.Usagef("--credentials: %w", err)
	}
	if f.Cluster != c.Cluster {
		return nil, cli.Usagef("--credentials: %s is of cluster %s, and this is %s (--cluster)", f.Dir, f.Cluster, c.Cluster)
	}
	for _, w := range f.Warnings {
		log.Warn(w)
	}
	return f, nil
}

func openCredentials(o options, log *slog.Logger) (*bus.Security, error) {
	f, err := loadCredentials(o, log)
	if f == nil || err != nil {
		return nil, err
	}
	s, err := bus.NewSecurity(f.Credentials())
	if err != nil {
		return nil, cli.Usagef("--credentials %s: %w", f.Dir, err)
	}
	return s, nil
}

// replace takes over what the folder of the credentials holds by now.
func (d *secured) replace(now options) error {
	f, err := loadCredentials(now, d.log)
	if err != nil {
		return err
	}
	if (f == nil) != (d.security == nil) {
		return errors.New("--credentials: a cluster gets or gives up credentials by a restart of all its daemons only")
	}
	if f == nil {
		return nil
	}
	was := d.security.Until()
	if err := d.security.Replace(f.Credentials()); err != nil {
		return fmt.Errorf("--credentials %s: %w", f.Dir, err)
	}
	if !d.security.Until().Equal(was) {
		d.log.Info("new certificates are in use", "until", d.security.Until())
	}
	d.warnExpiry(time.Now())
	return nil
}

// Run runs the daemon, and says meanwhile when its certificates are soon over.
func (d *secured) Run(ctx context.Context) error {
	if d.security == nil {
		return d.running.Run(ctx)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(expiryEvery)
		defer tick.Stop()
		for {
			d.warnExpiry(time.Now())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	defer func() {
		close(stop)
		<-done
	}()
	return d.running.Run(ctx)
}

func (d *secured) warnExpiry(now time.Time) {
	until := d.security.Until()
	switch left := until.Sub(now); {
	case left <= 0:
		d.log.Error("a certificate of this daemon has expired: others refuse it (kumoctl auth rotate)", "since", until)
	case left < subjects.ExpiresSoon:
		d.log.Warn("a certificate of this daemon expires soon (kumoctl auth rotate)", "at", until, "days", int(left.Hours()/24))
	}
}
