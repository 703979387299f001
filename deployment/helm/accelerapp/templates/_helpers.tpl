{{- /* Names. The longest suffix, "-monitor", has to fit into the 63 characters of a Service: the
       schema takes overrides of at most 50, and what is longer otherwise is cut. */ -}}
{{- define "accelerapp.name" -}}
{{- default .Chart.Name .Values.nameOverride }}
{{- end }}

{{- define "accelerapp.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains (include "accelerapp.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "accelerapp.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "accelerapp.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "accelerapp.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- /* What pods are selected by; it cannot change in a deployment that exists.
       Takes (dict "root" $ "component" "…" "colour" "…"). */ -}}
{{- define "accelerapp.selectorLabels" -}}
app.kubernetes.io/name: {{ include "accelerapp.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- with .colour }}
accelerapp/colour: {{ . }}
{{- end }}
{{- end }}

{{- /* A pod's labels. The chart's version is not among them: a new chart with the same image is no
       reason for new pods. Takes what accelerapp.selectorLabels does, and "image" with "target"
       (see accelerapp.image) where the version is that of an image, and a map "more". */ -}}
{{- define "accelerapp.podLabels" -}}
{{- $version := .root.Chart.AppVersion }}
{{- with .image }}
{{- $version = .digest | replace ":" "-" | trunc 19 | default (include "accelerapp.tag" $) }}
{{- end }}
{{- include "accelerapp.selectorLabels" . }}
app.kubernetes.io/version: {{ $version | trunc 63 | trimAll "-._" | quote }}
app.kubernetes.io/part-of: {{ include "accelerapp.name" .root | quote }}
{{- with mergeOverwrite (dict) .root.Values.commonLabels (.more | default dict) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* An object's labels. Takes what accelerapp.podLabels does. */ -}}
{{- define "accelerapp.labels" -}}
{{- include "accelerapp.podLabels" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The metadata of an object. Takes what accelerapp.labels does, "name" or a "suffix" for the
       usual one, and a map "annotations" of its own. */ -}}
{{- define "accelerapp.metadata" -}}
name: {{ .name | default (list (include "accelerapp.fullname" .root) .suffix | compact | join "-") | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "accelerapp.labels" . | nindent 2 }}
{{- with mergeOverwrite (dict) .root.Values.commonAnnotations (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* An image's reference. Takes (dict "root" $ "image" (dict "repository" … "tag" … "digest" …)
       "target" "production"). */ -}}
{{- define "accelerapp.image" -}}
{{- $repository := .image.repository | default .root.Values.image.repository }}
{{- if .image.digest }}
{{- printf "%s@%s" $repository .image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (include "accelerapp.tag" .) }}
{{- end }}
{{- end }}

{{- define "accelerapp.tag" -}}
{{- .image.tag | default (printf "v%s-%s" .root.Chart.AppVersion .target) }}
{{- end }}

{{- /* The image of a colour: its own, else the chart's, as JSON. Takes (dict "root" $ "colour" "…"). */ -}}
{{- define "accelerapp.serviceImage" -}}
{{- $image := .root.Values.image }}
{{- with .colour }}
{{- $own := (get $.root.Values.blueGreen .).image }}
{{- if or $own.tag $own.digest }}
{{- $image = dict "repository" ($own.repository | default $image.repository) "tag" $own.tag "digest" $own.digest }}
{{- end }}
{{- end }}
{{- toJson (pick $image "repository" "tag" "digest") }}
{{- end }}

{{- /* The colours that there are, with a comma between; none is one empty name. */ -}}
{{- define "accelerapp.colours" -}}
{{- ternary "blue,green" "" .Values.blueGreen.enabled }}
{{- end }}

{{- /* The colour that waits. */ -}}
{{- define "accelerapp.idleColour" -}}
{{- ternary "green" "blue" (eq .Values.blueGreen.colour "blue") }}
{{- end }}

{{- /* How many pods of the service there are at least. Takes (dict "root" $ "colour" "…"). */ -}}
{{- define "accelerapp.fewestPods" -}}
{{- $values := .root.Values }}
{{- if $values.autoscaling.enabled }}
{{- $values.autoscaling.minReplicas }}
{{- else if and .colour (not (kindIs "invalid" (get $values.blueGreen .colour).replicas)) }}
{{- (get $values.blueGreen .colour).replicas }}
{{- else }}
{{- $values.replicas }}
{{- end }}
{{- end }}

{{- /* What every pod has: no token, no root, nothing that the restricted profile forbids. */ -}}
{{- define "accelerapp.podDefaults" -}}
serviceAccountName: {{ include "accelerapp.serviceAccountName" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- range $key, $value := .Values.podSecurity }}
  {{- if not (kindIs "invalid" $value) }}
  {{ $key }}: {{ kindIs "string" $value | ternary $value ($value | int64) }}
  {{- end }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "accelerapp.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Requests and limits, without those that are null. */ -}}
{{- define "accelerapp.resources" -}}
{{- range $kind := list "requests" "limits" }}
{{ $kind }}:
  {{- range $name, $value := get $ $kind }}
  {{- if not (kindIs "invalid" $value) }}
  {{ $name }}: {{ $value | quote }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* How often a probe looks. Takes one of .Values.probes. */ -}}
{{- define "accelerapp.probeTimes" -}}
periodSeconds: {{ .periodSeconds }}
timeoutSeconds: {{ .timeoutSeconds }}
failureThreshold: {{ .failureThreshold }}
{{- end }}

{{- /* Where Ollama and Redis are; empty where there is none, or a Secret says so. */ -}}
{{- define "accelerapp.ollamaUrl" -}}
{{- if .Values.ollama.enabled -}}
http://{{ include "accelerapp.fullname" . }}-ollama:11434
{{- else -}}
{{ .Values.ollama.url }}
{{- end -}}
{{- end }}

{{- define "accelerapp.redisUrl" -}}
{{- if .Values.existingSecret.redisUrlKey -}}
{{- else if .Values.redis.enabled -}}
redis://{{ include "accelerapp.fullname" . }}-redis:6379/0
{{- else -}}
{{ .Values.redis.url }}
{{- end -}}
{{- end }}

{{- /* Variables that service and monitor read alike. */ -}}
{{- define "accelerapp.addresses" -}}
{{- with include "accelerapp.ollamaUrl" . }}
- name: OLLAMA_HOST
  value: {{ . | quote }}
{{- end }}
{{- with .Values.existingSecret.redisUrlKey }}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.existingSecret.name | quote }}
      key: {{ . | quote }}
{{- end }}
{{- with include "accelerapp.redisUrl" . }}
- name: REDIS_URL
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* A volume of a pod: a claim, or one that ends with the pod.
       Takes (dict "root" $ "name" "models" "claim" .Values.persistence.models "suffix" "models"). */ -}}
{{- define "accelerapp.volume" -}}
- name: {{ .name }}
  {{- if .claim.enabled }}
  persistentVolumeClaim:
    claimName: {{ .claim.existingClaim | default (printf "%s-%s" (include "accelerapp.fullname" .root) .suffix) | quote }}
    {{- if include "accelerapp.isReadOnly" .claim }}
    readOnly: true
    {{- end }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .claim.ephemeralSize }}
  {{- end }}
{{- end }}

{{- define "accelerapp.temporary" -}}
- name: tmp
  emptyDir:
    sizeLimit: 16Mi
{{- end }}

{{- /* Whether one pod, or one node, alone can write to a claim: "true" or "". */ -}}
{{- define "accelerapp.isExclusive" -}}
{{- if and .enabled (not (has "ReadWriteMany" .accessModes)) (not (include "accelerapp.isReadOnly" .)) }}true{{ end }}
{{- end }}

{{- /* Whether nobody can write to a claim: "true" or "". */ -}}
{{- define "accelerapp.isReadOnly" -}}
{{- if and .enabled (eq (without .accessModes "ReadOnlyMany" | len) 0) }}true{{ end }}
{{- end }}

{{- /* Of all addresses of a pod; brackets are Ollama's own way of writing one. */ -}}
{{- define "accelerapp.anyAddress" -}}
{{- ternary "::" "0.0.0.0" .Values.ipv6 }}
{{- end }}
