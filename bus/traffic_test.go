package bus_test

import (
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
)

// Frames are counted where they leave and where they come, whatever way they
// take, and what a connection has carried still counts when it is no more.
func TestTraffic(t *testing.T) {
	for name, hub := range map[string]*bus.Hub{"over the wire": nil, "within the process": bus.NewHub()} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			o := options(t, "member")
			o.Hub = hub
			member := open(t, o)
			client := join(t, bus.DialOptions{Name: "client", URLs: []string{member.ClientAddr()}, Hub: hub, Log: testLog(t)})
			echo(t, member, "work")
			caller, err := client.NewCaller(bus.CallerOptions{ReplyPrefix: "answers", ClusterID: id})
			if err != nil {
				t.Fatal(err)
			}
			lane := caller.Lane("member", member.ClientAddr())
			eventually(t, "the lane is up", lane.Up)
			const calls = 20
			for range calls {
				began := time.Now()
				// A call that finds nobody yet is made again.
				eventually(t, "an answer", func() bool {
					r := newResult()
					lane.Call("work", time.Now().Add(time.Second), []byte{1}, r)
					_, err := r.wait(t)
					return err == nil
				})
				if now := caller.Now(); now.Before(began) || now.After(time.Now()) {
					t.Errorf("an answer came at %v, asked at %v", now, began)
				}
			}
			there, here := member.Traffic(), client.Traffic()
			if here.Sent.Items < calls || here.Received.Items < calls || here.Sent.Frames == 0 || here.Sent.Bytes < here.Sent.Items {
				t.Errorf("client: %+v", here)
			}
			if there.Received.Items < calls || there.Sent.Items < calls || there.Sent.Bytes == 0 {
				t.Errorf("member: %+v", there)
			}
			if here.Lanes != 1 || here.LaneBound == 0 || here.Pending != 0 || !here.Connected {
				t.Errorf("client: %+v", here)
			}
			if hub == nil && (here.Sent.Messages < calls || there.Clients < 2) {
				t.Errorf("client %+v, member %+v", here, there)
			}
			caller.Forget("member")
			for _, end := range []func() error{func() error { return nil }, caller.Close} {
				if err := end(); err != nil {
					t.Fatal(err)
				}
				after := client.Traffic()
				if after.Sent.Messages < here.Sent.Messages || after.Received.MessageBytes < here.Received.MessageBytes || after.Lanes != 0 {
					t.Errorf("after the connection: %+v, before %+v", after, here)
				}
			}
		})
	}
}
