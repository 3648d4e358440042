"""Everything on one host, for trying out: a folder with a custodian, a collector and a witness, on the loopback.

This is custody level 0, and the product says so. `found` makes the folder once: keys, databases, directory, founders'
codes (also in `founders.txt`, mode 0600), and a configuration file per service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from assent.client.files import write_private
from assent.contracts.statements import Role, WitnessEntry
from assent_collector.settings import CollectorSettings
from assent_custodian import ceremony
from assent_custodian.files import NotReady
from assent_custodian.settings import Settings as CustodianSettings
from assent_server import collector_key, witnessing
from assent_service.migrating import migrate

FOUNDERS_FILE = "founders.txt"
ORGANISATION = "Trial on one host"


@dataclass(frozen=True)
class Layout:
    """Where things are in the folder."""

    data: Path

    def config(self, service: str) -> Path:
        return self.data / f"{service}.toml"

    @property
    def exists(self) -> bool:
        return self.config("custodian").exists()


def found(
    layout: Layout,
    *,
    host: str,
    port_base: int,
    organisation: str,
    agreement: str,
    dpia: str,
    root_passphrase: bytes | None = None,
) -> ceremony.InitReport:
    """Make the folder. Ports: `port_base` + 1 custodian, + 2 collector, + 3 witness. Raises NotReady."""
    if layout.exists:
        raise NotReady(f"{layout.data.name} was founded already")
    layout.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    custodian_url, collector_url, witness_url = (f"http://{host}:{port_base + step}" for step in (1, 2, 3))
    collector_folder = layout.data / "collector"
    collector_public = collector_key.ensure(collector_folder / "collector.pem")
    witness_folder = layout.data / "witness"
    witness_key = witnessing.ensure_key(witness_folder / "witness.pem", f"127.0.0.1.{port_base + 3}/witness")
    report = ceremony.init(
        CustodianSettings(data_dir=layout.data / "custodian"),
        organisation=organisation,
        custodian_url=custodian_url,
        collector_url=collector_url,
        collector_key=collector_public,
        witnesses=[WitnessEntry(url=witness_url, vkey=witness_key)],
        agreement=agreement,
        dpia=dpia,
        root_passphrase=root_passphrase,
    )
    collector = CollectorSettings(
        root_fingerprint=report.root_fingerprint, custodian_url=custodian_url, data_dir=collector_folder
    )
    migrate("collector", collector.database)
    settings = CustodianSettings(data_dir=layout.data / "custodian")
    # It starts before the custodian, so it is given the first directory; of later ones it hears by itself.
    write_private(witness_folder / "state" / witnessing.DIRECTORY_FILE, settings.directory.read_bytes())
    _write(
        layout.config("witness"),
        {
            "name": f"127.0.0.1.{port_base + 3}/witness",
            "key_path": str((witness_folder / "witness.pem").resolve()),
            "state_dir": str((witness_folder / "state").resolve()),
            "root_fingerprint": report.root_fingerprint,
            "custodian_url": custodian_url,
            "host": host,
            "port": port_base + 3,
        },
    )
    _write(
        layout.config("collector"),
        {
            "root_fingerprint": report.root_fingerprint,
            "custodian_url": custodian_url,
            "data_dir": str(collector_folder.resolve()),
            "host": host,
            "port": port_base + 2,
        },
    )
    write_private(layout.data / FOUNDERS_FILE, founders_text(report.codes).encode())
    _write(
        layout.config("custodian"),
        {"data_dir": str((layout.data / "custodian").resolve()), "host": host, "port": port_base + 1},
    )
    return report


def founders_text(codes: Mapping[Role, str]) -> str:
    """The founders' codes, one a line, as `founders.txt` has them."""
    return "".join(f"{role.value}\t{code}\n" for role, code in codes.items())


def _write(path: Path, values: Mapping[str, str | int | list[str]]) -> None:
    """A flat TOML file. JSON strings, numbers and lists of strings are TOML as well."""
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
    write_private(path, "".join(lines).encode())
