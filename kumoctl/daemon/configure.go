package daemon

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

// Roles are the daemons that there are.
var Roles = []string{"manager", "server", "gateway"}

// configuration is what a daemon was told by flags, environment and file, so that
// it can be read again.
type configuration struct {
	role     string
	given    map[string]string // by flags
	settings []cli.Setting     // in force: as it was started, or has taken over since
}

// configure completes options whose flags were parsed with environment and file.
func configure(role string, o options, fs *pflag.FlagSet) (*configuration, error) {
	c := &configuration{role: role, given: map[string]string{}}
	fs.Visit(func(f *pflag.Flag) { c.given[f.Name] = cli.ValueOf(f) })
	from, err := cli.Load(fs, cli.Environment)
	if err != nil {
		return nil, err
	}
	err = o.complete(cli.MemoryLimit())
	c.settings = from.Settings(fs)
	return c, err
}

// read reads everything again.
func (c *configuration) read() (options, []cli.Setting, error) {
	o, fs, err := flagsOf(c.role)
	if err != nil {
		return nil, nil, err
	}
	for name, value := range c.given {
		if err := fs.Set(name, value); err != nil {
			return nil, nil, err
		}
	}
	from, err := cli.Load(fs, cli.Environment)
	if err != nil {
		return nil, nil, err
	}
	err = o.complete(cli.MemoryLimit())
	return o, from.Settings(fs), err
}

// reload has the daemon take over what has changed and may, and logs what was, and
// what waits for a restart.
func (c *configuration) reload(d *secured, log *cli.Log) error {
	o, now, err := c.read()
	if err != nil {
		return err
	}
	if err := d.replace(o); err != nil {
		return err
	}
	var restart []string
	inForce := map[string]cli.Setting{}
	for _, s := range cli.Changed(c.settings, now) {
		if !s.Reload {
			restart = append(restart, s.Option)
			continue
		}
		inForce[s.Option] = s
		log.Info("option changed", "option", s.Option, "value", s.Value, "from", s.String())
	}
	for i, s := range c.settings {
		if changed, ok := inForce[s.Option]; ok {
			c.settings[i] = changed
		}
	}
	d.reload(o)
	log.SetVerbose(o.common().Verbose)
	if len(restart) > 0 {
		log.Warn("a restart is needed before these options change", "options", strings.Join(restart, ", "))
	}
	return nil
}

// flagsOf are the options of a role, with their defaults, and their flags.
func flagsOf(role string) (options, *pflag.FlagSet, error) {
	o, err := newOptions(role)
	if err != nil {
		return nil, nil, err
	}
	fs := pflag.NewFlagSet(role, pflag.ContinueOnError)
	o.common().Flags(fs)
	o.flags(fs)
	return o, fs, nil
}

// Settings are the options that a daemon of the role would run with if it were
// started here with these arguments, and where each comes from. The error, of a
// *cli.UsageError, says what it would not start with.
func Settings(role string, args []string) ([]cli.Setting, error) {
	o, fs, err := flagsOf(role)
	if err != nil {
		return nil, err
	}
	fs.Usage = func() {}
	if err := fs.Parse(cli.Translate(args)); err != nil {
		return nil, cli.Usagef("options of the %s: %w", role, err)
	}
	if fs.NArg() > 0 {
		return nil, cli.Usagef("options of the %s: %q is no option", role, fs.Arg(0))
	}
	from, err := cli.Load(fs, cli.Environment)
	if err != nil {
		return nil, err
	}
	err = o.complete(cli.MemoryLimit())
	return from.Settings(fs), err
}

// strange says which environment variables of ours no daemon reads: they may be
// mistyped. What they are for other daemons is no matter, since an environment is
// often shared.
func strange() []string {
	var known []string
	for _, role := range Roles {
		if _, fs, err := flagsOf(role); err == nil {
			known = append(known, cli.EnvNames(fs)...)
		}
	}
	var list []string
	for _, name := range cli.StrangeEnv(os.Environ(), known) {
		hint := ""
		if near := cli.NearEnv(name, known); near != "" {
			hint = fmt.Sprintf(", did you mean %s?", near)
		}
		list = append(list, fmt.Sprintf("environment variable %s sets no option%s", name, hint))
	}
	return list
}
