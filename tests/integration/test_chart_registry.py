"""What `invoke push --chart` brings to a registry, as helm finds, pulls and installs it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ChartInvalid, OptionInvalid, VersionTaken
from pipeline.helm.chart import CHART, chart_files
from pipeline.helm.package import package
from tests.integration.building import (
    ROOT,
    Checkout,
    assert_refused,
    commit_all,
    copy_repository,
    git,
)
from tests.integration.conftest import find_tool
from tests.integration.registry import FaultProxy, LocalRegistry, running_registry
from tests.integration.shop import HERMETIC

EPOCH_S = 1_700_000_000
NAME = "owner/charts/demo"
VERSION = "1.2.3"
CHART_YAML = f"""\
# What helm rewrites: this line goes.
apiVersion: v2
name: demo
version: {VERSION}
appVersion: "1.10"
description: A <chart> & more
type: application
kubeVersion: ">=1.28.0-0"
home: https://home.example
sources: [https://one.example, https://two.example]
keywords: [a, b]
maintainers:
  - name: Ann
    email: ann@home.example
  - name: Bob
    url: https://bob.example
annotations:
  licenses: MIT
"""
FILES = {
    ".helmignore": "*.bak\nci/\n",
    "values.yaml": "greeting: hello\n",
    "values.schema.json": '{"type": "object"}\n',
    "README.md": "für alle\n",
    "files/data.txt": "spaced  \n",
    "templates/_name.tpl": '{{- define "name" -}}{{ .Release.Name }}-demo{{- end -}}\n',
    "templates/NOTES.txt": "{{ .Values.greeting }}\n",
    "templates/configmap.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "name" . }}
data:
  greeting: {{ .Values.greeting }}
  file: {{ .Files.Get "files/data.txt" | quote }}
""",
    "templates/.hidden": "no\n",
    "ci/values.yaml": "greeting: no\n",
    "old.bak": "no\n",
}
PACKED = {"Chart.yaml", *FILES} - {"templates/.hidden", "ci/values.yaml", "old.bak"}


