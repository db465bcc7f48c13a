package kumogateway

import (
	"context"
	"fmt"
	"time"
)

// maxBeatAge is after how long without a heartbeat a gateway has come to a halt:
// these take every lock of its loops.
const maxBeatAge = 10 * time.Second

// CanServe tells whether the gateway knows the primary of any partition.
func (g *Gateway) CanServe() bool {
	led, _ := g.router.led()
	return led > 0
}

// Doing says in a line what the gateway does.
func (g *Gateway) Doing() string {
	led, all := g.router.led()
	if all == 0 {
		return "waits for the partition table"
	}
	_, open := g.count()
	s := fmt.Sprintf("%d clients", open)
	if led < all {
		s += fmt.Sprintf("; %d of %d partitions have no primary", all-led, all)
	}
	return s
}

// Alive says whether the gateway's loops go on.
func (g *Gateway) Alive(context.Context) error {
	if age := time.Since(time.Unix(0, g.beat.at.Load())); age > maxBeatAge {
		return fmt.Errorf("the gateway has sent no heartbeat for %s", age.Round(time.Second))
	}
	return nil
}
