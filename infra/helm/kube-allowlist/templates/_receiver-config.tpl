{{/*
The receiver's configuration, with what the chart knows better: the version, the store on its volume, and
how this cluster's deliveries are signed.
*/}}

{{- define "kube-allowlist.storePath" -}}
/var/lib/kube-allowlist
{{- end -}}

{{- define "kube-allowlist.storeKind" -}}
{{- dig "store" "kind" "file" .Values.receiver.config -}}
{{- end -}}

{{- define "kube-allowlist.receiverConfig" -}}
{{- $config := deepCopy .Values.receiver.config -}}
{{- if not (hasKey $config "version") -}}
{{- $config = set $config "version" 1 -}}
{{- end -}}
{{- if not (hasKey $config "store") -}}
{{- $config = set $config "store" (dict "kind" "file" "path" (include "kube-allowlist.storePath" .)) -}}
{{- end -}}
{{- $own := get (default dict (get $config "clusters")) .Values.cluster -}}
{{- if and (kindIs "map" $own) (include "kube-allowlist.completesAuth" .) -}}
{{- $keys := list "file:/var/run/secrets/kube-allowlist-signature/key" -}}
{{- $_ := set $own "auth" (dict "signature" (dict "keys" $keys)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Whether nothing is said about how this cluster's deliveries are proved: "true" or nothing. */}}
{{- define "kube-allowlist.completesAuth" -}}
{{- $own := get (default dict (get .Values.receiver.config "clusters")) .Values.cluster -}}
{{- if and .Values.receiver.enabled .Values.forwarder.enabled (kindIs "map" $own) -}}
{{- if and (not (hasKey $own "auth")) (not (get $own "retired")) (eq (include "kube-allowlist.authMethod" .) "signature") -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
