{{- /* Leave to look names up, wherever the cluster's DNS is. */ -}}
{{- define "accelerapp.egressToNames" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}

{{- /* The port of an address. Takes (dict "url" "…" "default" 6379). */ -}}
{{- define "accelerapp.portOf" -}}
{{- $url := .url }}
{{- if contains "://" $url }}
{{- $authority := (urlParse $url).host }}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" }}
{{- $port | default (ternary "443" (ternary "80" (toString .default) (hasPrefix "http://" $url)) (hasPrefix "https://" $url)) }}
{{- else }}
{{- regexFind ":[0-9]+(/|$)" $url | trimPrefix ":" | trimSuffix "/" | default (toString .default) }}
{{- end }}
{{- end }}

{{- /* TCP ports outside of the release that service and monitor need, with commas between. */ -}}
{{- define "accelerapp.externalPorts" -}}
{{- $ports := .Values.networkPolicy.egressPorts }}
{{- with .Values.ollama.url }}
{{- $ports = append $ports (include "accelerapp.portOf" (dict "url" . "default" 11434) | int) }}
{{- end }}
{{- with .Values.redis.url }}
{{- $ports = append $ports (include "accelerapp.portOf" (dict "url" . "default" 6379) | int) }}
{{- end }}
{{- if and .Values.existingSecret.redisUrlKey (not .Values.redis.enabled) }}
{{- /* Its address is a secret; any other port goes into networkPolicy.egressPorts. */ -}}
{{- $ports = append $ports 6379 }}
{{- end }}
{{- $whole := list }}
{{- range $ports }}{{ $whole = append $whole (int . | toString) }}{{ end }}
{{- $whole | uniq | join "," }}
{{- end }}
