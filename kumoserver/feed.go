package kumoserver

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// The bounds of a feed.
const (
	// feedPause is how long changes gather for a report.
	feedPause = 5 * time.Millisecond
	// feedChunk is how many bytes of the log are read at a time, and about how large
	// a report may become before it is sent.
	feedChunk = 64 << 10
	// feedAgain is how many entries a new primary tells again: the one before may
	// have committed them and not told them.
	feedAgain = 256
	// feedLag is how many entries of a partition may wait to be told. Its reader
	// passes over them when there are more.
	feedLag = 1 << 16
	// feedRequest is the longest request that is looked at, in bytes.
	feedRequest = 8 << 10
	// feedSpans is how many places of partitions go into a report.
	feedSpans = 1000
)

// feed tells of committed changes of keys, to whoever has asked for their prefix. It
// keeps no queue: the core loop notes how far a partition has committed, and a
// goroutine reads the log up to there. One that is too slow passes entries over, which
// the places in its reports show.
type feed struct {
	s    *Server
	on   atomic.Bool // somebody listens; all that the core loop looks at while nobody does
	wake chan struct{}
	lag  uint64 // feedLag

	told, lost atomic.Uint64 // changes, and entries that were passed over

	mu    sync.Mutex
	wants [subjects.MaxFeeds]*want
	parts map[ring.Partition]*fed // that are led here, while on
	dirty []*fed
}

// want is a prefix that somebody asked for. Its report is the reader's own.
type want struct {
	req     subjects.FeedRequest
	prefix  []byte
	subject string
	until   time.Time
	asked   bool // since places were last told

	report subjects.FeedReport
	bytes  int
}

// fed is a partition that is led here.
type fed struct {
	id     ring.Partition
	commit uint64           // under feed.mu
	dirty  bool             // likewise: it is in feed.dirty
	at     subjects.Version // all entries to here were read; the reader's own
	// told is how far each want has been told; the reader's own.
	told [subjects.MaxFeeds]subjects.Version
	from [subjects.MaxFeeds]*want // whom told is of
}

func newFeed(s *Server) *feed {
	return &feed{s: s, wake: make(chan struct{}, 1), lag: feedLag, parts: map[ring.Partition]*fed{}}
}

// serveFeed listens to those who ask for feeds.
func (s *Server) serveFeed() error {
	sub, err := s.bus.Subscribe(s.o.Cluster.Feeds(), func(m *bus.Msg) { s.feed.ask(m.Data) })
	if err != nil {
		return err
	}
	s.stops = append(s.stops, sub.Close)
	s.background.Go(s.feed.run)
	return nil
}

// ask takes a request for a feed, a new one or one that goes on.
func (f *feed) ask(data []byte) {
	var req subjects.FeedRequest
	if len(data) > feedRequest || json.Unmarshal(data, &req) != nil || req.Check() != nil {
		return // whoever asks hears nothing of any server, and says so
	}
	f.mu.Lock()
	w := f.take(req)
	f.mu.Unlock()
	switch {
	case w == nil:
		f.refuse(req)
	case !f.on.Load():
		// Partitions are noted in the loop, so that no commit is missed from then on.
		f.s.inbox.push(work{call: func(c *core) { c.feedAll() }}, 0)
	default:
		f.nudge()
	}
}

// take returns the want of a request, nil if there are too many.
func (f *feed) take(req subjects.FeedRequest) *want {
	until := time.Now().Add(subjects.FeedLasts)
	free := -1
	for i, w := range f.wants {
		switch {
		case w == nil:
			free = i
		case w.req.Values == req.Values && bytes.Equal(w.prefix, req.Key()):
			w.until, w.asked = until, true
			return w
		}
	}
	if free < 0 {
		return nil
	}
	w := &want{req: req, prefix: req.Key(), subject: f.s.o.Cluster.Feed(req.Hash()), until: until, asked: true}
	f.wants[free] = w
	return w
}

func (f *feed) refuse(req subjects.FeedRequest) {
	f.publish(f.s.o.Cluster.Feed(req.Hash()), subjects.FeedReport{FeedRequest: req,
		Error: "it tells as many feeds as it can already; end one, or wait for ten seconds"})
}

