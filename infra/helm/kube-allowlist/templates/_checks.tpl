{{/*
What values.schema.json cannot say: what belongs together. Everything that is wrong is said at once, each
with a way out.
*/}}

{{/* Seconds of `90s`, `5m`, `1h`. */}}
{{- define "kube-allowlist.seconds" -}}
{{- $count := regexFind "^[0-9]+" . | int -}}
{{- mul $count (get (dict "s" 1 "m" 60 "h" 3600) (regexFind "[smh]$" .)) -}}
{{- end -}}

{{/* (dict "text" "5m" "min" "10s" "max" "10m"): "true" or nothing */}}
{{- define "kube-allowlist.isWithin" -}}
{{- $seconds := include "kube-allowlist.seconds" .text | int -}}
{{- if and (ge $seconds (include "kube-allowlist.seconds" .min | int)) (le $seconds (include "kube-allowlist.seconds" .max | int)) -}}
true
{{- end -}}
{{- end -}}

{{/* An account whose rights others have, too: "true" or nothing. */}}
{{- define "kube-allowlist.isDefaultAccount" -}}
{{- if or (eq .name "default") (and (not .create) (not .name)) -}}
true
{{- end -}}
{{- end -}}

{{/*
Whether a token for this audience opens more than the receiver's door: "true" or nothing. The programs
refuse the same ones, and the issuer besides, which a chart does not know.
*/}}
{{- define "kube-allowlist.opensMore" -}}
{{- $plain := . | lower | trimSuffix "/" -}}
{{- $name := $plain | trimPrefix "https://" -}}
{{- $known := list "k3s" "rke2" "sts.amazonaws.com" "sts.amazonaws.com.cn" "pods.eks.amazonaws.com" "sts.aliyuncs.com" "api://azureadtokenexchange" -}}
{{- $server := "^kubernetes(\\.default(\\.svc(\\.[a-z0-9.-]+)?)?)?(:[0-9]{1,5})?$" -}}
{{- $google := "^(//iam\\.googleapis\\.com(/.*)?|(.+[.:])?[a-z0-9-]+\\.svc\\.id\\.goog)$" -}}
{{- if or (has $name $known) (regexMatch $server $name) (regexMatch $google $name) (regexMatch $google ($plain | trimPrefix "https:")) -}}
true
{{- end -}}
{{- end -}}

{{/* (dict "name" "commonLabels" "labels" …): a problem, or nothing */}}
{{- define "kube-allowlist.labelsProblem" -}}
{{- $own := list -}}
{{- range $key, $_ := .labels -}}
{{- if has $key (list "helm.sh/chart" "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/part-of" "app.kubernetes.io/version" "app.kubernetes.io/managed-by") -}}
{{- $own = append $own $key -}}
{{- end -}}
{{- end -}}
{{- if $own -}}
{{- printf "%s: Cannot set %s: the chart does, and selects its pods by some of them; leave them out" .name (join ", " $own) -}}
{{- end -}}
{{- end -}}

{{- define "kube-allowlist.labelProblems" -}}
{{- $given := list
  (dict "name" "commonLabels" "labels" .Values.commonLabels)
  (dict "name" "forwarder.podLabels" "labels" .Values.forwarder.podLabels)
  (dict "name" "receiver.podLabels" "labels" .Values.receiver.podLabels)
-}}
{{- $problems := list -}}
{{- range $given -}}
{{- with include "kube-allowlist.labelsProblem" . -}}
{{- $problems = append $problems . -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "kube-allowlist.check" -}}
{{- $problems := concat
  (include "kube-allowlist.labelProblems" . | fromJsonArray)
  (include "kube-allowlist.forwarderProblems" . | fromJsonArray)
  (include "kube-allowlist.gateProblems" . | fromJsonArray)
  (include "kube-allowlist.receiverProblems" . | fromJsonArray)
-}}
{{- if $problems -}}
{{- fail (printf "\n\n%s\n" (join "\n" $problems)) -}}
{{- end -}}
{{- end -}}

