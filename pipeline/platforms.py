"""`Platform`: one value that knows every spelling of a target.

OCI says `linux/arm64` (variant `v8`), the kernel `aarch64`, Debian `arm64`,
GNU `aarch64-linux-gnu`, wheels `manylinux_2_36_aarch64`, ELF machine 183.
"""

from __future__ import annotations

import enum
import platform as host_platform
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import UnsupportedPlatform, nearest


@dataclass(frozen=True, slots=True)
class _Names:
    oci: str
    variant: str
    kernel: str
    debian: str
    gnu_triplet: str
    elf_machine: int
    dynamic_linker: str
    ldcache_flags: int


class Platform(enum.Enum):
    """A target platform. `str()` gives the OCI spelling, such as `linux/arm64`."""

    AMD64 = _Names(
        oci="amd64",
        variant="",
        kernel="x86_64",
        debian="amd64",
        gnu_triplet="x86_64-linux-gnu",
        elf_machine=62,
        dynamic_linker="/lib64/ld-linux-x86-64.so.2",
        ldcache_flags=0x0303,
    )
    ARM64 = _Names(
        oci="arm64",
        variant="v8",
        kernel="aarch64",
        debian="arm64",
        gnu_triplet="aarch64-linux-gnu",
        elf_machine=183,
        dynamic_linker="/lib/ld-linux-aarch64.so.1",
        ldcache_flags=0x0A03,
    )

    def __str__(self) -> str:
        return f"linux/{self.value.oci}"

    @property
    def architecture(self) -> str:
        """The OCI architecture: `amd64`, `arm64`."""
        return self.value.oci

    @property
    def variant(self) -> str:
        """The OCI variant (`v8`), or an empty string where there is none."""
        return self.value.variant

    @property
    def kernel(self) -> str:
        """What `uname -m` prints: `x86_64`, `aarch64`."""
        return self.value.kernel

    @property
    def debian(self) -> str:
        """Debian's architecture: `amd64`, `arm64`."""
        return self.value.debian

    @property
    def gnu_triplet(self) -> str:
        """Debian's multiarch triplet: `aarch64-linux-gnu`."""
        return self.value.gnu_triplet

    @property
    def elf_machine(self) -> int:
        """`e_machine` of the platform's ELF files (System V ABI)."""
        return self.value.elf_machine

    @property
    def dynamic_linker(self) -> str:
        """Absolute path of the program interpreter inside an image."""
        return self.value.dynamic_linker

    @property
    def ldcache_flags(self) -> int:
        """The flags word of the platform's libraries in `ld.so.cache` (glibc's `FLAG_*`)."""
        return self.value.ldcache_flags

    def wheel_platform_tags(self, glibc: tuple[int, int]) -> tuple[str, ...]:
        """Return the wheel platform tags that run here, best first (PEP 600, PEP 425).

        `glibc` is the newest GLIBC version of the base, for example `(2, 36)`.
        """
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        # PEP 600: the first glibc with aarch64 wheels is 2.17, with x86_64 ones 2.5.
        oldest = 5 if self is Platform.AMD64 else 17
        tags: list[str] = []
        for minor in range(glibc[1], oldest - 1, -1):
            tags.append(f"manylinux_{glibc[0]}_{minor}_{self.kernel}")
            if minor in legacy:
                tags.append(f"{legacy[minor]}_{self.kernel}")
        tags.append(f"linux_{self.kernel}")
        return tuple(tags)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform that `text` spells, in any of the known spellings.

        Raises `UnsupportedPlatform` with the nearest known spelling.
        """
        spelling = text.strip().lower()
        found = _SPELLINGS.get(spelling)
        if found is None:
            guess = nearest(spelling, [*_SPELLINGS, "all"])
            choose = "choose " + ", ".join(p.architecture for p in cls) + " or all"
            raise UnsupportedPlatform(
                f"platform '{text}' is not supported",
                hint=f"{guess} {choose}".strip(),
            )
        return found

    @classmethod
    def parse_many(cls, texts: Iterable[str]) -> tuple[Platform, ...]:
        """Parse flags such as `("arm64", "amd64,arm64")` or `("all",)`.

        Returns distinct platforms in a fixed order, the host's when `texts` is empty.
        """
        spellings = [part for text in texts for part in text.split(",") if part.strip()]
        if not spellings:
            return (cls.host(),)
        asked: set[Platform] = set()
        for spelling in spellings:
            asked.update(cls if spelling.strip().lower() == "all" else (cls.parse(spelling),))
        return tuple(p for p in cls if p in asked)

    @classmethod
    def host(cls) -> Platform:
        """Return the platform of the machine this runs on (its architecture, on Linux)."""
        return cls.parse(host_platform.machine())


def _spellings() -> dict[str, Platform]:
    table: dict[str, Platform] = {}
    for member in Platform:
        names = member.value
        for arch in {names.oci, names.kernel, names.debian}:
            table[arch] = table[f"linux/{arch}"] = member
            if names.variant:
                table[f"{arch}/{names.variant}"] = member
                table[f"linux/{arch}/{names.variant}"] = member
    table["x64"] = table["x86-64"] = Platform.AMD64
    table["armv8"] = Platform.ARM64
    return table


_SPELLINGS = _spellings()
