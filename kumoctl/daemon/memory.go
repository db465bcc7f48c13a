package daemon

import (
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

// What a daemon takes at most follows from how much memory it may have, where no
// option says it. With 4 GiB and more, or no limit, it is what it always was.
const (
	mib          = 1 << 20
	perClient    = 32 << 10 // bytes of a connection that is not idle, about
	fewestConns  = 64
	leastClients = 16      // MiB, of --client-memory
	mostClients  = 1 << 20 // MiB
	// leastLimit is what no daemon that does anything stays below.
	leastLimit = 64 * mib
)

// Heed says by what the memory is bounded, and has the collector stay below that.
func Heed(log *slog.Logger, m cli.Memory) {
	if m.Bytes == 0 {
		return
	}
	log.Info("the memory is bounded", "bytes", m.Bytes, "by", m.From)
	if m.Bytes < leastLimit {
		log.Warn("the memory is bounded by less than a daemon needs: it will collect garbage all the time and be slow, or be ended by the system; raise the limit",
			"bytes", m.Bytes, "by", m.From, "least", leastLimit)
	}
	cli.HeedMemory(m)
}

// share is a part of the memory that the process may have, in MiB: at most usual,
// which it is without a limit, and at least least.
func share(m cli.Memory, parts int64, usual, least int) int {
	if m.Bytes == 0 {
		return usual
	}
	return max(least, min(usual, int(m.Bytes/parts/mib)))
}

// fitMemory makes the defaults of a gateway fit the memory of which it may have
// one of so many parts.
func (o *clientOptions) fitMemory(fs *pflag.FlagSet, m cli.Memory, parts int64) {
	if !fs.Changed("client-memory") {
		o.memory = share(m, parts, o.memory, leastClients)
	}
	if !fs.Changed("max-connections") && m.Bytes > 0 {
		o.MaxConnections = max(fewestConns, min(o.MaxConnections, int(m.Bytes/2/parts/perClient)))
	}
}

// bounds spreads --client-memory over what clients can hold. Of each part there is
// a bound at which they are slowed down or refused; answers that come all the same
// may take four times theirs, see kumogateway.Options.MaxAnswers.
func (o *clientOptions) bounds() error {
	if o.memory < leastClients || o.memory > mostClients {
		return cli.Usagef("--client-memory %d: want %d to %d (MiB)", o.memory, leastClients, mostClients)
	}
	all := o.memory * mib
	o.MaxHeld, o.MaxAnswers = max(all/4, 2*o.MaxItemSize), all/8 // room for a value that comes, beside another
	o.MaxBuffered = min(o.MaxBuffered, all/256)
	return nil
}
