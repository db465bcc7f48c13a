package cli

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Where the value of an option comes from, the strongest first.
const (
	FromFlag    = "flag"
	FromEnv     = "environment"
	FromFile    = "file"
	FromDefault = "default"
)

// A Setting is one option with the value in force.
type Setting struct {
	Option string `json:"option"` // long name, without dashes
	Value  string `json:"value"`  // lists with commas
	From   string `json:"from"`   // FromFlag, ...
	Where  string `json:"where,omitempty"`
	// Reload: a change is taken over while the daemon runs.
	Reload bool `json:"reload"`
}

// envPrefix begins the name of every environment variable of ours.
const envPrefix = "KUMO_"

// EnvName is the environment variable of an option: KUMO_FAIL_AFTER of
// fail-after.
func EnvName(option string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// envAlias are further names, which kumoctl has for the same thing.
var envAlias = map[string]string{"manager": "KUMO_MANAGERS"}

// notSettings are flags that say what to do rather than how.
var notSettings = []string{"help", "version", "config"}

// IsSetting tells whether a flag can be set by environment and file too.
func IsSetting(f *pflag.Flag) bool { return !slices.Contains(notSettings, f.Name) }

const reloadable = "reloadable"

// Reloadable marks options a change of which is taken over while the daemon
// runs, and says so in their usage.
func Reloadable(fs *pflag.FlagSet, names ...string) {
	for _, n := range names {
		f := fs.Lookup(n)
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[reloadable] = []string{"true"}
		f.Usage += " [reload]"
	}
}

// IsReloadable tells whether Reloadable was told of an option.
func IsReloadable(f *pflag.Flag) bool { return f.Annotations[reloadable] != nil }

// Origins are where options have their values from, by long name: those that
// are not there have their defaults.
type Origins map[string]Setting

// Load gives the options that no flag gave what environment and file say:
// getenv is os.LookupEnv; the file's name is the value of --config, or else of
// KUMO_CONFIG. An empty variable counts as none. What cannot be is a
// *UsageError, which names the variable, or the file and its line.
func Load(fs *pflag.FlagSet, getenv func(string) (string, bool)) (Origins, error) {
	from := Origins{}
	fs.Visit(func(f *pflag.Flag) { from[f.Name] = Setting{From: FromFlag, Where: "--" + f.Name} })
	var first error
	fs.VisitAll(func(f *pflag.Flag) {
		if first != nil || !IsSetting(f) || from[f.Name].From != "" {
			return
		}
		name := EnvName(f.Name)
		value, _ := getenv(name)
		if alias := envAlias[f.Name]; value == "" && alias != "" {
			name = alias
			value, _ = getenv(alias)
		}
		if value == "" {
			return
		}
		if err := set(fs, f, value); err != nil {
			first = Usagef("environment variable %s: %q: %w", name, value, err)
		}
		from[f.Name] = Setting{From: FromEnv, Where: name}
	})
	if first != nil {
		return nil, first
	}
	path := ""
	if f := fs.Lookup("config"); f != nil {
		if path = f.Value.String(); path == "" {
			path, _ = getenv(EnvName("config"))
		}
	}
	if path == "" {
		return from, nil
	}
	return from, loadFile(fs, path, from)
}

// set gives an option a value from elsewhere than the command line.
func set(fs *pflag.FlagSet, f *pflag.Flag, value string) error {
	err := fs.Set(f.Name, value)
	if wrapped, ok := err.(interface{ Unwrap() error }); ok && wrapped.Unwrap() != nil {
		err = wrapped.Unwrap() // without the dashes of a flag
	}
	return plainValue(err)
}

// goNumber is what package strconv says of a value.
var goNumber = regexp.MustCompile(`strconv\.(?:Parse)?([A-Z][a-z]+)[a-z0-9]*: parsing "(?:[^"\\]|\\.)*": (invalid syntax|value out of range)`)

// plainValue says in an operator's words what strconv says of an option's value.
func plainValue(err error) error {
	if err == nil {
		return nil
	}
	text := goNumber.ReplaceAllStringFunc(err.Error(), func(said string) string {
		found := goNumber.FindStringSubmatch(said)
		switch {
		case found[2] != "invalid syntax":
			return "out of range"
		case found[1] == "Bool":
			return "want true or false"
		case found[1] == "Float":
			return "want a number"
		}
		return "want a whole number"
	})
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// Settings lists the options with the values in force, in the order of their
// names. Options that do nothing are listed only if they were given.
func (o Origins) Settings(fs *pflag.FlagSet) []Setting {
	var list []Setting
	fs.VisitAll(func(f *pflag.Flag) {
		s, given := o[f.Name]
		if !IsSetting(f) || f.Annotations[nothingToSet] != nil && !given {
			return
		}
		if !given {
			s.From = FromDefault
		}
		s.Option, s.Value, s.Reload = f.Name, ValueOf(f), IsReloadable(f)
		list = append(list, s)
	})
	return list
}

// ValueOf is an option's value as it can be given.
func ValueOf(f *pflag.Flag) string {
	if s, ok := f.Value.(pflag.SliceValue); ok {
		return strings.Join(s.GetSlice(), ",")
	}
	return f.Value.String()
}

// OptionNames lists the options that environment and file can set.
func OptionNames(fs *pflag.FlagSet) []string {
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		if IsSetting(f) && f.Annotations[nothingToSet] == nil {
			names = append(names, f.Name)
		}
	})
	slices.Sort(names)
	return names
}

// StrangeEnv lists the variables of ours that are set and that nothing reads:
// neither an option in known, nor kumoctl.
func StrangeEnv(environ, known []string) []string {
	var strange []string
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix) || name == EnvName("config") || slices.Contains(known, name) {
			continue
		}
		strange = append(strange, name)
	}
	slices.Sort(strange)
	return strange
}

// NearEnv is the known variable that differs little from one that sets nothing, if
// there is one.
func NearEnv(name string, known []string) string {
	return nearest(known, name)
}

// EnvNames lists the variables that set the flag set's options.
func EnvNames(fs *pflag.FlagSet) []string {
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		names = append(names, EnvName(f.Name))
		if a := envAlias[f.Name]; a != "" {
			names = append(names, a)
		}
	})
	return names
}

// Changed compares two readings of the same command line, and lists the
// settings that differ as the second has them.
func Changed(was, now []Setting) (list []Setting) {
	old := map[string]string{}
	for _, s := range was {
		old[s.Option] = s.Value
	}
	for _, s := range now {
		if v, ok := old[s.Option]; !ok || v != s.Value {
			list = append(list, s)
		}
		delete(old, s.Option)
	}
	for option := range old { // one that does nothing and is not given any more
		list = append(list, Setting{Option: option, From: FromDefault})
	}
	slices.SortFunc(list, func(a, b Setting) int { return strings.Compare(a.Option, b.Option) })
	return list
}

// Environment is the process's.
func Environment(name string) (string, bool) { return os.LookupEnv(name) }

// String says where a value comes from.
func (s Setting) String() string {
	if s.Where == "" {
		return s.From
	}
	return fmt.Sprintf("%s %s", s.From, s.Where)
}
