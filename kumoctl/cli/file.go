package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/spf13/pflag"
)

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

// loadFile gives options what a TOML file says of them: keys are their long
// names. from says which have stronger values already, and is added to.
func loadFile(fs *pflag.FlagSet, path string, from Origins) error {
	text, err := readConfig(path)
	if err != nil {
		return Usagef("--config: %w", err)
	}
	return loadText(fs, path, text, from)
}

// loadText is loadFile with what the file holds.
func loadText(fs *pflag.FlagSet, path string, text []byte, from Origins) error {
	values := map[string]any{}
	if err := toml.Unmarshal(text, &values); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			row, column := at.Position()
			return Usagef("%s:%d:%d: %s", path, row, column, strings.TrimPrefix(err.Error(), "toml: "))
		}
		return Usagef("%s: %w", path, err)
	}
	lines, err := linesOf(text)
	if err != nil {
		return Usagef("%s: %w", path, err)
	}
	keys := make([]string, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(lines[a]-lines[b], strings.Compare(a, b)) })
	given := Origins{}
	for _, key := range keys {
		where := fmt.Sprintf("%s:%d", path, lines[key])
		f := fs.Lookup(key)
		if f == nil || !IsSetting(f) {
			return unknownKey(fs, where, key)
		}
		if other, twice := given[f.Name]; twice {
			return Usagef("%s: %s: this is --%s, which %s sets too", where, key, f.Name, other.Where)
		}
		given[f.Name] = Setting{From: FromFile, Where: where}
		if from[f.Name].From != "" {
			continue // a flag or a variable says otherwise
		}
		if err := setValue(fs, f, values[key]); err != nil {
			return Usagef("%s: %s: %w", where, key, err)
		}
		from[f.Name] = given[f.Name]
	}
	return nil
}

// standardInput is the one configuration file that may be no file.
const standardInput = "/dev/stdin"

// readConfig reads a file. Who waits for a pipe's other end does nothing else, and
// there would be nothing to read again; standard input ends.
func readConfig(path string) ([]byte, error) {
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() && path != standardInput {
		return nil, fmt.Errorf("%s is no regular file (%s); what a pipe brings can come through %s", path, fi.Mode().Type(), standardInput)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	switch {
	case err != nil:
	case len(text) > maxConfig:
		err = fmt.Errorf("%s: larger than %d bytes", path, maxConfig)
	case len(text) == 0 && path == standardInput:
		err = fmt.Errorf("%s brings nothing, or nothing more: it cannot be read again", path)
	}
	return text, err
}

// unknownKey names the line and what exists.
func unknownKey(fs *pflag.FlagSet, where, key string) error {
	hint := ""
	if near := nearest(OptionNames(fs), strings.ReplaceAll(key, "_", "-")); near != "" {
		hint = fmt.Sprintf(", did you mean %s?", near)
	}
	return Usagef("%s: unknown key %q%s; there are %s", where, key, hint, strings.Join(OptionNames(fs), ", "))
}

// nearest is the name that differs from the word in at most a third of its
// letters, if there is one.
func nearest(names []string, word string) string {
	best, least := "", len(word)/3+1
	for _, n := range names {
		if d := distance(n, word); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// linesOf finds the lines of the keys, and of the tables' names, at a TOML
// file's first level.
func linesOf(text []byte) (map[string]int, error) {
	lines := map[string]int{}
	p := unstable.Parser{}
	p.Reset(text)
	for inTable := false; p.NextExpression(); {
		e := p.Expression()
		table := e.Kind == unstable.Table || e.Kind == unstable.ArrayTable
		if inTable && !table {
			continue
		}
		inTable = table
		k := e.Key()
		if !k.Next() {
			continue
		}
		first := k.Node()
		if name := string(first.Data); lines[name] == 0 {
			lines[name] = p.Shape(first.Raw).Start.Line
		}
	}
	return lines, p.Error()
}

// setValue gives an option a TOML value.
func setValue(fs *pflag.FlagSet, f *pflag.Flag, value any) error {
	list, isList := value.([]any)
	if !isList {
		text, err := scalar(value)
		if err != nil {
			return err
		}
		return set(fs, f, text)
	}
	if !takesList(f.Value) {
		return errors.New("takes one value, not a list")
	}
	for _, v := range list {
		text, err := scalar(v)
		if err == nil {
			err = set(fs, f, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func takesList(v pflag.Value) bool {
	if _, ok := v.(Addrs); ok {
		return true
	}
	_, ok := v.(pflag.SliceValue)
	return ok
}

// scalar is a TOML value as a flag would be given it.
func scalar(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case map[string]any:
		return "", errors.New("takes a value, not a table: all options stand at the file's first level")
	case []any:
		return "", errors.New("takes a list of values, not of lists")
	}
	return "", errors.New("takes text, a number, true or false")
}
