"""Kubernetes objects as data: the schemas, the restricted profile and our own rules for them.

`custom-resources.json` says of the kinds that a cluster has only with an operator or a gateway
(ServiceMonitor, PrometheusRule, HTTPRoute) what this project uses of them, strictly; it was
written after their published API references.
"""
