package sim_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	mutants     = flag.Bool("mutants", false, "break the product in known ways and see that seeds convict each")
	mutantSeeds = flag.Int("mutant-seeds", 20_000, "within how many seeds")
	mutantTable = flag.String("mutant-table", "", "a file to write the outcome to")
)

// mutant is one place of the product made wrong. None is ever part of it: the
// compiler is given another file in place of its own.
type mutant struct {
	name     string
	rule     string // that is broken; and the hole of the original kumofs that it stands for, if it does
	file     string
	old, new string
}

// All breaks. Of the twelve holes of the original kumofs each is here in the
// shape that it can have in this design. Hole 7, a clock order that is not
// transitive, has none, since nothing is ordered by clocks: the nearest is a
// partition's clock that goes back. Hole 11, a ring that is lost with the
// managers, is a matter of their log: kumomanager's TestRestart and the tests of
// bus/quorum hold it; its other half, no fsync, stands here as a promise that is
// told before it is on disk.
func breaks() (all []mutant) {
	for _, list := range [][]mutant{machineBreaks, moreMachineBreaks, markBreaks, otherBreaks} {
		all = append(all, list...)
	}
	return all
}

// caught is the outcome of one mutant.
type caught struct {
	mutant
	seed int  // that convicted it; 0: none
	unit bool // the tests of its package convict it; they are asked where no seed does
	why  string
	took time.Duration
}

var convicted = regexp.MustCompile(`(?m)^\s*seed (\d+) \(([\w, ]+)\), at .*?: (.*)$`)

// TestMutantsApply holds the list to the product as it is.
func TestMutantsApply(t *testing.T) {
	for _, m := range breaks() {
		src, err := os.ReadFile(filepath.Join("../..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), m.old); n != 1 || m.old == m.new {
			t.Errorf("%s: %s has the place to break %d times", m.name, m.file, n)
		}
	}
}

// TestMutants is as quick as the seeds that a mutant takes: it is compiled once
// and stops at its first conviction.
func TestMutants(t *testing.T) {
	if !*mutants {
		t.Skip("no -mutants given")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	list := breaks()
	all := make([]caught, len(list))
	t.Run("all", func(t *testing.T) {
		for i, m := range list {
			t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				c := convict(t, root, m)
				all[i] = c
				switch {
				case c.seed > 0:
					fmt.Printf("%s: seed %d, %s: %s\n", m.name, c.seed, c.took.Round(time.Second), c.why)
				case c.unit:
					fmt.Printf("%s: nothing found it in %d seeds, but %s\n", m.name, *mutantSeeds, c.why)
				default:
					fmt.Printf("%s: nothing found it in %d seeds\n", m.name, *mutantSeeds)
				}
			})
		}
	})
	found, unit := 0, 0
	for _, c := range all {
		if c.seed > 0 {
			found++
		} else if c.unit {
			unit++
		}
	}
	t.Logf("%d of %d mutants convicted by seeds, %d by the tests of their packages", found, len(all), unit)
	if (found+unit)*100 < len(all)*95 {
		t.Errorf("%d of %d mutants convicted, want 95%%", found+unit, len(all))
	}
	if *mutantTable != "" {
		write(t, *mutantTable, []byte(table(root, all, found, unit)))
	}
}

func convict(t *testing.T, root string, m mutant) caught {
	t.Helper()
	path := filepath.Join(root, m.file)
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	broken := filepath.Join(dir, filepath.Base(m.file))
	write(t, broken, []byte(strings.Replace(string(src), m.old, m.new, 1)))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "overlay.json"), overlay)
	bin := filepath.Join(dir, "sim.test")
	if out, err := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", bin, "-overlay="+filepath.Join(dir, "overlay.json"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%s does not compile: %v\n%s", m.name, err, out)
	}
	began := time.Now()
	out, err := exec.Command(bin, "-test.run", "TestSeeds$", "-test.timeout", "0", "-seeds", strconv.Itoa(*mutantSeeds)).CombinedOutput()
	c := caught{mutant: m, took: time.Since(began)}
	if err == nil {
		c.unit, c.why = tested(t, filepath.Join(dir, "overlay.json"), filepath.Dir(path))
		return c
	}
	how := convicted.FindStringSubmatch(string(out))
	if how == nil {
		t.Fatalf("not convicted but broken:\n%s", out)
	}
	c.seed, _ = strconv.Atoi(how[1])
	c.why = fmt.Sprintf("(%s) %s", how[2], how[3])
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(self, "-test.run", "TestSeed$", "-seed", how[1]).CombinedOutput(); err != nil {
		t.Fatalf("seed %s fails without the break, too, and convicts nothing:\n%s", how[1], out)
	}
	return c
}

var failed = regexp.MustCompile(`(?m)^\s+--- FAIL: (\S+)|^--- FAIL: (\S+)`)

// tested has the tests of a package, which pass without the break, look at it.
func tested(t *testing.T, overlay, dir string) (convict bool, why string) {
	t.Helper()
	cmd := exec.Command("go", "test", "-vet=off", "-overlay="+overlay, ".")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false, ""
	}
	names := failed.FindAllStringSubmatch(string(out), -1)
	if names == nil {
		t.Fatalf("tests do not fail but are broken:\n%s", out)
	}
	last := names[len(names)-1]
	return true, "its package's `" + last[1] + last[2] + "` fails"
}

// table is the list for people.
func table(root string, all []caught, found, unit int) string {
	commit := "?"
	cmd := exec.Command("git", "rev-parse", "--short", "HEAD")
	cmd.Dir = root
	if out, err := cmd.Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	b := &strings.Builder{}
	fmt.Fprintf(b, "# Mutants\n\nThe product made wrong in %d places, one at a time, and the first seed of the simulator that convicts each. Made by `task mutants` at commit %s. %d of %d are convicted, each within %d seeds from seed 1 on; as a rule the number of the seed is the number of seeds that it took. %d of the others are convicted by the tests of their own package.\n\n", len(all), commit, found, len(all), *mutantSeeds, unit)
	b.WriteString("A rule is one of [protocol.md](../protocol.md). \"hole\" is the number of a hole of the original kumofs that a mutant stands for, in the order of that file's last table as the tests know them; \"named\" are the three whose undoing a model of the protocol had shown to be fatal.\n\n| mutant | breaks | file | seed | what convicted it |\n|---|---|---|---|---|\n")
	for _, c := range all {
		seed := strconv.Itoa(c.seed)
		if c.seed == 0 {
			seed = "none"
		}
		fmt.Fprintf(b, "| %s | %s | `%s` | %s | %s |\n", c.name, c.rule, c.file, seed, short(c.why))
	}
	return b.String()
}

// short makes a conviction fit into a cell.
func short(why string) string {
	why = strings.NewReplacer("|", "/", "0000000000000", "").Replace(why)
	if r := []rune(why); len(r) > 140 {
		why = string(r[:140]) + " …"
	}
	return why
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
