from pathlib import Path
from typing import Any

import pytest
import yaml

from app_container.errors import ConfigurationError
from app_container.settings import Neo4jSettings, Settings, load_settings
from tests import PROJECT

AWKWARD = ["0123", "yes", "no", "1.10", "1e5", "abc # def", "a: b", "@x", "!x", "*x", "&x", "{", "[", "%", "null", "~"]
AWKWARD += ["'", '"', 'a"b', "a'b", "back\\slash", "${OTHER}", "ünï", "  spaces  "]


def load(text: str, environ: dict[str, str] | None = None) -> Settings:
    Path("config.yaml").write_text(text)
    return load_settings("config.yaml", environ or {})


def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(text, environ)
    return str(caught.value).splitlines()


def test_the_projects_config_says_what_the_defaults_are() -> None:
    shown = load_settings(PROJECT / "config.yaml", {"NEO4J_PASSWORD": "x"})
    assert shown == Settings(neo4j=Neo4jSettings.model_validate({"password": "x"}))
    assert shown.neo4j.max_connection_pool_size == 50
    assert shown.neo4j.connection_acquisition_timeout == 60


def test_the_projects_config_shows_every_setting() -> None:
    tree = yaml.safe_load((PROJECT / "config.yaml").read_text())

    def keys(model: Any, prefix: str = "") -> set[str]:
        names: set[str] = set()
        for name, value in model:
            names |= keys(value, f"{prefix}{name}.") if hasattr(value, "model_fields") else {prefix + name}
        return names

    def written(section: dict[str, Any], prefix: str = "") -> set[str]:
        names: set[str] = set()
        for name, value in section.items():
            names |= written(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name}
        return names

    assert written(tree) == keys(Settings(neo4j=Neo4jSettings.model_validate({"password": "x"})))


@pytest.mark.parametrize("password", AWKWARD)
def test_a_password_from_the_environment_arrives_as_it_is(password: str) -> None:
    settings = load_settings(PROJECT / "config.yaml", {"NEO4J_PASSWORD": password})
    assert settings.neo4j.password.get_secret_value() == password


@pytest.mark.parametrize("password", AWKWARD)
def test_a_password_from_a_file_arrives_as_it_is(password: str) -> None:
    Path("secret").write_text(f"{password}\n")
    settings = load_settings(PROJECT / "config.yaml", {"NEO4J_PASSWORD_FILE": "secret"})
    assert settings.neo4j.password.get_secret_value() == password


def test_any_setting_may_come_from_a_file() -> None:
    for name, text in {"pool": "9\n", "key": "k", "uri": "bolt://elsewhere"}.items():
        Path(name).write_text(text)
    files = {"NEO4J_MAX_CONNECTION_POOL_SIZE_FILE": "pool", "KEY_FILE": "key", "NEO4J_URI_FILE": "uri"}
    settings = load_settings(PROJECT / "config.yaml", {"NEO4J_PASSWORD": "x"} | files)
    assert (settings.neo4j.uri, settings.neo4j.max_connection_pool_size) == ("bolt://elsewhere", 9)
    options = load("neo4j: {password: x}\nlightrag: {llm: {options: {api_key: '${KEY}'}}}", files).lightrag.llm.options
    assert options["api_key"].get_secret_value() == "k"


def test_all_mistakes_of_files_are_told_at_once() -> None:
    Path("empty").write_text("\n")
    Path("binary").write_bytes(b"\xffs3cret")
    Path("folder").mkdir()
    text = """neo4j:
  password: ${PASSWORD}
  uri: ${URI:bolt://localhost}
  database: ${DATABASE:${DB:neo4j}}
  username: ${USERNAME:neo4j}
  check_timeout: ${TIMEOUT:10}
"""
    files = {"PASSWORD": "nowhere", "URI": "nowhere", "DB": "folder", "USERNAME": "empty", "TIMEOUT": "binary"}
    lines = problems(text, {"PASSWORD": "s3cret"} | {f"{name}_FILE": path for name, path in files.items()})
    assert [line.split(": ", 2)[2] for line in lines] == [
        "$PASSWORD and $PASSWORD_FILE are both set; unset PASSWORD, or PASSWORD_FILE if the file is not meant",
        "$URI_FILE names 'nowhere', which does not exist; create it, or name another file",
        "$DB_FILE names 'folder', which is not a file; create it, or name another file",
        "$USERNAME_FILE names 'empty', which is empty; write the value into it",
        "$TIMEOUT_FILE names 'binary', which is not UTF-8 text; write it as UTF-8",
    ]
    assert lines[0].startswith("config.yaml:2: neo4j.password ($PASSWORD, $PASSWORD_FILE): ")
    assert lines[2].startswith("config.yaml:4: neo4j.database ($DATABASE, $DB_FILE): ")