func (f *feed) publish(subject string, r subjects.FeedReport) {
	r.Node, r.Boot = f.s.name, f.s.boot
	if r.Spans == nil {
		r.Spans = []subjects.FeedSpan{}
	}
	data, err := json.Marshal(r)
	if err == nil {
		err = f.s.bus.Publish(subject, data)
	}
	if err != nil && f.s.ctx.Err() == nil {
		f.s.log.Debug("a report of changes was not sent", "subject", subject, "err", err)
	}
}

func (f *feed) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// feedAll begins to note commits. In the core loop.
func (c *core) feedAll() {
	f := c.s.feed
	if f.on.Load() {
		return
	}
	f.mu.Lock()
	f.parts, f.dirty = map[ring.Partition]*fed{}, nil
	f.mu.Unlock()
	for _, p := range c.parts {
		c.feedLead(p, p.machine.Status().Commit, 0)
	}
	f.on.Store(true)
	f.nudge()
}

// feedLead notes whether a partition is led here, after an event; before is what was
// committed before it, and again how many entries before that are told once more. In
// the core loop.
func (c *core) feedLead(p *part, before, again uint64) {
	f, st := c.s.feed, p.machine.Status()
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.parts[p.id]
	switch {
	case !st.Leading:
		delete(f.parts, p.id)
		return
	case d == nil || st.Commit < d.commit:
		d = &fed{id: p.id, at: c.placed(p.id, before-min(before, again))}
		f.parts[p.id] = d
	}
	f.note(d, st.Commit)
}

// placed is the version of an entry. Where the outline no longer reaches back to it,
// the epoch is 0, so that whoever compares takes no change behind it for an old one.
func (c *core) placed(id ring.Partition, seq uint64) subjects.Version {
	o := c.store.State(id).Outline
	if len(o) > 0 && seq < o[0].Seq {
		return subjects.Version{Seq: seq}
	}
	return o.At(seq)
}

// committed notes how far a partition that is led here has committed. In the core loop.
func (f *feed) committed(id ring.Partition, seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.parts[id]; d != nil {
		f.note(d, seq)
	}
}

func (f *feed) note(d *fed, seq uint64) {
	d.commit = seq
	if !d.dirty {
		d.dirty = true
		f.dirty = append(f.dirty, d)
	}
	f.nudge()
}

// run reads and tells until the server stops.
func (f *feed) run() error {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	pause := time.NewTimer(feedPause)
	defer pause.Stop()
	for {
		select {
		case <-f.s.ctx.Done():
			return nil
		case <-every.C:
			f.forget(time.Now())
			continue
		case <-f.wake:
		}
		if f.on.Load() {
			f.tell()
		}
		pause.Reset(feedPause)
		select {
		case <-f.s.ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

// forget ends what nobody has asked for again.
func (f *feed) forget(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left := 0
	for i, w := range f.wants {
		switch {
		case w == nil:
		case now.After(w.until):
			f.wants[i] = nil
		default:
			left++
		}
	}
	if left == 0 && f.on.Swap(false) {
		f.parts, f.dirty = map[ring.Partition]*fed{}, nil
	}
}

// count is how many feeds are told.
func (f *feed) count() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.wants {
		if w != nil {
			n++
		}
	}
	return n
}

// behind is a partition with what is to be read of it.
type behind struct {
	d      *fed
	commit uint64
}

// tell reads what has committed and sends what there is to tell.
func (f *feed) tell() {
	f.mu.Lock()
	wants := f.wants
	todo := make([]behind, len(f.dirty))
	for i, d := range f.dirty {
		todo[i] = behind{d, d.commit}
		d.dirty = false
	}
	clear(f.dirty)
	f.dirty = f.dirty[:0]
	var parts []*fed // if somebody asks for places
	var asked [subjects.MaxFeeds]bool
	for i, w := range wants {
		if w != nil && w.asked {
			asked[i], w.asked = true, false
			parts = slices.AppendSeq(parts[:0], maps.Values(f.parts))
		}
	}
	f.mu.Unlock()
	for _, d := range parts {
		d.greet(&wants)
	}
	for _, b := range todo {
		b.d.greet(&wants)
		f.read(b.d, b.commit, &wants)
	}
	for i, w := range wants {
		switch {
		case w == nil:
		case asked[i]:
			f.places(i, w, parts)
		case len(w.report.Spans) > 0:
			f.send(w)
		}
	}
}

// greet begins with those who have come since: they are told what comes from here on.
func (d *fed) greet(wants *[subjects.MaxFeeds]*want) {
	for i, w := range wants {
		if d.from[i] != w {
			d.from[i], d.told[i] = w, d.at
		}
	}
}
