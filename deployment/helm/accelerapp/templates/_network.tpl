{{- /* Leave to look names up, wherever the cluster's DNS is. Policies are about the ports of pods:
       OpenShift's listen on 5353. */ -}}
{{- define "accelerapp.egressToNames" -}}
- ports:
    {{- range $port := list 53 5353 }}
    {{- range $protocol := list "UDP" "TCP" }}
    - port: {{ $port }}
      protocol: {{ $protocol }}
    {{- end }}
    {{- end }}
{{- end }}

{{- /* The port of an address. Takes (dict "url" "…" "default" 6379). */ -}}
{{- define "accelerapp.portOf" -}}
{{- $authority := regexReplaceAll "/.*$" (regexReplaceAll "^[a-z]+://" .url "") "" }}
{{- $port := "" }}
{{- /* IPv6 without brackets has none. */ -}}
{{- if not (regexMatch "^[^\\[]*:[^:]*:" $authority) }}
{{- /* Without zeros before it, by which a number would be octal. */ -}}
{{- $port = regexReplaceAll "^:0*([0-9])" (regexFind ":[0-9]+$" $authority) "${1}" }}
{{- end }}
{{- $usual := toString .default }}
{{- if hasPrefix "http://" .url }}{{ $usual = "80" }}{{ end }}
{{- if hasPrefix "https://" .url }}{{ $usual = "443" }}{{ end }}
{{- $port | default $usual }}
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

{{- /* Whether the name in a certificate, which may begin with `*.`, is one for a host: "true" or "".
       Takes (dict "certificate" "*.example.org" "host" "a.example.org"). */ -}}
{{- define "accelerapp.isCertified" -}}
{{- if has .certificate (list .host (printf "*.%s" (splitList "." .host | rest | join "."))) }}true{{ end }}
{{- end }}
