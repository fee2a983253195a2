{{/* Names, labels and addresses that several objects share. */}}

{{- define "kube-allowlist.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
The name of one program's objects in the namespace; (list . "forwarder"). In a namespace that is
called like the release nobody else is expected, so the release's name in front would say nothing.
*/}}
{{- define "kube-allowlist.name" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $given := (index $root.Values $component).name -}}
{{- $fullname := include "kube-allowlist.fullname" $root -}}
{{- if $given -}}
{{- $given -}}
{{- else if eq $root.Release.Namespace $fullname -}}
{{- $component -}}
{{- else -}}
{{- printf "%s-%s" $fullname $component -}}
{{- end -}}
{{- end -}}

{{- define "kube-allowlist.account" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- (index $root.Values $component).serviceAccount.name | default (include "kube-allowlist.name" .) -}}
{{- end -}}

{{/* Who gets a right: (include … .) */}}
{{- define "kube-allowlist.subject" -}}
- kind: ServiceAccount
  name: {{ include "kube-allowlist.account" (list . "forwarder") | toYaml }}
  namespace: {{ .Release.Namespace | toYaml }}
{{- end -}}

{{- define "kube-allowlist.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | toYaml }}
app.kubernetes.io/instance: {{ $root.Release.Name | toYaml }}
app.kubernetes.io/component: {{ index . 1 | toYaml }}
{{- end -}}

{{- define "kube-allowlist.labels" -}}
{{- $root := index . 0 -}}
{{ include "kube-allowlist.selector" . }}
app.kubernetes.io/part-of: kube-allowlist
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service | toYaml }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | toYaml }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "kube-allowlist.image" -}}
{{- with .Values.image -}}
{{- .repository -}}
{{- if .digest -}}
@{{ .digest }}
{{- else -}}
:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where the forwarder delivers. */}}
{{- define "kube-allowlist.url" -}}
{{- if .Values.url -}}
{{- .Values.url -}}
{{- else if .Values.receiver.enabled -}}
{{- $port := int .Values.receiver.service.port -}}
{{- $host := printf "%s.%s.svc" (include "kube-allowlist.name" (list . "receiver")) .Release.Namespace -}}
http://{{ $host }}{{ if ne $port 80 }}:{{ $port }}{{ end }}/v1/snapshots
{{- end -}}
{{- end -}}

{{- define "kube-allowlist.urlHost" -}}
{{- (urlParse (include "kube-allowlist.url" .)).host | regexFind "^(\\[[^\\]]*\\]|[^:]*)" -}}
{{- end -}}

{{/* token, signature or both. */}}
{{- define "kube-allowlist.authMethod" -}}
{{- if .Values.auth.method -}}
{{- .Values.auth.method -}}
{{- else if and .Values.receiver.enabled (not .Values.url) -}}
signature
{{- else -}}
token
{{- end -}}
{{- end -}}

{{- define "kube-allowlist.audience" -}}
{{- $url := urlParse (include "kube-allowlist.url" .) -}}
{{- .Values.auth.token.audience | default (printf "%s://%s" $url.scheme $url.host) -}}
{{- end -}}

{{/* Whether the chart makes the signing key: "true" or nothing. */}}
{{- define "kube-allowlist.makesKey" -}}
{{- $signs := ne (include "kube-allowlist.authMethod" .) "token" -}}
{{- if and .Values.receiver.enabled $signs (not .Values.auth.signature.existingSecret) -}}
true
{{- end -}}
{{- end -}}

{{- define "kube-allowlist.keySecret" -}}
{{- .Values.auth.signature.existingSecret | default (printf "%s-signature" (include "kube-allowlist.fullname" .)) -}}
{{- end -}}

{{/* The taint that keeps pods off a node. */}}
{{- define "kube-allowlist.taint" -}}
{{- $usual := "startup-taint.cluster-autoscaler.kubernetes.io/kube-allowlist" -}}
{{- if eq .Values.gate.mode "taint" -}}
{{- .Values.gate.key | default $usual -}}
{{- else -}}
{{- $usual -}}
{{- end -}}
{{- end -}}

{{/* The taint that the pods have to tolerate because of the gate. */}}
{{- define "kube-allowlist.tolerated" -}}
{{- if and .Values.gate.enabled (eq .Values.gate.mode "condition") -}}
{{- .Values.gate.key | default "readiness.k8s.io/kube-allowlist" -}}
{{- else -}}
{{- include "kube-allowlist.taint" . -}}
{{- end -}}
{{- end -}}
