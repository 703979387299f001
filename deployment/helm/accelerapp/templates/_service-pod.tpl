{{- /* The service's settings that are words, as the ConfigMap has them. */ -}}
{{- define "accelerapp.config" -}}
{{- with .Values.config -}}
ACCELERAPP_LOG_FORMAT: {{ .logFormat | quote }}
ACCELERAPP_OLLAMA_MODEL: {{ .ollamaModel | quote }}
ACCELERAPP_OUTPUT_DIR: /app/output
ACCELERAPP_REDIS_STREAM: {{ .redisStream | quote }}
{{- end }}
{{- end }}

{{- /* Those that are numbers: scanners take long ones in a ConfigMap for somebody's secrets. */ -}}
{{- define "accelerapp.numbers" -}}
{{- with .Values.config -}}
ACCELERAPP_ASSIST_CONCURRENCY: {{ .assistConcurrency | quote }}
ACCELERAPP_ASSIST_DEADLINE_S: {{ .assistDeadlineSeconds | quote }}
ACCELERAPP_CONCURRENCY: {{ .concurrency | quote }}
ACCELERAPP_MAX_BODY_BYTES: {{ int64 .maxBodyBytes | quote }}
ACCELERAPP_PORT: "8000"
ACCELERAPP_REDIS_MAXLEN: {{ int64 .redisMaxLength | quote }}
ACCELERAPP_SHUTDOWN_GRACE_S: {{ .shutdownGraceSeconds | quote }}
ACCELERAPP_THREADS: {{ .threads | quote }}
{{- end }}
{{- end }}

{{- /* The variables that the chart sets in the service's pods, with commas between. */ -}}
{{- define "accelerapp.ownVariables" -}}
{{- concat (keys (include "accelerapp.config" . | fromYaml)) (keys (include "accelerapp.numbers" . | fromYaml)) (list "ACCELERAPP_HOST" "OLLAMA_HOST" "REDIS_URL") | join "," }}
{{- end }}

{{- /* A pod of the service. Takes (dict "root" $ "colour" "…" "image" …). */ -}}
{{- define "accelerapp.servicePod" -}}
{{- $values := .root.Values -}}
{{- $labels := dict "root" .root "component" "service" "colour" .colour "image" .image "target" "production" "more" $values.podLabels -}}
{{- /* A changed setting is a new pod. */ -}}
{{- $checksum := dict "checksum/config" (include "accelerapp.config" .root | sha256sum) -}}
metadata:
  labels:
    {{- include "accelerapp.podLabels" $labels | nindent 4 }}
  annotations:
    {{- toYaml (mergeOverwrite (dict) $values.commonAnnotations $values.podAnnotations $checksum) | nindent 4 }}
spec:
  {{- include "accelerapp.podDefaults" .root | nindent 2 }}
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - topologyKey: {{ . }}
      maxSkew: {{ $values.topologySpread.maxSkew }}
      whenUnsatisfiable: {{ $values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "accelerapp.selectorLabels" $labels | nindent 10 }}
      # The pods of one version at a time: the old ones are on their way out.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  containers:
    - name: accelerapp
      image: {{ include "accelerapp.image" $labels | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      securityContext:
        {{- include "accelerapp.containerSecurity" . | nindent 8 }}
      ports:
        - name: http
          containerPort: 8000
          protocol: TCP
      envFrom:
        - configMapRef:
            name: {{ include "accelerapp.fullname" .root | quote }}
      env:
        - name: ACCELERAPP_HOST
          value: {{ include "accelerapp.anyAddress" .root | quote }}
        {{- range $name, $value := include "accelerapp.numbers" .root | fromYaml }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
        {{- with include "accelerapp.addresses" .root | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      startupProbe:
        httpGet:
          path: /livez
          port: http
        {{- include "accelerapp.probeTimes" $values.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet:
          path: /livez
          port: http
        {{- include "accelerapp.probeTimes" $values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet:
          path: /readyz
          port: http
        {{- include "accelerapp.probeTimes" $values.probes.readiness | nindent 8 }}
      lifecycle:
        preStop:
          exec:
            # The image has no shell. Requests still come until every proxy has heard.
            command: [/usr/bin/python3, -I, -S, -c, "import time; time.sleep({{ $values.drainSeconds }})"]
      resources:
        {{- include "accelerapp.resources" $values.resources | trim | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- range $name := list "models" "cache" "output" }}
        - name: {{ $name }}
          mountPath: /app/{{ $name }}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "accelerapp.temporary" . | nindent 4 }}
    {{- range $name := list "models" "cache" "output" }}
    {{- include "accelerapp.volume" (dict "root" $.root "name" $name "claim" (get $values.persistence $name) "suffix" $name) | nindent 4 }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
