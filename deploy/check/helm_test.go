package check

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const chartDir = "../helm/keystone"

// render does what helm template does: the schema of the values is held, too.
func render(t *testing.T, values map[string]any) (map[string]string, error) {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return renderChart(c, values)
}

func renderChart(c *chart.Chart, values map[string]any) (map[string]string, error) {
	release := chartutil.ReleaseOptions{Name: "shop", Namespace: "keystone", IsInstall: true, Revision: 1}
	all, err := chartutil.ToRenderValues(c, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(c, all)
}

func productionValues(t *testing.T) map[string]any {
	t.Helper()
	values, err := chartutil.ReadValuesFile(filepath.Join(chartDir, "ci", "production-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// objects decodes what was rendered into Kubernetes' own types, strictly: a field that is not known, or
// is there twice, is an error. The one kind that is not Kubernetes' own is left as it is.
func objects(t *testing.T, rendered map[string]string) (found []any) {
	t.Helper()
	for name, text := range rendered {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var head struct{ Kind, APIVersion string }
			if err := yaml.Unmarshal(document, &head); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			var object any
			switch head.APIVersion + " " + head.Kind {
			case " ":
				continue
			case "apps/v1 StatefulSet":
				object = new(appsv1.StatefulSet)
			case "apps/v1 Deployment":
				object = new(appsv1.Deployment)
			case "batch/v1 Job":
				object = new(batchv1.Job)
			case "v1 Service":
				object = new(corev1.Service)
			case "autoscaling/v2 HorizontalPodAutoscaler":
				object = new(autoscalingv2.HorizontalPodAutoscaler)
			case "policy/v1 PodDisruptionBudget":
				object = new(policyv1.PodDisruptionBudget)
			case "networking.k8s.io/v1 NetworkPolicy":
				object = new(networkingv1.NetworkPolicy)
			case "monitoring.coreos.com/v1 PodMonitor":
				object = &map[string]any{}
			default:
				t.Errorf("%s: %s %s is not checked", name, head.APIVersion, head.Kind)
				continue
			}
			if err := yaml.UnmarshalStrict(document, object); err != nil {
				t.Errorf("%s: %s: %v\n%s", name, head.Kind, err, document)
			}
			found = append(found, object)
		}
	}
	return found
}

func TestChart(t *testing.T) {
	for name, values := range map[string]map[string]any{"default": {}, "production": productionValues(t)} {
		t.Run(name, func(t *testing.T) {
			rendered, err := render(t, values)
			if err != nil {
				t.Fatal(err)
			}
			if dir := os.Getenv("KEYSTONE_RENDERED"); dir != "" {
				for file, text := range rendered {
					if err := os.WriteFile(filepath.Join(dir, name+"-"+filepath.Base(file)), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			counts := map[string]int{}
			for _, object := range objects(t, rendered) {
				switch o := object.(type) {
				case *appsv1.StatefulSet:
					counts["edge"]++
					checkPod(t, o.Name, &o.Spec.Template.Spec, o.Spec.Selector.MatchLabels, o.Spec.Template.Labels)
					if len(o.Spec.VolumeClaimTemplates) != 1 || o.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
						t.Errorf("%s: a spool would go with its pod", o.Name)
					}
					if o.Spec.Replicas != nil { // it has an autoscaler in both
						t.Errorf("%s: its replicas and its autoscaler are at odds", o.Name)
					}
				case *appsv1.Deployment:
					counts["worker"]++
					checkPod(t, o.Name, &o.Spec.Template.Spec, o.Spec.Selector.MatchLabels, o.Spec.Template.Labels)
					if (o.Spec.Replicas == nil) != (name == "production") {
						t.Errorf("%s: its replicas and its autoscaler are at odds", o.Name)
					}
				case *batchv1.Job:
					counts["job"]++
					checkPod(t, o.Name, &o.Spec.Template.Spec, nil, nil)
				case *autoscalingv2.HorizontalPodAutoscaler:
					counts["autoscaler"]++
					checkAutoscaler(t, o, name == "production")
				case *policyv1.PodDisruptionBudget:
					counts["budget"]++
				case *networkingv1.NetworkPolicy:
					counts["policy"]++
				case *map[string]any:
					counts["monitor"]++
				}
			}
			want := map[string]int{"edge": 1, "worker": 2, "job": 1, "autoscaler": 1, "budget": 3, "policy": 3}
			if name == "production" {
				want["autoscaler"], want["monitor"] = 3, 1
			}
			for what, n := range want {
				if counts[what] != n {
					t.Errorf("%d of %s, not %d", counts[what], what, n)
				}
			}
		})
	}
}

// checkAutoscaler looks at the edge's: the requests in flight are a metric of the pods that the edge has,
// and are there only for who has an adapter. The metric that is missing would keep it from scaling down.
func checkAutoscaler(t *testing.T, o *autoscalingv2.HorizontalPodAutoscaler, inFlight bool) {
	t.Helper()
	if o.Spec.ScaleTargetRef.Kind != "StatefulSet" {
		return
	}
	if (len(o.Spec.Metrics) == 2) != inFlight {
		t.Fatalf("the edge scales on %d metrics", len(o.Spec.Metrics))
	}
	if !inFlight {
		return
	}
	table, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	pods := o.Spec.Metrics[1].Pods
	if !strings.Contains(string(table), "`"+pods.Metric.Name+"` | gauge") || pods.Target.AverageValue.Value() != 200 {
		t.Errorf("the edge scales on %+v", pods)
	}
}

// checkPod holds a pod to what keystone understands and to what it may do, which is nothing.
func checkPod(t *testing.T, name string, pod *corev1.PodSpec, selector, labels map[string]string) {
	t.Helper()
	for key, value := range selector {
		if labels[key] != value {
			t.Errorf("%s: the selector %s=%s does not find its pods", name, key, value)
		}
	}
	c := pod.Containers[0]
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
		if strings.HasSuffix(e.Name, "_HEADERS") && e.ValueFrom == nil {
			t.Errorf("%s: %s is not from a secret", name, e.Name)
		}
		if e.ValueFrom != nil {
			env[e.Name] = map[string]string{"store-dsn": "postgres://db/keystone", "clickhouse-dsn": "clickhouse://ch:9000/keystone"}[e.ValueFrom.SecretKeyRef.Key]
		} else if strings.Contains(e.Name, "DSN") || strings.HasSuffix(e.Name, "PASSWORD") {
			t.Errorf("%s: %s is not from a secret", name, e.Name)
		}
	}
	// A role has what it needs of secrets, and no other server's.
	foreign := map[string]string{"edge": "clickhouse", "processor": "clickhouse", "sink": "store"}[c.Args[0]]
	for variable := range env {
		if foreign != "" && strings.HasPrefix(variable, "KEYSTONE_"+strings.ToUpper(foreign)+"_") {
			t.Errorf("%s has %s, which is not for its role", name, variable)
		}
	}
	volumes := []string{}
	for _, v := range pod.Volumes {
		if foreign != "" && strings.HasPrefix(v.Name, foreign+"-") {
			t.Errorf("%s mounts %s, which is not for its role", name, v.Name)
		}
		volumes = append(volumes, v.Name)
	}
	for _, m := range c.VolumeMounts {
		if m.Name != "spool" && !slices.Contains(volumes, m.Name) {
			t.Errorf("%s mounts %s, which is not there", name, m.Name)
		}
	}
	known(t, name, env, c.Args...)
	// The files are where pods have them: here that the names lead to a mount can be held, and that keystone takes
	// files of their kind.
	for variable, path := range env {
		if file := testFile(t, variable); file != "" {
			if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == filepath.Dir(path) && m.SubPath == "" }) {
				t.Errorf("%s: %s=%s is on no mount that is renewed", name, variable, path)
			}
			env[variable] = file
		}
	}
	understood(t, name, env, c.Args...)
	if !*pod.SecurityContext.RunAsNonRoot || *pod.AutomountServiceAccountToken || !*c.SecurityContext.ReadOnlyRootFilesystem || *c.SecurityContext.AllowPrivilegeEscalation {
		t.Errorf("%s may do more than it needs", name)
	}
	if strings.HasSuffix(c.Image, ":") || strings.HasSuffix(c.Image, ":latest") {
		t.Errorf("%s: image %s", name, c.Image)
	}
}

// Values that would fail on the cluster fail before.
func TestChartRefuses(t *testing.T) {
	for want, values := range map[string]map[string]any{
		"listne":                  {"edge": map[string]any{"listne": ":80"}},
		"brokers":                 {"log": map[string]any{"brokers": []any{}}},
		"bytes":                   {"edge": map[string]any{"spool": map[string]any{"bytes": 1}}},
		"adminFrom":               {"networkPolicy": map[string]any{"adminFrom": []any{}}},
		"log.sasl needs log.user": {"log": map[string]any{"sasl": "plain", "passwordSecretName": "x"}},
		"/traces/sample":          {"traces": map[string]any{"sample": 2}},
		"/traces/endpoint":        {"traces": map[string]any{"endpoint": "http://user:password@tempo:4318"}},
		"requestsInFlight":        {"edge": map[string]any{"autoscaling": map[string]any{"requestsInFlight": -1}}},
		"log.passwordSecretName":  {"log": map[string]any{"sasl": "plain", "user": "x"}},
	} {
		if _, err := render(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, without %q", values, err, want)
		}
	}
}
