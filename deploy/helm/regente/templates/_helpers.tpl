{{- define "regente.name" -}}
{{- printf "%s-%s" .Release.Name .name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "regente.labels" -}}
app.kubernetes.io/name: regente
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "regente.image" -}}
{{- printf "%s/%s:%s" .Values.image.registry .name (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- /* The Secret with this pod's addresses of broker and database, where it is another one than that of the master key. */ -}}
{{- define "regente.addresses" -}}
{{- if and .Values.userSecretPrefix (not .Values.adminSecretName) -}}
{{- fail "userSecretPrefix needs adminSecretName: a Secret with amqp_url, amqp_admin_url and mongo_url of the administrators, which secretName no longer has" -}}
{{- end -}}
{{- if hasKey .Values.services .name -}}
{{- with .Values.userSecretPrefix }}{{ printf "%s-%s" . $.name }}{{ end -}}
{{- else -}}
{{- .Values.adminSecretName -}}
{{- end -}}
{{- end -}}

{{- define "regente.env" -}}
{{- $root := . -}}
- name: REGENTE_HTTP_HOST
  value: "0.0.0.0"
- name: REGENTE_MASTER_KEY_FILE
  value: /run/secrets/regente/master_key
{{- range $key := list "amqp_url" "amqp_admin_url" "mongo_url" }}
- name: REGENTE_{{ upper $key }}_FILE
  value: /run/secrets/{{ if include "regente.addresses" $root }}addresses{{ else }}regente{{ end }}/{{ $key }}
{{- end }}
{{- if .Values.caSecretName }}
- name: REGENTE_CA_FILE
  value: /run/certs/ca.pem
{{- end }}
{{- if .Values.proxies }}
- name: REGENTE_PROXIES
  value: {{ .Values.proxies | quote }}
{{- end }}
{{- range $name, $service := .Values.services }}
{{- $host := index ($root.Values.ingress.hosts | default dict) $name }}
- name: REGENTE_{{ upper $name }}_URL
  value: {{ if and $root.Values.ingress.enabled $host }}https://{{ $host }}{{ else }}http://{{ include "regente.name" (merge (dict "name" $name) $root) }}:{{ $service.port }}{{ end }}
{{- end }}
{{- range $key, $value := .Values.settings }}
- name: REGENTE_{{ upper $key }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "regente.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: secrets, mountPath: /run/secrets/regente, readOnly: true}
  {{- if include "regente.addresses" . }}
  - {name: addresses, mountPath: /run/secrets/addresses, readOnly: true}
  {{- end }}
  - {name: home, mountPath: /var/lib/regente}
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.caSecretName }}
  - {name: certs, mountPath: /run/certs, readOnly: true}
  {{- end }}
{{- end -}}

{{- define "regente.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "regente.volumes" -}}
- name: secrets
  secret: {secretName: {{ .Values.secretName }}, defaultMode: 0440}
{{- with include "regente.addresses" . }}
- name: addresses
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
- name: home
  emptyDir: {}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if .Values.caSecretName }}
- name: certs
  secret: {secretName: {{ .Values.caSecretName }}, defaultMode: 0444}
{{- end }}
{{- end -}}
