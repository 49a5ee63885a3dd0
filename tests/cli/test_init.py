from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from fieldstone.cli import app
from fieldstone.cli.init import write_network
from fieldstone.cli.settings import MACHINE, NETWORK_KEYS, SETTINGS, literal, sections, to_toml
from fieldstone.config import load
from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.policy import ManufacturerPolicy, Policy, ServicePolicy


def test_the_file_loads_and_equals_the_defaults(tmp_path: Path) -> None:
    config = load(write_network(tmp_path / "my-net"), {})
    assert config.policy == Policy(network_id="my-net")
    assert config.policy.hash == Policy(network_id="my-net").hash
    for name, section_type in MACHINE.items():
        assert getattr(config, name) == section_type()


def test_every_key_is_in_the_file_with_unit_and_reason(tmp_path: Path) -> None:
    path = write_network(tmp_path)
    text = path.read_text()
    written = {f"{table.split('.')[0]}.{key}" for table, values in sections(load(path, {})) for key in values}
    assert written == set(SETTINGS), "cli/settings.py and the Structs differ"
    assert all(unit and reason for unit, reason in SETTINGS.values())
    for unit, reason in SETTINGS.values():
        assert f"# {unit}: {reason}.\n" in text
    structs = {
        f"{field.name}.{inner.name}"
        for field in msgspec.structs.fields(Policy)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        for inner in msgspec.structs.fields(field.type)
    }
    structs |= {f"services.{field.name}" for field in msgspec.structs.fields(ServicePolicy)}
    structs |= {f"{name}.{field.name}" for name, struct in MACHINE.items() for field in msgspec.structs.fields(struct)}
    assert structs | {f"network.{key}" for key in NETWORK_KEYS} == set(SETTINGS)


def test_what_cannot_have_a_default_is_shown_as_a_remark(tmp_path: Path) -> None:
    text = write_network(tmp_path).read_text()
    assert '# treasury = "0x' in text
    uncommented = text.replace("# treasury", "treasury")
    assert tomllib.loads(uncommented)["settlement"]["treasury"].startswith("0x")


def test_a_changed_policy_survives_the_way_through_the_file(tmp_path: Path) -> None:
    path = write_network(tmp_path)
    config = load(path, {})
    policy = msgspec.structs.replace(
        config.policy,
        identity=msgspec.structs.replace(
            config.policy.identity,
            manufacturers=(ManufacturerPolicy(name='A "B"\n', root_pem="-----BEGIN\nX\x7f\x00-----", models=("m",)),),
        ),
        services={"sensing": ServicePolicy(params={"a.b": 1.5, "list": [1, 2], "on": True})},
    )
    path.write_text(to_toml(msgspec_copy(config, policy)), encoding="utf-8")
    assert load(path, {}).policy == policy


def msgspec_copy(config: object, policy: Policy) -> object:
    from dataclasses import replace

    return replace(config, policy=policy)  # type: ignore[type-var]


def test_the_id_comes_from_the_folder(tmp_path: Path) -> None:
    assert load(write_network(tmp_path / "Café Müller & Söhne"), {}).policy.network_id == "caf-m-ller-s-hne"
    assert load(write_network(tmp_path / "___"), {}).policy.network_id == "network"


def test_an_existing_network_is_never_overwritten_by_accident(tmp_path: Path) -> None:
    path = write_network(tmp_path)
    path.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        write_network(tmp_path)
    assert path.read_text() == "mine"
    write_network(tmp_path, force=True)
    assert path.read_text() != "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["network.toml"]


def test_a_bad_id_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="small letters"):
        write_network(tmp_path / "new", network_id='a"\n[evil]')
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_way_is_an_environment_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="another folder"):
        write_network(tmp_path / "file" / "net")


def test_the_verb_prints_the_path_and_the_next_step(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", str(tmp_path / "net"), "--name", "North"])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "net" / "network.toml")
    assert "fieldstone up" in result.stderr
    assert load(tmp_path / "net" / "network.toml", {}).node.name == "North"
    result = CliRunner().invoke(app, ["init", str(tmp_path / "other"), "--json"])
    assert json.loads(result.stdout)["path"].endswith("network.toml")


def test_toml_has_no_none() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        literal({"a": None})


def test_services_share_the_bootstrap(tmp_path: Path) -> None:
    path = write_network(tmp_path, network_id="both", services=["storage", "sensing"])
    policy = load(path, {}).policy
    assert {name: one.share_ppm for name, one in policy.services.items()} == {"sensing": 500_000, "storage": 500_000}


def test_a_service_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'teleport' is not installed; installed are: sensing, storage"):
        write_network(tmp_path, services=["teleport"])
    assert not (tmp_path / "network.toml").exists()
