package metrics

import (
	"github.com/etolabo/kumofs/bus"
)

// OfBus are the metrics of a bus, told apart from another of the same process by
// the role of the daemon that it belongs to.
func OfBus(b *bus.Bus, role string) *Set[bus.Traffic] {
	s := New(func() *bus.Traffic { t := b.Traffic(); return &t })
	with := func(labels ...string) []string { return append(labels, "role", role) }
	n := func(f func(*bus.Traffic) uint64) func(*bus.Traffic) float64 {
		return func(t *bus.Traffic) float64 { return float64(f(t)) }
	}
	for _, d := range []struct {
		label string
		of    func(*bus.Traffic) *bus.Flow
	}{
		{"sent", func(t *bus.Traffic) *bus.Flow { return &t.Sent }},
		{"received", func(t *bus.Traffic) *bus.Flow { return &t.Received }},
	} {
		labels := with("direction", d.label)
		s.Counter("kumofs_bus_frames_total", "Frames of the data plane, within the process too; reads that are answered there at once need none.",
			n(func(t *bus.Traffic) uint64 { return d.of(t).Frames }), labels...)
		s.Counter("kumofs_bus_frame_items_total", "Operations, answers and messages that frames of the data plane carried.",
			n(func(t *bus.Traffic) uint64 { return d.of(t).Items }), labels...)
		s.Counter("kumofs_bus_frame_bytes_total", "Bytes of frames of the data plane.",
			n(func(t *bus.Traffic) uint64 { return d.of(t).Bytes }), labels...)
		s.Counter("kumofs_bus_messages_total", "NATS messages of this process's connections: frames to others, and the control plane.",
			n(func(t *bus.Traffic) uint64 { return d.of(t).Messages }), labels...)
		s.Counter("kumofs_bus_message_bytes_total", "Bytes of NATS messages of this process's connections.",
			n(func(t *bus.Traffic) uint64 { return d.of(t).MessageBytes }), labels...)
	}
	s.Counter("kumofs_bus_frames_refused_total", "Frames that were malformed, of another version or of another cluster.",
		n(func(t *bus.Traffic) uint64 { return t.RefusedFrames }), with()...)
	s.Counter("kumofs_bus_overflows_total", "Times that the queue of a subscription began to overflow, so that messages were dropped.",
		n(func(t *bus.Traffic) uint64 { return t.Overflows }), with()...)
	s.Counter("kumofs_bus_slow_consumers_total", "Connections that the embedded NATS server closed because they took nothing.",
		n(func(t *bus.Traffic) uint64 { return t.SlowConsumers }), with()...)
	s.Counter("kumofs_bus_reconnects_total", "Times that a connection was lost and made again.",
		n(func(t *bus.Traffic) uint64 { return t.Reconnects }), with()...)
	s.Gauge("kumofs_bus_connected", "1 while there is a connection to the mesh.",
		func(t *bus.Traffic) float64 { return Bool(t.Connected) }, with()...)
	s.Gauge("kumofs_bus_routes", "Members of the mesh that this one has a route to.",
		func(t *bus.Traffic) float64 { return float64(t.Routes) }, with()...)
	s.Gauge("kumofs_bus_clients", "Connections of clients, this process's own among them, to the embedded NATS server.",
		func(t *bus.Traffic) float64 { return float64(t.Clients) }, with()...)
	s.Gauge("kumofs_bus_lanes", "Destinations that calls are made to.",
		func(t *bus.Traffic) float64 { return float64(t.Lanes) }, with()...)
	s.Gauge("kumofs_bus_calls_pending", "Calls that wait for their answer.",
		func(t *bus.Traffic) float64 { return float64(t.Pending) }, with()...)
	s.Gauge("kumofs_bus_lane_queued_bytes", "Bytes of calls that wait in lanes for their turn.",
		func(t *bus.Traffic) float64 { return float64(t.Queued) }, with()...)
	s.Gauge("kumofs_bus_lane_queued_most_bytes", "Bytes of calls that wait in the fullest lane.",
		func(t *bus.Traffic) float64 { return float64(t.QueuedMost) }, with()...)
	s.Gauge("kumofs_bus_lane_bound_bytes", "Bytes that may wait in a lane; further calls wait with their connections.",
		func(t *bus.Traffic) float64 { return float64(t.LaneBound) }, with()...)
	return s
}
