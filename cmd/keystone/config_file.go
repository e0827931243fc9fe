package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-json"
)

// configFlag names a file of values for flags. What the command line and the environment say counts
// before it. One file may serve all roles, so names of other commands' flags are known too.
type configFlag string

// BeforeResolve reads the file, and refuses what is no flag's name.
func (configFlag) BeforeResolve(c *kong.Context, trace *kong.Path) error {
	name := string(c.FlagValue(trace.Flag).(configFlag)) //nolint:forcetypeassert // kong calls it for its own flag
	values, err := readConfigFile(kong.ExpandPath(name), flagNames(c.Model))
	if err != nil {
		return fmt.Errorf("--config %s: %w", name, err)
	}
	c.AddResolver(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		for _, env := range flag.Tag.Envs {
			if _, ok := os.LookupEnv(env); ok {
				return nil, nil
			}
		}
		return values[bareName(flag.Name)], nil
	}))
	return nil
}

// bareName is a flag's name however it is written: spool-dir, spool_dir, spoolDir.
func bareName(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name))
}

// flagNames are all commands' flags, by their bare names, as a file has them.
func flagNames(app *kong.Application) map[string]string {
	names := map[string]string{}
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error { // the visitor has no errors
		if flag, ok := node.(*kong.Flag); ok && flag.Name != "help" && flag.Name != "config" {
			names[bareName(flag.Name)] = strings.ReplaceAll(flag.Name, "-", "_")
		}
		return next(nil)
	})
	return names
}

// readConfigFile answers the values by bare names. It lists every wrong name at once.
func readConfigFile(path string, known map[string]string) (map[string]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var members map[string]any
	d := json.NewDecoder(f)
	if err := d.Decode(&members); errors.As(err, new(*json.UnmarshalTypeError)) {
		return nil, errors.New("it must be a JSON object")
	} else if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("it must be one JSON object, and something follows it")
	}
	values := map[string]any{}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(members)) {
		key := bareName(name)
		if _, twice := values[key]; twice {
			wrong = append(wrong, fmt.Errorf("%q is there twice", known[key]))
		}
		if known[key] == "" {
			wrong = append(wrong, unknownFlag(name, key, known))
		}
		values[key] = members[name]
	}
	return values, errors.Join(wrong...)
}

func unknownFlag(name, key string, known map[string]string) error {
	nearest, least := "", max(2, len(key)/4)+1
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := distance(key, k); d < least {
			nearest, least = known[k], d
		}
	}
	if nearest == "" {
		return fmt.Errorf("%q is no flag", name)
	}
	return fmt.Errorf("%q is no flag, did you mean %q?", name, nearest)
}

// distance is how many bytes must be put in, taken out or replaced to make one of the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		above := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := above
			if a[i] != b[j] {
				cost = 1 + min(above, row[j], row[j+1])
			}
			above, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
