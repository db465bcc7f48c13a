package cli

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// The ports that stand where none is given.
const (
	ManagerPort   = 19700
	ServerPort    = 19800
	MemcachedPort = 11211
)

// nothingToSet marks a flag that is accepted and does nothing.
const nothingToSet = "nothing-to-set"

// Ignore defines an option of kumofs that does nothing here. why completes
// "accepted: …"; an empty one says "nothing to set".
func Ignore(fs *pflag.FlagSet, name, short, why string) {
	fs.StringP(name, short, "", "")
	ignore(fs, name, why)
}

// IgnoreSwitch is Ignore for an option without a value.
func IgnoreSwitch(fs *pflag.FlagSet, name, short, why string) {
	fs.BoolP(name, short, false, "")
	ignore(fs, name, why)
}

func ignore(fs *pflag.FlagSet, name, why string) {
	if why == "" {
		why = "nothing to set"
	}
	f := fs.Lookup(name)
	f.Usage = "accepted: " + why
	f.Hidden = true
	f.Annotations = map[string][]string{nothingToSet: {why}}
}

// An Ignored option was given and does nothing.
type Ignored struct{ Option, Why string }

// IgnoredOf lists the options that were given and do nothing.
func IgnoredOf(fs *pflag.FlagSet) []Ignored {
	var list []Ignored
	fs.Visit(func(f *pflag.Flag) {
		if why := f.Annotations[nothingToSet]; why != nil {
			list = append(list, Ignored{"--" + f.Name, why[0]})
		}
	})
	return list
}

// Seconds is a flag for a time: a number is seconds, as in kumofs, and what
// time.ParseDuration reads works too.
type Seconds time.Duration

func (s *Seconds) String() string { return time.Duration(*s).String() }

// Type names the value in a usage text.
func (s *Seconds) Type() string { return "seconds" }

// Set reads "2", "0.5" or "1500ms".
func (s *Seconds) Set(text string) error {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		if !(f >= 0 && f <= 1e9) {
			return fmt.Errorf("%q is out of range", text)
		}
		*s = Seconds(f * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no number of seconds and no time such as 500ms", text)
	}
	*s = Seconds(d)
	return nil
}

// SecondsVarP defines a flag of type Seconds whose default is *d.
func SecondsVarP(fs *pflag.FlagSet, d *time.Duration, name, short, usage string) {
	fs.VarP((*Seconds)(d), name, short, usage)
}

// Rate is a flag for bytes a second, given in MB/s (10^6 bytes).
type Rate int64

func (r *Rate) String() string { return strconv.FormatFloat(float64(*r)/1e6, 'f', -1, 64) }

// Type names the value in a usage text.
func (r *Rate) Type() string { return "MB/s" }

// Set reads a number of MB/s.
func (r *Rate) Set(text string) error {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1e6) {
		return fmt.Errorf("%q is no rate in MB/s", text)
	}
	if *r = Rate(f * 1e6); *r == 0 && f > 0 {
		return fmt.Errorf("%q MB/s is less than a byte a second", text)
	}
	return nil
}

// Addr is a flag for addr[:port] with a default port. The value is host:port.
type Addr struct {
	To   *string
	Port int
}

func (a Addr) String() string {
	if a.To == nil {
		return ""
	}
	return *a.To
}

// Type names the value in a usage text.
func (a Addr) Type() string { return "addr[:port]" }

// Set reads an address; see HostPort.
func (a Addr) Set(text string) error {
	hp, err := HostPort(text, a.Port)
	if err == nil {
		*a.To = hp
	}
	return err
}

// Addrs is a flag for addresses: it can be given several times, and takes
// lists with commas. Empty parts are skipped, those that are there already too.
type Addrs struct {
	To   *[]string
	Port int
}

func (a Addrs) String() string {
	if a.To == nil {
		return ""
	}
	return strings.Join(*a.To, ",")
}

// Type names the value in a usage text.
func (a Addrs) Type() string { return "addr[:port],..." }

// Set adds the addresses of a list.
func (a Addrs) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		hp, err := HostPort(part, a.Port)
		if err != nil {
			return err
		}
		if !slices.Contains(*a.To, hp) {
			*a.To = append(*a.To, hp)
		}
	}
	return nil
}

// HostPort returns text as host:port, with the port given where it has none.
// IPv6 addresses may stand bare ("::1") or in brackets ("[::1]:80").
func HostPort(text string, port int) (string, error) {
	host, p := text, strconv.Itoa(port)
	if ip := net.ParseIP(text); ip == nil {
		if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
			host = text[1 : len(text)-1]
		} else if strings.Contains(text, ":") {
			var err error
			if host, p, err = net.SplitHostPort(text); err != nil {
				return "", fmt.Errorf("address %q: want addr or addr:port", text)
			}
		}
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", fmt.Errorf("address %q: %q is no port", text, p)
	}
	if host == "" || strings.ContainsAny(host, " \t/") {
		return "", fmt.Errorf("address %q has no host", text)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(n))), nil
}

// ListenAddr returns [addr:]port as host:port for listening; no host means all. A
// path, after unix: or by its slash, is a Unix socket and comes back as unix:PATH.
func ListenAddr(text string) (string, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok || strings.HasPrefix(text, "/") {
		if path == "" {
			return "", fmt.Errorf("%q names no socket: unix:PATH", text)
		}
		return "unix:" + path, nil
	}
	if strings.Trim(text, "0123456789") == "" && text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return "", fmt.Errorf("%q is no port", text)
		}
		return ":" + strconv.Itoa(int(n)), nil
	}
	if strings.HasPrefix(text, ":") {
		text = "*" + text
	}
	hp, err := HostPort(text, MemcachedPort)
	return strings.TrimPrefix(hp, "*"), err
}

// NoHTTP is the value of --http for no port.
const NoHTTP = "none"

// HTTPAddr reads --http: [addr:]port.
func HTTPAddr(text string) (host, port string, err error) {
	port = text
	if _, e := strconv.ParseUint(text, 10, 64); e != nil {
		if host, port, err = net.SplitHostPort(text); err != nil {
			return "", "", Usagef("--http %s: want [addr:]port, or %s", text, NoHTTP)
		}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "", Usagef("--http %s: %q is no port", text, port)
	}
	return host, port, nil
}
