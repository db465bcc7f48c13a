package cli

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// signals are those that a daemon heeds beside those that end it.
type signals struct {
	log      *Log
	ch       chan os.Signal
	quit     chan struct{}
	wg       sync.WaitGroup
	terminal bool // there was one when the process began, and its end is to end it
}

// heed catches SIGHUP and SIGUSR1 from now on; start says what they do.
func heed(log *Log) *signals {
	s := &signals{log: log, ch: make(chan os.Signal, 2), quit: make(chan struct{})}
	s.terminal = !signal.Ignored(syscall.SIGHUP) && hasTerminal() // nohup ignores it
	signal.Notify(s.ch, syscall.SIGHUP, syscall.SIGUSR1)
	return s
}

// hasTerminal tells whether the process has a terminal that can end it.
func hasTerminal() bool {
	f, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// start heeds: end is for the end of the terminal, reload for SIGHUP otherwise.
func (s *signals) start(end func(), reload func() error) {
	s.wg.Go(func() {
		for {
			select {
			case <-s.quit:
				return
			case sig := <-s.ch:
				switch {
				case sig == syscall.SIGUSR1:
					s.report("opened the log again", "the log cannot be opened again and goes on where it was", s.log.Reopen())
				case s.terminal && !hasTerminal():
					end()
				default:
					s.report("read the configuration again", "the configuration cannot be read again: what was said before holds", reload())
				}
			}
		}
	})
}

func (s *signals) report(done, failed string, err error) {
	if err != nil {
		s.log.Error(failed, "err", err)
		return
	}
	s.log.Info(done)
}

// stop heeds them no longer. They stay caught: one that comes while the daemon
// stops must not end it at once.
func (s *signals) stop() {
	close(s.quit)
	s.wg.Wait()
}
