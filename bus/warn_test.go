package bus

import (
	"bytes"
	"log/slog"
	"net"
	"testing"
)

// A bus that others reach and that has no credentials is warned of.
func TestOpenBusIsWarnedOf(t *testing.T) {
	for _, tt := range []struct {
		ip      net.IP
		secured bool
		warns   bool
	}{
		{net.IPv4(127, 0, 0, 1), false, false},
		{net.IPv6loopback, false, false},
		{net.IPv4(10, 0, 0, 7), false, true},
		{net.IPv4zero, false, true},
		{net.IPv6unspecified, false, true},
		{net.IPv4(10, 0, 0, 7), true, false},
	} {
		var log bytes.Buffer
		b := &Bus{log: slog.New(slog.NewTextHandler(&log, nil))}
		if tt.secured {
			b.security = &Security{}
		}
		b.warnOpen(&net.TCPAddr{IP: tt.ip, Port: 19700})
		if got := bytes.Contains(log.Bytes(), []byte("the bus is open")); got != tt.warns {
			t.Errorf("%v, secured %v: warns %v", tt.ip, tt.secured, got)
		}
	}
}
