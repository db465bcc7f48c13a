package memcache

// intake is what parsers of all syntaxes know of a stream beside its grammar.
type intake struct {
	swallow int    // bytes of what was refused, still to pass over
	want    int    // see Want
	refuse  Status // see Refuse
}

// Want returns how many bytes Next needs before it can go on, counted from the
// start of what it left unconsumed; 0 when it cannot know.
func (p *intake) Want() int { return p.want }

// Refuse makes an error of the request for whose value or body Want asks. That is
// passed over as it comes.
func (p *intake) Refuse(why Status) { p.refuse = why }

// await asks for more until need bytes are there. If that was refused meanwhile, r
// becomes an error, of which head bytes are consumed and the rest, through end, is
// passed over as it comes.
func (p *intake) await(head, need, end int, r *Request) (n int, ok bool) {
	if p.refuse == StatusOK {
		p.want = need
		return 0, false
	}
	p.swallow = end - head
	fail(r, p.refuse)
	p.refuse = StatusOK
	return head, true
}

// pass begins a Next: it passes over what is left of something refused. ok tells
// that the rest of buf, from n on, is to be parsed.
func (p *intake) pass(buf []byte) (n int, ok bool) {
	p.want = 0
	n = min(p.swallow, len(buf))
	p.swallow -= n
	return n, p.swallow == 0
}
