package main

import (
	"slices"
	"testing"
)

func TestSplitSQL(t *testing.T) {
	for script, want := range map[string][]string{
		"":                             nil,
		" ;; ":                         nil,
		"SELECT 1":                     {"SELECT 1"},
		"SELECT 1; SELECT 2;":          {"SELECT 1", "SELECT 2"},
		"SELECT ';' ; SELECT \"a;b\"":  {"SELECT ';'", "SELECT \"a;b\""},
		`SELECT 'it\';s'; SELECT 2`:    {`SELECT 'it\';s'`, "SELECT 2"},
		`SELECT '\\'; SELECT 2`:        {`SELECT '\\'`, "SELECT 2"},
		"SELECT 1 -- no; cut\n; x":     {"SELECT 1 -- no; cut", "x"},
		"SELECT 5 - 1; SELECT `c;d`; ": {"SELECT 5 - 1", "SELECT `c;d`"},
	} {
		if got := splitSQL(script); !slices.Equal(got, want) {
			t.Errorf("%q: got %q", script, got)
		}
	}
}
