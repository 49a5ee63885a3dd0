from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.config import Config, line_of, load
from fieldstone.errors import ConfigError

MINIMAL = '[network]\nnetwork_id = "field-1"\n'


def loaded(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    path = tmp_path / "network.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def refused(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, environ)
    assert caught.value.exit_code == 2
    return caught.value


def test_an_id_is_enough(tmp_path: Path) -> None:
    config = loaded(tmp_path, MINIMAL)
    assert config.policy.network_id == "field-1"
    assert config.data_dir == tmp_path.resolve() / "data"


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fieldstone init"):
        load(tmp_path / "network.toml")


def test_a_folder_or_binary_file_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "binary")


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        (MINIMAL + "[rewards]\ntake_ppm = 2_000_000\n", "rewards.take_ppm", 4),
        (MINIMAL + '[rewards]\n# a remark\nbootstrap_per_epoch = "-1"\n', "rewards.bootstrap_per_epoch", 5),
        (MINIMAL + "[rewards]\nbootstrap_per_epoch = 12.5\n", "rewards.bootstrap_per_epoch", 4),
        (MINIMAL + "[rewards]\nno_such_key = 1\n", "rewards.no_such_key", 4),
        (MINIMAL + "[no_such_table]\n", "no_such_table", 3),
        (MINIMAL + "[node]\nport = 70000\n", "node.port", 4),
        (MINIMAL + "[node]\ncolour = 1\n", "node.colour", 4),
        (MINIMAL + "[services.sensing]\nshare_ppm = -1\n", "services.sensing.share_ppm", 4),
        (MINIMAL + 'settlement.verifiers = ["0x12"]\n', "network.settlement", 3),
        ('[network]\nnetwork_id = "No Capitals"\n', "network_id", 2),
        ('[network]\nnetwork_id = "a"\ncolour = 1\n', "network.colour", 3),
        ("[network]\n", "network.network_id", 1),
        ("network = 3\n", "network", 1),
        ("[epoch]\nlength_s = 0\n[network]\nnetwork_id = 'a'\n", "epoch.length_s", 2),
    ],
)
def test_a_mistake_is_named_with_key_and_line(tmp_path: Path, text: str, key: str, line: int) -> None:
    error = refused(tmp_path, text)
    assert (error.key, error.line) == (key, line)
    assert f"network.toml:{line}" in str(error)


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    assert refused(tmp_path, MINIMAL + "[rewards\n").line == 3


def test_the_environment_overrides_the_machine_and_never_the_policy(tmp_path: Path) -> None:
    environ = {
        "FIELDSTONE_NODE_PORT": "0",
        "FIELDSTONE_NODE_NAME": "42",
        "FIELDSTONE_CHAIN_URL": "http://localhost:1",
        "FIELDSTONE_REWARDS_TAKE_PPM": "0",
    }
    config = loaded(tmp_path, MINIMAL + "[node]\nport = 9\n", environ)
    assert (config.node.port, config.node.name) == (0, "42")
    assert config.chain.url == "http://localhost:1"
    assert config.policy == loaded(tmp_path, MINIMAL).policy


@pytest.mark.parametrize("value", ["", "--5", "²", "1e3", "9" * 5000, "on"])
def test_a_hostile_environment_value_is_refused_by_name(tmp_path: Path, value: str) -> None:
    assert refused(tmp_path, MINIMAL, {"FIELDSTONE_NODE_PORT": value}).key == "node.port"


def test_a_section_that_is_no_table_is_refused_by_name(tmp_path: Path) -> None:
    assert refused(tmp_path, 'node = 3\n[network]\nnetwork_id = "a"\n', {"FIELDSTONE_NODE_PORT": "1"}).key == "node"


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_any_text_is_a_config_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "network.toml"
    path.write_text(text, encoding="utf-8", errors="ignore")
    with pytest.raises(ConfigError):
        load(path, {})


def test_line_of_finds_dotted_and_array_tables() -> None:
    text = 'a.b = 1\n[c]\n"d" = 2\n[[c.e]]\nf = 3\n'
    assert [line_of(text, key) for key in ("a.b", "c.d", "c.e[0].f", "nothing")] == [1, 3, 5, None]
