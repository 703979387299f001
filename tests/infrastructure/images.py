"""What the Dockerfiles have to say, from `deployment/images.toml` and its lock."""

from __future__ import annotations

from functools import cache

from pipeline.platforms import Platform
from tests.infrastructure.dockerfiles import Dockerfile, Run, Stage, read
from tests.infrastructure.repository import IMAGES, LOCKED, SETTINGS, SUITE, merged_image, text_of

FILES = {
    "deployment/docker/Dockerfile": ("development", "production"),
    "deployment/docker/Dockerfile.monitoring": ("monitoring",),
    "deployment/docker/Dockerfile.redis": ("redis",),
}
FILE_OF = {image: file for file, images in FILES.items() for image in images}
# Above a stage, what it starts from.  An image without one below it has its packages in a stage of
# their own, so that what it copies can be made beside them.
STAGES = {
    "deployment/docker/Dockerfile": {
        "base": "${DEBIAN_IMAGE}",
        "build": "base",
        "wheel": "build",
        "development-build": "build",
        "development": "base",
        "production-build": "build",
        "production": "base",
    },
    "deployment/docker/Dockerfile.monitoring": {
        "base": "${DEBIAN_IMAGE}",
        "build": "base",
        "monitoring-build": "build",
        "monitoring": "base",
    },
    "deployment/docker/Dockerfile.redis": {
        "redis-packages": "${DEBIAN_IMAGE}",
        "build": "redis-packages",
        "redis-build": "build",
        "redis": "redis-packages",
    },
}
SITE = f"/usr/local/lib/python{SUITE.python}/dist-packages"


@cache
def dockerfile(path: str) -> Dockerfile:
    return read(text_of(path))


def stage_of(image: str) -> Stage:
    return dockerfile(FILE_OF[image]).stages[image]


def stage_with_packages(image: str) -> Stage:
    found = dockerfile(FILE_OF.get(image, "deployment/docker/Dockerfile")).stages
    return found.get(f"{image}-packages", found[image])


def pins(image: str) -> set[str]:
    """Return `name=version` of each package that an image names, from the lock."""
    contents = [LOCKED.contents(SUITE.name, platform, image) for platform in SETTINGS.platforms]
    versions = [{one.name: one.version for one in found.packages} for found in contents]
    first, *others = versions
    # A version that differs by platform is a pattern; none does.
    for name in IMAGES[image].packages:
        assert all(first[name] == other[name] for other in others), name
    return {f"{name}={first[name]}" for name in IMAGES[image].packages}


def pip_pins() -> set[str]:
    packages = LOCKED.suites[SUITE.name].docker[Platform.AMD64]
    return {f"{p.name}={p.version}" for p in packages if p.name in SETTINGS.docker.build_packages}


CA_FOR_PIP = "if [ -f /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi"
PIP_CACHE = "/build/.cache/pip"
INTO_STAGED = (
    "python3 -m pip install --root=/staged --ignore-installed --no-compile"
    " --no-warn-script-location"
)


def apt_run(packages: set[str], *more: str) -> Run:
    """A RUN that installs packages, leaves nothing of apt's in a layer, and no password in one."""
    caches = f"type=cache,id={SETTINGS.name}-{SUITE.name}"
    apt = 'apt-get -o Acquire::https::CAInfo="${ca-}"'
    return Run(
        frozenset(
            {
                f"{caches}-archives,target=/var/cache/apt,sharing=locked",
                f"{caches}-lists,target=/var/lib/apt/lists,sharing=locked",
                "type=secret,id=ca,mode=0444",
                "type=secret,id=sources,target=/etc/apt/sources.list.d/debian.sources",
            }
        ),
        (
            "if [ -f /run/secrets/ca ]; then ca=/run/secrets/ca; fi",
            "rm -f /etc/apt/apt.conf.d/docker-clean",
            f"{apt} update",
            f"DEBIAN_FRONTEND=noninteractive {apt} install --yes --no-install-recommends "
            + " ".join(sorted(packages)),
            *more,
        ),
    )


def pip_run(requirements: str, command: str) -> Run:
    """A RUN of pip that believes hashes alone, with requirements that no layer keeps."""
    return Run(
        frozenset(
            {
                f"type=bind,source={requirements},target=/tmp/requirements.txt",
                f"type=cache,target={PIP_CACHE}",
                "type=secret,id=ca",
                "type=secret,id=pip,target=/etc/pip.conf",
            }
        ),
        (
            CA_FOR_PIP,
            f"{command} --no-deps --require-hashes --requirement=/tmp/requirements.txt",
        ),
    )


OWN_WHEEL = Run(
    frozenset({"type=bind,from=wheel,source=/wheels,target=/wheels"}),
    (
        f"{INTO_STAGED} --no-deps --no-index --no-cache-dir --find-links=/wheels"
        " --requirement=/wheels/requirements.txt",
    ),
)
READABLE = "chmod -R u=rwX,go=rX /staged"
COMPILED = (
    "{ python3 -m compileall -qq -f --invalidation-mode unchecked-hash -s /staged -p / "
    f"/staged{SITE} || true; }}"
)
ONE_TIME = 'find /staged -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +'


def user_run(image: str) -> Run:
    """A RUN that makes the image's user, who cannot log in, and the folders that are theirs."""
    user = merged_image(image).user
    assert user is not None
    folders = list(dict.fromkeys((user.home, *IMAGES[image].volumes)))
    return Run(
        frozenset(),
        (
            f"groupadd --gid={user.gid} {user.name}",
            f"useradd --uid={user.uid} --gid={user.gid} --home-dir={user.home} --no-create-home"
            f" --no-log-init --shell=/usr/sbin/nologin {user.name}",
            f"install --directory --owner={user.uid} --group={user.gid} {' '.join(folders)}",
        ),
    )
