{{- /* A quantity (`500m`, `1.5`, `128Mi`) in thousandths, to compare it. */ -}}
{{- define "accelerapp.thousandths" -}}
{{- $text := toString . }}
{{- $unit := regexFind "[A-Za-z]+$" $text }}
{{- $factors := dict "" 1000 "m" 1 "k" 1e6 "M" 1e9 "G" 1e12 "T" 1e15 "Ki" 1024e3 "Mi" 1048576e3 "Gi" 1073741824e3 "Ti" 1099511627776e3 }}
{{- mulf (trimSuffix $unit $text | float64) (get $factors $unit) }}
{{- end }}

{{- define "accelerapp.milliseconds" -}}
{{- $factors := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 }}
{{- mul (regexFind "^[0-9]+" . | int64) (get $factors (regexFind "[a-z]+$" .) | int64) }}
{{- end }}

{{- /* What values.schema.json cannot say: values that do not go together. One line for each, all
       of them at once; each says what, why, and what to do. */ -}}
{{- define "accelerapp.validate" -}}
{{- $values := .Values }}
{{- $wrong := list }}
{{- $name := include "accelerapp.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- $wrong = append $wrong (printf "%s cannot be the name of a Service, which begins with a letter and has no dots: set fullnameOverride" $name) }}
{{- end }}
{{- range $what, $labels := dict "commonLabels" $values.commonLabels "podLabels" $values.podLabels "serviceMonitor.labels" $values.serviceMonitor.labels "prometheusRule.labels" $values.prometheusRule.labels }}
{{- range $label := keys $labels | sortAlpha }}
{{- if or (hasPrefix "app.kubernetes.io/" $label) (hasPrefix "helm.sh/" $label) (hasPrefix "accelerapp/" $label) }}
{{- $wrong = append $wrong (printf "%s has %s, which the chart sets and selects pods by: leave it out, or use nameOverride" $what $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $what, $annotations := dict "commonAnnotations" $values.commonAnnotations "podAnnotations" $values.podAnnotations }}
{{- range $annotation := keys $annotations | sortAlpha }}
{{- if hasPrefix "helm.sh/" $annotation }}
{{- $wrong = append $wrong (printf "%s has %s, which makes helm treat objects otherwise: leave it out" $what $annotation) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $what, $resources := dict "resources" $values.resources "monitor.resources" $values.monitor.resources "ollama.resources" $values.ollama.resources "redis.resources" $values.redis.resources }}
{{- range $resource := list "cpu" "memory" }}
{{- $asked := get $resources.requests $resource }}
{{- $most := get $resources.limits $resource }}
{{- if and $asked $most (gt (float64 (include "accelerapp.thousandths" $asked)) (float64 (include "accelerapp.thousandths" $most))) }}
{{- $wrong = append $wrong (printf "%s.requests.%s (%v) is more than %s.limits.%s (%v): raise the limit" $what $resource $asked $what $resource $most) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $image := dict "image" $values.image "blueGreen.blue.image" $values.blueGreen.blue.image "blueGreen.green.image" $values.blueGreen.green.image "monitor.image" $values.monitor.image "ollama.image" $values.ollama.image "redis.image" $values.redis.image }}
{{- if and $image.tag $image.digest }}
{{- $wrong = append $wrong (printf "%s.tag (%s) and %s.digest (%s) are both set: nodes run the digest and nobody checks that the tag names it; leave one of them empty" $name $image.tag $name $image.digest) }}
{{- end }}
{{- if eq (toString $image.tag) "latest" }}
{{- $wrong = append $wrong (printf "%s.tag is latest, which is another image tomorrow: name a version, or a digest" $name) }}
{{- end }}
{{- end }}
{{- if and $values.ollama.enabled (not $values.ollama.image.tag) (not $values.ollama.image.digest) }}
{{- $wrong = append $wrong "ollama.image has neither tag nor digest: name a version" }}
{{- end }}
{{- range $colour := list "blue" "green" }}
{{- $image := (get $values.blueGreen $colour).image }}
{{- if and $image.repository (not $image.tag) (not $image.digest) }}
{{- $wrong = append $wrong (printf "blueGreen.%s.image.repository without a tag or a digest: name the image" $colour) }}
{{- end }}
{{- end }}
{{- if $values.blueGreen.enabled }}
{{- if not $values.blueGreen.colour }}
{{- $wrong = append $wrong "blueGreen.enabled without blueGreen.colour: say which colour gets the traffic, blue or green" }}
{{- else if eq (int (include "accelerapp.fewestPods" (dict "root" $ "colour" $values.blueGreen.colour))) 0 }}
{{- $wrong = append $wrong (printf "blueGreen.%s.replicas is 0 and %s gets the traffic: give it pods, or the traffic to the other" $values.blueGreen.colour $values.blueGreen.colour) }}
{{- end }}
{{- else if $values.blueGreen.colour }}
{{- $wrong = append $wrong (printf "blueGreen.colour is %s and blueGreen.enabled is false: enable it, or leave the colour empty" $values.blueGreen.colour) }}
{{- end }}
{{- if $values.autoscaling.enabled }}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) }}
{{- $wrong = append $wrong (printf "autoscaling.minReplicas (%d) is more than autoscaling.maxReplicas (%d): swap them" (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) }}
{{- end }}
{{- if not (or $values.autoscaling.targetCPUUtilizationPercentage $values.autoscaling.targetMemoryUtilizationPercentage) }}
{{- $wrong = append $wrong "autoscaling.enabled with nothing to aim at: set autoscaling.targetCPUUtilizationPercentage or autoscaling.targetMemoryUtilizationPercentage" }}
{{- end }}
{{- range $resource, $target := dict "cpu" $values.autoscaling.targetCPUUtilizationPercentage "memory" $values.autoscaling.targetMemoryUtilizationPercentage }}
{{- if and $target (not (get $values.resources.requests $resource)) }}
{{- $wrong = append $wrong (printf "autoscaling aims at a share of the requested %s, and resources.requests.%s is not set: set it" $resource $resource) }}
{{- end }}
{{- end }}
{{- end }}
{{- if $values.pdb.enabled }}
{{- $least := $values.pdb.minAvailable }}
{{- $most := $values.pdb.maxUnavailable }}
{{- if and (not (kindIs "invalid" $least)) (not (kindIs "invalid" $most)) }}
{{- $wrong = append $wrong "pdb.minAvailable and pdb.maxUnavailable are both set: leave one out" }}
{{- else if has (toString $most) (list "0" "0%") }}
{{- $wrong = append $wrong "pdb.maxUnavailable is 0: no node with one of these pods could ever be drained; allow 1" }}
{{- else if not (kindIs "invalid" $least) }}
{{- range $colour := include "accelerapp.colours" $ | splitList "," }}
{{- $pods := int (include "accelerapp.fewestPods" (dict "root" $ "colour" $colour)) }}
{{- $needed := int $least }}
{{- if hasSuffix "%" (toString $least) }}
{{- $needed = div (add 99 (mul (int (trimSuffix "%" (toString $least))) $pods)) 100 | int }}
{{- end }}
{{- if and $pods (ge $needed $pods) }}
{{- $wrong = append $wrong (printf "pdb.minAvailable (%s) keeps all of %d pods%s: no node with one of them could ever be drained; give fewer, more pods, or pdb.maxUnavailable" (toString $least) $pods (ternary (printf " of %s" $colour) "" (ne $colour ""))) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $pods := int (ternary $values.autoscaling.maxReplicas $values.replicas $values.autoscaling.enabled) }}
{{- range $name, $claim := dict "persistence.models" $values.persistence.models "persistence.cache" $values.persistence.cache "persistence.output" $values.persistence.output "ollama.persistence" $values.ollama.persistence "redis.persistence" $values.redis.persistence }}
{{- if and $claim.existingClaim (not $claim.enabled) }}
{{- $wrong = append $wrong (printf "%s.existingClaim without %s.enabled: nothing would be kept in it; enable it" $name $name) }}
{{- end }}
{{- end }}
{{- range $name, $claim := $values.persistence }}
{{- if include "accelerapp.isExclusive" $claim }}
{{- if $values.blueGreen.enabled }}
{{- $wrong = append $wrong (printf "persistence.%s is %s, which blue and green cannot mount at once: use ReadWriteMany" $name (join ", " $claim.accessModes)) }}
{{- else if gt $pods 1 }}
{{- $wrong = append $wrong (printf "persistence.%s is %s, which %d pods cannot mount: use ReadWriteMany, or one pod (replicas: 1, autoscaling off)" $name (join ", " $claim.accessModes) $pods) }}
{{- else if eq $values.strategy.type "RollingUpdate" }}
{{- $wrong = append $wrong (printf "persistence.%s is %s, which the old and the new pod of a RollingUpdate cannot mount at once: set strategy.type to Recreate" $name (join ", " $claim.accessModes)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (include "accelerapp.isReadOnly" $values.persistence.models) (not $values.persistence.models.existingClaim) }}
{{- $wrong = append $wrong "persistence.models is ReadOnlyMany, and nobody could fill a new claim: name one with existingClaim, or use ReadWriteMany" }}
{{- end }}
{{- range $name := list "cache" "output" }}
{{- if include "accelerapp.isReadOnly" (get $values.persistence $name) }}
{{- $wrong = append $wrong (printf "persistence.%s is ReadOnlyMany, and the service writes there: use ReadWriteMany" $name) }}
{{- end }}
{{- end }}
{{- if and (eq $values.strategy.type "RollingUpdate") (has (toString $values.strategy.maxSurge) (list "0" "0%")) (has (toString $values.strategy.maxUnavailable) (list "0" "0%")) }}
{{- $wrong = append $wrong "strategy.maxSurge and strategy.maxUnavailable are both 0: no pod could ever be replaced; allow one of them 1" }}
{{- end }}
{{- if le (int $values.terminationGracePeriodSeconds) (add (int $values.drainSeconds) (ceil (float64 $values.config.shutdownGraceSeconds) | int) | int) }}
{{- $wrong = append $wrong (printf "terminationGracePeriodSeconds (%d) is not more than drainSeconds (%d) and config.shutdownGraceSeconds (%v) together: requests in flight would be cut off; raise it" (int $values.terminationGracePeriodSeconds) (int $values.drainSeconds) $values.config.shutdownGraceSeconds) }}
{{- end }}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) }}
{{- $wrong = append $wrong "ingress.enabled without ingress.hosts: name at least one host" }}
{{- end }}
{{- if $values.ingress.enabled }}
{{- $hosts := list }}
{{- range $values.ingress.hosts }}{{ $hosts = append $hosts .host }}{{ end }}
{{- range $values.ingress.tls }}
{{- range $certified := .hosts }}
{{- $used := false }}
{{- range $hosts }}
{{- if include "accelerapp.isCertified" (dict "certificate" $certified "host" .) }}{{ $used = true }}{{ end }}
{{- end }}
{{- if not $used }}
{{- $wrong = append $wrong (printf "ingress.tls is for %s, and no host of ingress.hosts is: add it there, or correct it" $certified) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) }}
{{- $wrong = append $wrong "httpRoute.enabled without httpRoute.parentRefs: name the gateway" }}
{{- end }}
{{- $ipv6 := "[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,7}" }}
{{- $label := "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?" }}
{{- $host := printf "(%s(\\.%s)*\\.?|\\[%s\\])(:[0-9]{1,5})?" $label $label $ipv6 }}
{{- if and $values.ollama.url (not (regexMatch (printf "^((https?://)?%s(/.*)?|%s)$" $host $ipv6) $values.ollama.url)) }}
{{- $wrong = append $wrong (printf "ollama.url (%s) is no address: write it as http://HOST:11434" $values.ollama.url) }}
{{- end }}
{{- if and $values.redis.url (not (regexMatch (printf "^rediss?://%s(/[0-9]{1,4})?$" $host) $values.redis.url)) }}
{{- $wrong = append $wrong (printf "redis.url (%s) is no address: write it as redis://HOST:6379/0" $values.redis.url) }}
{{- end }}
{{- range $what, $url := dict "ollama.url" $values.ollama.url "redis.url" $values.redis.url }}
{{- $port := include "accelerapp.portOf" (dict "url" $url "default" 1) | int }}
{{- if or (lt $port 1) (gt $port 65535) }}
{{- $wrong = append $wrong (printf "%s (%s) has a port that there is not: 1 to 65535" $what $url) }}
{{- end }}
{{- end }}
{{- range $name, $other := dict "ollama" $values.ollama "redis" $values.redis }}
{{- if and $other.enabled $other.url }}
{{- $wrong = append $wrong (printf "%s.enabled and %s.url are both set: which one is it?" $name $name) }}
{{- end }}
{{- if and $other.enabled (include "accelerapp.isReadOnly" $other.persistence) }}
{{- $wrong = append $wrong (printf "%s.persistence is ReadOnlyMany, and %s writes: use ReadWriteOnce" $name $name) }}
{{- end }}
{{- end }}
{{- $secret := $values.existingSecret }}
{{- if and (or $secret.redisUrlKey $secret.monitorTokenKey) (not $secret.name) }}
{{- $wrong = append $wrong "existingSecret has keys and no name: name the Secret" }}
{{- end }}
{{- if and $secret.name (not (or $secret.redisUrlKey $secret.monitorTokenKey)) }}
{{- $wrong = append $wrong "existingSecret.name without a key: set existingSecret.redisUrlKey or existingSecret.monitorTokenKey" }}
{{- end }}
{{- if and $secret.redisUrlKey $values.redis.url }}
{{- $wrong = append $wrong "existingSecret.redisUrlKey and redis.url are both set: which address is it?" }}
{{- end }}
{{- if and $values.redis.enabled $values.redis.configSecret (not $secret.redisUrlKey) }}
{{- $wrong = append $wrong "redis.configSecret without existingSecret.redisUrlKey: nobody would know the password" }}
{{- end }}
{{- if and $values.redis.enabled $secret.redisUrlKey (not $values.redis.configSecret) }}
{{- $wrong = append $wrong "redis.enabled and existingSecret.redisUrlKey without redis.configSecret: the release's own Redis has no password, and its address is no secret; leave the key out, or redis.enabled" }}
{{- end }}
{{- if and $values.redis.configSecret (not $values.redis.enabled) }}
{{- $wrong = append $wrong "redis.configSecret without redis.enabled: nothing would read it; enable it" }}
{{- end }}
{{- if and $values.ollama.gpu.enabled (not $values.ollama.enabled) }}
{{- $wrong = append $wrong "ollama.gpu.enabled without ollama.enabled: nothing would use it; enable it" }}
{{- end }}
{{- if and $secret.monitorTokenKey (not $values.monitor.enabled) }}
{{- $wrong = append $wrong "existingSecret.monitorTokenKey without monitor.enabled: nothing would ask for it; enable it" }}
{{- end }}
{{- if and $values.prometheusRule.enabled (not $values.serviceMonitor.enabled) }}
{{- $wrong = append $wrong "prometheusRule.enabled without serviceMonitor.enabled: the alerts are about what it scrapes; enable it" }}
{{- end }}
{{- if gt (int64 (include "accelerapp.milliseconds" $values.serviceMonitor.scrapeTimeout)) (int64 (include "accelerapp.milliseconds" $values.serviceMonitor.interval)) }}
{{- $wrong = append $wrong (printf "serviceMonitor.scrapeTimeout (%s) is longer than serviceMonitor.interval (%s): shorten it" $values.serviceMonitor.scrapeTimeout $values.serviceMonitor.interval) }}
{{- end }}
{{- if $values.monitor.enabled }}
{{- if and (has "ollama" $values.monitor.required) (not (include "accelerapp.ollamaUrl" $)) }}
{{- $wrong = append $wrong "monitor.required names ollama and there is none: set ollama.enabled or ollama.url" }}
{{- end }}
{{- if and (has "redis" $values.monitor.required) (not (or $secret.redisUrlKey (include "accelerapp.redisUrl" $))) }}
{{- $wrong = append $wrong "monitor.required names redis and there is none: set redis.enabled, redis.url or existingSecret.redisUrlKey" }}
{{- end }}
{{- if and $values.monitor.ollamaModels (not (include "accelerapp.ollamaUrl" $)) }}
{{- $wrong = append $wrong "monitor.ollamaModels without an Ollama: set ollama.enabled or ollama.url" }}
{{- end }}
{{- end }}
{{- if and (ne $values.service.type "LoadBalancer") $values.service.loadBalancerSourceRanges }}
{{- $wrong = append $wrong (printf "service.loadBalancerSourceRanges with service.type %s: nothing would keep anybody out; set LoadBalancer, or use networkPolicy.ingressFrom" $values.service.type) }}
{{- end }}
{{- if and (eq $values.service.type "ClusterIP") $values.service.nodePort }}
{{- $wrong = append $wrong "service.nodePort with service.type ClusterIP: set NodePort, or leave it null" }}
{{- end }}
{{- $own := include "accelerapp.ownVariables" $ | splitList "," }}
{{- range $values.extraEnv }}
{{- if has .name $own }}
{{- $wrong = append $wrong (printf "extraEnv sets %s, which is set already: use config, ipv6, ollama, redis or existingSecret, or set it once" .name) }}
{{- end }}
{{- $own = append $own .name }}
{{- end }}
{{- $own = list "HOME" "OLLAMA_HOST" "OLLAMA_MODELS" }}
{{- range $values.ollama.extraEnv }}
{{- if has .name $own }}
{{- $wrong = append $wrong (printf "ollama.extraEnv sets %s, which is set already: leave it out" .name) }}
{{- end }}
{{- $own = append $own .name }}
{{- end }}
{{- $volumes := list "tmp" "models" "cache" "output" }}
{{- range $values.extraVolumes }}
{{- if has .name $volumes }}
{{- $wrong = append $wrong (printf "extraVolumes has a second %s: give it another name" .name) }}
{{- end }}
{{- $volumes = append $volumes .name }}
{{- end }}
{{- $taken := list "/tmp" "/app/models" "/app/cache" "/app/output" }}
{{- range $values.extraVolumeMounts }}
{{- $path := clean .mountPath }}
{{- if not (has .name $volumes) }}
{{- $wrong = append $wrong (printf "extraVolumeMounts mounts %s, which is no volume: add it to extraVolumes" .name) }}
{{- end }}
{{- $hidden := list }}
{{- range $taken }}
{{- if or (eq $path .) (hasPrefix (printf "%s/" (trimSuffix "/" $path)) .) }}
{{- $hidden = append $hidden . }}
{{- end }}
{{- end }}
{{- with $hidden }}
{{- $wrong = append $wrong (printf "extraVolumeMounts mounts over %s: use persistence, or another path" (join ", " .)) }}
{{- end }}
{{- $taken = append $taken $path }}
{{- end }}
{{- if $wrong }}
{{- fail (printf "\n- %s\n" (join "\n- " $wrong)) }}
{{- /* `helm lint` takes no notice of fail; of a template that is not there, it does. */ -}}
{{- include (printf "values that do not go together: %s" (join "; " $wrong)) . }}
{{- end }}
{{- end }}