{{- define "kube-allowlist.forwarderProblems" -}}
{{- $problems := list -}}
{{- $method := include "kube-allowlist.authMethod" . -}}
{{- if .Values.forwarder.enabled -}}
{{- if not .Values.cluster -}}
{{- $problems = append $problems "cluster: Cannot deliver without this cluster's name: give the one that the receiver's configuration has for it" -}}
{{- end -}}
{{- $host := include "kube-allowlist.urlHost" . -}}
{{- if not (include "kube-allowlist.url" .) -}}
{{- $problems = append $problems "url: Cannot deliver anywhere: give the receiver's https URL, or set receiver.enabled" -}}
{{- else if and (hasPrefix "http://" .Values.url) (not (regexMatch "\\.svc(\\.cluster\\.local)?$" $host)) -}}
{{- $problems = append $problems (printf "url: Cannot deliver to %s over http: use https, or a Service of this cluster (http://NAME.NAMESPACE.svc)" $host) -}}
{{- end -}}
{{- if not (include "kube-allowlist.isWithin" (dict "text" .Values.heartbeat "min" "10s" "max" "10m")) -}}
{{- $problems = append $problems (printf "heartbeat: Cannot take %s: write 10s to 10m, since a receiver calls stale what it hears more seldom" .Values.heartbeat) -}}
{{- end -}}
{{- if and (ne $method "token") (not .Values.auth.signature.existingSecret) (not .Values.receiver.enabled) -}}
{{- $problems = append $problems (printf "auth.signature.existingSecret: Cannot sign without a key: name the Secret that holds it, or set auth.method to token (it is %s)" $method) -}}
{{- end -}}
{{- if include "kube-allowlist.isDefaultAccount" .Values.forwarder.serviceAccount -}}
{{- $problems = append $problems "forwarder.serviceAccount.name: Cannot run under the namespace's default account, whose rights others have, too: name the account, or let it be made" -}}
{{- end -}}
{{- if and (ne $method "signature") (include "kube-allowlist.url" .) -}}
{{- $audience := include "kube-allowlist.audience" . -}}
{{- if include "kube-allowlist.opensMore" $audience -}}
{{- $problems = append $problems (printf "auth.token.audience: Cannot use %s: tokens for it open the API server or a cloud account, too, and must not leave the cluster; write the receiver's own URL" $audience) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.forwarder.proxy.existingSecret (or .Values.forwarder.proxy.httpsProxy .Values.forwarder.proxy.httpProxy .Values.forwarder.proxy.noProxy) -}}
{{- $problems = append $problems "forwarder.proxy: Cannot take proxies from values and from a Secret: put all of them into the Secret, or leave existingSecret out" -}}
{{- end -}}
{{- end -}}
{{- if not (or .Values.forwarder.enabled .Values.receiver.enabled) -}}
{{- $problems = append $problems "forwarder.enabled: Cannot install nothing: set forwarder.enabled or receiver.enabled" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "kube-allowlist.gateProblems" -}}
{{- $problems := list -}}
{{- if .Values.gate.enabled -}}
{{- if not .Values.forwarder.enabled -}}
{{- $problems = append $problems "gate.enabled: Cannot keep a gate without the forwarder: set forwarder.enabled, or leave the gate out" -}}
{{- end -}}
{{- if and (ne .Values.gate.timeout "never") (not (include "kube-allowlist.isWithin" (dict "text" .Values.gate.timeout "min" "1m" "max" "24h"))) -}}
{{- $problems = append $problems (printf "gate.timeout: Cannot take %s: write 1m to 24h, or \"never\" to keep nodes shut for as long as it takes" .Values.gate.timeout) -}}
{{- end -}}
{{- if and .Values.gate.policy.enabled (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- $problems = append $problems (printf "gate.policy.enabled: Cannot have an admission policy in Kubernetes %s: it takes 1.30; without it the forwarder may change everything of a node, so leave the gate out, or set this to false if you accept that" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "kube-allowlist.receiverProblems" -}}
{{- $problems := list -}}
{{- if .Values.receiver.enabled -}}
{{- $config := .Values.receiver.config -}}
{{- $kind := include "kube-allowlist.storeKind" . -}}
{{- $isShared := has $kind (list "s3" "oss") -}}
{{- $own := get (default dict (get $config "clusters")) .Values.cluster -}}
{{- if and .Values.forwarder.enabled .Values.cluster (not .Values.url) (not (kindIs "map" $own)) -}}
{{- $problems = append $problems (printf "receiver.config.clusters: Cannot find %q: the receiver must know this cluster; add it with its bounds" .Values.cluster) -}}
{{- end -}}
{{- if and .Values.forwarder.enabled (kindIs "map" $own) (not (hasKey $own "auth")) (not (get $own "retired")) (not (include "kube-allowlist.completesAuth" .)) -}}
{{- $problems = append $problems (printf "receiver.config.clusters.%s.auth: Cannot tell how this cluster proves its deliveries with auth.method %s: write it here" .Values.cluster (include "kube-allowlist.authMethod" .)) -}}
{{- end -}}
{{- if and .Values.forwarder.enabled (kindIs "map" $own) (hasKey $own "auth") (include "kube-allowlist.makesKey" .) -}}
{{- $problems = append $problems (printf "auth.signature.existingSecret: Cannot make a key for a cluster whose auth is written in receiver.config.clusters.%s: name the Secret with its key, leave that auth out, or set auth.method to token" .Values.cluster) -}}
{{- end -}}
{{- if and (gt (int .Values.receiver.replicas) 1) (not $isShared) -}}
{{- $problems = append $problems (printf "receiver.replicas: Cannot share the store %q among %d replicas: write 1, or configure a store s3 or oss" $kind (int .Values.receiver.replicas)) -}}
{{- end -}}
{{- $path := dig "store" "path" "" $config -}}
{{- if and (eq $kind "file") (hasKey $config "store") (ne $path (include "kube-allowlist.storePath" .)) -}}
{{- $problems = append $problems (printf "receiver.config.store.path: Cannot keep the store in %q: the volume is mounted at %s; leave the store out" $path (include "kube-allowlist.storePath" .)) -}}
{{- end -}}
{{- if not (include "kube-allowlist.isWithin" (dict "text" .Values.receiver.resync "min" "1s" "max" "1h")) -}}
{{- $problems = append $problems (printf "receiver.resync: Cannot take %s: write 1s to 1h" .Values.receiver.resync) -}}
{{- end -}}
{{- if and .Values.receiver.ingress.enabled (not .Values.receiver.ingress.hosts) -}}
{{- $problems = append $problems "receiver.ingress.hosts: Cannot let anybody in without the name of a host: give one" -}}
{{- end -}}
{{- if and .Values.forwarder.enabled (eq (include "kube-allowlist.name" (list . "forwarder")) (include "kube-allowlist.name" (list . "receiver"))) -}}
{{- $problems = append $problems (printf "receiver.name: Cannot call forwarder and receiver %s both: give one of them another name" (include "kube-allowlist.name" (list . "receiver"))) -}}
{{- else if and .Values.forwarder.enabled (eq (include "kube-allowlist.account" (list . "forwarder")) (include "kube-allowlist.account" (list . "receiver"))) -}}
{{- $problems = append $problems (printf "receiver.serviceAccount.name: Cannot run under the forwarder's account %s, whose rights the receiver must not have: name another" (include "kube-allowlist.account" (list . "receiver"))) -}}
{{- end -}}
{{- if include "kube-allowlist.isDefaultAccount" .Values.receiver.serviceAccount -}}
{{- $problems = append $problems "receiver.serviceAccount.name: Cannot run under the namespace's default account: name the account, or let it be made" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
