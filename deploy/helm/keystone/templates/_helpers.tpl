{{- define "keystone.labels" -}}
app.kubernetes.io/name: keystone
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "keystone.selector" -}}
app.kubernetes.io/name: keystone
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "keystone.name" -}}
{{ printf "%s-%s" .root.Release.Name .role | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "keystone.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* What a pod may: nothing. */}}
{{- define "keystone.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "keystone.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* The servers a role talks to, with the prefixes of the variables about them: it gets no other's secrets. */}}
{{- define "keystone.servers" -}}
log: KEYSTONE_BROKER
{{- if ne .role "sink" }}
store: KEYSTONE_STORE
{{- end }}
{{- if has .role (list "sink" "migrate") }}
clickhouse: KEYSTONE_CLICKHOUSE
{{- end }}
{{- end }}

{{- define "keystone.env" -}}
{{- $values := .root.Values }}
- { name: KEYSTONE_BROKERS, value: {{ join "," $values.log.brokers | quote }} }
- { name: KEYSTONE_LOG_FORMAT, value: json }
- { name: KEYSTONE_LOG_LEVEL, value: {{ $values.logLevel | quote }} }
- { name: KEYSTONE_ADMIN_LISTEN, value: ":8081" }
{{- with $values.traces }}
{{- if .endpoint }}
- { name: KEYSTONE_TRACE_ENDPOINT, value: {{ .endpoint | quote }} }
{{- if .headersSecretName }}
- { name: OTEL_EXPORTER_OTLP_HEADERS, valueFrom: { secretKeyRef: { name: {{ .headersSecretName }}, key: otlp-headers } } }
{{- end }}
{{- end }}
{{- end }}
{{- with $values.log }}
{{- if .tls }}
- { name: KEYSTONE_BROKER_TLS, value: "true" }
{{- end }}
{{- if .sasl }}
- { name: KEYSTONE_BROKER_SASL, value: {{ .sasl | quote }} }
- { name: KEYSTONE_BROKER_USER, value: {{ required "log.sasl needs log.user" .user | quote }} }
{{- $_ := required "log.sasl needs log.passwordSecretName" .passwordSecretName }}
{{- end }}
{{- end }}
{{- range $server, $prefix := include "keystone.servers" . | fromYaml }}
{{- if ne $server "log" }}
- { name: {{ $prefix }}_DSN, valueFrom: { secretKeyRef: { name: {{ $values.secretName }}, key: {{ $server }}-dsn } } }
{{- end }}
{{- with index $values $server }}
{{- if .caSecretName }}
- { name: {{ $prefix }}_CA, value: /etc/keystone/{{ $server }}-ca/ca.crt }
{{- end }}
{{- if .certSecretName }}
- { name: {{ $prefix }}_CERT, value: /etc/keystone/{{ $server }}-cert/tls.crt }
- { name: {{ $prefix }}_KEY, value: /etc/keystone/{{ $server }}-cert/tls.key }
{{- end }}
{{- if .passwordSecretName }}
- { name: {{ $prefix }}_PASSWORD_FILE, value: /etc/keystone/{{ $server }}-password/password }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whole Secrets, not single files of them: those would not be renewed in a running pod. */}}
{{- define "keystone.mounts" -}}
{{- range $server, $_ := include "keystone.servers" . | fromYaml }}
{{- range $what := list "ca" "cert" "password" }}
{{- if index $.root.Values $server (printf "%sSecretName" $what) }}
- { name: {{ $server }}-{{ $what }}, mountPath: /etc/keystone/{{ $server }}-{{ $what }}, readOnly: true }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "keystone.volumes" -}}
{{- range $server, $_ := include "keystone.servers" . | fromYaml }}
{{- range $what := list "ca" "cert" "password" }}
{{- with index $.root.Values $server (printf "%sSecretName" $what) }}
- { name: {{ $server }}-{{ $what }}, secret: { secretName: {{ . }}, defaultMode: 0440 } }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the containers of all roles have alike. */}}
{{- define "keystone.container" -}}
image: {{ include "keystone.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{ include "keystone.security" . | nindent 2 }}
env: {{ include "keystone.env" . | nindent 2 }}
{{- end }}

{{- define "keystone.probes" -}}
livenessProbe: { httpGet: { path: /healthz, port: admin }, periodSeconds: 10, failureThreshold: 6 }
readinessProbe: { httpGet: { path: /readyz, port: admin }, periodSeconds: 5, timeoutSeconds: 4 }
{{- end }}

{{- define "keystone.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{ include "keystone.podSecurity" .root | nindent 2 }}
terminationGracePeriodSeconds: 60
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "keystone.selector" . | nindent 8 }}
{{- end }}
