{{- /* What values.schema.json cannot say: values that do not go together. One line for each, all
       of them at once; each says what, why, and what to do. */ -}}
{{- define "accelerapp.validate" -}}
{{- $values := .Values }}
{{- $wrong := list }}
{{- range $name, $image := dict "image" $values.image "blueGreen.blue.image" $values.blueGreen.blue.image "blueGreen.green.image" $values.blueGreen.green.image "monitor.image" $values.monitor.image "ollama.image" $values.ollama.image "redis.image" $values.redis.image }}
{{- if and $image.tag $image.digest }}
{{- $wrong = append $wrong (printf "%s.tag (%s) and %s.digest (%s) are both set: nodes run the digest and nobody checks that the tag names it; leave one of them empty" $name $image.tag $name $image.digest) }}
{{- end }}
{{- if eq $image.tag "latest" }}
{{- $wrong = append $wrong (printf "%s.tag is latest, which is another image tomorrow: name a version, or a digest" $name) }}
{{- end }}
{{- end }}
{{- if and $values.ollama.enabled (not $values.ollama.image.tag) (not $values.ollama.image.digest) }}
{{- $wrong = append $wrong "ollama.image has neither tag nor digest: name a version" }}
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
{{- if and $values.persistence.output.enabled (has "ReadOnlyMany" $values.persistence.output.accessModes) (not (has "ReadWriteMany" $values.persistence.output.accessModes)) }}
{{- $wrong = append $wrong "persistence.output is ReadOnlyMany, and outputs are written: use ReadWriteMany" }}
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
{{- range .hosts }}
{{- if not (has . $hosts) }}
{{- $wrong = append $wrong (printf "ingress.tls is for %s, which ingress.hosts does not name: add it there" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) }}
{{- $wrong = append $wrong "httpRoute.enabled without httpRoute.parentRefs: name the gateway" }}
{{- end }}
{{- range $name, $other := dict "ollama" $values.ollama "redis" $values.redis }}
{{- if and $other.enabled $other.url }}
{{- $wrong = append $wrong (printf "%s.enabled and %s.url are both set: which one is it?" $name $name) }}
{{- end }}
{{- if and $other.enabled (has "ReadOnlyMany" $other.persistence.accessModes) (eq (len $other.persistence.accessModes) 1) }}
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
{{- $wrong = append $wrong (printf "extraEnv sets %s, which the chart sets: use config, ollama, redis or existingSecret" .name) }}
{{- end }}
{{- end }}
{{- $volumes := list "tmp" "models" "cache" "output" }}
{{- range $values.extraVolumes }}
{{- if has .name $volumes }}
{{- $wrong = append $wrong (printf "extraVolumes has a second %s: give it another name" .name) }}
{{- end }}
{{- $volumes = append $volumes .name }}
{{- end }}
{{- range $values.extraVolumeMounts }}
{{- if not (has .name $volumes) }}
{{- $wrong = append $wrong (printf "extraVolumeMounts mounts %s, which is no volume: add it to extraVolumes" .name) }}
{{- end }}
{{- if has .mountPath (list "/tmp" "/app/models" "/app/cache" "/app/output") }}
{{- $wrong = append $wrong (printf "extraVolumeMounts mounts over %s: use persistence, or another path" .mountPath) }}
{{- end }}
{{- end }}
{{- if $wrong }}
{{- fail (printf "\n- %s\n" (join "\n- " $wrong)) }}
{{- /* `helm lint` takes no notice of fail; of a template that is not there, it does. */ -}}
{{- include (printf "values that do not go together: %s" (join "; " $wrong)) . }}
{{- end }}
{{- end }}