@dataclass(frozen=True)
class Helm:
    """helm with a home of its own."""

    program: Path
    home: Path

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it; the exit code is the caller's to judge."""
        own = {f"HELM_{kind}_HOME": str(self.home / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            (self.program, *arguments),
            cwd=self.home,
            env={**os.environ, **own, "TZ": "UTC", "KUBECONFIG": os.devnull},
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, *arguments: str | Path) -> str:
        """Run it, which must succeed; return all that it says."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{done.args}:\n{done.stderr}"
        return done.stdout + done.stderr


@dataclass(frozen=True)
class Pushed:
    """A checkout whose chart is in a registry, and the proxy on the way there."""

    checkout: Checkout
    registry: LocalRegistry
    proxy: FaultProxy
    report: Any

    @property
    def url(self) -> str:
        """Where helm finds it, without the proxy."""
        return f"oci://{self.registry.address}/{NAME}"

    def push(self, *arguments: str) -> Any:
        """Push the chart once more; return the report."""
        done = push(self.checkout, self.proxy, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["chart"]


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    program = find_tool("helm", unchecked="that helm can pull and install the chart")
    return Helm(program, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def pushed(registry_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    """Yield a registry that a checkout has pushed its chart to."""
    folder = copy_repository(tmp_path_factory.mktemp("checkout"))
    shutil.rmtree(folder / CHART, ignore_errors=True)
    make_chart(folder / CHART)
    checkout = Checkout(commit_all(folder), tmp_path_factory.mktemp("cache"), environment=HERMETIC)
    storage = tmp_path_factory.mktemp("registry")
    with (
        running_registry(registry_program, storage) as registry,
        FaultProxy(registry.address) as proxy,
    ):
        made = Pushed(checkout, registry, proxy, None)
        yield replace(made, report=made.push())


def push(
    checkout: Checkout, proxy: FaultProxy, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return checkout.invoke("push", "--chart", "--registry", f"{proxy.address}/owner", *arguments)


def make_chart(folder: Path, files: Mapping[str, str] = FILES) -> Path:
    for name, text in {"Chart.yaml": CHART_YAML, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def contents(data: bytes) -> dict[str, bytes]:
    """Return the files of an archive, by path below the chart's name."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None, f"{member.name} is no file"
            name, _, path = member.name.partition("/")
            assert name == "demo"
            found[path] = file.read()
    return found


def packed_by(helm: Helm, chart: Path, output: Path) -> dict[str, bytes]:
    """Return what `helm package` packs."""
    helm("package", chart, "--destination", output)
    (archive,) = output.glob("*.tgz")
    return contents(archive.read_bytes())


def without_chart_yaml(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != "Chart.yaml"}


# What helm finds.


def test_helm_pulls_what_was_pushed_under_the_digest_that_was_printed(
    helm: Helm, pushed: Pushed, tmp_path: Path
) -> None:
    said = helm("pull", pushed.url, "--version", VERSION, "--plain-http", "--destination", tmp_path)
    assert f"Digest: {pushed.report['digest']}\n" in said
    assert pushed.registry.digest(NAME, VERSION) == pushed.report["digest"]
    pulled = (tmp_path / f"demo-{VERSION}.tgz").read_bytes()
    epoch_s = int(git(pushed.checkout.folder, "log", "-1", "--format=%ct"))
    own = package(pushed.checkout.folder / CHART, tmp_path / "own", epoch_s=epoch_s)
    assert pulled == own.path.read_bytes()
    assert own.digest == pushed.report["blobs"][0]["digest"]


def test_helm_pulls_it_by_the_reference_that_was_printed(
    helm: Helm, pushed: Pushed, tmp_path: Path
) -> None:
    digest = pushed.report["reference"].partition("@")[2]
    helm("pull", f"{pushed.url}@{digest}", "--plain-http", "--destination", tmp_path)
    (archive,) = tmp_path.glob("*.tgz")
    assert set(contents(archive.read_bytes())) == PACKED


def test_the_files_are_those_that_helm_packs(helm: Helm, pushed: Pushed, tmp_path: Path) -> None:
    chart = pushed.checkout.folder / CHART
    by_helm = packed_by(helm, chart, tmp_path / "helm")
    own = contents(package(chart, tmp_path / "own", epoch_s=EPOCH_S).path.read_bytes())
    assert set(own) == set(by_helm) == PACKED
    assert without_chart_yaml(own) == without_chart_yaml(by_helm)
    assert own["Chart.yaml"].decode() == CHART_YAML


def test_helm_shows_the_same_metadata_from_folder_and_registry(helm: Helm, pushed: Pushed) -> None:
    there = helm.run("show", "chart", pushed.url, "--version", VERSION, "--plain-http")
    here = helm.run("show", "chart", pushed.checkout.folder / CHART)
    assert "version: 1.2.3\n" in here.stdout
    # helm 4 says before it what it pulled.
    assert there.stdout.endswith(here.stdout)
    assert f"Digest: {pushed.report['digest']}\n" in there.stdout + there.stderr


def test_the_manifest_is_that_of_helm_push(helm: Helm, pushed: Pushed, tmp_path: Path) -> None:
    epoch_s = int(git(pushed.checkout.folder, "log", "-1", "--format=%ct"))
    archive = package(pushed.checkout.folder / CHART, tmp_path, epoch_s=epoch_s).path
    os.utime(archive, (epoch_s, epoch_s))  # What helm calls the time of creation.
    helm("push", archive, f"oci://{pushed.registry.address}/by-helm", "--plain-http")
    by_helm = pushed.registry.manifest("by-helm/demo", VERSION)
    own = pushed.registry.manifest(NAME, VERSION)
    assert by_helm is not None
    assert own is not None
    assert own[1]["layers"] == by_helm[1]["layers"]
    assert own[1]["annotations"] == by_helm[1]["annotations"]
    assert own[1]["config"]["mediaType"] == by_helm[1]["config"]["mediaType"]
    assert config_of(pushed, NAME, own[1]) == config_of(pushed, "by-helm/demo", by_helm[1])


def config_of(pushed: Pushed, name: str, manifest: Any) -> Any:
    path = f"/v2/{name}/blobs/{manifest['config']['digest']}"
    status, _, data = pushed.registry.request("GET", path)
    assert status == 200
    return json.loads(data)


def test_helm_installs_by_the_command_that_was_printed(helm: Helm, pushed: Pushed) -> None:
    program, verb, *arguments = pushed.report["install"]
    assert (program, verb) == ("helm", "install")
    arguments[arguments.index(f"oci://{pushed.proxy.address}/{NAME}")] = pushed.url
    # helm 3 asks a cluster even so: there, what it would install is only rendered.
    is_old = helm("version", "--short").startswith("v3.")
    rendered = helm(*(("template",) if is_old else ("install", "--dry-run=client")), *arguments)
    assert "name: demo-demo\n" in rendered
    assert "  greeting: hello\n" in rendered
    assert '  file: "spaced  \\n"\n' in rendered


def test_helm_renders_the_archive_as_it_does_the_folder(
    helm: Helm, pushed: Pushed, tmp_path: Path
) -> None:
    chart = pushed.checkout.folder / CHART
    archive = package(chart, tmp_path, epoch_s=EPOCH_S).path
    rendered = helm("template", "mine", archive)
    assert "name: mine-demo\n" in rendered
    assert rendered == helm("template", "mine", chart)
    helm("lint", "--strict", archive)


# What is sent, and what is not.


def test_pushing_again_sends_nothing(pushed: Pushed) -> None:
    pushed.proxy.forget()
    again = pushed.push()
    assert again["digest"] == pushed.report["digest"]
    assert again["manifest"] == "exists"
    assert {seen.method for seen in pushed.proxy.seen} == {"HEAD"}


def test_a_dry_run_sends_nothing(pushed: Pushed) -> None:
    changed = replace(pushed.checkout, environment={**HERMETIC, "SOURCE_DATE_EPOCH": "5"})
    pushed.proxy.forget()
    place = f"{pushed.proxy.address}/never"
    done = changed.invoke("push", "--chart", "--registry", place, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "nothing was sent; " in done.stdout
    assert {seen.method for seen in pushed.proxy.seen} == {"HEAD"}
    assert pushed.registry.tags("never/charts/demo") == set()


def test_a_version_with_other_content_is_refused(pushed: Pushed, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(pushed.checkout.folder, changed)
    (changed / CHART / "values.yaml").write_text("greeting: bye\n")
    pushed.proxy.forget()
    done = push(replace(pushed.checkout, folder=changed), pushed.proxy)
    name = f"{pushed.proxy.address}/{NAME}:{VERSION}"
    assert_refused(done, VersionTaken.exit_code, name, pushed.report["digest"], output=None)
    assert done.returncode == 102
    assert {seen.method for seen in pushed.proxy.seen} == {"HEAD"}
    assert pushed.registry.digest(NAME, VERSION) == pushed.report["digest"]


def test_a_version_with_a_plus_is_found_by_helm(helm: Helm, pushed: Pushed, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(pushed.checkout.folder, changed)
    version = "2.0.0-rc.1+build.5"
    (changed / CHART / "Chart.yaml").write_text(CHART_YAML.replace(VERSION, version))
    done = push(replace(pushed.checkout, folder=changed), pushed.proxy)
    assert done.returncode == 0, done.stderr
    assert "2.0.0-rc.1_build.5" in pushed.registry.tags(NAME)
    helm("pull", pushed.url, "--version", version, "--plain-http", "--destination", tmp_path)
    assert (tmp_path / f"demo-{version}.tgz").exists()


def test_flags_that_are_for_images_are_refused(pushed: Pushed) -> None:
    pushed.proxy.forget()
    done = push(pushed.checkout, pushed.proxy, "--tag=v1", "--platform=amd64")
    assert_refused(done, OptionInvalid.exit_code, "--platform, --tag: not with", output=None)
    assert pushed.proxy.seen == []


# The same bytes everywhere.


def test_neither_umask_nor_times_nor_place_change_the_archive(tmp_path: Path) -> None:
    one = make_chart(tmp_path / "one")
    old = os.umask(0o077)
    try:
        two = make_chart(tmp_path / "two", dict(reversed(FILES.items())))
        second = package(two, tmp_path / "b", epoch_s=EPOCH_S)
    finally:
        os.umask(old)
    for path in one.rglob("*"):
        os.utime(path, (1, 1))
    first = package(one, tmp_path / "a", epoch_s=EPOCH_S)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.digest == second.digest
    assert first.files == len(PACKED)


# .helmignore, by helm's own verdict.


RULES = (
    "*.bak",
    "/*.bak",
    "ci",
    "ci/",
    "/ci/",
    "old.bak/",
    "files/*",
    "*/data.txt",
    "files/",
    "da?a.*",
    "d[a-c]ta.txt",
    "[^a-z]*.md",
    "[!R]*.md",
    "[z-a]*",
    "README[.]md",
    "READ\\ME.md",
    "templates/*.yaml",
    "templates/?o*",
    "!*.yaml",
    "!ci/",
    "  # not a rule",
    "readme.md",
    ".helmignore",
    "*.tpl\n*.txt\n!Chart.yaml",
    "*.bak\r\nci/\r",
    "\ufeffREADME.md",
    "/",
    "!",
    "files/**",
    "[",
    "[a-]",
    "[]a]",
    "a\\",
)


@pytest.mark.parametrize("rules", RULES)
def test_ignored_is_what_helm_ignores(helm: Helm, tmp_path: Path, rules: str) -> None:
    chart = make_chart(tmp_path / "demo", {**FILES, ".helmignore": rules})
    done = helm.run("package", chart, "--destination", tmp_path)
    if done.returncode:
        with pytest.raises(ChartInvalid):
            chart_files(chart)
        return
    by_helm = set(contents((tmp_path / f"demo-{VERSION}.tgz").read_bytes()))
    assert {path.as_posix() for path in chart_files(chart)} == by_helm


# The chart of this repository.


def test_the_chart_of_this_repository_is_packed_as_helm_packs_it(
    helm: Helm, tmp_path: Path
) -> None:
    packed = package(ROOT / CHART, tmp_path / "own", epoch_s=EPOCH_S)
    helm("package", ROOT / CHART, "--destination", tmp_path / "helm")
    (by_helm,) = (tmp_path / "helm").glob("*.tgz")
    assert by_helm.name == packed.path.name
    with tarfile.open(packed.path) as own, tarfile.open(by_helm) as other:
        names = sorted(own.getnames())
        assert names == sorted(other.getnames())
        assert any("/templates/" in name for name in names)
        for name in names:
            if name != "accelerapp/Chart.yaml":
                assert read(own, name) == read(other, name), name
    rendered = helm("template", "accelerapp", packed.path)
    assert "kind: Deployment\n" in rendered
    assert rendered == helm("template", "accelerapp", ROOT / CHART)


def read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()
