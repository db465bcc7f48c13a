package kumoserver

import (
	"errors"
	"math"
	"testing"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
)

// What was taken before this process led, or before it knew the fate of every entry,
// is not what the partition has, although it leads by the time that is looked at.
func TestTakenTooEarly(t *testing.T) {
	leads := replica.Serve{Epoch: 2, On: true, Until: math.MaxInt64}
	later, hides := leads, leads
	later.Epoch = 3
	hides.Hidden = map[string]struct{}{"key": {}}
	for _, tt := range []struct {
		name          string
		before, after replica.Serve
		want          error
	}{
		{"leads", leads, leads, nil},
		{"leads after it", replica.Serve{}, leads, subjects.ErrUnavailable},
		{"leads before it", leads, replica.Serve{}, subjects.ErrUnavailable},
		{"leads again", leads, later, subjects.ErrBusy},
		{"knows every entry's fate after it", hides, leads, subjects.ErrBusy},
	} {
		s := &Server{}
		s.serving[0].set(tt.before)
		epoch, err := s.asPrimary(t.Context(), 0, func() error {
			s.serving[0].set(tt.after)
			return nil
		})
		if !errors.Is(err, tt.want) || err == nil && epoch != 2 {
			t.Errorf("%s: epoch %d, %v", tt.name, epoch, err)
		}
	}
}
