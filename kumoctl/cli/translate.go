package cli

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// manyLetters are kumofs's options of several letters after one dash, which
// no option parser of today reads, and their long names.
var manyLetters = map[string]string{
	"-Rs": "--replace-delay",
	"-lc": "--local-cache",
	"-As": "--async-replicate-set",
	"-Ad": "--async-replicate-delete",
	"-Ys": "--connect-timeout",
	"-Yn": "--connect-retry-limit",
	"-Ci": "--clock-interval",
	"-TW": "--write-threads",
	"-TR": "--read-threads",
	"-rn": "--renew-threshold",
	"-gN": "--garbage-min-time",
	"-gX": "--garbage-max-time",
	"-gS": "--garbage-mem-limit",
}

// Translate writes kumofs's options of several letters (-Rs 10, -As) in their
// long form. What follows "--" is left alone.
func Translate(args []string) []string {
	out := make([]string, 0, len(args))
	for i, a := range args {
		if a == "--" {
			return append(out, args[i:]...)
		}
		name, value, equals := strings.Cut(a, "=")
		if long, ok := manyLetters[name]; ok {
			a = long
			if equals {
				a += "=" + value
			}
		}
		out = append(out, a)
	}
	return out
}

// oldNames are kumofs's long options that have a better name here.
var oldNames = map[string]string{
	"manager1":             "manager",
	"manager2":             "partner",
	"stream-listen":        "route-port",
	"offer-tmp":            "tmp-dir",
	"memproto-text":        "memcached",
	"memproto-binary":      "memcached-binary",
	"binary-log":           "json-log",
	"memproto-save-flag":   "save-flag",
	"memproto-save-expire": "save-expire",
}

// OldNames lets the flag set know kumofs's long options by their old names too.
func OldNames(fs *pflag.FlagSet) {
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if n, ok := oldNames[name]; ok {
			name = n
		}
		return pflag.NormalizedName(name)
	})
}

// OldNamesOf lists what kumofs called an option, where that differs: letters of
// one dash, and long names.
func OldNamesOf(option string) []string {
	var names []string
	for letters, long := range manyLetters {
		if long == "--"+option {
			names = append(names, letters)
		}
	}
	for old, name := range oldNames {
		if name == option {
			names = append(names, "--"+old)
		}
	}
	slices.Sort(names)
	return names
}

// DoesNothing tells whether an option is accepted and does nothing, and why.
func DoesNothing(f *pflag.Flag) (why string, yes bool) {
	if list := f.Annotations[nothingToSet]; list != nil {
		return list[0], true
	}
	return "", false
}