def test_a_bad_value_from_a_file_is_told_with_the_file() -> None:
    Path("pool").write_text("many")
    (line,) = problems("neo4j: {password: x, max_connection_pool_size: '${POOL:50}'}", {"POOL_FILE": "pool"})
    assert "($POOL_FILE): found 'many', expected a whole number; change 'pool' or this line" in line


@pytest.mark.parametrize("password", ["0123", "yes", "1.10", "1e5", "0x10", "true", "12:30", "2026-01-01"])
def test_a_password_in_the_file_arrives_as_it_is_written(password: str) -> None:
    assert load(f"neo4j: {{password: {password}}}").neo4j.password.get_secret_value() == password


def test_the_environment_names_of_lightrag_work_too() -> None:
    environ = {"NEO4J_PASSWORD": "x", "NEO4J_MAX_CONNECTION_POOL_SIZE": "7", "NEO4J_KEEP_ALIVE": "false"}
    settings = load_settings(PROJECT / "config.yaml", environ)
    assert settings.neo4j.max_connection_pool_size == 7
    assert settings.neo4j.keep_alive is False
    shorter = load_settings(PROJECT / "config.yaml", environ | {"NEO4J_MAX_POOL_SIZE": "9"})
    assert shorter.neo4j.max_connection_pool_size == 9


def test_options_of_a_function_have_yamls_types() -> None:
    text = """
neo4j: {password: x}
lightrag:
  llm:
    options: {temperature: 0.2, top_p: "${P:0.5}", n: 3, quoted: "3", on: true, name: "${N}", nothing: null, api_key: k}
"""
    options = load(text, {"P": "0.9", "N": "3"}).lightrag.llm.options
    assert options.pop("api_key").get_secret_value() == "k"
    assert options == {
        "temperature": 0.2, "top_p": 0.9, "n": 3, "quoted": "3", "on": True, "name": "3", "nothing": None,
    }  # fmt: skip


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """neo4j:
  uri: http://localhost
  usrname: neo4j
  password: ${PASSWORD}
  max_connection_pool_size: ${POOL:50}
lightrag:
  graph_storage: ${LIGHTRAG_GRAPH_STORAGE:Neo4JHybridStorage}
celry: {}
"""
    lines = problems(text, {"POOL": "abc", "LIGHTRAG_GRAPH_STORAGE": "Neo4JHybridStorge"})
    assert [line.split(": ")[0] for line in lines] == [f"config.yaml:{n}" for n in (2, 3, 4, 5, 7, 8)]
    assert "neo4j.uri: found 'http://localhost', expected an address that starts with" in lines[0]
    assert "unknown setting; did you mean 'username'?" in lines[1]
    assert "neo4j.password ($PASSWORD): $PASSWORD is not set; export PASSWORD=..." in lines[2]
    assert "($POOL): found 'abc', expected a whole number; change $POOL or this line" in lines[3]
    assert "($LIGHTRAG_GRAPH_STORAGE): found 'Neo4JHybridStorge'" in lines[4]
    assert "did you mean 'Neo4JHybridStorage'?" in lines[4]
    assert "unknown setting; did you mean 'celery'?" in lines[5]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("max_connection_pool_size: 0", "found '0', expected more than 0"),
        ("max_connection_pool_size: -1", "found '-1', expected more than 0"),
        ("max_connection_pool_size: abc", "found 'abc', expected a whole number"),
        ("max_connection_pool_size: 1.5", "found '1.5', expected a whole number"),
        ("max_connection_pool_size:", "found nothing, expected a whole number"),
        ("connection_timeout: soon", "found 'soon', expected a number"),
        ("keep_alive: perhaps", "found 'perhaps', expected true or false"),
        ("keep_alive: {a: b}", "found a section, expected true or false"),
        ("uri: localhost:7687", "expected an address that starts with one of neo4j:// neo4j+s://"),
        ("uri: bolt://", "expected an address with a host"),
        ("username: ''", "found '', expected some text"),
        ("database: [a]", "found a list, expected text"),
        ("uri: 'bolt://h?a=b'", "found 'bolt://h?**********', expected an address without '?'"),
    ],
)
def test_a_bad_value_is_shown_with_what_was_expected(setting: str, expected: str) -> None:
    (line,) = problems(f"neo4j:\n  password: x\n  {setting}\n")
    assert line.startswith(f"config.yaml:3: neo4j.{setting.partition(':')[0]}: ")
    assert expected in line


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("working_dir:", "found nothing, expected a path"),
        ("llm: {function: complete}", "expected the dotted path of a function, such as package.module.function"),
        ("document_timeout: 0", "found '0', expected more than 0;"),
    ],
)
def test_a_bad_value_of_lightrag_is_shown_with_what_was_expected(setting: str, expected: str) -> None:
    (line,) = problems(f"neo4j: {{password: x}}\nlightrag:\n  {setting}\n")
    assert line.startswith("config.yaml:3: lightrag.")
    assert expected in line


