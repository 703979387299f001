"""Every environment variable that the pipeline itself reads, and what it is for.

DEPLOYMENT.md's table is made of this.  A test holds it together with the code: a variable that
some module reads and that is not here fails, and so does one here that nothing reads.  Variables
of the service and of the monitor are in their own settings, Compose's in `.env.example`.
"""

from __future__ import annotations

from typing import NamedTuple


class Variable(NamedTuple):
    """A row. `default` is what counts where it is not set, in words where it is no value."""

    name: str
    default: str
    meaning: str


BUILD = (
    Variable("ACCELERAPP_BUILD_CACHE", "the user's cache folder", "where downloads and layers are"),
    Variable("SOURCE_DATE_EPOCH", "the commit's time", "when images and charts were made"),
    Variable(
        "ACCELERAPP_DEBIAN_MIRROR", "the machine's apt sources", "Debian mirrors, tried in order"
    ),
    Variable("ACCELERAPP_DEBIAN_SECURITY_MIRROR", "", "mirrors of Debian's security archive"),
    Variable("ACCELERAPP_DEBIAN_IMAGE", "images.toml's", "a mirror's copy of the Debian image"),
    Variable("ACCELERAPP_CA_BUNDLE", "", "a CA bundle for builds with Docker"),
    Variable("SSL_CERT_FILE", "", "a CA bundle for downloads and builds with Docker"),
    Variable("SSL_CERT_DIR", "", "folder of certificates, for the project's build back end"),
    Variable(
        "REQUESTS_CA_BUNDLE",
        "",
        "another CA bundle for downloads, and for builds where those two are not set",
    ),
    Variable("CURL_CA_BUNDLE", "", "another CA bundle for downloads"),
    Variable("PIP_CERT", "", "a CA bundle for builds with Docker, and pip's own"),
    Variable("UV_DEFAULT_INDEX", "pip's index", "index that requirements are resolved from"),
    Variable("UV_INDEX", "pip's extra indexes", "indexes besides"),
    Variable("HTTP_PROXY", "", "proxy for http; lower case will do, here and below"),
    Variable("HTTPS_PROXY", "", "proxy for https"),
    Variable("FTP_PROXY", "", "handed on to BuildKit"),
    Variable("ALL_PROXY", "", "proxy for everything"),
    Variable("NO_PROXY", "", "hosts that are asked without one"),
    Variable("HOME", "the user's", "where credentials and the cache are looked for"),
    Variable("PBR_VERSION", "", "version for a project built with pbr, and so on for others"),
)
REGISTRY = (
    Variable(
        "ACCELERAPP_REGISTRY",
        "ghcr.io/OWNER in GitHub",
        "registry and folder that images go to; `--registry` goes first",
    ),
    Variable("REGISTRY_USERNAME", "", "user of the registry that is pushed to"),
    Variable("REGISTRY_PASSWORD", "", "password or token; both or neither"),
    Variable("REGISTRY_AUTH_FILE", "", "file of credentials, as Podman and skopeo take it"),
    Variable("DOCKER_CONFIG", "~/.docker", "folder of Docker's config.json"),
    Variable("XDG_RUNTIME_DIR", "", "where Podman's containers/auth.json is"),
    Variable("XDG_CONFIG_HOME", "~/.config", "where containers/auth.json is otherwise"),
)
ENGINES = (
    Variable("DOCKER_HOST", "Docker's context", "the Docker Engine"),
    Variable("CONTAINERD_NAMESPACE", "default", "namespace for `invoke load`; `k8s.io` on a node"),
    Variable("ACCELERAPP_HOST_PORT", "8000", "port of the stack's service on this machine"),
    Variable("MONITOR_HOST_PORT", "8080", "port of the stack's monitor on this machine"),
    Variable("ACCELERAPP_REDIS_URL", "", "Redis that the stack's service publishes to"),
)
TOOLS = (
    Variable("TRIVY", "trivy on PATH", "Trivy"),
    Variable("TRIVY_CACHE_DIR", "Trivy's own", "where its database is"),
    Variable("XDG_CACHE_HOME", "~/.cache", "where Trivy's folder is otherwise"),
    Variable("SYFT", "syft on PATH", "Syft"),
    Variable("COSIGN", "cosign on PATH", "cosign; `COSIGN_PASSWORD` is read by cosign itself"),
    Variable("ACT", "act on PATH", "act, which runs workflows on this machine"),
    Variable("ACTIONLINT", "actionlint on PATH", "actionlint"),
    Variable("HADOLINT", "hadolint on PATH", "hadolint"),
    Variable("HELM", "helm on PATH", "Helm; `KUBECONFIG` is read by helm and kubectl themselves"),
    Variable("KUBECTL", "kubectl on PATH", "kubectl"),
    Variable("PATH", "the shell's", "where programs are looked for"),
)
CI = (
    Variable("CI", "", "anything: progress as lines, and a tool that is missing fails tests"),
    Variable("TERM", "", "`dumb`: progress as lines"),
    Variable("GITHUB_ACTIONS", "", "`true`: the variables below are believed"),
    Variable("GITHUB_REF", "", "branch, tag or pull request"),
    Variable("GITHUB_SHA", "", "the commit, which has to be the one that is checked out"),
    Variable("GITHUB_EVENT_NAME", "", "what started the workflow"),
    Variable("GITHUB_EVENT_PATH", "", "file with the event"),
    Variable("GITHUB_HEAD_REF", "", "branch of a pull request"),
    Variable("GITHUB_REPOSITORY", "", "for the provenance: owner and name"),
    Variable("GITHUB_REPOSITORY_OWNER", "", "owner, for the registry"),
    Variable("GITHUB_SERVER_URL", "", "for the provenance"),
    Variable("GITHUB_WORKFLOW_REF", "", "for the provenance: who built"),
    Variable("GITHUB_RUN_ID", "", "for the provenance: which run"),
    Variable("GITHUB_RUN_ATTEMPT", "1", "for the provenance: which attempt"),
    Variable("GITHUB_OUTPUT", "", "file for outputs; `--github` needs it"),
    Variable("GITHUB_STEP_SUMMARY", "", "file for the page of a run"),
)
REPOSITORY = (
    Variable("vars.REGISTRY", "`ghcr.io`", "registry that images and chart go to"),
    Variable("vars.REGISTRY_USERNAME", "who started the run", "user there"),
    Variable("secrets.REGISTRY_PASSWORD", "GitHub's token of the job", "password or token there"),
    Variable("vars.SIGN_WITH", "keyless", "`key`: sign with the key below"),
    Variable("secrets.COSIGN_PRIVATE_KEY", "", "cosign's private key, where it signs"),
    Variable("secrets.COSIGN_PASSWORD", "", "password of that key"),
    Variable("vars.COSIGN_PUBLIC_KEY", "", "its public half, to verify with"),
    Variable(
        "vars.CODE_SECURITY",
        "",
        "`true` in a private repository with Code Security: reports, reviews of dependencies",
    ),
)
"""What GitHub's workflows of this repository read of its settings."""
VARIABLES = (*BUILD, *REGISTRY, *ENGINES, *TOOLS, *CI)
