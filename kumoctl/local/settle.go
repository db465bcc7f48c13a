package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/etolabo/kumofs/subjects"
)

// lockFolder keeps two processes from running one folder's cluster.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w by another process", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return f, nil
}

// shifts are tried in turn for a new cluster whose usual ports are taken.
var shifts = []int{0, 1000, 2000, 3000, 5000, 8000, 13000, 21000}

// settle makes the layout: the folder's, grown as asked, or a new one.
func (o *Options) settle() (*Layout, error) {
	l, err := loadLayout(o.Dir)
	if err != nil {
		return nil, err
	}
	if l == nil && o.Layout != nil {
		l = o.Layout
	}
	if l == nil {
		if l, err = o.newLayout(); err != nil {
			return nil, err
		}
	}
	l.Nodes = slices.DeleteFunc(l.Nodes, func(n Node) bool { return n.Role == subjects.RoleGateway && o.Layout == nil })
	for i := range o.Gateways {
		port := 0
		if i == 0 {
			port = o.MemcachedPort
		}
		if _, err := l.addGateway(o.Host, port); err != nil {
			return nil, err
		}
	}
	for len(l.Of(subjects.RoleServer)) < o.Servers {
		l.addServer(o.Host, l.shift())
	}
	o.Cluster = l.Cluster
	if o.Prefix != nil {
		return l, nil
	}
	return l, l.checkPorts()
}

// newLayout puts managers and servers on the usual ports, or shifted ones.
func (o *Options) newLayout() (*Layout, error) {
	var err error
	for _, shift := range shifts {
		l := &Layout{Cluster: o.Cluster}
		for range o.Managers {
			l.addManager(o.Host, shift)
		}
		for range o.Servers {
			l.addServer(o.Host, shift)
		}
		if err = l.checkPorts(); err == nil {
			return l, nil
		}
	}
	return nil, err
}

// shift is that of the first server's port.
func (l *Layout) shift() int {
	for _, n := range l.Of(subjects.RoleServer) {
		return n.Port - serverRouteOffset - firstServerPort
	}
	return 0
}