def test_the_hard_time_limit_comes_after_the_soft_one() -> None:
    (line,) = problems("neo4j: {password: x}\ncelery: {task_soft_time_limit: 10, task_time_limit: 5}\n")
    assert "celery.task_time_limit: found '5', expected more than task_soft_time_limit, 10" in line


@pytest.mark.parametrize(
    "text",
    [
        "neo4j: {password: {s3cret: 1}}",
        "neo4j: {password: '${NEO4J_PASSWORD:s3cret'}",
        "neo4j: {password: '${s3cret word}'}",
        "neo4j: {password: '${A:-s3cret}'}",
        "neo4j: {password: *s3cret}",
        "neo4j: {password: !s3!cret s3cret}",
        "neo4j: {password: !s3cret s3cret}",
        "neo4j: {password: x, uri: 'http://neo4j:s3cret@host'}",
        "neo4j: {password: x, uri: 'neo4j:s3cret@host'}",
        "neo4j: {password: x, uri: 'bolt://host?password=s3cret'}",
        "neo4j: {password: x}\nlightrag: {llm: {options: s3cret}}",
        "neo4j: {password: [s3cret]}",
        "neo4j: {password: x, uri: 'bolt://neo4j:s3cret@host'}",
        "neo4j: {password: x}\ncelery: {broker_url: 'amqp:/guest:s3cret@host'}",
        "neo4j: {password: x}\ncelery: {result_backend: {s3cret: 1}}",
    ],
)
def test_no_secret_is_shown_in_an_error(text: str) -> None:
    (line,) = problems(text)
    assert "s3cret" not in line


def test_no_secret_is_shown_by_the_settings() -> None:
    text = """
neo4j: {password: s3cret}
lightrag: {llm: {options: {api_key: s3cret, nested: {client_secret: s3cret}}}}
celery: {broker_url: "amqp://guest:s3cret@host"}
"""
    settings = load(text)
    assert "s3cret" not in repr(settings) + str(settings) + repr(settings.lightrag.llm.options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("neo4j:\n  uri: 'bolt", "config.yaml:2:13: not valid YAML: found unexpected end of stream"),
        ("neo4j:\n  uri: a\n uri: b\n", "config.yaml:3:2: not valid YAML: expected <block end>"),
        ("neo4j:\n\turi: a\n", "config.yaml:2:1: not valid YAML: found character '\\t'"),
        ("- a\n", "config.yaml:1: does not hold settings; start with a section"),
        ("", "config.yaml: neo4j: is missing; add it: 'neo4j:'"),
        ("neo4j:\n  username: a\n", "neo4j.password: is missing; add it: 'password: ${NEO4J_PASSWORD}'"),
        ("neo4j:\n  password: a\n  password: b\n", "neo4j.password: is there twice, in lines 2 and 3; keep one"),
        ("neo4j: &a\n  password: x\n  b: *a\n", "neo4j.b: contains itself"),
        (
            "neo4j:\n  password: ${A B}\n",
            "config.yaml:2: neo4j.password: what follows '${' is not a name of a variable",
        ),
        ("neo4j:\n  uri: ${U:-x}\n", "config.yaml:2: neo4j.uri: '${U:-' is a shell's notation; write ${NAME} or ${NAM"),
        ("neo4j:\n  <<: x\n", "config.yaml:2:7: not valid YAML: expected a mapping or list of mappings for merging"),
        (
            "neo4j:\n  password: !x y\n",
            "config.yaml:2: neo4j.password: begins with '!', which makes it a YAML tag; put",
        ),
        ("neo4j: x\n", "neo4j: found 'x', expected a section with settings below it"),
    ],
)
def test_a_broken_file_is_told_with_its_place(text: str, expected: str) -> None:
    assert any(expected in line for line in problems(text))


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read: it is not UTF-8 text"):
        load_settings("config.yaml", {})


def test_a_missing_file_is_told_with_the_way_it_was_looked_for() -> None:
    with pytest.raises(
        ConfigurationError, match=r"config\.yaml: does not exist; create it .* or set APP_CONTAINER_CONF"
    ):
        load_settings(None, {})
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: \(\$APP_CONTAINER_CONFIG\): does not exist"):
        load_settings(None, {"APP_CONTAINER_CONFIG": "nowhere.yaml"})


def test_yaml_merge_keys_work() -> None:
    text = "base: &base {password: x}\nneo4j:\n  <<: *base\n  username: me\n"
    assert any("base: unknown setting" in line for line in problems(text))
    assert len(problems(text)) == 1
