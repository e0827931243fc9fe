package check

import (
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const rulesFile = "../alerts/keystone.yml"

// TestAlerts reads the rules as Prometheus does, and holds them against the table of metrics and the runbook.
func TestAlerts(t *testing.T) {
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	names := documented(t)
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("../alerts/keystone_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	var alerts []string
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			alerts = append(alerts, rule.Alert)
			checkPromQL(t, rule.Alert, rule.Expr, names)
			if !slices.Contains([]string{"warning", "critical"}, rule.Labels["severity"]) || rule.Annotations["summary"] == "" {
				t.Errorf("%s: nobody knows how bad it is, or what", rule.Alert)
			}
			if rule.Annotations["runbook"] != "docs/runbook.md#"+strings.ToLower(rule.Alert) {
				t.Errorf("%s: its runbook is %s", rule.Alert, rule.Annotations["runbook"])
			}
			if !strings.Contains(string(tests), "alertname: "+rule.Alert+"\n") {
				t.Errorf("%s: no test fires it", rule.Alert)
			}
		}
	}
	for _, heading := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(string(runbook), -1) {
		i := slices.Index(alerts, heading[1])
		if i < 0 {
			t.Errorf("docs/runbook.md: %s is no alert", heading[1])
			continue
		}
		alerts = slices.Delete(alerts, i, i+1)
	}
	if len(alerts) > 0 {
		t.Errorf("docs/runbook.md says nothing of %v", alerts)
	}
}

// TestAlertsFire runs promtool's tests of the rules: when each fires, and when not.
func TestAlertsFire(t *testing.T) {
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", rulesFile},
		{"test", "rules", "../alerts/keystone_test.yml"},
		{"check", "config", "--syntax-only", "../compose/prometheus/prometheus.yml"},
	} {
		cmd := exec.Command("go", append([]string{"tool", "promtool"}, args...)...)
		// Without what finds targets in the clouds it is built in half the time.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+os.Getenv("GOFLAGS")+" -tags=remove_all_sd,enable_dns_sd")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
