{{- define "meltguard.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: the longest suffix is -node-scope, and names that become labels end at 63. */}}
{{- define "meltguard.fullname" -}}
{{- $name := include "meltguard.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "meltguard.instanceLabels" -}}
app.kubernetes.io/name: {{ include "meltguard.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The operator's pods alone, not the uninstall Job's. */}}
{{- define "meltguard.selectorLabels" -}}
{{ include "meltguard.instanceLabels" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "meltguard.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "meltguard.instanceLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "meltguard.image" -}}
{{- $image := .Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{- define "meltguard.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "meltguard.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: with serviceAccount.create=false, name the ServiceAccount that the operator runs as" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "meltguard.releaseName" -}}
{{ include "meltguard.fullname" . }}-release
{{- end -}}

{{/* The user names that the admission policies hold to their rules, as a CEL list. */}}
{{- define "meltguard.ourUsers" -}}
{{- $sa := printf "system:serviceaccount:%s:" .Release.Namespace -}}
{{- list (print $sa (include "meltguard.serviceAccountName" .)) (print $sa (include "meltguard.releaseName" .)) | toJson -}}
{{- end -}}

{{- define "meltguard.signingSecret" -}}
{{- default (printf "%s-signing-keys" (include "meltguard.fullname" .)) .Values.signingKeys.existingSecret -}}
{{- end -}}

{{- define "meltguard.agentKeys" -}}
{{ include "meltguard.fullname" . }}-agent-keys
{{- end -}}

{{- define "meltguard.lease" -}}
meltguard
{{- end -}}

{{- define "meltguard.nodeLabelKeys" -}}
{{- range concat .Values.nodeLabelKeys .Values.nodeTaintKeys -}}
{{- if and (hasPrefix "meltguard.io/" .) (ne . "meltguard.io/pool") -}}
{{- fail (printf "nodeLabelKeys, nodeTaintKeys: %s is Meltguard's own; pools use meltguard.io/pool or a key of yours" .) -}}
{{- end -}}
{{- if regexMatch "^((beta|node|topology)[.])?kubernetes[.]io/" . -}}
{{- fail (printf "nodeLabelKeys, nodeTaintKeys: %s belongs to Kubernetes; pools use meltguard.io/pool or a key of yours" .) -}}
{{- end -}}
{{- end -}}
{{- toJson .Values.nodeLabelKeys -}}
{{- end -}}

{{- define "meltguard.nodeTaintKeys" -}}
{{- default .Values.nodeLabelKeys .Values.nodeTaintKeys | toJson -}}
{{- end -}}

{{/* What the restricted Pod Security Standard asks of a pod, and of a container. */}}
{{- define "meltguard.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "meltguard.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
