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
from fieldstone.rewards.lint_listed import safe_list_price
from fieldstone.services import load_service
from fieldstone.services.prices import list_price


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


def test_a_storage_cell_is_not_filled_by_a_kib_and_the_file_says_where_the_number_comes_from(tmp_path: Path) -> None:
    """A default of 1 would make one KiB a whole cell: here it is what earns a cell's part at list price while it is empty."""
    path = write_network(tmp_path, network_id="disks", services=["storage"])
    policy = load(path, {}).policy
    # 1,000 tokens of 5 cents for ten cells: 5 $ a cell and day; a GiB-month earns 0.002 $ less a tenth; empty ones weigh 1 %
    gib_months_a_day = 5_000_000 / (2_000 * 0.9)
    kib = gib_months_a_day * 2**20 * 30 / 100
    rate = policy.services["storage"].cell_target_rate
    assert kib <= rate < kib * 1.1 and rate == 880_000_000
    assert "# Derived: full_coverage_cells whole cells" in path.read_text()
    listed = list_price(load_service("storage"), policy)
    assert listed is not None and (safe_list_price(policy, "storage", listed) or 0) <= listed.micro_usd
    both = load(write_network(tmp_path / "both", network_id="both", services=["storage", "sensing"]), {}).policy
    assert both.services["storage"].cell_target_rate == 440_000_000  # half the bootstrap
    assert both.services["sensing"].cell_target_rate == 1


def test_a_service_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'teleport' is not installed; installed are: sensing, storage"):
        write_network(tmp_path, services=["teleport"])
    assert not (tmp_path / "network.toml").exists()
