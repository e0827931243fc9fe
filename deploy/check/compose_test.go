package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const composeDir = "../compose"

// elsewhere is what an operator says to elsewhere.yaml; the other files have it themselves.
var elsewhere = []string{"KEYSTONE_BROKERS=a:9093", "KEYSTONE_STORE_DSN=postgres://keystone@db:26257/keystone", "KEYSTONE_CLICKHOUSE_DSN=clickhouse://keystone@ch:9440/keystone"}

// load reads a file as docker compose does: interpolated, included, merged, and validated against the
// schema of the compose specification.
func load(t *testing.T, file string) *types.Project {
	t.Helper()
	var env []string
	if file == "elsewhere.yaml" {
		env = elsewhere
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(composeDir, file)}, cli.WithWorkingDirectory(composeDir),
		cli.WithEnv(env), cli.WithEnvFiles(), cli.WithDotEnv, cli.WithProfiles([]string{"tools"}), cli.WithName("keystone"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return project
}

func TestCompose(t *testing.T) {
	for file, engines := range map[string][]string{
		"compose.yaml": {"redpanda", "cockroach", "clickhouse"},
		"cluster.yaml": {"redpanda-1", "redpanda-2", "redpanda-3", "cockroach-1", "cockroach-2", "cockroach-3",
			"clickhouse-1-1", "clickhouse-1-2", "clickhouse-2-1", "clickhouse-2-2", "keeper-1", "keeper-2", "keeper-3"},
		"elsewhere.yaml": nil,
	} {
		t.Run(file, func(t *testing.T) {
			project := load(t, file)
			for _, name := range append(engines, "engines", "migrate", "keys", "edge", "processor", "sink", "prometheus", "grafana") {
				if _, ok := project.Services[name]; !ok {
					t.Errorf("there is no service %s", name)
				}
			}
			for name, service := range project.Services {
				checkService(t, project, name, service)
			}
		})
	}
}

func checkService(t *testing.T, project *types.Project, name string, service types.ServiceConfig) {
	image, tag, found := strings.Cut(service.Image[strings.LastIndex(service.Image, "/")+1:], ":")
	if !found || tag == "" || tag == "latest" {
		t.Errorf("%s: the image %s has no version", name, image)
	}
	for dependency, on := range service.DependsOn {
		other, ok := project.Services[dependency]
		switch {
		case !ok:
			t.Errorf("%s waits for %s, which is not there", name, dependency)
		case on.Condition == types.ServiceConditionHealthy && other.HealthCheck == nil:
			t.Errorf("%s waits for the health of %s, which has no check", name, dependency)
		case on.Condition == types.ServiceConditionStarted:
			t.Errorf("%s waits for %s to be started, which says nothing", name, dependency)
		}
	}
	for _, port := range service.Ports {
		if port.HostIP != "127.0.0.1" {
			t.Errorf("%s: port %s is open to the network", name, port.Published)
		}
	}
	for _, volume := range service.Volumes {
		if volume.Type == types.VolumeTypeBind {
			if _, err := os.Stat(volume.Source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	once := service.Restart == "" || strings.HasPrefix(service.Restart, "on-failure")
	if !once && service.HealthCheck == nil {
		t.Errorf("%s has no health check", name)
	}
	if !once && (service.Deploy == nil || service.Deploy.Resources.Limits == nil || service.Deploy.Resources.Limits.MemoryBytes == 0) {
		t.Errorf("%s has no limits", name)
	}
	if service.Build == nil {
		return
	}
	if !service.ReadOnly || !slices.Contains(service.CapDrop, "ALL") {
		t.Errorf("%s may do more than it needs", name)
	}
	env := map[string]string{}
	for key, value := range service.Environment {
		if value != nil {
			env[key] = *value
		}
	}
	known(t, name, env, service.Command...)
	for variable, path := range env {
		if file := testFile(t, variable); file != "" {
			if !slices.ContainsFunc(service.Secrets, func(s types.ServiceSecretConfig) bool { return "/run/secrets/"+s.Source == path }) {
				t.Errorf("%s: %s=%s is no secret of the service", name, variable, path)
			}
			env[variable] = file
		}
	}
	understood(t, name, env, service.Command...)
	if service.HealthCheck != nil {
		test := service.HealthCheck.Test
		if len(test) < 3 || test[0] != "CMD" || test[1] != "/keystone" {
			t.Fatalf("%s: a health check that needs a shell: %v", name, test)
		}
		understood(t, name, env, test[2:]...)
	}
}

// The two variants differ in what they are for.
func TestComposeVariants(t *testing.T) {
	for file, want := range map[string]map[string]string{
		"compose.yaml": {"KEYSTONE_REPLICATION": "1", "KEYSTONE_CLICKHOUSE_REPLICATED": "false", "KEYSTONE_CLICKHOUSE_CLUSTER": "", "KEYSTONE_BROKERS": "redpanda:9092"},
		"cluster.yaml": {"KEYSTONE_REPLICATION": "3", "KEYSTONE_CLICKHOUSE_REPLICATED": "true", "KEYSTONE_CLICKHOUSE_CLUSTER": "keystone", "KEYSTONE_BROKERS": "redpanda-1:9092,redpanda-2:9092,redpanda-3:9092"},
	} {
		migrate := load(t, file).Services["migrate"]
		for name, value := range want {
			if got := migrate.Environment[name]; got == nil || *got != value {
				t.Errorf("%s: %s is %v, not %s", file, name, got, value)
			}
		}
	}
	if got := load(t, "cluster.yaml").Services["processor"].Deploy.Replicas; got == nil || *got != 2 {
		t.Errorf("processors on the cluster: %v", got)
	}
}
