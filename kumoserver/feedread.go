package kumoserver

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/etolabo/kumofs/subjects"
)

// read goes through the log of a partition to a commit.
func (f *feed) read(d *fed, to uint64, wants *[subjects.MaxFeeds]*want) {
	for d.at.Seq < to {
		if to-d.at.Seq > f.lag {
			f.pass(d, to)
			return
		}
		list, ok := f.s.store.Entries(d.id, d.at.Seq+1, feedChunk)
		if !ok || len(list) == 0 {
			f.pass(d, to)
			return
		}
		list = list[:min(uint64(len(list)), to-d.at.Seq)]
		for i, w := range wants {
			if w != nil {
				f.add(w, d, i, list)
			}
		}
		d.at = list[len(list)-1].Version
	}
}

// pass goes on behind entries that are not told. Whoever listens sees that the next
// span does not follow.
func (f *feed) pass(d *fed, to uint64) {
	f.lost.Add(to - d.at.Seq)
	d.at = f.s.store.State(d.id).Outline.At(to)
	for i := range d.told {
		d.told[i] = d.at
	}
}

// add puts what entries did to keys with the prefix into the report.
func (f *feed) add(w *want, d *fed, slot int, list []subjects.Entry) {
	span := subjects.FeedSpan{Partition: d.id, After: d.told[slot], Through: list[len(list)-1].Version}
	for i := range list {
		e := &list[i]
		if e.Kind != subjects.EntryFlush && !bytes.HasPrefix(e.Key, w.prefix) {
			continue
		}
		if c, ok := subjects.ChangeOf(e, w.req.Values); ok {
			span.Changes = append(span.Changes, c)
			w.bytes += len(e.Key) + len(c.ValueBase64) + 200
			if c.Value != nil {
				w.bytes += len(*c.Value)
			}
		}
	}
	if span.Changes == nil {
		return
	}
	f.told.Add(uint64(len(span.Changes)))
	w.report.Spans = append(w.report.Spans, span)
	d.told[slot] = span.Through
	if w.bytes >= feedChunk {
		f.send(w)
	}
}

// send sends what has gathered.
func (f *feed) send(w *want) {
	w.report.FeedRequest = w.req
	f.publish(w.subject, w.report)
	w.report.Spans, w.bytes = nil, 0
}

// places tells how far all partitions are, behind what has gathered: so that who has
// begun knows from where on it hears, and who went on what it missed. A server that
// leads nothing says so.
func (f *feed) places(slot int, w *want, parts []*fed) {
	slices.SortFunc(parts, func(a, b *fed) int { return cmp.Compare(a.id, b.id) })
	for _, d := range parts {
		w.report.Spans = append(w.report.Spans, subjects.FeedSpan{Partition: d.id, After: d.told[slot], Through: d.at})
		d.told[slot] = d.at
		if len(w.report.Spans) >= feedSpans {
			f.send(w)
		}
	}
	f.send(w)
}
