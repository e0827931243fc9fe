package sql

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// foreign is what only one of the two servers understands, or what they understand differently.
// A statement that matches would pass every test here, on PostgreSQL, and fail in production.
var foreign = map[string]*regexp.Regexp{
	"a placeholder without a cast":      regexp.MustCompile(`\$\d+(?:[^\d:]|:[^:]|$)`),
	"SELECT *":                          regexp.MustCompile(`(?i)select\s+\*|\.\*`),
	"bare INT or other ambiguous types": regexp.MustCompile(`(?i)\b(int|integer|bigint|smallint|serial\w*|bigserial|real|float|varchar|char)\b`),
	"sequences":                         regexp.MustCompile(`(?i)\b(nextval|identity|generated)\b`),
	"advisory locks":                    regexp.MustCompile(`(?i)pg_\w*advisory`),
	"LISTEN, NOTIFY":                    regexp.MustCompile(`(?i)\b(listen|notify|unlisten)\b`),
	"LOCK TABLE":                        regexp.MustCompile(`(?i)\block\s+table\b`),
	"FOR SHARE, SKIP LOCKED":            regexp.MustCompile(`(?i)\b(for\s+(key\s+)?share|skip\s+locked|nowait)\b`),
	"DEFERRABLE":                        regexp.MustCompile(`(?i)\bdeferr`),
	"EXCLUDE constraints":               regexp.MustCompile(`(?i)\bexclude\s+using\b`),
	"MERGE":                             regexp.MustCompile(`(?i)\bmerge\s+into\b`),
	"domains":                           regexp.MustCompile(`(?i)\bcreate\s+domain\b`),
	"array slices":                      regexp.MustCompile(`\[\s*\d*\s*:\s*\d*\s*\]`),
	"ON COMMIT":                         regexp.MustCompile(`(?i)\bon\s+commit\b`),
	"BRIN, hash and other indexes":      regexp.MustCompile(`(?i)\busing\s+(brin|hash|gin|gist|spgist)\b`),
	"TABLESAMPLE":                       regexp.MustCompile(`(?i)\btablesample\b`),
	"ROLLUP, CUBE":                      regexp.MustCompile(`(?i)\b(rollup|cube|grouping\s+sets)\b`),
	"DO blocks, functions, triggers":    regexp.MustCompile(`(?i)(\bdo\s+\$|\bplpgsql\b|\btrigger\b|\bcreate\s+(or\s+replace\s+)?function\b)`),
	"system columns":                    regexp.MustCompile(`(?i)\b(xmax|xmin|ctid|tableoid)\b`),
	"functions that differ":             regexp.MustCompile(`(?i)\b(sha256|regexp_match\w*|hashtext\w*|make_interval|digest|md5)\s*\(`),
	"division":                          regexp.MustCompile(`\s/\s`),
	"row assignment":                    regexp.MustCompile(`(?i)\bset\s*\(`),
	"ON CONFLICT without a target":      regexp.MustCompile(`(?i)\bon\s+conflict\s+do\b`),
	"ON CONSTRAINT":                     regexp.MustCompile(`(?i)\bon\s+constraint\b`),
	"JSONB":                             regexp.MustCompile(`(?i)\bjsonb?\b`),
}

func TestStatementsAreOfTheCommonDialect(t *testing.T) {
	for _, name := range Names() {
		for what, re := range foreign {
			if found := re.FindString(Statement(name)); found != "" {
				t.Errorf("%s: %s: %q", name, what, found)
			}
		}
	}
}

func TestMigrationsAreOfTheCommonDialect(t *testing.T) {
	files, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	comment := regexp.MustCompile(`--.*`)
	for _, file := range files {
		data, err := fs.ReadFile(migrationFiles, file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		if !strings.Contains(text, "-- +goose NO TRANSACTION") || !strings.Contains(text, "-- +goose Down") {
			t.Errorf("%s: must say NO TRANSACTION and have a way down", file)
		}
		text = comment.ReplaceAllString(text, "")
		for _, bad := range []string{`(?i)create\s+table\s+[^i]`, `(?i)create\s+(unique\s+)?index\s+[^i]`, `(?i)drop\s+table\s+[^i]`} {
			if found := regexp.MustCompile(bad).FindString(text); found != "" {
				t.Errorf("%s: not idempotent: %q", file, found)
			}
		}
		if strings.Contains(file, "_cockroach") || strings.Contains(file, "_postgres") {
			continue
		}
		for what, re := range foreign {
			if found := re.FindString(text); found != "" {
				t.Errorf("%s: %s: %q", file, what, found)
			}
		}
	}
}

// The deny-list itself must notice what it is for.
func TestForeignDialectIsNoticed(t *testing.T) {
	for what, text := range map[string]string{
		"a placeholder without a cast":      "SELECT a FROM t WHERE b = $1",
		"SELECT *":                          "select * from t",
		"bare INT or other ambiguous types": "a INT NOT NULL",
		"advisory locks":                    "SELECT pg_try_advisory_lock($1::INT8)",
		"system columns":                    "RETURNING xmax = 0",
		"ON CONFLICT without a target":      "ON CONFLICT DO NOTHING",
		"array slices":                      "a[1:2]",
		"row assignment":                    "UPDATE t SET (a, b) = (1, 2)",
	} {
		if !foreign[what].MatchString(text) {
			t.Errorf("%s: %q passes", what, text)
		}
	}
	for _, fine := range []string{"$1::UUID[]", "$10::INT8)", "a INT8 NOT NULL", "unnest($1::UUID[], $2::TEXT[])"} {
		for what, re := range foreign {
			if re.MatchString(fine) {
				t.Errorf("%q is taken for %s", fine, what)
			}
		}
	}
}

func TestStatementsPrepare(t *testing.T) {
	ctx := context.Background()
	dsn := freshStore(t)
	if err := Migrate(ctx, dsn, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, name := range Names() {
		if _, err := conn.Prepare(ctx, name, Statement(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A statement nobody runs is not tested by anything.
func TestStatementsAreUsed(t *testing.T) {
	var code strings.Builder
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			code.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		if !strings.Contains(code.String(), `Statement("`+name+`")`) {
			t.Errorf("%s is used by nothing", name)
		}
	}
}
