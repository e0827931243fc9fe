package clickhouse

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func validConfig() Config {
	cfg := DefaultConfig()
	cfg.DataDir, cfg.Lib, cfg.Launcher = "/data", "/lib.so", "/launcher"
	return cfg
}

func TestValidateListsEveryBrokenRule(t *testing.T) {
	if err := validConfig().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	bad := Config{
		HTTPPort: 70000, TCPPort: -1,
		Users: []User{
			{Name: "default"},
			{Name: "a b", PasswordSHA256: "xyz", Grants: []string{"DROP TABLE x", "GRANT SELECT ON a.b; DROP"},
				RowFilters: []RowFilter{{Database: "d", Table: "t"}, {Database: "d", Table: "t", Condition: "1"}, {Database: "<", Table: "t", Condition: "1"}},
				Settings:   map[string]string{"a/b": "1"}, Fixed: []string{"<x>"}, Quota: Quota{Interval: time.Millisecond}},
		},
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("a broken configuration is valid")
	}
	for _, want := range []string{
		"data folder is not set", "library is not set", "launcher is not set",
		"http port 70000", "tcp port -1", "max_memory_bytes", "mark_cache_bytes", "max_connections",
		"max_concurrent_queries", "query_log_days", `user "default" is defined already`, "no grants",
		`name "a b"`, "64 hex digits", "grant 1 is not", "grant 2 is not", "d.t has no condition",
		"two row filters on d.t", `database "<"`, `setting "a/b"`, `fixed setting "<x>"`, "whole seconds",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %s", want)
		}
	}
}

// What a user may write freely must not become markup.
func TestUsersFileEscapesText(t *testing.T) {
	cfg := validConfig()
	cfg.Users = []User{{
		Name: "analyst", PasswordSHA256: strings.Repeat("AB", 32),
		Grants:     []string{"GRANT SELECT ON keystone.`a<b`"},
		RowFilters: []RowFilter{{Database: "keystone", Table: "t", Condition: "n < 1 AND s = '</filter><x>' && 1"}},
	}}
	text := string(usersXML(cfg, "secret-password"))
	if strings.Contains(text, "secret-password") {
		t.Error("the password is written in clear")
	}
	if !strings.Contains(text, strings.Repeat("ab", 32)) {
		t.Error("the hash is not in lower case")
	}
	decoder := xml.NewDecoder(strings.NewReader(text))
	depth := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch element := token.(type) {
		case xml.StartElement:
			depth++
			if element.Name.Local == "x" {
				t.Error("a condition became an element")
			}
		case xml.EndElement:
			depth--
		}
	}
	if depth != 0 {
		t.Errorf("%d elements stay open", depth)
	}
}

func TestEngineCodeIsTheLastOne(t *testing.T) {
	for output, want := range map[string]int{
		"":                           0,
		"Code: 76. DB::Exception: x": 76,
		"a\nCode: 76. DB::Exception: x\n\nCode: 210. DB::Exception: y": 210,
		"said Code: 210. DB::Exception":                                0,
	} {
		if got := engineCode(output); got != want {
			t.Errorf("%q: %d, want %d", output, got, want)
		}
	}
}
