package sql

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestParse(t *testing.T) {
	got, err := parseAll(fstest.MapFS{"queries/a.sql": {Data: []byte("-- About this file.\n\n-- name: one\n-- Why.\nSELECT 1\nFROM t;\n\n-- name: two\nDELETE FROM t;\n")}})
	if err != nil {
		t.Fatal(err)
	}
	if got["one"] != "SELECT 1\nFROM t" || got["two"] != "DELETE FROM t" || len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"twice the same name": "-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n",
		"no name":             "SELECT 1;\n",
		"an empty name":       "-- name:\nSELECT 1;\n",
		"no semicolon":        "-- name: a\nSELECT 1\n",
		"none before another": "-- name: a\nSELECT 1\n-- name: b\nSELECT 2;\n",
	} {
		if err := parse(map[string]string{}, text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestStatementPanicsOnAnUnknownName(t *testing.T) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), "no_such") {
			t.Errorf("recovered %v", r)
		}
	}()
	Statement("no_such")
}
