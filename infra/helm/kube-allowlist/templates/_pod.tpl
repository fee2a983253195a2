{{/* What the pods of both programs have in common. */}}

{{- define "kube-allowlist.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "kube-allowlist.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* (list . "forwarder") */}}
{{- define "kube-allowlist.tolerations" -}}
{{- $root := index . 0 -}}
# What keeps pods off a node until the lists hold its addresses must not keep us off. Another
# key in KUBE_ALLOWLIST_GATE belongs here, too.
- key: {{ include "kube-allowlist.tolerated" $root | toYaml }}
  operator: Exists
- key: node.cloudprovider.kubernetes.io/uninitialized
  operator: Exists
  effect: NoSchedule
- key: node.kubernetes.io/not-ready
  operator: Exists
  effect: NoSchedule
# From a node that is gone it is to be moved soon, not after the usual five minutes.
- key: node.kubernetes.io/not-ready
  operator: Exists
  effect: NoExecute
  tolerationSeconds: 30
- key: node.kubernetes.io/unreachable
  operator: Exists
  effect: NoExecute
  tolerationSeconds: 30
{{- with (index $root.Values (index . 1)).tolerations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where the certificates of own authorities are, as a variable. */}}
{{- define "kube-allowlist.caVariable" -}}
{{- with .Values.caBundle }}
{{- if .configMap }}
- name: NODE_EXTRA_CA_CERTS
  value: /etc/kube-allowlist-authorities/{{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "kube-allowlist.caMount" -}}
{{- if .Values.caBundle.configMap }}
- name: authorities
  mountPath: /etc/kube-allowlist-authorities
  readOnly: true
{{- end }}
{{- end -}}

{{- define "kube-allowlist.caVolume" -}}
{{- with .Values.caBundle }}
{{- if .configMap }}
- name: authorities
  configMap:
    name: {{ .configMap | toYaml }}
    items:
      - key: {{ .key | toYaml }}
        path: {{ .key | toYaml }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "kube-allowlist.keyMount" -}}
- name: signature
  mountPath: /var/run/secrets/kube-allowlist-signature
  readOnly: true
{{- end -}}

{{- define "kube-allowlist.keyVolume" -}}
- name: signature
  secret:
    secretName: {{ include "kube-allowlist.keySecret" . | toYaml }}
    # 0440: the group is ours.
    defaultMode: 288
    items:
      - key: {{ .Values.auth.signature.key | toYaml }}
        path: key
{{- end -}}

{{/* Selectors of pods as the forwarder reads them: `pay/app=api,tier=web; ops`. */}}
{{- define "kube-allowlist.pods" -}}
{{- $selectors := list -}}
{{- range . -}}
{{- $pairs := list -}}
{{- range $key, $value := .labels -}}
{{- $pairs = append $pairs (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- $selectors = append $selectors (ternary (printf "%s/%s" .namespace (join "," $pairs)) .namespace (gt (len $pairs) 0)) -}}
{{- end -}}
{{- join "; " $selectors -}}
{{- end -}}
