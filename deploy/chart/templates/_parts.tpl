{{- define "agent.labels" -}}
app: prefect-agent
app.kubernetes.io/name: prefect-agent
app.kubernetes.io/component: agent
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "agent.selector" -}}
app: prefect-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Name of the Secret with the API key; empty if there is none. */ -}}
{{- define "agent.secret" -}}
{{- if .Values.apiKey.existingSecret }}{{ .Values.apiKey.existingSecret }}
{{- else if .Values.apiKey.value }}{{ .Release.Name }}
{{- else if eq .Values.backend "cloud" }}{{ fail "Prefect Cloud needs an API key: set apiKey.existingSecret, or apiKey.value" }}
{{- end }}
{{- end }}

{{- /* Features that are switched off; Secrets are made for Jobs only where Jobs cannot refer to the agent's own. */ -}}
{{- define "agent.off" -}}
{{- $off := .Values.without }}
{{- if not (include "agent.secret" .) }}{{ $off = append $off "secret" }}{{ end }}
{{- join "," $off }}
{{- end }}

{{- define "agent.roleName" -}}
{{ .Release.Name }}{{ if .Values.clusterWide }}-{{ .Release.Namespace }}{{ end }}
{{- end }}

{{- /* Kubernetes makes $(NAME) a variable and $$ one dollar. */ -}}
{{- define "agent.literal" -}}
{{- if or (contains "$(" .) (contains "$$" .) }}{{ replace "$" "$$" . }}{{ else }}{{ . }}{{ end }}
{{- end }}
