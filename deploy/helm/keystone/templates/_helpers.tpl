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

{{- define "keystone.env" -}}
- { name: KEYSTONE_BROKERS, value: {{ join "," .Values.log.brokers | quote }} }
- { name: KEYSTONE_LOG_FORMAT, value: json }
- { name: KEYSTONE_LOG_LEVEL, value: {{ .Values.logLevel | quote }} }
- { name: KEYSTONE_ADMIN_LISTEN, value: ":8081" }
- { name: KEYSTONE_STORE_DSN, valueFrom: { secretKeyRef: { name: {{ .Values.secretName }}, key: store-dsn } } }
- { name: KEYSTONE_CLICKHOUSE_DSN, valueFrom: { secretKeyRef: { name: {{ .Values.secretName }}, key: clickhouse-dsn } } }
{{- with .Values.traces }}
{{- if .endpoint }}
- { name: KEYSTONE_TRACE_ENDPOINT, value: {{ .endpoint | quote }} }
{{- if .headersSecretName }}
- { name: OTEL_EXPORTER_OTLP_HEADERS, valueFrom: { secretKeyRef: { name: {{ .headersSecretName }}, key: otlp-headers } } }
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.log }}
{{- if .tls }}
- { name: KEYSTONE_BROKER_TLS, value: "true" }
{{- end }}
{{- if .caSecretName }}
- { name: KEYSTONE_BROKER_CA, value: /etc/keystone/log-ca/ca.crt }
{{- end }}
{{- if .sasl }}
- { name: KEYSTONE_BROKER_SASL, value: {{ .sasl | quote }} }
- { name: KEYSTONE_BROKER_USER, value: {{ required "log.sasl needs log.user" .user | quote }} }
- { name: KEYSTONE_BROKER_PASSWORD_FILE, value: /etc/keystone/log-password/password }
{{- end }}
{{- end }}
{{- end }}

{{- define "keystone.mounts" -}}
{{- if .Values.log.caSecretName }}
- { name: log-ca, mountPath: /etc/keystone/log-ca, readOnly: true }
{{- end }}
{{- if .Values.log.sasl }}
- { name: log-password, mountPath: /etc/keystone/log-password, readOnly: true }
{{- end }}
{{- end }}

{{- define "keystone.volumes" -}}
{{- if .Values.log.caSecretName }}
- { name: log-ca, secret: { secretName: {{ .Values.log.caSecretName }} } }
{{- end }}
{{- if .Values.log.sasl }}
- { name: log-password, secret: { secretName: {{ required "log.sasl needs log.passwordSecretName" .Values.log.passwordSecretName }} } }
{{- end }}
{{- end }}

{{/* What the containers of all roles have alike. */}}
{{- define "keystone.container" -}}
image: {{ include "keystone.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
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
